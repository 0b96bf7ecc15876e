"""One map's place in its input: which items are to be handed out, and which are done or given up.

What steps through the items and who works on them is not known here.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar, cast

from .. import sources
from ..by_key import KeyLedger
from ..by_position import Saved
from ..loop import AsyncLoopOwner, Loop, LoopOwner
from ..out_of_order import ScatteredLedger, followed_otherwise

Key = str | int


class Failed:
    """The items that were given up, by loop and key, each with the text of its error. Plain JSON when saved.

    Args:
        saved: What :meth:`to_dict` gave in an earlier run.
    """

    def __init__(self, saved: Mapping[str, Iterable[tuple[Key, str]]] | None = None) -> None:
        self._lock = threading.RLock()  # a signal handler that saves may come in between
        self._by_loop: dict[str, dict[Key, str]] = {name: dict(pairs) for name, pairs in (saved or {}).items()}

    def __len__(self) -> int:
        return sum(map(len, self._by_loop.values()))

    def of(self, loop: str) -> Mapping[Key, str]:
        """Those of one loop, as they come and go."""
        return self._by_loop.setdefault(loop, {})

    def all(self) -> dict[Key, str]:
        """Those of all loops; a key that several loops have is given as ``loop/key``."""
        with self._lock:
            loops = Counter(key for failures in self._by_loop.values() for key in failures)
            return {
                key if loops[key] == 1 else f"{name}/{key}": text
                for name, failures in self._by_loop.items()
                for key, text in failures.items()
            }

    def add(self, loop: str, key: Key, text: str) -> None:
        with self._lock:
            self._by_loop.setdefault(loop, {})[key] = text

    def discard(self, loop: str, key: Key) -> None:
        with self._lock:
            self._by_loop.get(loop, {}).pop(key, None)

    def to_dict(self) -> dict[str, list[list[Any]]]:
        with self._lock:
            return {name: list(map(list, pairs.items())) for name, pairs in self._by_loop.items() if pairs}


def error_text(error: BaseException) -> str:
    """``ValueError: what it says``, on one line of at most 500 letters; never raises."""
    try:
        text = " ".join(f"{type(error).__name__}: {error}".split())
    except Exception:
        text = type(error).__name__
    return text[:500].encode("utf-8", "replace").decode()


T = TypeVar("T")


class Done(Loop[T]):
    """One ``map``'s place in its input. Not iterable itself: :meth:`to_do` hands out, :meth:`finish` is told.

    An item that was given up counts as handed out and not done; it is handed out again only if that is asked for.

    Attributes:
        finish: Told the key of an item that is done.
        on_wake: Called by :meth:`wake`, besides; from any thread and from signal handlers.
    """

    _ledger: KeyLedger

    def __init__(
        self,
        items: Any,
        owner: LoopOwner | AsyncLoopOwner,
        ledger: KeyLedger,
        name: str,
        failed: Failed | None = None,
        *,
        retry_failed: bool = False,
    ) -> None:
        super().__init__(items, owner, ledger, name)
        self.on_wake: Callable[[], None] = lambda: None
        self._all_failed = failed if failed is not None else Failed()
        self._failed = self._all_failed.of(name)
        self._skipped = frozenset() if retry_failed else frozenset(self._failed)
        self._retried = frozenset(self._failed)
        self.finish: Callable[[Key], None] = self._finish_again if self._retried else ledger.add
        self._is_scattered = isinstance(ledger, ScatteredLedger)
        if isinstance(ledger, ScatteredLedger) and sources.is_indexed(items):
            ledger.check_indexed(items)

    def done(self) -> int:
        return self._ledger.done - self._ledger.start

    def wake(self) -> None:
        super().wake()
        self.on_wake()

    @property
    def was_woken(self) -> bool:
        """Whether the owner wants to be asked before the next item."""
        return not self._flags

    def rearm(self) -> None:
        """The owner is about to be asked."""
        self._flags = [True]

    def begin(self) -> None:
        """The first item is asked for."""
        self._owner.register(self)

    def end(self) -> None:
        """All items are done or given up."""
        self._finish()

    def at(self, key: Key) -> None:
        """The body of the loop works on this item now: loops inside it belong to it."""
        self._ledger._offered = key

    def _finish_again(self, key: Key) -> None:
        self._ledger.add(key)
        self._all_failed.discard(self.name, key)

    def give_up(self, key: Key, error: BaseException) -> None:
        """The item failed for good."""
        self._all_failed.add(self.name, key, error_text(error))

    def to_do(self) -> Iterator[tuple[Key, T]]:
        """The items to work on, each with its key; each counts as handed out from then on.

        Raises:
            InputChangedError: The items that are done are not the ones that were.
        """
        if not self._is_scattered:
            return self._by_key(sources.steady(self._items))
        if sources.is_indexed(self._items):
            return self._by_index()
        return self._by_passing(sources.steady(self._items))

    def _by_index(self) -> Iterator[tuple[Key, T]]:
        ledger = cast(ScatteredLedger, self._ledger)
        items = cast(Sequence[T], self._items)
        again = ((position, items[position]) for position in ledger.missing)
        entries = chain(again, ledger.handing_out(sources.steady_from(items, ledger.head)))
        return (entry for entry in entries if entry[0] not in self._skipped) if self._skipped else entries

    def _by_passing(self, source: Iterable[T]) -> Iterator[tuple[Key, T]]:
        ledger = cast(ScatteredLedger, self._ledger)
        for item in source:
            if ledger.offer(item) and (key := ledger._offered) not in self._skipped:
                yield key, item
        ledger.check_length(ledger._passed)

    def _by_key(self, source: Iterable[T]) -> Iterator[tuple[Key, T]]:
        handed: set[Key] = set(self._skipped)
        for item in source:
            key = self._ledger._checked_key(item)
            if key not in self._ledger and key not in handed:
                handed.add(key)
                yield key, item

    async def to_do_async(self) -> AsyncIterator[tuple[Key, T]]:
        """The same for an input that needs ``async for``."""
        handed: set[Key] = set(self._skipped)
        async for item in cast(AsyncIterable[T], self._items):
            if not self._ledger.offer(item):
                continue
            key = self._ledger._offered
            if key not in handed:
                if not self._is_scattered:
                    handed.add(key)
                yield key, item
        if isinstance(self._ledger, ScatteredLedger):
            self._ledger.check_length(self._ledger._passed)


def done_loop(
    items: Any,
    owner: LoopOwner | AsyncLoopOwner,
    *,
    name: str,
    key: Callable[[T], object] | str | None = None,
    saved: Saved | None = None,
    failed: Failed | None = None,
    retry_failed: bool = False,
    is_async: bool = False,
) -> Done[T]:
    """A loop over what *saved* does not name as done.

    Raises:
        InputChangedError: If *items* is not the input of *saved*.
        TypeError: If *items* is text, a set without key, or no iterable.
        ValueError: If *saved* cannot have come from a loop.
    """
    sources.refuse(items, has_key=key is not None, is_async=is_async)
    ledger: KeyLedger
    if key is None:
        ledger = ScatteredLedger(owner.operation_id, saved)
    elif saved and saved.get("by") == "scattered":
        raise followed_otherwise(owner.operation_id, saved, "by key")
    else:
        ledger = KeyLedger(owner.operation_id, saved, key)
    return Done(items, owner, ledger, name, failed, retry_failed=retry_failed)
