"""``@resumable``: a function that gets its checkpoint injected, and is finalized when it returns."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, SupportsIndex, TypeVar, overload

import tenacity
import wrapt

from ._arguments import bind, check_template, compared, operation_id_for
from ._checkpoint import AsyncCheckpoint, Checkpoint, checkpointed
from ._manager import CheckpointManager
from ._quota import OnExhausted
from ._retry import retrying
from ._strategies import SaveStrategy
from .stores import CheckpointStore

P = ParamSpec("P")
R = TypeVar("R")
Self_ = TypeVar("Self_")

_KINDS = {"Checkpoint": Checkpoint, "AsyncCheckpoint": AsyncCheckpoint}


class ResumableDecorator(Protocol):
    """What ``@resumable(...)`` returns: takes the checkpoint off the signature."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Checkpoint[Any], P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[Self_, AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
    ) -> Callable[Concatenate[Self_, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[Self_, Checkpoint[Any], P], R], /
    ) -> Callable[Concatenate[Self_, P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def resumable(
    fn: Callable[Concatenate[AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def resumable(fn: Callable[Concatenate[Checkpoint[Any], P], R], /) -> Callable[P, R]: ...
@overload
def resumable(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def resumable(
    *,
    operation_id: str | Callable[..., str] | None = ...,
    strategy: SaveStrategy | None = ...,
    store: str | os.PathLike[str] | CheckpointStore | None = ...,
    manager: CheckpointManager | None = ...,
    retry: tenacity.BaseRetrying | None = ...,
    reset_on_progress: bool = ...,
    resume: bool = ...,
    total: int | None = ...,
    state: type[Any] | None = ...,
    auto_cleanup: bool | None = ...,
    on_exhausted: OnExhausted = ...,
    progress: Any = ...,
    ignore_arguments: Collection[str] = ...,
) -> ResumableDecorator: ...
def resumable(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    operation_id: str | Callable[..., str] | None = None,
    retry: tenacity.BaseRetrying | None = None,
    reset_on_progress: bool = True,
    ignore_arguments: Collection[str] = (),
    **options: Any,
) -> Any:
    """Run *fn* inside :class:`checkpointed`, with the checkpoint as one of its arguments.

    The checkpoint goes into the parameter annotated ``Checkpoint`` or ``AsyncCheckpoint``, else into the one named
    ``cp``; callers leave it out. A function with neither calls :func:`current_checkpoint`. When the function returns,
    the operation is finalized; when it raises, it is saved, and the next call goes on.

    Under ``@tenacity.retry`` each attempt is a call of its own, that restores what the one before saved; a retry for a
    *result* comes after the operation was finalized, so give such a policy as *retry* instead, or put it below.

    Args:
        operation_id: Text with fields from the arguments, ``"fetch_{repo_name}"`` or ``"{repo.full_name}"``, or a
            function of the same arguments. By default the function's name and a digest of its arguments.
        retry: A tenacity policy; a copy of it retries the function, with a save before each sleep. The state in
            memory is kept between attempts.
        reset_on_progress: Whether attempts begin anew when the loop has ticked since the failure before.
        ignore_arguments: Names of arguments that may differ when the operation is resumed.
        options: What :class:`checkpointed` takes besides.

    Raises:
        TypeError: If *fn* is a generator function: it would be finalized before its first item.
        ValueError: If *operation_id* names what is no parameter.
    """
    settings = _Settings(operation_id, retry, reset_on_progress, tuple(ignore_arguments), options)
    if fn is None:
        return functools.partial(_wrap, settings=settings)
    return _wrap(fn, settings)


@dataclass(frozen=True, slots=True)
class _Settings:
    operation_id: str | Callable[..., str] | None
    retry: tenacity.BaseRetrying | None
    reset_on_progress: bool
    ignored: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


def _wrap(fn: Any, settings: _Settings) -> Any:
    plain = inspect.unwrap(fn.__func__ if isinstance(fn, staticmethod | classmethod) else fn)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise TypeError(
            f"@resumable cannot wrap the generator function {plain.__qualname__}: it would be finalized before its "
            "first item. Use `with checkpointed(...)` inside it, or cp.remaining(...) around its items"
        )
    signature = inspect.signature(plain)
    injected = _injected(plain, signature)
    if isinstance(settings.operation_id, str):
        check_template(settings.operation_id, _without(signature, injected))
    return _ResumableFunction(fn, settings, injected)


def _injected(fn: Any, signature: inspect.Signature) -> str | None:
    """The parameter that gets the checkpoint."""
    try:
        hints = inspect.get_annotations(fn, eval_str=True)
    except Exception:  # an annotation that only type checkers can resolve: its text must do
        hints = inspect.get_annotations(fn)
    for name in signature.parameters:
        if _is_checkpoint(hints.get(name)):
            return name
    return "cp" if "cp" in signature.parameters else None


def _is_checkpoint(hint: Any) -> bool:
    if isinstance(hint, str):
        names = {part.strip(" '\"").rpartition(".")[2].partition("[")[0] for part in hint.split("|")}
        return bool(names & _KINDS.keys())
    origin = getattr(hint, "__origin__", hint)
    if isinstance(origin, type):
        return issubclass(origin, Checkpoint | AsyncCheckpoint)
    return any(_is_checkpoint(part) for part in getattr(hint, "__args__", ()))


def _without(signature: inspect.Signature, name: str | None) -> inspect.Signature:
    return signature.replace(parameters=[p for p in signature.parameters.values() if p.name != name])


class _Bound(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """The function got from an instance or a class."""

    @property
    def __signature__(self) -> inspect.Signature:
        return _public_signature(self)


class _ResumableFunction(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """The decorated function. Pickles by name, as a plain function does; wrapt's proxies refuse to."""

    __bound_function_wrapper__ = _Bound

    def __init__(self, wrapped: Any, settings: _Settings, injected: str | None) -> None:
        super().__init__(wrapped, self._self_run)
        self._self_settings = settings
        self._self_injected = injected

    def __reduce_ex__(self, protocol: SupportsIndex) -> str:
        return str(self.__wrapped__.__qualname__)

    def __reduce__(self) -> str:
        return str(self.__wrapped__.__qualname__)

    @property
    def __signature__(self) -> inspect.Signature:
        return _public_signature(self)

    def _self_run(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = _Call(wrapped, args, kwargs, self._self_settings, self._self_injected)
        if inspect.iscoroutinefunction(inspect.unwrap(wrapped)):
            return call.run_async()
        return call.run()


def _public_signature(function: Any) -> inspect.Signature:
    injected = getattr(function, "_self_injected", None)
    if injected is None:
        injected = getattr(getattr(function, "_self_parent", None), "_self_injected", None)
    return _without(inspect.signature(function.__wrapped__), injected)


class _Call:
    """One call of a decorated function."""

    def __init__(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], settings: _Settings, injected: str | None
    ) -> None:
        if injected is not None and injected in kwargs:
            raise TypeError(f"{fn.__qualname__}() gets {injected!r} from @resumable; leave it out")
        self._fn = fn
        self._signature = inspect.signature(fn)
        self._public = _without(self._signature, injected)
        self._arguments = bind(self._public, args, kwargs)
        self._settings = settings
        self._injected = injected
        template = settings.operation_id
        operation_id = operation_id_for(template, _name_of(fn), self._arguments, args, kwargs)
        self._checkpointed = checkpointed(
            operation_id, arguments=compared(self._arguments, template, settings.ignored), **settings.options
        )
        self._gave_up = False

    def run(self) -> Any:
        with self._checkpointed as cp:
            fn, policy = self._attempted()
            args, kwargs = self._with(cp)
            result = self._retrying(cp, policy, is_async=False)(fn, *args, **kwargs) if policy else fn(*args, **kwargs)
            self._keep_if_given_up(cp)
            if not inspect.isawaitable(result):
                return result
            return self._awaited_elsewhere(result)
        raise AssertionError

    async def run_async(self) -> Any:
        async with self._checkpointed as cp:
            fn, policy = self._attempted()
            args, kwargs = self._with(cp)
            if policy:
                result = await self._retrying(cp, policy, is_async=True)(fn, *args, **kwargs)
            else:
                result = await fn(*args, **kwargs)
            self._keep_if_given_up(cp)
            return result

    def _awaited_elsewhere(self, result: Awaitable[Any]) -> Any:
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise TypeError(
            f"{self._fn.__qualname__}() returned an awaitable: a decorator below @resumable hides that it is async, and "
            "the checkpoint would be finalized before the work begins. Put @resumable below that decorator"
        )

    def _attempted(self) -> tuple[Any, tenacity.BaseRetrying | None]:
        """What one attempt calls, and the policy around it: ours, or the one of a ``@tenacity.retry`` below us."""
        inner = getattr(self._fn, "retry", None)
        if isinstance(inner, tenacity.BaseRetrying) and self._settings.retry is None:
            attempted = self._fn.__wrapped__
            owner = getattr(self._fn, "__self__", None)
            return (attempted.__get__(owner) if owner is not None else attempted), inner
        return self._fn, self._settings.retry

    def _retrying(self, cp: Any, policy: tenacity.BaseRetrying, *, is_async: bool) -> Any:
        return retrying(
            cp,
            policy,
            reset_on_progress=self._settings.reset_on_progress,
            on_give_up=self._note_giving_up,
            is_async=is_async,
        )

    def _note_giving_up(self) -> None:
        self._gave_up = True

    def _keep_if_given_up(self, cp: Any) -> None:
        if self._gave_up:
            cp.keep("Retries exhausted")

    def _with(self, cp: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments, the checkpoint among them."""
        arguments = dict(self._arguments)
        if self._injected is not None:
            arguments[self._injected] = cp
        bound = inspect.BoundArguments(
            self._signature,
            {name: arguments[name] for name in self._signature.parameters if name in arguments},  # type: ignore[arg-type]
        )
        return bound.args, bound.kwargs


def _name_of(fn: Any) -> str:
    module = getattr(fn, "__module__", None)
    name = str(fn.__qualname__).replace("<locals>.", "")
    return name if module in (None, "__main__") else f"{module}.{name}"


def _pickle_by_name_in_cloudpickle(cloudpickle: Any) -> None:
    """cloudpickle ships functions of ``__main__`` by value, and would ship the undecorated one."""

    def reduce(function: _ResumableFunction) -> Any:
        rebuilt = (function.__wrapped__, function._self_settings, function._self_injected)
        module = sys.modules.get(function.__module__)
        found: Any = module
        for part in str(function.__wrapped__.__qualname__).split("."):
            found = getattr(found, part, None)
        if found is function and function.__module__ != "__main__":
            return str(function.__wrapped__.__qualname__)
        return _ResumableFunction, rebuilt

    cloudpickle.CloudPickler.dispatch[_ResumableFunction] = reduce
    cloudpickle.CloudPickler._dispatch_table[_ResumableFunction] = reduce


wrapt.when_imported("cloudpickle")(_pickle_by_name_in_cloudpickle)
