"""``@resumable``: makes each call of a function an operation. The only module that knows wrapt."""

from __future__ import annotations

import inspect
import operator
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, Self, SupportsIndex, TypeVar, overload

import tenacity
import wrapt

from .._strategies import SaveStrategy
from .._text.hints import explained
from ..stores import CheckpointStore
from .async_checkpoint import AsyncCheckpoint
from .checkpoint import Checkpoint
from .manager import CheckpointManager

if TYPE_CHECKING:
    from .._engine.limits import Amount, MaxRuntime
    from .._engine.quota import OnExhausted
    from .._report.events import OnEvent
    from .call import CalledOperation, Settings
    from .operation_id import OperationId

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
# A function without a checkpoint. Callable[..., Any] would also match functions with one, and mypy would find the
# overloads ambiguous when a signature contains Any.
F = TypeVar(
    "F",
    bound=Callable[[], Any]
    | Callable[Concatenate[str, ...], Any]
    | Callable[Concatenate[int, ...], Any]
    | Callable[Concatenate[Path, ...], Any]
    | Callable[Concatenate[list[Any], ...], Any]
    | Callable[Concatenate[dict[str, Any], ...], Any],
)


class Decorated(Protocol[P, R_co]):
    """A decorated function, as type checkers see it: called without the checkpoint."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def operation(self, *args: P.args, **kwargs: P.kwargs) -> CalledOperation:
        """The operation of a call with these arguments: its ``operation_id``, ``status()`` and ``forget()``."""
        ...


class DecoratedMethod(Protocol[T, P, R_co]):  # pyright: ignore[reportInvalidTypeVarUse]
    """A decorated method, as type checkers see it, or a function with a parameter before its checkpoint."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, first: T, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def operation(self, first: T, /, *args: P.args, **kwargs: P.kwargs) -> CalledOperation:
        """The operation of a call with these arguments: its ``operation_id``, ``status()`` and ``forget()``."""
        ...

    @overload
    def __get__(self, instance: T, owner: Any, /) -> Decorated[P, R_co]: ...
    @overload  # below @classmethod
    def __get__(self, instance: object, owner: T, /) -> Decorated[P, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: Any, /) -> Self: ...


class DecoratedAlone(Protocol[F]):
    """A decorated function without a checkpoint, as type checkers see it: called as before."""

    __call__: F
    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def operation(self, *args: Any, **kwargs: Any) -> CalledOperation:
        """The operation of a call with these arguments: its ``operation_id``, ``status()`` and ``forget()``."""
        ...


class ResumableDecorator(Protocol):
    """Returned by ``@resumable(...)``: a decorator that removes the checkpoint from the signature."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
    ) -> Decorated[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Checkpoint[Any], P], R], /) -> Decorated[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(
        self, function: Callable[Concatenate[T, AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
    ) -> DecoratedMethod[T, P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[T, Checkpoint[Any], P], R], /) -> DecoratedMethod[T, P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: F, /) -> DecoratedAlone[F]: ...


@overload
def resumable(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
) -> Decorated[P, Coroutine[Any, Any, R]]: ...
@overload
def resumable(function: Callable[Concatenate[Checkpoint[Any], P], R], /) -> Decorated[P, R]: ...  # type: ignore[overload-overlap]
@overload
def resumable(
    function: Callable[Concatenate[T, AsyncCheckpoint[Any], P], Coroutine[Any, Any, R]], /
) -> DecoratedMethod[T, P, Coroutine[Any, Any, R]]: ...
@overload
def resumable(function: Callable[Concatenate[T, Checkpoint[Any], P], R], /) -> DecoratedMethod[T, P, R]: ...  # type: ignore[overload-overlap]
@overload
def resumable(function: F, /) -> DecoratedAlone[F]: ...
@overload
def resumable(
    *,
    operation_id: OperationId = ...,
    strategy: SaveStrategy | None = ...,
    store: str | os.PathLike[str] | CheckpointStore | None = ...,
    manager: CheckpointManager | None = ...,
    retry: tenacity.BaseRetrying | None = ...,
    reset_on_progress: bool = ...,
    max_attempts_total: int = ...,
    progress: bool | Callable[..., Any] = ...,
    resume: bool = ...,
    total: int | None = ...,
    state: type[Any] | None = ...,
    auto_cleanup: bool | None = ...,
    on_exhausted: OnExhausted | None = ...,
    ignore_arguments: Iterable[str] = ...,
    max_runtime: MaxRuntime | None = ...,
    budget: Mapping[str, Amount] | None = ...,
    on_save_error: Literal["raise", "warn"] = ...,
    on_store_error: Literal["raise", "continue"] = ...,
    patience: float = ...,
    take_over: bool = ...,
    when_done: Literal["restart", "skip"] = ...,
    nan: Literal["refuse", "allow"] = ...,
    on_event: OnEvent | Iterable[OnEvent] | None = ...,
) -> ResumableDecorator: ...
@explained
def resumable(
    function: Callable[..., Any] | None = None,
    /,
    *,
    operation_id: OperationId = None,
    strategy: SaveStrategy | None = None,
    store: str | os.PathLike[str] | CheckpointStore | None = None,
    manager: CheckpointManager | None = None,
    retry: tenacity.BaseRetrying | None = None,
    reset_on_progress: bool = True,
    max_attempts_total: int = 1000,
    progress: bool | Callable[..., Any] = False,
    resume: bool = True,
    total: int | None = None,
    state: type[Any] | None = None,
    auto_cleanup: bool | None = None,
    on_exhausted: OnExhausted | None = None,
    ignore_arguments: Iterable[str] = (),
    max_runtime: MaxRuntime | None = None,
    budget: Mapping[str, Amount] | None = None,
    on_save_error: Literal["raise", "warn"] = "raise",
    on_store_error: Literal["raise", "continue"] = "raise",
    patience: float = 60.0,
    take_over: bool = False,
    when_done: Literal["restart", "skip"] = "restart",
    nan: Literal["refuse", "allow"] = "refuse",
    on_event: OnEvent | Iterable[OnEvent] | None = None,
) -> Any:
    """Make each call of a function an operation that is resumed if it was interrupted.

    The checkpoint is passed as the parameter annotated :class:`Checkpoint` or :class:`AsyncCheckpoint`, else as the one
    named ``cp``; callers omit it. A function with neither may call :func:`current_checkpoint`. Options that are not
    listed here are those of :class:`checkpointed`. Put it below ``@classmethod`` and ``@staticmethod``.

    ``@tenacity.retry`` may come directly below: the checkpoint is saved before each sleep, and the attempts share one
    state. If it comes above, each attempt is a call of its own, which resumes what the failed one saved. Then do not
    repeat for a *result* (``retry_if_result``): a call that returns has ended well and removes its checkpoint.

    Example:
        >>> @resumable(operation_id="count_{word}")
        ... def count(cp: Checkpoint, word: str) -> int:
        ...     return len(list(cp.remaining(list(word))))
        >>> count("resume")
        6
        >>> count.operation("resume").operation_id
        'count_resume'

    Args:
        operation_id: A template with fields from the call's arguments, as in ``"fetch_{repo.full_name}"``, or a
            callable that takes them. By default the function's name and a digest of its arguments. The digest ignores
            the instance
            of a method: name it, as in ``"{self.name}"``.
        retry: A tenacity policy that repeats the call, with one state for all attempts, and a save before each sleep.
            If its ``retry_error_callback`` turns the last failure into a result, the checkpoint is kept.
        reset_on_progress: Attempts and waits of *retry* begin anew if items were ticked since the last failure.
        max_attempts_total: From this many attempts of one call on, progress no longer resets the counts.
        ignore_arguments: Parameters that may differ when the call is resumed.

    Raises:
        TypeError: When decorating: a generator function, or an option of a wrong type. When calling: arguments that do
            not fit, or cannot name the operation.
        ValueError: When decorating: the template has a field that is no parameter, or an option is out of range.
        InputChangedError: When calling: the checkpoint was made with other arguments.
    """
    from .call import Settings  # loaded with the first decorated function

    settings = Settings(
        operation_id=operation_id,
        retry=retry,
        reset_on_progress=reset_on_progress,
        max_attempts_total=max_attempts_total,
        ignore=(ignore_arguments,) if isinstance(ignore_arguments, str) else tuple(ignore_arguments),
        options={
            "strategy": strategy,
            "store": store,
            "manager": manager,
            "resume": resume,
            "total": total,
            "state": state,
            "auto_cleanup": auto_cleanup,
            "on_exhausted": "wait" if on_exhausted is None else on_exhausted,
            "progress": progress,
            "max_runtime": max_runtime,
            "budget": budget,
            "on_save_error": on_save_error,
            "on_store_error": on_store_error,
            "patience": patience,
            "take_over": take_over,
            "when_done": when_done,
            "nan": nan,
            "on_event": on_event,
        },
    )
    if function is not None:
        return _Resumable(function, settings)
    return lambda function: _Resumable(function, settings)


# -- the wrappers: their signatures lack the checkpoint, and they pickle by name as plain functions do


class _BoundResumable(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    __class__ = property(type)  # pyright: ignore

    def __repr__(self) -> str:
        return f"<resumable method {self.__wrapped__.__qualname__}>"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), "operation"]

    def operation(self, *args: Any, **kwargs: Any) -> CalledOperation:
        """The operation of a call with these arguments: its ``operation_id``, ``status()`` and ``forget()``."""
        operation: CalledOperation = self._self_parent.operation_of(
            getattr(self.__wrapped__, "__self__", None), args, kwargs
        )
        return operation

    @property
    def __signature__(self) -> inspect.Signature:
        public: inspect.Signature = self._self_parent.__signature__
        if getattr(self.__wrapped__, "__self__", None) is None:
            return public
        return public.replace(parameters=[*public.parameters.values()][1:])

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        receiver = getattr(self.__wrapped__, "__self__", None)
        return getattr, (self._self_owner if receiver is None else receiver, self.__wrapped__.__name__)


class _Resumable(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    __class__ = property(type)  # pyright: ignore
    __bound_function_wrapper__ = _BoundResumable

    def __repr__(self) -> str:
        return f"<resumable function {self._self_function.name}>"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), "operation"]

    def operation(self, *args: Any, **kwargs: Any) -> CalledOperation:
        """The operation of a call with these arguments: its ``operation_id``, ``status()`` and ``forget()``."""
        return self.operation_of(None, args, kwargs)

    def operation_of(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CalledOperation:
        """The operation for methods of *instance*; None for a function."""
        return self._self_function.operation(instance, args, kwargs)

    def __init__(self, function: Any, settings: Settings) -> None:
        from .call import ResumableFunction

        self_function = ResumableFunction(function, settings)
        wrapt.FunctionWrapper.__init__(self, function, self_function)
        self._self_function = self_function

    @property
    def __signature__(self) -> inspect.Signature:
        return self._self_function.signatures.public

    def __reduce_ex__(self, protocol: SupportsIndex) -> str:
        return self.__wrapped__.__qualname__

    def __reduce__(self) -> tuple[Any, ...]:
        """For cloudpickle: the undecorated function, and how to decorate it again."""
        return _Resumable, (self.__wrapped__, self._self_function.settings)

    def __copy__(self) -> _Resumable:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Resumable:
        return self


# -- cloudpickle would send functions of ``__main__`` and of local scopes without their decorator


def _register(cloudpickle: Any) -> None:
    def reduce(function: _Resumable) -> Any:
        return function.__reduce_ex__(2) if _is_importable(function, cloudpickle) else function.__reduce__()

    cloudpickle.CloudPickler.dispatch_table[_Resumable] = reduce


def _is_importable(function: _Resumable, cloudpickle: Any) -> bool:
    """Whether another process gets exactly this function by importing it."""
    module, name = function.__module__, function.__qualname__
    shipped = cloudpickle.list_registry_pickle_by_value()
    if module == "__main__" or any(f"{module}.".startswith(f"{each}.") for each in shipped):
        return False
    try:
        return operator.attrgetter(name)(sys.modules[module]) is function
    except (ImportError, AttributeError, KeyError):
        return False


for _name in ("cloudpickle", "joblib.externals.cloudpickle", "ray.cloudpickle"):
    wrapt.when_imported(_name)(_register)
