"""What ``as cp`` gives: what both checkpoints share, and ``Checkpoint`` for plain code."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import tenacity

from .._runtime.interpreter import has_gil, is_held_here
from .._runtime.steps import Steps, run

if TYPE_CHECKING:
    import typing_extensions

    from .._durable import DurableDict, DurableLog, DurableSet, Sink
    from .._durable.sink_file import Existing
    from .._engine.operation import Operation
    from .._engine.options import Options
    from .._loops.by_position import Fingerprint
    from .._loops.loop import Loop
    from .._loops.map.map_loop import MapLoop
    from .._loops.map.results import OnError
    from .._loops.remaining import Remaining
    from .._models import CheckpointMetadata
    from .._runtime.boundary import Boundary

    S = typing_extensions.TypeVar("S", default=dict[str, Any])
else:
    S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
L = TypeVar("L", bound="Loop[Any]")

KeyOf = Callable[[Any], str | int] | str | None
"""How to tell an item's key: a function, or the name of a field; None counts positions."""

ALWAYS = -1
"""A limit that every count has reached."""
_MOST_ITEMS = 1 << 30
_count_lock = threading.Lock()


def _not_opened() -> None:
    """No item is handed out before the operation is open."""


class BaseCheckpoint(Generic[S]):
    """What both checkpoints share: it counts items, and calls the engine when the count reaches the next check-in.

    Not made by users: :class:`checkpointed` and :func:`resumable` hand it out.

    Attributes:
        ticked: For the engine, which reads it: items that were ticked by hand in this run.
    """

    _is_async = False

    def __init__(self, options: Options) -> None:
        self._options = options
        self.ticked = 0
        self._move: Callable[[], object] = _not_opened
        self._limit: float = ALWAYS
        self._was_woken = False
        self._total: int | None = None
        self._operation: Operation = None  # type: ignore[assignment]  # until it is opened

    @property
    def state(self) -> S:
        """What is saved and comes back: a dict, or the type that ``state=`` asked for. May be assigned anew."""
        return cast("S", self._operation.parts.state)

    @state.setter
    def state(self, state: S) -> None:
        self._operation.parts.state = state

    @property
    def operation_id(self) -> str:
        """The operation's name."""
        return self._options.operation_id

    @property
    def resumed(self) -> bool:
        """Whether an earlier run's checkpoint was restored."""
        return self._operation.resumed

    @property
    def metadata(self) -> CheckpointMetadata:
        """What is known of the operation besides its state. Fields may be set; ``extra`` is kept."""
        self._operation.sync()
        return self._operation.session.metadata

    @property
    def processed_items(self) -> int:
        """How many items were ticked, over all runs."""
        self._operation.has_read_count = True
        return self._operation.processed_items

    # -- what happens in the loop

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
        """Learn what is left of the API's quota. What is due because of it is done before the next item.

        Args:
            response: A response or an error of httpx, requests, aiohttp, urllib3, PyGithub, githubkit or gidgethub,
                a mapping of headers, or a decoded GraphQL answer. One that says nothing of a quota changes nothing.
            remaining: Requests that are left, where there is no response to show.
            limit: Requests in a full window.
            reset_at: When the quota is fresh, in seconds since the epoch.
            resource: The quota's name, if the API has several.
        """
        if remaining is not None:
            from ..ratelimit import RateLimit

            response = RateLimit(resource, limit, remaining, reset_at)
        self._operation.observe(response)

    def error(self) -> None:
        """Count an error that the loop survived."""
        with _count_lock:
            self._operation.session.metadata.error_count += 1

    def finalize(self) -> None:
        """Call the operation done, though a loop has items to go: a clean exit will remove the checkpoint."""
        self._operation.is_finalized = True

    def keep(self, reason: str = "") -> None:
        """Keep the checkpoint at a clean exit, so that the next run goes on from here.

        The last save's reason is ``Kept``, or ``Kept: `` and *reason*.
        """
        self._operation.keep_reason = f"Kept: {reason}" if reason else "Kept"

    def stop(self) -> None:
        """Ask the loop to stop after its current item, as SIGTERM would: it saves, then raises ``SystemExit(143)``.

        From any thread; for programs whose loop is not in the main one. ``resumable.stop()`` asks all loops.
        """
        self._operation.is_asked_to_stop = True
        self._wake()

    @property
    def failed(self) -> dict[str | int, str]:
        """The items that ``map`` gave up, each with the text of its error: by key, or by position.

        An item that failed in two maps stands there twice, as ``name/key`` with each map's name. While any item stands
        there, a clean exit keeps the checkpoint; ``map(..., retry_failed=True)`` tries it again.
        """
        return self._operation.parts.failed.all()

    @property
    def before_sleep(self) -> Callable[[tenacity.RetryCallState], Any]:
        """A hook for a policy of your own: ``@retry(before_sleep=cp.before_sleep)`` saves before each sleep."""
        from .._retry import save_before_sleep

        saver: Any = self
        return save_before_sleep(saver, is_async=self._is_async)

    # -- durable collections

    def mapping(self, name: str) -> DurableDict:
        """A durable dict in ``state[name]``: a save writes only what changed in it. See :class:`DurableDict`.

        Raises:
            TypeError: The state holds something else under that name, or ``state=`` asked for a type of its own.
        """
        return cast("DurableDict", self._operation.parts.collection(name, "mapping"))

    def set(self, name: str) -> DurableSet:
        """A durable set in ``state[name]``: a save writes only what was added and removed.

        Raises what :meth:`mapping` raises.
        """
        return cast("DurableSet", self._operation.parts.collection(name, "set"))

    def log(self, name: str) -> DurableLog:
        """A durable list in ``state[name]`` that only grows: a save writes only what was appended.

        Raises what :meth:`mapping` raises.
        """
        return cast("DurableLog", self._operation.parts.collection(name, "log"))

    # -- open

    def _opened(self) -> Steps[None]:
        from .._engine.opening import open_operation  # loads all the rest: `import resumable` stays light

        self._operation = yield from open_operation(self._options, wake=self._wake, ticker=self)
        self._move = self._operation.parts.cut.boundary.ticks.__next__
        yield from self._operation.begin(self)

    def _wake(self) -> None:
        """Check in before the next item. Safe from any thread, and in signal handlers."""
        self._was_woken = True
        self._limit = ALWAYS
        self._operation.parts.loops.wake()

    def _rearm(self, items: float) -> int:
        """Let *items* pass before the next check-in, unless one was asked for meanwhile. Returns a loop's share."""
        self._limit = self.ticked + items
        if self._was_woken:
            self._limit = ALWAYS
        return int(max(1, min(items, _MOST_ITEMS)))

    # -- for loops, maps and retries

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """For maps: whether *more* requests may be sent beside those *in_flight*; None if no more will be sent."""
        now = self._operation.clock.utc().timestamp()
        return self._operation.parts.quota.has_room(in_flight, more, now=now)

    @property
    def boundary(self) -> Boundary:
        """For loops: what counts the items that are handed out."""
        return self._operation.parts.cut.boundary

    @property
    def is_metered(self) -> bool:
        """For maps: whether any quota is known."""
        return self._operation.parts.quota.is_known

    def register(self, loop: Loop[Any]) -> None:
        """For loops: *loop* begins."""
        self._operation.parts.loops.begun(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        """For loops: *loop* came to its end."""
        self._operation.parts.loops.ended(loop)

    def continuing(self) -> Callable[[Any], None]:
        """For retries: a ``before`` hook, after which loops go on where the attempt before left them."""
        return self._operation.parts.loops.continuing()

    def _begin(self, name: str | None, make: Callable[[str, Any], L]) -> L:
        loop = self._operation.parts.loops.begin(name, make)
        self._note_total()
        return cast("L", loop)

    def _begin_map(self, items: Any, name: str | None, **options: Any) -> MapLoop[Any]:
        from .._loops.map.map_loop import map_loop

        options |= {"owner": self, "failed": self._operation.parts.failed, "is_async": self._is_async}
        return self._begin(name, lambda name, saved: map_loop(items, name=name, saved=saved, **options))

    def _note_total(self) -> None:
        """Bring ``total_items`` up to date, unless the program or an earlier run knows of more."""
        metadata, total = self._operation.session.metadata, self._operation.parts.loops.total()
        known = metadata.total_items
        if self._options.total is None and (known in (None, self._total) or (total or 0) > known):
            metadata.total_items = self._total = total

    def _retrying(self, kind: type[tenacity.BaseRetrying], policy: dict[str, Any], reset_on_progress: bool) -> Any:
        from .._retry import retrying

        saver: Any = self
        base = kind(**policy) if policy else self._options.retry or kind()
        return retrying(saver, base, reset_on_progress=reset_on_progress, is_async=self._is_async)


class Checkpoint(BaseCheckpoint[S]):
    """One operation's state, for as long as the ``with`` block runs."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._lock = threading.RLock()

    def tick(self, items: int = 1) -> None:
        """*items* are done: save, if one is due.

        The first tick checks that the state can be saved at all. A save of 8 KiB or more is encoded here and written
        by a thread, while the loop goes on; it counts once it is on the disk.

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: This save failed, or one that an earlier tick handed to the thread. It does not count, and the
                next tick tries again.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; everything ticked is saved.
        """
        self._move()
        self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            self.check_in()

    def check_in(self) -> int:
        """For loops: save or stop, if that is due. Returns how many items may pass before the next call."""
        if os.getpid() != self._operation.owner_pid:
            self._operation.check_open()  # raises: in a forked child, the thread that held the lock is not there
        if self._is_interrupted():
            return 1
        with self._lock:
            self._was_woken = False
            self._limit = ALWAYS
            return self._rearm(run(self._operation.check_in()))

    def save(self, reason: str = "Requested") -> None:
        """Save now; returns once the save is safely stored.

        In a signal handler that interrupts a save, or the writing of a sink's row, it returns at once: this save
        follows the interrupted one, or is made at the next tick.

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: The save failed; the last checkpoint stands.
        """
        if not self._operation.is_owner():
            self._operation.check_open()  # raises
        if self._is_interrupted():
            self._operation.ask_for_save(reason)
            return
        with self._lock:
            run(self._operation.save(reason))

    def _is_interrupted(self) -> bool:
        """Whether this is a signal handler, and its own thread is within what a save must not interrupt."""
        if self._operation.is_within and is_held_here(self._lock):
            return True
        sinks = self._operation.parts.sinks
        return bool(sinks.opened) and sinks.is_busy_here()

    def remaining(
        self,
        items: Iterable[T],
        key: KeyOf = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
    ) -> Remaining[T]:
        """The *items* that are not done yet, for one loop in one thread. An item is done when the next is asked for.

        The item at which an exception or a ``break`` leaves the loop is not done. Threads that share items get them
        by :meth:`map`.

        Take no items ahead of the work, as ``islice``, ``pool.map`` and loaders that prefetch do: they count as done
        before they are. Make batches first, and loop over ``cp.remaining(batches)``, or use :meth:`map`. Numbers and
        other inputs go inside: ``cp.remaining(enumerate(items))``, ``cp.remaining(zip(items, labels))``; around a loop
        that goes on they would begin anew.

        Args:
            items: Without *key* they must come in one order in every run.
            key: A function that gives an item's key, a str or int, or the name of the field that holds it. With keys,
                items may be moved, added and removed between runs. Of items with one key, only the first is given out.
            name: Tells loops apart; by default their place in the program does, and the item of the loop around them.
            fingerprint: Which of the done items are compared with those of the last run: ``"sampled"`` a few,
                ``"full"`` all, None none. The items that are left may always change.

        Raises:
            InputChangedError: The done items are not those of the last run.
            RuntimeError: Another thread than the one that made the loop asks for its items.
        """
        from .._loops.remaining import remaining

        return self._begin(
            name, lambda name, saved: remaining(items, self, name=name, key=key, saved=saved, fingerprint=fingerprint)
        )

    def map(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        executor: Any = None,
        key: KeyOf = None,
        max_in_flight: int = 64,
        batch: int = 1,
        retry: tenacity.BaseRetrying | None = None,
        on_error: OnError = "raise",
        max_crashes: int = 2,
        retry_failed: bool = False,
        name: str | None = None,
    ) -> Generator[tuple[T, R], None, None]:
        """Call ``fn(item)`` for each of *items* that is not done, many at a time: ``(item, result)`` as they end.

        An item is done when the loop's body has returned for it. One save holds both what the body put into the state,
        and that the item is done. After a kill only items that were in flight, or not saved yet, are done again.

        Args:
            executor: An object with ``submit()`` like ``concurrent.futures``, loky, or mpi4py (where a worker that
                dies takes the whole program with it); a ``distributed.Client``; the module ``ray``. Or a factory of
                one, such as ``lambda: ProcessPoolExecutor(8)``: its executor is replaced when workers die, and shut
                down at the end; its processes die with this one. None calls *fn* in this thread.
            key: Gives an item's key, as for :meth:`remaining`. Without it the position counts.
            max_in_flight: How many tasks are out at most, of *batch* items each.
            batch: More than one for items that take less time than handing out a task.
            retry: A tenacity policy for each item, applied by its worker; the last error is raised, no ``RetryError``.
                Before a worker sleeps, what is done is saved: at once without *executor*; with threads as soon as no
                body is half-way; with processes and clusters not at all.
            on_error: When an item has failed for good, ``"raise"`` raises its error, and the next run tries it again;
                ``"skip"`` notes it in :attr:`failed`, and goes on; ``"collect"`` gives out ``(item, error)``, too.
            max_crashes: After this many crashes with an item alone in flight, it is noted in :attr:`failed`, whatever
                *on_error* says.
            retry_failed: Try the items of :attr:`failed` again; else they are left out.
            name: Tells loops apart; by default their place in the program does, and the item of the loop around them.

        Raises:
            InputChangedError: The items that are done are not those of the last run.
            BrokenExecutor: Workers died, and no factory was given to go on with; what was done is saved.
        """
        from .._loops.map.inline import start
        from .._loops.map.results import MapSettings

        settings = MapSettings(
            max_in_flight=max_in_flight, batch=batch, retry=retry, on_error=on_error, max_crashes=max_crashes
        )
        loop = self._begin_map(items, name, key=key, retry_failed=retry_failed)
        return start(self, loop, fn, executor, settings)

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

        A resume compares the file's length, and its first and last 4096 bytes, with what the last run left. Rows that a
        killed run wrote after its last save are cut off, with a warning in the log.

        Args:
            path: One file has one sink, however its path is spelled.
            mode: ``"t"`` takes str, written as UTF-8; ``"b"`` takes bytes.
            existing: What to do with a file that is there when the operation is new: ``"append"`` writes after its
                end, ``"replace"`` empties it, ``"refuse"`` raises. A run that starts over, with ``resume=False`` or
                after ``resumable rm``, is new, too.

        Raises:
            InputChangedError: The file is not as the last run left it, or is refused. It was not touched.
            StoreError: The file cannot be opened, or the save that makes its rows count failed.
            TypeError: The file is open in the other mode.
        """
        with self._lock:
            return run(self._operation.open_sink(path, mode, existing))

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.Retrying:
        """``tenacity.Retrying(**policy)`` that saves before each sleep, and then runs the policy's ``before_sleep``.

        Without a policy, that of ``checkpointed(..., retry=...)``. With *reset_on_progress*, attempts begin anew when
        the loop has ticked since the failure before.

        Raises:
            TypeError: The policy is an ``AsyncRetrying``, or a hook of it is an ``async def``.
        """
        return cast("tenacity.Retrying", self._retrying(tenacity.Retrying, policy, reset_on_progress))

    def enter_block(self) -> None:
        """For ``checkpointed``: own the operation and restore it. If this raises, nothing is owned or written."""
        run(self._opened())

    def leave_block(self, error: BaseException | None) -> None:
        """For ``checkpointed``: finish, or save what *error* leaves; then let go of the operation."""
        try:
            if self._operation.is_owner():
                self._operation.is_ending = True
                with self._lock:  # a thread may be within a tick
                    run(self._operation.close(error))
        finally:
            self._operation.release()


if not has_gil():

    def _tick(self: Checkpoint[Any], items: int = 1) -> None:
        with _count_lock:
            self._move()
            self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            self.check_in()

    _tick.__doc__ = Checkpoint.tick.__doc__
    Checkpoint.tick = _tick  # type: ignore[method-assign]
