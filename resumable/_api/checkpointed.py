"""``checkpointed``: the block around a loop, and the checkpoint that is current in it."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Literal
from weakref import WeakSet

from .._runtime import signals
from .._runtime.current import current_checkpoint_or_none
from .._strategies import SaveStrategy, auto
from ..stores import CheckpointStore, open_store
from ..stores._names import check_given_id
from ..stores.defaults import default_auto_cleanup, default_place
from .base import S
from .checkpoint import Checkpoint, InnerCheckpoint

if TYPE_CHECKING:
    import tenacity

    from .._engine.limits import Amount, MaxRuntime
    from .._engine.quota import OnExhausted
    from .._report.events import OnEvent
    from .._report.terminal.bar import ProgressView
    from .async_checkpoint import AsyncCheckpoint
    from .manager import CheckpointManager

ShowProgress = bool | Callable[["ProgressView"], object]


def refuse_both(**given: object) -> None:
    """Refuse two arguments that exclude each other. Raises ValueError if neither is None."""
    if None not in given.values():
        raise ValueError(f"give {' or '.join(given)}, not both")


class checkpointed(
    AbstractContextManager[Checkpoint[S]], AbstractAsyncContextManager["AsyncCheckpoint[S]"], Generic[S]
):
    """Restore an operation's state, save it as the loop goes, and remove it at a clean exit.

    ``with`` gives a :class:`Checkpoint`, ``async with`` an :class:`AsyncCheckpoint`. An exception is raised again,
    unchanged, after a save. A ``break`` out of a loop over ``remaining`` keeps the checkpoint.

    Example:
        >>> with checkpointed("squares", every(items=100)) as cp:
        ...     squares = cp.mapping("squares")
        ...     for number in cp.remaining(range(1000)):
        ...         squares[str(number)] = number * number

    Args:
        operation_id: Names the operation: any text, equal in every run.
        strategy: When to save; by default as often as saves take at most 1% of the time.
        store: A directory, a URL (see :func:`open_store`) or a store; else ``$CHECKPOINT_STORE``, ``$CHECKPOINT_DIR``,
            or the current directory.
        manager: Supplies the store, the clock, and the defaults for *strategy* and *auto_cleanup*.
        resume: False starts over; the old checkpoint stands until the first save.
        total: Number of items, if the loop cannot know it.
        state: The class of ``cp.state``, which must need no arguments: a dataclass, ``msgspec.Struct`` or pydantic
            model. A dict by default. Its fields may be :class:`DurableDict`, ``DurableLog``, ``DurableSet``.
        auto_cleanup: Whether a clean exit removes the checkpoint; else ``$CHECKPOINT_AUTO_CLEANUP``, else True.
        arguments: Plain JSON that must not change between runs. Secrets in it are not stored, and may change.
        on_exhausted: What to do when the API's quota, as :meth:`Checkpoint.observe` knows it, is used up: save and
            ``"wait"`` until it is full again, save and ``"raise"`` RateLimitExhausted, or ask a callable, once for each
            quota and window; its answer None means to go on, with nothing saved.
        progress: True shows a bar on stderr, below everything that the program prints; without a terminal, a line every
            30 seconds and one at the end. A callable gets a :class:`ProgressView` several times a second.
        retry: The tenacity policy that :meth:`Checkpoint.retrying` copies when it is called without one.
        stop_signals: More signals that stop the run after its current item, besides Ctrl-C, SIGTERM and SIGHUP: such as
            ``[signal.SIGUSR1]`` for a batch system that sends it before the time is up.
        max_runtime: How long a run may take from the beginning of its block: seconds, a timedelta, or ``"auto"``, until
            the batch system ends the job (Slurm, Cobalt, Torque, OAR and GitLab tell when). The loop ends after an
            item, in time for the last save, with :class:`RunAgain`: exit code 75.
        budget: What all runs together may spend, such as ``{"usd": 5}``. See :meth:`Checkpoint.spend`.
        on_save_error: ``"warn"``: if the store refuses a save between items, as a full disk does, a warning is logged
            and the loop goes on; each due save tries again. An error of the last save is raised all the same.
        on_store_error: What to do if a store, such as a database, stays away for longer than *patience*: ``"raise"``
            StoreError at the next tick, or ``"continue"``: the loop goes on, logs a warning every five minutes, and
            saves once the store is back. An error of the last save is raised all the same. What could not be saved is
            then kept in a file on this machine, in the default directory, and the next run here brings it to the store,
            unless another run has gone on there meanwhile.
        patience: Seconds for which an unreachable store is retried during the loop and at its end; with
            ``on_store_error="continue"`` also at its beginning. Otherwise a run that cannot reach it fails at once.
        take_over: Where leases expire (databases, Redis, object stores): True takes the operation from a live owner at
            once, instead of waiting for its lease to end.
        when_done: ``"restart"``: a finished operation is done anew when it runs again. ``"skip"``: it stays done until
            it is removed or run with ``resume=False``: a block keeps its state, its loops hand out nothing, and
            :attr:`Checkpoint.is_done` is True; a decorated function keeps only its result, and returns it.
        nan: ``"allow"`` keeps NaN and the infinities in a plain state and in collections, as ``{"$float": "nan"}`` in
            the file. By default they are refused, because JSON has no such numbers. Typed states and values of a class
            may always contain them.
        on_event: A function, or several, each called with every :class:`Event` in its own thread. An exception from it
            is logged; one that hangs delays only the end of a plain block, by at most 5 seconds.

    Raises:
        TypeError, ValueError: An option is wrong.
        CheckpointBusyError: On entry: another process is working on this operation.
        CheckpointCorruptError: On entry: the stored checkpoint cannot be used; nothing was changed.
        BudgetExhausted: On entry: earlier runs have spent everything.
        InputChangedError: On entry: the checkpoint was made with other arguments, or another state type.
        RuntimeError: On entry: ``async with`` in a program that runs on neither asyncio nor uvloop, such as on trio.
    """

    def __init__(
        self,
        operation_id: str,
        strategy: SaveStrategy | None = None,
        *,
        store: str | os.PathLike[str] | CheckpointStore | None = None,
        manager: CheckpointManager | None = None,
        resume: bool = True,
        total: int | None = None,
        state: type[S] | None = None,
        auto_cleanup: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
        on_exhausted: OnExhausted = "wait",
        progress: ShowProgress = False,
        retry: tenacity.BaseRetrying | None = None,
        stop_signals: Sequence[int] = (),
        max_runtime: MaxRuntime | None = None,
        budget: Mapping[str, Amount] | None = None,
        on_save_error: Literal["raise", "warn"] = "raise",
        on_store_error: Literal["raise", "continue"] = "raise",
        patience: float = 60.0,
        take_over: bool = False,
        when_done: Literal["restart", "skip"] = "restart",
        nan: Literal["refuse", "allow"] = "refuse",
        on_event: OnEvent | Iterable[OnEvent] | None = None,
    ) -> None:
        check_given_id(operation_id)
        from .._engine.options import Options
        from .._runtime.clock import system_clock

        refuse_both(manager=manager, store=store)
        if isinstance(stop_signals, str) or not isinstance(stop_signals, Iterable):
            raise TypeError(f"stop_signals must be a list such as [signal.SIGUSR1], not {stop_signals!r:.80}")
        signals.check_numbers(stop_signals := list(stop_signals))
        if manager is not None and not hasattr(manager, "save_strategy"):
            raise TypeError(f"manager must be a CheckpointManager, not {manager!r:.80}")
        if manager is None:
            where = open_store(store if store is not None else default_place())
            fallback: SaveStrategy = auto()
            cleanup = default_auto_cleanup() if auto_cleanup is None else auto_cleanup
        else:
            where, fallback = manager.store, manager.save_strategy
            cleanup = manager.auto_cleanup if auto_cleanup is None else auto_cleanup
        self._options = Options(
            operation_id=operation_id,
            strategy=strategy if strategy is not None else fallback,
            store=where,
            auto_cleanup=cleanup,
            resume=resume,
            total=total,
            state_type=state,
            arguments=arguments,
            on_exhausted=on_exhausted,
            progress=progress,
            retry=retry,
            stop_signals=tuple(stop_signals),
            max_runtime=max_runtime,
            budget=budget,
            on_save_error=on_save_error,
            on_store_error=on_store_error,
            patience=patience,
            take_over=take_over,
            when_done=when_done,
            nan=nan,
            on_event=on_event,
            clock=manager.clock if manager is not None else system_clock,
        )
        self._open: list[Any] = []

    if not TYPE_CHECKING:

        def __new__(cls, *args, **kwargs):
            if not kwargs.keys() <= _ARGUMENTS.keys():
                from .._text.hints import unknown_argument

                raise unknown_argument("checkpointed", kwargs, _ARGUMENTS)
            return super().__new__(cls)

        def __getattr__(self, name):
            if name.startswith("_") or not hasattr(Checkpoint, name):
                raise AttributeError(f"'checkpointed' object has no attribute {name!r}", name=name, obj=self)
            raise AttributeError(f"write: with {self._call()} as cp: ... cp.{name}")

        def __call__(self, *args, **kwargs):
            raise TypeError(f"write: with {self._call()} as cp; above a function: @resumable(operation_id=...)")

        def __iter__(self):
            raise TypeError(f"write: with {self._call()} as cp: for item in cp.remaining(items)")

        def _call(self):
            return f"checkpointed({self._options.operation_id!r})"

    def __repr__(self) -> str:
        return f"<checkpointed {self._options.operation_id!r} in {self._options.store.describe()}>"

    def __enter__(self) -> Checkpoint[S]:
        checkpoint: InnerCheckpoint[S] = InnerCheckpoint(self._options)
        checkpoint.enter_block()
        self._open.append(checkpoint)
        if threading.current_thread() is threading.main_thread():
            _entered.add(checkpoint)
        return checkpoint

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        self._open.pop().leave_block(error)
        return False

    async def __aenter__(self) -> AsyncCheckpoint[S]:
        from .async_checkpoint import InnerAsyncCheckpoint

        checkpoint: InnerAsyncCheckpoint[S] = InnerAsyncCheckpoint(self._options)
        await checkpoint.enter_block()
        self._open.append(checkpoint)
        return checkpoint

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        await self._open.pop().leave_block(error)
        return False


_entered: WeakSet[InnerCheckpoint[Any]] = WeakSet()
"""The checkpoints of the main thread; some are still open when it ends."""


@atexit.register
def _leave_all() -> None:
    """Save what the program leaves open, such as a block in a generator that waits: later nothing can be imported."""
    for checkpoint in list(_entered):
        with contextlib.suppress(Exception):  # it is logged, and there is nobody to raise it to
            checkpoint.leave_block(_what_ended_the_program())


def _what_ended_the_program() -> BaseException:
    """The error that was shown as it ended the program; else a SystemExit that says what happened."""
    error = getattr(sys, "last_value", None)
    is_shell = hasattr(sys, "ps1") or sys.flags.interactive or "IPython" in sys.modules  # it survives its errors
    if isinstance(error, BaseException) and not is_shell:
        return error
    return SystemExit("the program ended inside the block")


_ARGUMENTS = dict(list(inspect.signature(checkpointed.__init__).parameters.items())[1:])
# Otherwise help() shows the signature of __new__.
checkpointed.__signature__ = inspect.Signature([*_ARGUMENTS.values()])  # type: ignore[attr-defined]


def current_checkpoint() -> Any:
    """The innermost checkpoint that is open in this thread or task, or in the one that started it.

    Example:
        >>> current_checkpoint().save("From a helper")

    Raises:
        RuntimeError: None is open.
    """
    if (checkpoint := current_checkpoint_or_none()) is None:
        raise RuntimeError("no checkpoint is open here; use @resumable or `with checkpointed(...)`")
    return checkpoint


def stop() -> None:
    """Ask every open checkpoint of this process to stop after its current item, as SIGTERM would.

    Each saves at its next tick, and then raises ``SystemExit(143)`` in its own thread or task. May be called from any
    thread, and in a signal handler: for programs whose loops are not in the main thread, which signals do not reach.

    Example:
        >>> def on_shutdown():  # called by a framework, in any thread
        ...     stop()
    """
    from .._runtime.signals import stop_all  # `import resumable` stays light

    stop_all()
