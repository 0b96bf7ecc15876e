"""The failed items of all loops: which, why, and which items of outer loops contain them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..._text import hidden
from .by_key import KeyLedger
from .by_position import ItemKey, PositionLedger
from .out_of_order import OutOfOrderLedger

Around = tuple[tuple[str, ItemKey], ...]
"""The loops around a loop, each by its name and its item, from the inside out."""
_LONGEST_TEXT = 5000
"""Longer error texts, in characters, are cut before they are read."""


class Failed:
    """The items that were given up, by loop and key, each with the text of its error.

    An item of an outer loop contains them. Though its own body has ended, the loops inside are kept, so that another
    run can hand out again exactly what failed in them.

    Args:
        saved: The saved form.
        on_failure: Called with loop, key and text when an item is given up.
        around: Returns the loops around the loop with that name.
    """

    def __init__(
        self,
        saved: Mapping[str, Iterable[tuple[ItemKey, str]]] | None = None,
        on_failure: Callable[[str, ItemKey, str], object] = lambda loop, key, text: None,
        around: Callable[[str], Around] = lambda loop: (),
    ) -> None:
        self._on_failure = on_failure
        self._around = around
        self._lock = threading.RLock()  # reentrant: a signal handler may save meanwhile
        self._by_loop: dict[str, dict[ItemKey, str]] = {name: dict(pairs) for name, pairs in (saved or {}).items()}
        self._holders: dict[str, Around] = {}
        self._held: dict[str, Counter[ItemKey]] = {}
        self._is_placed = not self._by_loop
        self._owed: dict[str, set[ItemKey]] = {}
        self._given: set[tuple[str, ItemKey]] = set()

    def __len__(self) -> int:
        return sum(map(len, self._by_loop.values()))

    def of(self, loop: str) -> frozenset[ItemKey]:
        """The failed items of one loop."""
        return frozenset(self._by_loop.get(loop, ()))

    def is_known(self, loop: str) -> bool:
        """Whether items of that loop have failed."""
        return bool(self._by_loop.get(loop))

    def all(self) -> dict[ItemKey, str]:
        """The failed items of all loops; a key of several loops becomes ``loop/key``."""
        with self._lock:
            loops = Counter(key for failures in self._by_loop.values() for key in failures)
            return {
                key if loops[key] == 1 else f"{name}/{key}": text
                for name, failures in self._by_loop.items()
                for key, text in failures.items()
            }

    def text(self, loop: str, key: ItemKey) -> str | None:
        """Why an item failed; None if it did not."""
        return self._by_loop.get(loop, {}).get(key)

    def add(self, loop: str, key: ItemKey, text: str) -> None:
        """Add a failed item."""
        with self._lock:
            self._place()
            self._by_loop.setdefault(loop, {})[key] = text
            self._hold(loop)
            self._settle(loop, key)
        self._on_failure(loop, key, text)

    def discard(self, loop: str, key: ItemKey) -> None:
        """Remove an item that is done after all."""
        with self._lock:
            self._place()
            self._by_loop.get(loop, {}).pop(key, None)
            if not self._by_loop.get(loop):
                self._let_go(loop)
            self._settle(loop, key)

    def to_dict(self) -> dict[str, list[tuple[str | int, str]]]:
        """The saved form."""
        with self._lock:
            return {name: list(pairs.items()) for name, pairs in self._by_loop.items() if pairs}

    # -- requests to retry

    def ask_again(self) -> None:
        """Everything that has failed so far is to be retried."""
        with self._lock:
            self._owed = {name: set(failures) for name, failures in self._by_loop.items() if failures}
            self._given.clear()

    @property
    def is_owed(self) -> bool:
        """Whether any of these items is neither done nor has failed again."""
        return bool(self._owed)

    def take_owed(self, loop: str) -> frozenset[ItemKey]:
        """The items for one loop to retry, except those that it got before.

        What failed in a loop inside a done item is left to the next run, where that loop is as it was left.
        """
        with self._lock:
            taken = frozenset(key for key in self._owed.get(loop, ()) if (loop, key) not in self._given)
            self._given.update((loop, key) for key in taken)
            return taken

    def _settle(self, loop: str, key: ItemKey) -> None:
        if (owed := self._owed.get(loop)) is not None:
            owed.discard(key)
            if not owed:
                del self._owed[loop]

    # -- nested loops

    def holds(self, loop: str, item: ItemKey) -> bool:
        """Whether something failed in the loops inside that *item* of *loop*."""
        if not self._by_loop:
            return False
        with self._lock:
            self._place()
            return item in self._held.get(loop, ())

    def holders(self, loop: str) -> frozenset[ItemKey]:
        """The items of *loop* in which something inside has failed."""
        with self._lock:
            self._place()
            return frozenset(self._held.get(loop, ()))

    def _place(self) -> None:
        """Find out where the failures of earlier runs are."""
        if not self._is_placed:
            self._is_placed = True
            for loop, pairs in self._by_loop.items():
                if pairs:
                    self._hold(loop)

    def _hold(self, loop: str) -> None:
        if loop not in self._holders:
            self._holders[loop] = around = self._around(loop)
            for name, item in around:
                self._held.setdefault(name, Counter())[item] += 1

    def _let_go(self, loop: str) -> None:
        for name, item in self._holders.pop(loop, ()):
            self._held[name][item] -= 1
            if not self._held[name][item]:
                del self._held[name][item]


def error_text(error: BaseException) -> str:
    """``ValueError: message`` on one line of at most 500 characters, without secrets; never raises."""
    try:
        text = f"{type(error).__name__}: {hidden(' '.join(str(error)[:_LONGEST_TEXT].split()))}"
    except Exception:
        text = type(error).__name__
    return text[:500].encode("utf-8", "replace").decode()


# -- find the items


def is_there_again(items: Any, ledger: Any) -> bool:
    """Whether each of *items* can be read again at any time."""
    if isinstance(ledger, KeyLedger):
        return isinstance(items, Collection)
    return isinstance(ledger, PositionLedger | OutOfOrderLedger) and isinstance(items, Sequence)


def entries_of(items: Any, ledger: Any, keys: Collection[ItemKey]) -> Iterator[tuple[ItemKey, Any]]:
    """Those of *items* that *keys* identify, each with its key."""
    if isinstance(ledger, KeyLedger):
        found = {key: item for item in reversed([*items]) if (key := ledger.identify(item)) in keys}
        return iter(sorted(found.items(), key=lambda entry: str(entry[0])))
    positions = sorted(key for key in keys if isinstance(key, int) and key < len(items))
    return ((position, items[position]) for position in positions)
