"""``Checkpoint``: what ``with checkpointed(...) as cp`` gives."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, cast

from .._errors import STOPS
from .._runtime.interpreter import has_gil, is_held_here, show_users_frames_only
from .._runtime.steps import exchange, run
from .._text.hints import explained, explained_later
from .base import ALWAYS, SEEKABLE, BaseCheckpoint, KeyOf, R, S, T, count_lock
from .files import Files
from .inner import Inner

if TYPE_CHECKING:
    import tenacity

    from .._durable.once import Unknown
    from .._engine.options import Options
    from .._engine.quota import Wait
    from .._loops.ledgers.by_page import Changed
    from .._loops.ledgers.by_position import Fingerprint
    from .._loops.map.results import OnError
    from .._loops.pages import ItemsOf
    from .._loops.remaining import Remaining


class Checkpoint(Files, BaseCheckpoint[S]):
    """One operation's state, inside a ``with`` block.

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
        """*items* are done: save if one is due.

        The first tick checks that the state can be saved at all. A save of 8 KiB or more is encoded here, and written
        by a thread while the loop goes on; it counts once it is on the disk.

        Example:
            >>> for number in range(cp.state.get("next", 0), 5):
            ...     cp.state["next"] = number + 1
            ...     cp.tick()

        Raises:
            StateEncodeError: JSON cannot hold the state; the last checkpoint stands.
            StoreError: This save failed, or an earlier one that the thread wrote. It does not count, and the next tick
                tries again.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; everything ticked is saved.
        """
        next(self._ticks)
        self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            self._check_in()

    def _check_in(self, *, waits: bool = True) -> int:
        """Save, stop, or wait for a quota, if due. Returns how many items may pass until the next call.

        Args:
            waits: Whether a request may follow; if so, wait for a quota that is used up.
        """
        if os.getpid() != self._operation.owner_pid:
            self._operation.check_open()  # raises: in a forked child, the thread that held the lock does not exist
        if self._is_interrupted():
            return 1
        with self._lock:
            self._was_woken = self._has_stopped = False
            self._limit, self._boundary.granted = ALWAYS, inf
            if self._is_total_old:
                self._note_total()
            try:
                items = run(self._operation.check_in(waits=waits))
            except STOPS as error:
                self._cut_off(error)
                raise
            self._limit, self._boundary.granted = self.ticked + items, self._count() - items
            if self._was_woken:
                self._limit, self._boundary.granted = ALWAYS, inf
            return items

    def save(self, reason: str = "Requested") -> None:
        """Save now. Returns once the save is stored.

        In a signal handler that interrupts a save or the writing of a row, it returns at once: this save follows the
        interrupted one, or happens at the next tick. Many such requests make only a few saves.

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
        """Hold the lock. A signal handler of this thread that saves meanwhile, or while it waits, only asks for one."""
        me = threading.get_ident()
        self._saving_in.add(me)
        try:
            with self._lock:
                yield
        finally:
            self._saving_in.discard(me)

    def _is_interrupted(self) -> bool:
        """Whether this is a signal handler that interrupted its thread inside what a save must not interrupt."""
        if threading.get_ident() in self._saving_in or (self._operation.is_within and is_held_here(self._lock)):
            return True
        sinks = self._operation.parts.sinks
        return bool(sinks.opened) and sinks.is_busy_here()

    @explained_later
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

        If an exception or a ``break`` leaves the loop, its present item is not done. Threads share items through
        :meth:`map`.

        Take no items ahead of the work, as ``islice``, ``pool.map`` and prefetching loaders do: they would count as
        done too early. Make batches first, and loop over ``cp.remaining(batches)``, or use :meth:`map`. Put numbers and
        other inputs
        inside: ``cp.remaining(enumerate(items))``, ``cp.remaining(zip(items, labels))``; around a resumed loop they
            would begin anew.

        Example:
            >>> [word for word in cp.remaining(["a", "b"])]
            ['a', 'b']

        Args:
            items: Without *key*, their order must be the same in every run.
            key: A function that returns an item's key, a str or int, or the name of the field with the key. With keys,
                items may be moved, added and removed between runs. Of several items with one key, only the first is
                handed out.
            name: Identifies the loop; by default, its place in the program and the item of the loop around it do.
            fingerprint: Which done items to compare with those of the last run: ``"sampled"`` a few, ``"full"`` all,
                None none. The items that are left may always change.
            limit: How many items this loop hands out in one run, at least 1. Then it ends, with the loops around it;
                the checkpoint is kept, and the next run continues. Not inside a map.
            retry_failed: First hand out again the items that this loop noted by :meth:`fail`, and those in which an
                inner loop did. An input that can only be iterated is read as a whole for that.

        Raises:
            InputChangedError: The done items are not those of the last run.
            RuntimeError: Another thread than the one that made the loop asks for its items.
            ValueError: *limit* is below 1, or given inside a map.
        """
        again = self._again  # not by the operation: that takes as long as the call
        if again and limit is None and not retry_failed and type(items) in SEEKABLE and fingerprint == "sampled":
            small = again(self, items, key, name)
            if small is not None:
                self._is_total_old = True
                return small  # type: ignore[no-any-return]
        options: Any = {"key": key, "fingerprint": fingerprint, "limit": limit}
        return self._remaining(items, name, options | self._failures(retry_failed))

    # Not a part of the above, whose variables would be cells for the lambda.
    def _remaining(self, items: Iterable[T], name: str | None, options: Any) -> Remaining[T]:
        from .._loops.remaining import remaining

        items = self._to_do(items)
        return self._begin(name, lambda name, saved: remaining(items, self._inner, name=name, saved=saved, **options))

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
        """The items of all pages of a server that are not done yet. An item is done when the next is asked for.

        A save holds the page's cursor and how many of its items are done. A later run fetches that page again, checks
        that it has not changed, and continues inside it. Before each fetch, the loop waits for a quota that is used up;
        the responses that *fetch* returns are observed. The next page is fetched when the last item of this one is
        done. An error of *fetch* ends the loop and loses nothing; retries are up to *fetch* itself.

        Example:
            >>> list(cp.pages(lambda cursor: ([1, 2], "p2") if cursor is None else ([3], None)))
            [1, 2, 3]

        Args:
            fetch: Called with a cursor, *start* at first. Returns ``(items, next_cursor)``; a next cursor of None or
                ``""`` ends the loop. Or it returns a response of httpx or requests, whose ``Link`` header leads to the
                next page; that URL is the cursor then. ``(response, next_cursor)`` works, too.
            start: The cursor of the first page: anything that JSON can hold, equal in every run.
            key: Returns an item's key, as for :meth:`remaining`. Then items may come, go and move between pages, even
                while
                the loop runs: each key is handed out once. All keys are saved. Without it, the done items of the page
                    are compared by value.
            name: Identifies the loop; by default, its place in the program and the item of the loop around it do.
            items: Where the items are in a response: a function of the response, or the name of a field in its JSON.
                None: its JSON is the list of items.
            changed: What to do if the saved position no longer exists. ``"raise"`` raises. ``"again"`` loses nothing:
                the page begins again with its first item; if its cursor has expired, all pages do, from *start*. With
                *key*, done items are skipped then; without, they are done again.

        Raises:
            InputChangedError: By value: the done items of the page have changed, or *start* has.
            CursorExpiredError: The server refuses the saved cursor (400, 404, 410, 416, 422), or *fetch* raised this
                error.
            StateEncodeError: JSON cannot hold a cursor.
        """
        from .._loops.pages import pages

        if self._operation.is_done:
            return self.remaining(())
        options: Any = {"start": start, "key": key, "items": items, "changed": changed}
        return self._begin(name, lambda name, saved: pages(fetch, self._inner, name=name, saved=saved, **options))

    def once(self, key: str | int, fn: Callable[[], R], *, unknown: Unknown = "raise") -> R:
        """Call ``fn()`` for an effect that must not happen twice. Returns its result; later calls return it again.

        The intention is saved before the call, the result after it; both are on the disk when this returns. An
        ``Exception`` from *fn* means that it has not happened: a later call tries again. If *fn* cannot tell, for
        instance after a timeout, it must raise ``UnknownOutcomeError``. After a kill or a ``KeyboardInterrupt`` inside
        *fn*, the
        outcome is unknown: the next call with that key raises, and a block that ends before that keeps its checkpoint.

        Threads that call it with one key wait for each other. It is forgotten with the checkpoint.

        Example:
            >>> cp.once("mail 7", lambda: "sent")
            'sent'

        Args:
            key: Names the effect within this operation.
            fn: Its result is stored as JSON, and comes back as JSON returns it: a tuple as a list.
            unknown: What to do after an unknown outcome. ``"raise"`` raises. ``"retry"`` calls *fn*, perhaps a second
                time. A
                function checks: it returns the effect's result, or True, if it has happened, and None if not; then *fn*
                    is called.

        Raises:
            UnknownOutcomeError: It may or may not have happened; *fn* was not called.
            StateEncodeError: JSON cannot hold the result. The effect has happened, but counts as unknown.
            StoreError: The save before failed, and *fn* was not called; or the save after, and only this run knows the
                result.
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
        """Call ``fn(item)`` for each undone item, many at a time. Yields ``(item, result)`` as calls end.

        An item is done when the loop's body has finished with it. One save holds both what the body put into the state
        and that the item is done. After a kill, only items that were in flight or not saved yet are done again; so are
        those whose results the body does not get, because it raises or leaves the loop.

        What *fn* writes, in threads, to a sink, log, set or mapping counts once its item is done, and is undone if the
        item fails. A loop that it makes resumes where it was before *fn* wrote anything.

        Example:
            >>> with ThreadPoolExecutor(2) as pool:
            ...     sorted(cp.map(len, ["a", "bb"], executor=pool))
            [('a', 1), ('bb', 2)]

        Args:
            executor: An object with ``submit()`` like ``concurrent.futures``, loky, or mpi4py (where a worker that dies
                takes the whole program with it); a ``distributed.Client``; the module ``ray``. Or a factory of one,
                such as ``lambda: ProcessPoolExecutor(8)``: its executor is replaced when workers die, and shut down at
                the end; its processes die with this one. None calls *fn* in this thread.
            key: Returns an item's key, as for :meth:`remaining`. Without it, the position counts.
            max_in_flight: How many tasks are in flight at most, with *batch* items each.
            batch: More than one if an item takes less time than sending a task.
            retry: A tenacity policy for each item, applied by its worker; the last error is raised, no ``RetryError``.
                Before
                a worker sleeps, what is done is saved: at once without *executor*; with threads between two runs of the
                    body; with processes and clusters not at all.
            on_error: When an item has failed for good, ``"raise"`` raises its error, after the body got what has ended
                by then, and the next run retries it; ``"skip"`` notes it in :attr:`failed`, and goes on; ``"collect"``
                also yields ``(item, error)``.
            max_failed: How many items may fail in a run: a number such as 10, or a share such as 0.05 of all items
                (without a
                length: of those tried, or of 100). Up to it, ``"raise"`` skips, too.
            max_crashes: After this many crashes with an item alone in flight, the item is noted in :attr:`failed`,
                whatever *on_error* says.
            retry_failed: Retry the items in :attr:`failed`; otherwise they are skipped.
            grace: Seconds. On Ctrl-C, SIGTERM or :meth:`stop`, no more calls are sent; what ends within that time goes
                to the body and is saved. Other calls are dropped, and done again by the next run: processes that were
                started for this map are killed, calls of a cluster are cancelled, threads are left to themselves. A
                second Ctrl-C does not wait. Without *executor*, only one item is in flight, and finishes.
            name: Identifies the loop; by default, its place in the program and the item of the loop around it do.

        Raises:
            InputChangedError: The done items are not those of the last run.
            TooManyFailedError: More than *max_failed* have failed; what was done is saved, what failed is noted.
            BrokenExecutor: Workers died, and there is no factory to replace them; what was done is saved.
        """
        from .._loops.map import inline, results

        settings = results.MapSettings(
            max_in_flight=max_in_flight,
            batch=batch,
            retry=retry,
            on_error=on_error,
            max_failed=max_failed,
            max_crashes=max_crashes,
            grace=grace,
        )
        loop = self._begin_map(items, name, key=key, retry_failed=retry_failed)
        return inline.start(self._inner, loop, fn, executor, settings)

    def retrying(self, *, reset_on_progress: bool = True, **policy: Any) -> tenacity.Retrying:
        """``tenacity.Retrying(**policy)`` that saves before each sleep, and then runs the policy's ``before_sleep``.

        Without a policy, it uses the one of ``checkpointed(..., retry=...)``. With *reset_on_progress*, attempts begin
        anew if the loop has ticked since the failure before.

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
        """Wait here while a quota is used up, as the loop does before its next item: in code that sends many requests.

        What is ticked is saved first. With ``on_exhausted="raise"`` it raises; a callable decides.

        Example:
            >>> cp.wait_if_exhausted()

        Raises:
            RateLimitExhausted: The quota is used up, and ``on_exhausted`` says not to wait; everything ticked is saved.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came meanwhile; everything ticked is saved.
        """
        self._sleep_through(self._wait_for())

    def wait_for(self, host: str = "", *, account: str = "", resource: str = "") -> None:
        """Announce the next request, and wait only if its quota is used up. Raises as :meth:`wait_if_exhausted` does.

        From the first call on, the loop itself no longer waits for this *host*, so that an empty quota of one host does
        not stop work for another.

        Example:
            >>> cp.wait_for("https://api.github.com/", account="A")

        Args:
            host: The server that the request goes to; may be a URL.
            account: The account whose token it sends; by default any account of the host.
            resource: The server's quota that it uses; by default any.
        """
        self._sleep_through(self._wait_for(host, account, resource))

    def ready_account(self, host: str, accounts: Iterable[str] = ()) -> str:
        """The account of *host* with the most left of its quota; waits for the first while all are used up.

        Like :meth:`wait_for`, it announces the next request, and raises in those cases.

        Example:
            >>> cp.ready_account("api.github.com", ["A", "B"])
            'A'

        Args:
            host: The server that the request goes to; may be a URL.
            accounts: All accounts of the program. By default those that :meth:`observe` knows.

        Returns:
            The account's name, as given; "" if none is known.
        """
        wait = self._wait_for(host, accounts=accounts)
        self._sleep_through(wait)
        return wait.ready_account()

    def _sleep_through(self, wait: Wait) -> None:
        """Sleep without the lock, so that other threads tick meanwhile."""
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


class InnerCheckpoint(Inner[S], Checkpoint[S]):
    """The checkpoint of a plain block."""

    is_async = False

    def check_in(self, *, waits: bool = True) -> int:
        """For loops: save, stop, or wait for a quota, if due. See :meth:`_check_in`."""
        asked = self._asked_in_call() if waits else None
        items = self._check_in(waits=waits and asked is None)
        if asked is not None:
            self._sleep_through(self._wait_in_call(asked))
        return items

    def save_before_sleep(self, retry_state: tenacity.RetryCallState) -> None:
        """For the user's own retries: save, or request a save from another thread. A failure is logged and noted."""
        from .._retry import reason

        if threading.get_ident() == self._opened_by:
            self.before_sleep(retry_state)
        else:
            self._operation.ask_for_save(reason(retry_state))

    def enter_block(self) -> None:
        """For ``checkpointed``: claim the operation and restore it. If this raises, nothing is owned or written."""
        try:
            run(self._opened())
        except KeyboardInterrupt:
            show_users_frames_only()
            raise

    def leave_block(self, error: BaseException | None) -> None:
        """For ``checkpointed``: finish, or save what is there after *error*; then release the operation."""
        try:
            if self._operation.is_owner() and not self._operation.is_ending:
                self._operation.is_ending = True
                with self._turn_to_save():  # a thread may be inside a tick
                    run(self._operation.close(error))
        except STOPS as failure:
            error, self._has_stopped = failure, True
            if isinstance(failure, KeyboardInterrupt):
                show_users_frames_only()
            raise
        finally:
            self._operation.release()
            self._tell_outer(error)


if not has_gil():

    def _tick(self: Checkpoint[Any], items: int = 1) -> None:
        with count_lock:
            next(self._ticks)
            self.ticked = ticked = self.ticked + items
        if ticked >= self._limit:
            self._check_in()

    _tick.__doc__ = Checkpoint.tick.__doc__
    Checkpoint.tick = _tick  # type: ignore[method-assign]


InnerCheckpoint.__name__ = InnerCheckpoint.__qualname__ = "Checkpoint"  # as Python shows it
