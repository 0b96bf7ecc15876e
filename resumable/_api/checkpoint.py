"""``Checkpoint``: the shell around the core for plain code."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

import tenacity

from .._runtime.interpreter import has_gil, is_held_here
from .._runtime.steps import Steps, run

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from .._durable.dict import DurableDict
    from .._durable.log import DurableLog
    from .._durable.set import DurableSet
    from .._durable.sink import Sink
    from .._durable.sink_file import Existing
    from .._engine.operation import Operation
    from .._engine.options import Options
    from .._loops.by_position import Fingerprint
    from .._loops.loop import Loop
    from .._loops.map.map_loop import MapLoop
    from .._loops.map.results import OnError
    from .._loops.remaining import Remaining
    from .._models import CheckpointMetadata

    S = TypeVar("S", default=dict[str, Any])
else:
    from typing import TypeVar

    S = TypeVar("S")

Key = Callable[[Any], str | int] | str | None
"""What gives an item's identity: a function, or the name of a field; None counts positions."""

_ALWAYS = -1.0


class Shell(Generic[S]):
    """Counts items, and compares the count with the one number at which something may be due.

    Not made by users: :class:`checkpointed` and :func:`resumable` hand it out.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._ticked = 0
        self._limit = _ALWAYS
        self._was_woken = False
        self._total: int | None = None
        self._operation: Operation = None  # type: ignore[assignment]  # until it is opened

    # -- what it holds

    @property
    def state(self) -> S:
        """What is saved and comes back: a dict, or what ``state=`` asked for. May be replaced by another one."""
        state: S = self._operation.parts.state
        return state

    @state.setter
    def state(self, state: S) -> None:
        self._operation.parts.state = state

    @property
    def operation_id(self) -> str:
        """Names the operation."""
        return self._options.operation_id

    @property
    def resumed(self) -> bool:
        """Whether an earlier run's checkpoint was restored."""
        return self._operation.resumed

    @property
    def metadata(self) -> CheckpointMetadata:
        """What is known besides the state; fields may be set, and ``extra`` is kept."""
        self._operation.sync()
        return self._operation.session.metadata

    @property
    def processed_items(self) -> int:
        """Items that were ticked, over all runs."""
        return self._operation.processed_items

    # -- what the user tells

    @overload
    def observe(self, response: object, /) -> None: ...
    @overload
    def observe(
        self, /, *, remaining: int, limit: int | None = ..., reset_at: float | None = ..., resource: str = ...
    ) -> None: ...
    def observe(
        self,
        response: object = None,
        /,
        *,
        remaining: int | None = None,
        limit: int | None = None,
        reset_at: float | None = None,
        resource: str = "",
    ) -> None:
        """Learn what is left of the API's quota; before the next item, what is due because of it is done.

        Args:
            response: A response or an error of httpx, requests, aiohttp, urllib3, PyGithub, githubkit or gidgethub,
                a mapping of headers, or a decoded GraphQL answer. What tells nothing changes nothing.
            remaining: Instead of a response: how many requests are left,
            limit: of how many,
            reset_at: until when, in seconds since the epoch,
            resource: and of which quota.
        """
        if remaining is not None:
            from ..ratelimit._headers import RateLimit

            response = RateLimit(resource, limit, remaining, reset_at)
        self._operation.observe(response)

    def error(self) -> None:
        """Count an error that the loop survived."""
        with count_lock:
            self._operation.session.metadata.error_count += 1

    def finalize(self) -> None:
        """The operation is done, though a loop has items to go: a clean exit will remove the checkpoint."""
        self._operation.is_finalized = True

    def keep(self, reason: str = "") -> None:
        """A clean exit will save and keep the checkpoint, so that the next run goes on from here.

        The last save's reason will be ``Kept``, or ``Kept: `` and the *reason* given.
        """
        self._operation.keep_reason = f"Kept: {reason}" if reason else "Kept"

    @property
    def failed(self) -> dict[str | int, str]:
        """The items that ``map`` gave up, each with the text of its error: by key, or by position.

        A key that two maps have is given as ``name/key``, with the name of each.

        While there are any, a clean exit keeps the checkpoint; ``map(..., retry_failed=True)`` tries them again.
        """
        return self._operation.parts.failed.all()

    # -- durable collections

    def mapping(self, name: str) -> DurableDict:
        """A durable dict in ``state[name]``: a save writes only what changed in it. See :class:`DurableDict`.

        Raises:
            TypeError: The state holds something else under that name, or is of a type of its own.
        """
        collection: DurableDict = self._operation.parts.collection(name, "mapping")
        return collection

    def set(self, name: str) -> DurableSet:
        """A durable set in ``state[name]``: a save writes only what was added and removed."""
        collection: DurableSet = self._operation.parts.collection(name, "set")
        return collection

    def log(self, name: str) -> DurableLog:
        """A durable list in ``state[name]`` that only grows: a save writes only what was appended."""
        collection: DurableLog = self._operation.parts.collection(name, "log")
        return collection

    # -- being opened

    def _opened(self) -> Steps[None]:
        # Loaded with the first operation: `import resumable` stays light.
        from .._engine.opening import open_operation

        self._operation = yield from open_operation(self._options, wake=self._wake, count=lambda: self._ticked)
        yield from self._operation.begin(self)

    # -- being woken

    def _wake(self) -> None:
        """Something may be due. From any thread, and from signal handlers."""
        self._was_woken = True
        self._limit = _ALWAYS
        self._operation.parts.loops.wake()

    def _rearm(self, items: float) -> None:
        """*items* may pass. Who was woken meanwhile stays so."""
        self._limit = self._ticked + items
        if self._was_woken:
            self._limit = _ALWAYS

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """For maps: whether *more* requests may be out than those *in_flight*; None while no more will be."""
        return self._operation.has_quota(in_flight, more)

    @property
    def is_metered(self) -> bool:
        """For maps: whether any quota is known."""
        return self._operation.parts.quota.is_known

    # -- loops

    def check_in(self) -> Any:
        """Save or stop, if that is due. For loops: how many items may pass, to be awaited in async code."""
        raise NotImplementedError

    def register(self, loop: Loop[Any]) -> None:
        """For loops: one begins."""
        self._operation.parts.loops.begun(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        """For loops: one came to its end."""
        self._operation.parts.loops.ended(loop)

    def continuing(self) -> Callable[[Any], None]:
        """For retries: a ``before`` hook; loops of an attempt go on where the attempt before left them."""
        return self._operation.parts.loops.continuing()

    def _done_loop(
        self, items: Any, key: Any, name: str | None, retry_failed: bool, *, is_async: bool = False
    ) -> MapLoop[Any]:
        from .._loops.map.map_loop import MapLoop, map_loop

        def make(name: str, saved: dict[str, Any] | None) -> MapLoop[Any]:
            options: Any = {"failed": self._operation.parts.failed, "retry_failed": retry_failed, "is_async": is_async}
            return map_loop(items, self, name=name, key=key, saved=saved, **options)

        loop = self._operation.parts.loops.begin(name, make)
        self._note_total()
        assert isinstance(loop, MapLoop)
        return loop

    def _note_total(self) -> None:
        """A loop has begun: bring the total up to date, unless the program, or an earlier run, knows of more."""
        metadata, total = self._operation.session.metadata, self._operation.parts.loops.total()
        known = metadata.total_items
        if self._options.total is None and (known in (None, self._total) or (total or 0) > known):
            metadata.total_items = self._total = total


count_lock = threading.Lock()


T = TypeVar("T")
R = TypeVar("R")
_MOST_ITEMS = 1 << 30


class Checkpoint(Shell[S]):
    """One operation's state, for as long as the ``with`` block runs."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._lock = threading.RLock()

    def tick(self, items: int = 1) -> None:
        """*items* are done: save, if one is due.

        Costs next to nothing when none is. The first one checks that the state can be saved at all. A save of 8 KiB
        or more is taken here and written by a thread, while the loop goes on; it counts once it is on the disk.

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: This save failed, or one that a tick before has sent to its thread. It does not count, nothing
                is lost from the state, and the next tick tries again.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; everything ticked is saved.
        """
        self._ticked = ticked = self._ticked + items
        if ticked >= self._limit:
            self.check_in()

    def check_in(self) -> int:
        """Save or stop, if that is due. For loops: returns how many items may pass."""
        if not self._operation.is_owner():  # a forked child; whoever held the lock is not there
            return _MOST_ITEMS
        if self._is_interrupted():
            return 1
        with self._lock:
            self._was_woken = False
            self._limit = -1
            items = run(self._operation.check_in())
            self._rearm(items)
        return int(max(1, min(items, _MOST_ITEMS)))

    def save(self, reason: str = "Requested") -> None:
        """Save now; returns once it is safely stored.

        A signal handler of yours that comes in the midst of a save, or of a row for a sink, returns at once; the save
        follows that one, or is made at the next tick.

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: The save failed; the last checkpoint stands.
        """
        if not self._operation.is_owner():
            return
        if self._is_interrupted():
            self._operation.ask_for_save(reason)
            return
        with self._lock:
            run(self._operation.save(reason))

    def _is_interrupted(self) -> bool:
        """Whether this is a signal handler that interrupts, in its own thread, what a save must not come into."""
        is_within = self._operation.is_within and is_held_here(self._lock)
        return is_within or self._operation.parts.sinks.is_busy_here()

    def remaining(
        self,
        items: Iterable[T],
        key: Key = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
    ) -> Remaining[T]:
        """The *items* that are not done yet; each one ticks when the loop asks for the next.

        The item at which an exception or a ``break`` leaves the loop is not done. It is for one loop in one thread: an
        item is done when the next one is asked for. Threads that share items get them by :meth:`map`.

        So take no items ahead of the work: with ``list(islice(cp.remaining(items), 4))``, ``pool.map(fn,
        cp.remaining(items))`` or a loader that prefetches, they count as done before they are. Make batches first,
        ``cp.remaining(batches)`` with ``batches = [items[i : i + 4] for i in range(0, len(items), 4)]`` (from Python
        3.12 on ``itertools.batched(items, 4)``), or use :meth:`map`. In ``zip`` it goes first: as the second of
        ``zip("ab", cp.remaining(items))`` it is not asked after the last pair, which is done again.

        Args:
            items: Anything that can be iterated; by position, it must come in the same order each time.
            key: Gives an item's identity, a str or int, or names the field that holds it. With it, the order may
                change, and items may be added or removed, between runs. Of items with one key, the first is done.
            name: Tells several loops apart; by default their order does.
            fingerprint: How closely to look whether the input is the same: at a few of the items that are done, with
                ``"full"`` at all of them, with None at none. What is left may change.

        Raises:
            InputChangedError: The items that are done are not the ones that were.
        """
        from .._loops.remaining import Remaining, remaining

        loop = self._operation.parts.loops.begin(
            name, lambda name, saved: remaining(items, self, name=name, key=key, saved=saved, fingerprint=fingerprint)
        )
        self._note_total()
        assert isinstance(loop, Remaining)
        return loop

    def map(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        executor: Any = None,
        key: Key = None,
        max_in_flight: int = 64,
        batch: int = 1,
        retry: tenacity.BaseRetrying | None = None,
        on_error: OnError = "raise",
        max_crashes: int = 2,
        retry_failed: bool = False,
        name: str | None = None,
    ) -> Generator[tuple[T, R], None, None]:
        """``fn(item)`` for each of *items* that is not done, many at a time: ``(item, result)`` as they end.

        An item is done when the body of the loop has returned for it: what the body put into the state, and that the
        item is done, are in one save. After a kill only what was in flight, or not saved yet, is done again.

        Args:
            executor: What has ``submit()`` like ``concurrent.futures``: threads, processes, loky, mpi4py
                (where a worker that dies takes the whole program with it); a ``distributed.Client``; the module
                ``ray``. Or a factory of one of these, such as ``lambda: ProcessPoolExecutor(8)``: it is replaced when
                its workers die, and shut down at the end; its processes die with this one. Processes are sent *fn*
                once, not with each item. None calls *fn* in this thread, one item after the other.
            key: As in :meth:`remaining`. Without it the position counts.
            max_in_flight: How many tasks are out at most. With *batch* items in each, that many times as many items.
            batch: How many items a task takes; for items that are done faster than a task is handed out.
            retry: A tenacity policy for each item, applied by its worker. Before a worker sleeps, what is done is
                saved: at once without *executor*; with threads as soon as no body is half-way; processes and clusters
                cannot say that they sleep, so that nothing is saved for it. The last error itself is raised, no
                ``RetryError``.
            on_error: What follows when an item has failed for good. ``"raise"``: raise its error, and do no more;
                the next run tries it again. ``"skip"``: note it in :attr:`failed`, go on. ``"collect"``: the same,
                and give out ``(item, error)``.
            max_crashes: An item that was alone in flight when its worker died, so many times, is noted in
                :attr:`failed`, whatever *on_error* says.
            retry_failed: Try the items of :attr:`failed` again; else they are left out.
            name: Tells several loops apart; by default their order does.

        Raises:
            InputChangedError: The items that are done are not the ones that were.
            BrokenExecutor: Workers died, and no factory was given to go on with; what was done is saved.
        """
        from .._loops.map.inline import start
        from .._loops.map.results import MapSettings

        settings = MapSettings(
            max_in_flight=max_in_flight, batch=batch, retry=retry, on_error=on_error, max_crashes=max_crashes
        )
        return start(self, self._done_loop(items, key, name, retry_failed), fn, executor, settings)

    @overload
    def sink(
        self, path: str | os.PathLike[str], mode: Literal["t"] = ..., *, existing: Existing = ...
    ) -> Sink[str]: ...
    @overload
    def sink(self, path: str | os.PathLike[str], mode: Literal["b"], *, existing: Existing = ...) -> Sink[bytes]: ...
    def sink(
        self, path: str | os.PathLike[str], mode: Literal["t", "b"] = "t", *, existing: Existing = "append"
    ) -> Sink[Any]:
        """An output file that goes with the checkpoint: after a resume it holds each row that counts, once.

        A resume compares what the last run left with what is there: its length, and its first and last 4096 bytes,
        no more. Rows behind the last save that a killed run left are cut off, with a warning in the log.

        Args:
            path: However it is spelled, one file has one sink. A relative one starts at the current directory.
            mode: ``"t"`` takes str, written as UTF-8; ``"b"`` takes bytes.
            existing: What to do with a file that is there when the operation is new: write after its end,
                ``"replace"`` it, or ``"refuse"``. A run that starts over, with ``resume=False`` or after
                ``resumable rm``, is new: it adds all rows to those that the run before it left, unless they are
                replaced.

        Raises:
            InputChangedError: The file is not as the last run left it, others have added to it, or it is refused. It
                was not touched.
            StoreError: It cannot be opened, or the save that makes its rows count failed.
            TypeError: It is open in the other mode.
        """
        with self._lock:
            return run(self._operation.open_sink(path, mode, existing))

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.Retrying:
        """``tenacity.Retrying(**policy)`` that saves before each sleep; a ``before_sleep`` of its own runs after that.

        ``for attempt in cp.retrying(stop=..., wait=...): with attempt: ...``, or call it with a function. Without a
        policy, the one that ``checkpointed(..., retry=...)`` was given.

        Args:
            reset_on_progress: Whether attempts begin anew when the loop has ticked since the failure before.
        """
        from .._retry import retrying

        base = tenacity.Retrying(**policy) if policy else self._options.retry or tenacity.Retrying()
        retry: tenacity.Retrying = retrying(self, base, reset_on_progress=reset_on_progress)
        return retry

    @property
    def before_sleep(self) -> Callable[[tenacity.RetryCallState], None]:
        """For a policy of your own: ``@retry(before_sleep=cp.before_sleep)`` saves before each sleep."""
        from .._retry import save_before_sleep

        return save_before_sleep(self)

    def _open(self) -> None:
        run(self._opened())

    def _close(self, error: BaseException | None) -> None:
        try:
            if self._operation.is_owner():
                self._operation.end_waits()
                with self._lock:  # a thread may be within a tick
                    run(self._operation.close(error))
        finally:
            self._operation.release()


if not has_gil():

    def _tick(self: Checkpoint[Any], items: int = 1) -> None:
        with count_lock:
            self._ticked = ticked = self._ticked + items
        if ticked >= self._limit:
            self.check_in()

    _tick.__doc__ = Checkpoint.tick.__doc__
    Checkpoint.tick = _tick  # type: ignore[method-assign]
