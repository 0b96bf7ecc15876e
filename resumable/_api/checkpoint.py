"""``Checkpoint``: what ``with checkpointed(...) as cp`` gives."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, cast

from .._runtime.interpreter import has_gil, is_held_here, show_users_frames_only
from .._runtime.steps import exchange, run
from .._text.hints import explained
from .base import ALWAYS, SEEKABLE, BaseCheckpoint, KeyOf, R, S, T, count_lock
from .files import Files

if TYPE_CHECKING:
    import tenacity

    from .._durable.once import Unknown
    from .._engine.options import Options
    from .._engine.quota import Wait
    from .._loops.by_page import Changed
    from .._loops.by_position import Fingerprint
    from .._loops.map.results import OnError
    from .._loops.pages import ItemsOf
    from .._loops.remaining import Remaining


class Checkpoint(Files, BaseCheckpoint[S]):
    """One operation's state, for as long as the ``with`` block runs.

    Example:
        >>> with checkpointed("job") as cp:
        ...     squares = cp.mapping("squares")
        ...     for number in cp.remaining(range(5)):
        ...         squares[str(number)] = number * number
    """

    ticked: int

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._lock = threading.RLock()
        self._opened_by = threading.get_ident()
        self._saving_in: set[int] = set()  # threads that save, or wait for the lock

    def tick(self, items: int = 1) -> None:
        """*items* are done: save, if one is due.

        The first tick checks that the state can be saved at all. A save of 8 KiB or more is encoded here and written
        by a thread, while the loop goes on; it counts once it is on the disk.

        Example:
            >>> for number in range(cp.state.get("next", 0), 5):
            ...     cp.state["next"] = number + 1
            ...     cp.tick()

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

    def check_in(self, *, waits: bool = True) -> int:
        """For loops: save, stop, and wait for a quota, if that is due. Returns how many items may pass until the next.

        Args:
            waits: Whether a request may follow, so that a quota that is used up must be waited for.
        """
        if os.getpid() != self._operation.owner_pid:
            self._operation.check_open()  # raises: in a forked child, the thread that held the lock is not there
        if self._is_interrupted():
            return 1
        with self._lock:
            self._was_woken = False
            self._limit, self._granted = ALWAYS, inf
            if self._is_total_old:
                self._note_total()
            items = run(self._operation.check_in(waits=waits))
            self._limit, self._granted = self.ticked + items, self._count() - items
            if self._was_woken:
                self._limit, self._granted = ALWAYS, inf
            return items

    def save(self, reason: str = "Requested") -> None:
        """Save now; returns once the save is safely stored.

        In a signal handler that interrupts a save, or the writing of a sink's row, it returns at once: this save
        follows the interrupted one, or is made at the next tick. Many of them at once make a few saves.

        Example:
            >>> cp.save("Before the risky part")

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: The save failed; the last checkpoint stands.
        """
        if not self._operation.is_owner():
            self._operation.check_open()  # raises
        if self._is_interrupted():
            self._operation.ask_for_save(reason)
            return
        with self._turn_to_save():
            run(self._operation.save(reason))

    @contextlib.contextmanager
    def _turn_to_save(self) -> Iterator[None]:
        """Hold the lock. A signal handler of this thread that saves meanwhile, or as it waits, only asks for a save."""
        me = threading.get_ident()
        self._saving_in.add(me)
        try:
            with self._lock:
                yield
        finally:
            self._saving_in.discard(me)

    def _is_interrupted(self) -> bool:
        """Whether this is a signal handler, and its own thread is within what a save must not interrupt."""
        if threading.get_ident() in self._saving_in or (self._operation.is_within and is_held_here(self._lock)):
            return True
        sinks = self._operation.parts.sinks
        return bool(sinks.opened) and sinks.is_busy_here()

    @explained
    def remaining(
        self,
        items: Iterable[T],
        key: KeyOf = None,
        *,
        name: str | None = None,
        fingerprint: Fingerprint = "sampled",
        limit: int | None = None,
        retry_failed: bool = False,
    ) -> Remaining[T]:
        """The *items* that are not done yet, for one loop in one thread. An item is done when the next is asked for.

        The item at which an exception or a ``break`` leaves the loop is not done. Threads that share items get them
        by :meth:`map`.

        Take no items ahead of the work, as ``islice``, ``pool.map`` and loaders that prefetch do: they count as done
        before they are. Make batches first, and loop over ``cp.remaining(batches)``, or use :meth:`map`. Numbers and
        other inputs go inside: ``cp.remaining(enumerate(items))``, ``cp.remaining(zip(items, labels))``; around a loop
        that goes on they would begin anew.

        Example:
            >>> [word for word in cp.remaining(["a", "b"])]
            ['a', 'b']

        Args:
            items: Without *key* they must come in one order in every run.
            key: A function that gives an item's key, a str or int, or the name of the field that holds it. With keys,
                items may be moved, added and removed between runs. Of items with one key, only the first is given out.
            name: Tells loops apart; by default their place in the program does, and the item of the loop around them.
            fingerprint: Which of the done items are compared with those of the last run: ``"sampled"`` a few,
                ``"full"`` all, None none. The items that are left may always change.
            limit: How many items this loop gives out in one run, at least 1. Once they are done it ends, with the loops
                around it; the checkpoint is kept, and the next run goes on. Not inside a map.
            retry_failed: First give out again what this loop has noted by :meth:`fail`, and its items in which a loop
                inside has. An input that can only be gone through is read wholly for that.

        Raises:
            InputChangedError: The done items are not those of the last run.
            RuntimeError: Another thread than the one that made the loop asks for its items.
            ValueError: *limit* is below 1, or given inside a map.
        """
        if limit is None and not retry_failed and type(items) in SEEKABLE and fingerprint == "sampled":
            operation = self._operation
            parts = operation.parts
            if not (operation.is_done or parts.retries_failed or parts.saved.failed):
                small = parts.loops.again(self, items, key, name)
                if small is not None:
                    self._is_total_old = True
                    return small  # type: ignore[return-value]
        items, failures = self._to_do(items), self._failures(retry_failed)
        from .._loops.remaining import remaining

        options: Any = {"key": key, "fingerprint": fingerprint, "limit": limit} | failures
        return self._begin(name, lambda name, saved: remaining(items, self, name=name, saved=saved, **options))

    @explained
    def pages(
        self,
        fetch: Callable[[Any], Any],
        start: Any = None,
        key: KeyOf = None,
        name: str | None = None,
        *,
        items: ItemsOf = None,
        changed: Changed = "raise",
    ) -> Remaining[Any]:
        """The items of all pages of a server that are not done yet. Each is done when the next one is asked for.

        A save holds the cursor of the page and how many of its items are done. A later run fetches that page again,
        checks that it is still the same, and goes on within it. Before each fetch the loop waits for a quota that is
        used up; the responses that *fetch* returns are observed. Another page is asked for when the last item of the
        one before is done. An error of *fetch* ends the loop and loses nothing: have *fetch* try again by itself.

        Example:
            >>> list(cp.pages(lambda cursor: ([1, 2], "p2") if cursor is None else ([3], None)))
            [1, 2, 3]

        Args:
            fetch: Called with a cursor, *start* at first. Returns ``(items, next_cursor)``; None as the next cursor,
                or ``""``, ends the loop. Or it returns a response of httpx or requests, whose ``Link`` header leads to
                the next page; the cursor is that URL then. ``(response, next_cursor)`` works, too.
            start: The cursor of the first page: anything that JSON can hold. It must be the same in every run.
            key: Gives an item's key, as for :meth:`remaining`. Items may then come, go and move between pages, also
                while the loop runs: each key is given out once. All keys are saved. Without it, the items of the page
                that are done are compared by value.
            name: Tells loops apart; by default their place in the program does, and the item of the loop around them.
            items: Where the items are in a response: a function of the response, or the name of a field in its JSON.
                None: its JSON is a list of them.
            changed: What to do where the saved place is no longer there. ``"raise"`` raises. ``"again"`` loses
                nothing: the page begins again with its first item; if its cursor has expired, all pages do from
                *start*. With *key*, what is done is left out then; without, it is done again.

        Raises:
            InputChangedError: By value: the done items of the page are not what they were, or *start* is not.
            CursorExpiredError: The server refuses the saved cursor (400, 404, 410, 416, 422), or *fetch* raised this.
            StateEncodeError: JSON cannot hold a cursor.
        """
        from .._loops.pages import pages

        if self._operation.is_done:
            return self.remaining(())
        options: Any = {"start": start, "key": key, "items": items, "changed": changed}
        return self._begin(name, lambda name, saved: pages(fetch, self, name=name, saved=saved, **options))

    def once(self, key: str | int, fn: Callable[[], R], *, unknown: Unknown = "raise") -> R:
        """Call ``fn()`` for an effect that must not happen twice, and return its result; later calls return it again.

        That it is to happen is saved before, its result after; both are on the disk when this goes on. An ``Exception``
        from *fn* means that it has not happened: a later call tries again. Where *fn* cannot tell, as after a timeout,
        let it raise ``UnknownOutcomeError``. After a kill or a ``KeyboardInterrupt`` within *fn* nobody knows; the next
        call with that key is told so, and a block that ends well before that keeps its checkpoint.

        Threads that call it with one key wait for each other. It is forgotten with the checkpoint.

        Example:
            >>> cp.once("mail 7", lambda: "sent")
            'sent'

        Args:
            key: Names the effect within this operation.
            fn: Its result is stored as JSON, and comes back as JSON gives it: a tuple as a list.
            unknown: What to do where nobody knows. ``"raise"`` raises. ``"retry"`` calls *fn*, maybe a second time. A
                function looks: it returns the effect's result, or True, if it has happened, and None if not; then
                *fn* is called.

        Raises:
            UnknownOutcomeError: Whether it happened is not known; *fn* was not called.
            StateEncodeError: JSON cannot hold the result. It has happened, and counts as not known.
            StoreError: The save before failed, and *fn* was not called; or the one after, and this run still knows it.
        """
        return cast("R", exchange(self._once(key, fn, unknown, threading.Lock)))

    @explained
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
        max_failed: float | None = None,
        max_crashes: int = 2,
        retry_failed: bool = False,
        grace: float = 20.0,
        name: str | None = None,
    ) -> Generator[tuple[T, R], None, None]:
        """Call ``fn(item)`` for each of *items* that is not done, many at a time: ``(item, result)`` as they end.

        An item is done when the loop's body has returned for it. One save holds both what the body put into the state,
        and that the item is done. After a kill only items that were in flight, or not saved yet, are done again; so are
        those whose results the body does not get, because it raises or leaves the loop.

        What *fn* itself writes to a sink, log, set or mapping, in threads, counts once its item is done, and is taken
        back if that fails. A loop that it makes goes on where it stood before *fn* wrote anything.

        Example:
            >>> with ThreadPoolExecutor(2) as pool:
            ...     sorted(cp.map(len, ["a", "bb"], executor=pool))
            [('a', 1), ('bb', 2)]

        Args:
            executor: An object with ``submit()`` like ``concurrent.futures``, loky, or mpi4py
                (where a worker that dies takes the whole program with it); a ``distributed.Client``; the module
                ``ray``. Or a factory of one, such as ``lambda: ProcessPoolExecutor(8)``: its executor is replaced when
                workers die, and shut down at the end; its processes die with this one. None calls *fn* in this thread.
            key: Gives an item's key, as for :meth:`remaining`. Without it the position counts.
            max_in_flight: How many tasks are out at most, of *batch* items each.
            batch: More than one for items that take less time than handing out a task.
            retry: A tenacity policy for each item, applied by its worker; the last error is raised, no ``RetryError``.
                Before a worker sleeps, what is done is saved: at once without *executor*; with threads as soon as no
                body is half-way; with processes and clusters not at all.
            on_error: When an item has failed for good, ``"raise"`` raises its error, once the body has what has ended
                by then, and the next run tries it again; ``"skip"`` notes it in :attr:`failed`, and goes on;
                ``"collect"`` gives out ``(item, error)``, too.
            max_failed: More items than this may not fail in a run: a number such as 10, or a share such as 0.05 of all
                items (where the input has no length: of those tried, or of 100). Up to it, ``"raise"`` skips, too.
            max_crashes: After this many crashes with an item alone in flight, it is noted in :attr:`failed`, whatever
                *on_error* says.
            retry_failed: Try the items of :attr:`failed` again; else they are left out.
            grace: Seconds. On Ctrl-C, SIGTERM or :meth:`stop`, nothing more is sent out; what ends within that time is
                given to the body and saved. Then the rest is let go, and done again by the next run: processes that
                were started for this map end, calls of a cluster are cancelled, threads are left to end by
                themselves. A second Ctrl-C does not wait. Without *executor* only one item is under way, and ends.
            name: Tells loops apart; by default their place in the program does, and the item of the loop around them.

        Raises:
            InputChangedError: The items that are done are not those of the last run.
            TooManyFailedError: More than *max_failed* have failed; what was done is saved, what failed is noted.
            BrokenExecutor: Workers died, and no factory was given to go on with; what was done is saved.
        """
        from .._loops.map.inline import start
        from .._loops.map.results import MapSettings

        settings = MapSettings(
            max_in_flight=max_in_flight,
            batch=batch,
            retry=retry,
            on_error=on_error,
            max_failed=max_failed,
            max_crashes=max_crashes,
            grace=grace,
        )
        loop = self._begin_map(items, name, key=key, retry_failed=retry_failed)
        return start(self, loop, fn, executor, settings)

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.Retrying:
        """``tenacity.Retrying(**policy)`` that saves before each sleep, and then runs the policy's ``before_sleep``.

        Without a policy, that of ``checkpointed(..., retry=...)``. With *reset_on_progress*, attempts begin anew when
        the loop has ticked since the failure before.

        Example:
            >>> cp.retrying(stop=tenacity.stop_after_attempt(3), reraise=True)(len, "abc")
            3

        Raises:
            TypeError: The policy is an ``AsyncRetrying``, or a hook of it is an ``async def``.
        """
        import tenacity

        return cast("tenacity.Retrying", self._retrying(tenacity.Retrying, policy, reset_on_progress))

    # -- waits before a request

    def wait_if_exhausted(self) -> None:
        """Wait here while a quota is used up, as the loop does before its next item: for code that asks many times.

        What is ticked is saved first. With ``on_exhausted="raise"`` it raises; a callable is asked.

        Example:
            >>> cp.wait_if_exhausted()

        Raises:
            RateLimitExhausted: The quota is used up, and ``on_exhausted`` wants no wait; everything ticked is saved.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came meanwhile; everything ticked is saved.
        """
        self._sleep_through(self._wait_for())

    def wait_for(self, host: str = "", *, account: str = "", resource: str = "") -> None:
        """Say what the next request asks, and wait only if that is used up. Raises as :meth:`wait_if_exhausted` does.

        From the first call on, the loop itself no longer waits for this *host*: an empty one does not stop the work
        for another.

        Example:
            >>> cp.wait_for("https://api.github.com/", account="A")

        Args:
            host: Whom the request asks; a URL will do.
            account: Whose token it sends; by default that of any account of the host.
            resource: Which of the server's quotas it uses; by default any.
        """
        self._sleep_through(self._wait_for(host, account, resource))

    def ready_account(self, host: str, accounts: Iterable[str] = ()) -> str:
        """The account of *host* that has most of its quota left; while none has any, wait for the first.

        Like :meth:`wait_for`, it says what the next request asks, and raises what that raises.

        Example:
            >>> cp.ready_account("api.github.com", ["A", "B"])
            'A'

        Args:
            host: Whom the request asks; a URL will do.
            accounts: All that the program has. By default those that :meth:`observe` has heard of.

        Returns:
            The account's name, as it was given; "" if none is known.
        """
        wait = self._wait_for(host, accounts=accounts)
        self._sleep_through(wait)
        return wait.ready_account()

    def _sleep_through(self, wait: Wait) -> None:
        """Sleep without the lock: other threads tick meanwhile."""
        try:
            while True:
                with self._lock:
                    seconds = run(wait.nap())
                if not seconds:
                    return
                wait.clock.sleep(seconds)
        finally:
            with self._lock:
                wait.over()

    def save_before_sleep(self, retry_state: tenacity.RetryCallState) -> None:
        """For retries that are not ours: save, or from another thread ask for it. What fails is logged and noted."""
        from .._retry import reason

        if threading.get_ident() == self._opened_by:
            self.before_sleep(retry_state)
        else:
            self._operation.ask_for_save(reason(retry_state))

    def enter_block(self) -> None:
        """For ``checkpointed``: own the operation and restore it. If this raises, nothing is owned or written."""
        try:
            run(self._opened())
        except KeyboardInterrupt:
            show_users_frames_only()
            raise

    def leave_block(self, error: BaseException | None) -> None:
        """For ``checkpointed``: finish, or save what *error* leaves; then let go of the operation."""
        try:
            if self._operation.is_owner():
                self._operation.is_ending = True
                with self._turn_to_save():  # a thread may be within a tick
                    run(self._operation.close(error))
        except KeyboardInterrupt:
            show_users_frames_only()
            raise
        finally:
            self._operation.release()


if not has_gil():

    def _tick(self: Checkpoint[Any], items: int = 1) -> None:
        with count_lock:
            self._move()
            self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            self.check_in()

    _tick.__doc__ = Checkpoint.tick.__doc__
    Checkpoint.tick = _tick  # type: ignore[method-assign]
