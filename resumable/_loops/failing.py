"""Failed items in plain loops: identifies the item, and hands it out again in a later run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from .._runtime.interpreter import raised_at
from .._text import shortened
from . import consumers
from .ledgers.by_position import ItemKey
from .ledgers.failed import Failed, entries_of, error_text, is_there_again
from .loop import Loop, LoopOwner
from .places import place

T = TypeVar("T")


class Retries(Generic[T]):
    """The failed items of one loop, handed out again one after the other.

    Attributes:
        current: Identifies the item that is handed out; None between two.
    """

    def __init__(self, failed: Failed, name: str, entries: Iterator[tuple[ItemKey, T]]) -> None:
        self._failed, self._name, self._entries = failed, name, entries
        self._before: str | None = None
        self.current: ItemKey | None = None

    def take(self) -> tuple[ItemKey, T] | None:
        """The next item; None if there is none."""
        return next(self._entries, None)

    def begin(self, key: ItemKey) -> None:
        """The loop's body gets the item with *key*."""
        self.current, self._before = key, self._failed.text(self._name, key)

    def end(self) -> None:
        """The body has finished the item: it is done, unless it failed again."""
        key, self.current = self.current, None
        if key is not None and self._failed.text(self._name, key) is self._before:
            self._failed.discard(self._name, key)


def failed_at(loops: Sequence[Loop[Any]], item: object) -> tuple[Loop[Any], ItemKey]:
    """The loop that is at *item*, or else the innermost, and what identifies the item in it.

    Args:
        loops: The loops that are at an item here, the innermost first.

    Raises:
        RuntimeError: There is no such loop.
    """
    if not loops:
        raise RuntimeError(
            "cp.fail(item, error) works only in the body of a loop over cp.remaining(...), in the loop's own thread or "
            'task; for a map, use on_error="skip"'
        )
    known = [loop.is_at(item) for loop in loops]
    at = known.index(True) if True in known else 0
    if None in known[:at] and any(one is item for one in place.items_of_innermost(place.caller())):
        at = known.index(None)  # one text or number may be an item of several loops
    return loops[at], loops[at].current_item()


def failure_text(item: object, key: ItemKey, error: BaseException | str) -> str:
    """The saved text for a failed item: the error, its line, and the item itself if its key is a number."""
    text = error_text(error) if isinstance(error, BaseException) else shortened(str(error), 500)[1:-1]
    notes = [raised_at(error)] if isinstance(error, BaseException) else []
    if isinstance(key, int) and item != key:
        notes.append(shortened(item))
    notes = [note for note in notes if note]
    return f"{text} ({'; '.join(notes)})" if notes else text


def all_of(items: Any, failed: Failed | None, name: str, *, has_key: bool) -> Any:
    """*items*, as a list if an item of the loop has failed and the input can only be iterated once.

    Raises:
        TypeError: They need ``async for``.
    """
    if failed is None or not _again(failed, name) or isinstance(items, Collection if has_key else Sequence):
        return items
    if not isinstance(items, Iterable):
        raise TypeError("retry_failed=True needs items that can be had again, such as [one async for one in items]")
    return list(items)


def retries_of(name: str, items: Any, ledger: Any, failed: Failed | None, *, is_wanted: bool) -> Retries[Any] | None:
    """The retries of the loop with that *name*, if wanted; None if nothing has failed."""
    if not failed:
        return None
    for key in failed.of(name):
        if not ledger.has_done(key, ledger.start):  # the run ended inside it: it is handed out anyway
            failed.discard(name, key)
    again = {key for key in _again(failed, name) if ledger.has_done(key, ledger.start)}
    return Retries(failed, name, entries_of(items, ledger, again)) if is_wanted else None


def _again(failed: Failed, name: str) -> frozenset[ItemKey]:
    """The items of that loop that have failed, or in which something has failed."""
    return failed.of(name) | failed.holders(name)


def late_retries(failed: Failed | None, name: str, items: Any, ledger: Any) -> Retries[Any] | None:
    """The retries for a loop at its end, if a person has asked for them meanwhile; None if there are none."""
    if failed is None or not is_there_again(items, ledger):
        return None
    keys = failed.take_owed(name)
    return Retries(failed, name, entries_of(items, ledger, keys)) if keys else None


def given_again(retries: Retries[T], owner: LoopOwner[int], move_on: Callable[[], None], thread: int) -> Generator[T]:
    """Hand out the items of *retries* in *thread*. Calls *move_on* when one begins, and when it is done."""
    while (entry := retries.take()) is not None:
        consumers.check_thread(thread)
        owner.check_in()
        move_on()
        retries.begin(entry[0])
        yield entry[1]
        move_on()
        retries.end()
