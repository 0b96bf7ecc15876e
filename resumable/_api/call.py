"""A call of a ``@resumable`` function: names the operation, opens its checkpoint, makes the attempts."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tenacity

from .. import _retry
from .._engine.limits import check_max_runtime, checked_budget
from .._engine.quota import check_policy
from .async_checkpoint import AsyncCheckpoint
from .checkpoint import Checkpoint
from .checkpointed import checkpointed, refuse_both
from .manager import CheckpointManager
from .operation_id import OperationId, check_operation_id, encodable_arguments, name_of, operation_id_for
from .signature import Signatures, innermost, signatures_of

if TYPE_CHECKING:
    from .._report.stored.summary import Summary

_log = logging.getLogger("resumable.retry")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``@resumable(...)``. They go to other processes with the function."""

    operation_id: OperationId
    retry: tenacity.BaseRetrying | None
    reset_on_progress: bool
    max_attempts_total: int
    ignore: tuple[str, ...]
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        _retry.check_policy(self.retry)
        if self.max_attempts_total < 1:
            raise ValueError(f"max_attempts_total must be >= 1, not {self.max_attempts_total!r}")
        check_policy(self.options["on_exhausted"])
        check_max_runtime(self.options["max_runtime"])
        checked_budget(self.options["budget"])
        refuse_both(manager=self.options["manager"], store=self.options["store"])


class ResumableFunction:
    """One decorated function: the common part of its calls."""

    def __init__(self, function: Any, settings: Settings) -> None:
        plain = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        if not callable(plain) or inspect.isclass(plain):
            way = f"; write @resumable(operation_id={plain!r})" if isinstance(plain, str) else ""
            raise TypeError(f"@resumable goes on a function, not on {plain!r}{way}")
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise TypeError(
                f"{plain.__qualname__} is a generator function: its body runs after the call has ended; "
                "write `with checkpointed(...)` inside of it instead"
            )
        self.function: Any = plain
        self.settings = settings
        self.signatures = signatures_of(plain)
        self.is_bound = inspect.ismethod(plain)
        self.is_async = _is_async(plain, self.signatures)
        self.name = name_of(plain) if settings.operation_id is None else getattr(plain, "__qualname__", repr(plain))
        self._check()

    def _check(self) -> None:
        public = self.signatures.public
        check_operation_id(self.settings.operation_id, public)
        if unknown := set(self.settings.ignore) - public.parameters.keys():
            known = ", ".join(public.parameters) or "none"
            raise ValueError(f"ignore_arguments={sorted(unknown)}: not parameters; the parameters are: {known}")
        if isinstance(self.settings.retry, tenacity.AsyncRetrying) and not self.is_async:
            raise TypeError(f"{self.name} is not an async def; give retry=tenacity.Retrying(...), not an AsyncRetrying")
        if _retry.carries_retry(self.function):
            warnings.warn(
                f"{self.name}: another decorator stands between @resumable and @retry, so nothing is saved before "
                "its retries; put @resumable directly above @retry, or give retry=...",
                UserWarning,
                stacklevel=5,
            )

    def __call__(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        receivers = () if instance is None or self.is_bound else (instance,)
        args = (*receivers, *args)
        bound = self.signatures.bind(args, kwargs, self.name)
        asked, ignore = self.settings.operation_id, self.settings.ignore
        operation_id = operation_id_for(asked, bound, name=self.name, ignore=ignore)
        block: checkpointed[Any] = checkpointed(
            operation_id,
            arguments=encodable_arguments(asked, bound, ignore=ignore, salt=operation_id),
            **self.settings.options,
        )
        call = _Call(self, wrapped, len(receivers), args, kwargs, bound)
        return self._run_async(block, call) if self.is_async else self._run(block, call)

    def operation(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CalledOperation:
        """The operation of a call with these arguments."""
        receivers = () if instance is None or self.is_bound else (instance,)
        if instance is None and self._lacks_class(args):
            receivers = (_AnyClass(self.name),)
        bound = self.signatures.bind((*receivers, *args), kwargs, self.name)
        asked, ignore, options = self.settings.operation_id, self.settings.ignore, self.settings.options
        operation_id = operation_id_for(asked, bound, name=self.name, ignore=ignore)
        return CalledOperation(operation_id, options["manager"] or CheckpointManager(store=options["store"]))

    def _lacks_class(self, args: tuple[Any, ...]) -> bool:
        """Whether a class method was called without its class: from 3.13 on, ``@classmethod`` does not pass it."""
        first = next(iter(self.signatures.public.parameters), "")
        return first == "cls" and "." in self.name and not (args and inspect.isclass(args[0]))

    def _run(self, block: checkpointed[Any], call: _Call) -> Any:
        with contextlib.ExitStack() as stack:
            checkpoint: Any = stack.enter_context(block)
            if checkpoint.is_done:
                return checkpoint.kept_result()
            result = call.start(checkpoint)
            if inspect.isawaitable(result):
                # an async def behind a plain decorator: its body has not run yet
                return _finish(result, stack.pop_all())
            return call.ended(checkpoint, result)

    async def _run_async(self, block: checkpointed[Any], call: _Call) -> Any:
        checkpoint: Any
        async with block as checkpoint:
            if checkpoint.is_done:
                return checkpoint.kept_result()
            started = call.start(checkpoint)
            return call.ended(checkpoint, await started if inspect.isawaitable(started) else started)


class _AnyClass:
    """Stands for the class of a class method if an operation's id does not depend on it."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattribute__(self, attribute: str) -> Any:
        if attribute == "__class__":
            return _AnyClass
        name = object.__getattribute__(self, "_name")
        raise TypeError(
            f"{name}.operation(): this release of Python does not tell which class it is for; "
            f"write {name}.__func__.operation(THE_CLASS, ...)"
        )

    def __format__(self, spec: str) -> str:
        return str(vars(self))  # raises

    __str__ = __repr__ = lambda self: str(vars(self))


class CalledOperation:
    """The operation of one call of a ``@resumable`` function, whether it runs, was interrupted, or never began.

    ``f.operation("prebid/Prebid.js")`` returns the operation of ``f("prebid/Prebid.js")``, and calls nothing.

    Attributes:
        operation_id: The operation's name.
    """

    def __init__(self, operation_id: str, manager: CheckpointManager) -> None:
        self.operation_id = operation_id
        self._manager = manager

    def __repr__(self) -> str:
        return f"<operation {self.operation_id!r} in {self._manager.store.describe()}>"

    def status(self) -> Summary | None:
        """Its progress: ``state``, ``processed_items``, ``total_items``, ``failed_items``, ``last_updated`` and more.

        Returns:
            None if it has no checkpoint: it never began, has not saved yet, or has finished.

        Raises:
            StoreError: The store cannot be read.
        """
        from .._report.stored.summary import summary_of

        return summary_of(self._manager.store, self.operation_id)

    def forget(self) -> bool:
        """Remove its checkpoint, good or corrupt, so that the next call starts over. Returns whether there was one.

        Raises:
            CheckpointBusyError: A process is working on it.
            StoreError: The checkpoint cannot be removed; it stands.
        """
        return self._manager.delete_checkpoint(self.operation_id)


@dataclass(slots=True, repr=False)
class _Call:
    """One call, with one or more attempts. The first *receivers* of *args* are bound to *wrapped*."""

    function: ResumableFunction
    wrapped: Any
    receivers: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    bound: inspect.BoundArguments
    has_given_up: bool = False

    def start(self, checkpoint: Any) -> Any:
        """Make the attempts. Returns the result, or an awaitable of it."""
        args, kwargs, signatures = self.args, self.kwargs, self.function.signatures
        if signatures.parameter is not None:
            args, kwargs = signatures.with_checkpoint(checkpoint, self.bound)
        function, args = self._target(checkpoint, args)
        settings, is_async = self.function.settings, self.function.is_async
        if settings.retry is None:
            return function(*args, **kwargs)
        policy = _retry.retrying(
            checkpoint,
            settings.retry,
            reset_on_progress=settings.reset_on_progress,
            max_attempts_total=settings.max_attempts_total,
            on_give_up=self._note_giving_up,
            is_async=is_async,
        )
        return policy(_retry.awaited(function) if is_async else function, *args, **kwargs)

    def ended(self, checkpoint: Any, result: Any) -> Any:
        """Return *result*. Keep the checkpoint if a ``retry_error_callback`` turned the last failure into it."""
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError("a resumable function returned a generator, whose body has not run; return what it yields")
        if self.has_given_up:
            _log.warning("%s: the retries gave up; the checkpoint is kept", checkpoint.operation_id)
            checkpoint.keep("retries exhausted")
        checkpoint.keep_result(result)
        return result

    def _target(self, checkpoint: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        function, is_async = self.function.function, self.function.is_async
        if not _retry.is_retried(function):
            return self.wrapped, args[self.receivers :]
        if self.function.is_bound:
            args = (function.__self__, *args)
        again = _retry.saving_retries(function, checkpoint, on_give_up=self._note_giving_up, is_async=is_async)
        return again, args

    def _note_giving_up(self) -> None:
        self.has_given_up = True


async def _finish(result: Awaitable[Any], stack: contextlib.ExitStack) -> Any:
    with stack:
        return await result


def _is_async(function: Any, signatures: Signatures) -> bool:
    inner = innermost(function)
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner)
    if is_async and signatures.kind is Checkpoint:
        raise TypeError(f"{name_of(inner)} is an async def and takes an AsyncCheckpoint, not a Checkpoint")
    return is_async or signatures.kind is AsyncCheckpoint
