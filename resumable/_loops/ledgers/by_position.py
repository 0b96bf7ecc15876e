"""Done items as a position; a few samples detect whether the input has changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal, NoReturn, TypeVar

from ..._errors import InputChangedError
from ..._text import command_for
from ..inputs import fingerprint as _fingerprint
from ..inputs import sources
from ..inputs.fingerprint import Sample, Samples

T = TypeVar("T")
Fingerprint = Literal["sampled", "full"] | None
ItemKey = str | int
"""Identifies an item within its input: its key, or its position."""
Saved = Mapping[str, Any]
"""A loop's saved form: plain JSON."""

_LOOKED_AT = 10_000
"""Search this many items before and after the old position for the last done one."""
_FAR_IN_DICT = 4096
"""From this position on, a save would take too long to find the key of a dict."""

_WAYS = {
    "key": ("by key", "with key=..."),
    "position": ("by position", "remaining(...) without key"),
    "scattered": ("by position, in any order", "map(...) or amap(...) without key"),
    "pages": ("page by page", "pages(...)"),
}
"""By the word in the saved form: how a loop identifies its done items, and which call continues it."""


class Ledger(ABC):
    """Keeps which items of one input are done: by position, by key, by page, or out of order.

    Between two snapshots, only :meth:`changes` are saved; :func:`~.by_key.merged` combines them again.

    Attributes:
        start: Number of items that were done before this run.
        total: Number of items, as far as the loop knows.
        is_left_out: Whether an earlier run has done all items, so that they are skipped.
        has_inner: Whether a loop was made inside an item.
    """

    start: int
    total: int | None = None
    is_left_out = has_inner = False
    _samples: Samples

    def keys(self, position: int) -> list[ItemKey] | None:
        """The keys of the first *position* done items; None if items are not identified by keys."""
        return None

    def item_at(self, position: int) -> ItemKey:
        """The item that comes after *position* done ones."""
        return position

    def is_at(self, item: object, at: ItemKey) -> bool | None:
        """Whether *item* is the one that *at* identifies; None if that is unknown."""
        return None

    def note_end(self, position: int) -> None:
        """The loop has ended, or was left, at *position*: keep samples, for the program may change its input now."""
        return

    def check_under_way(self, position: int) -> None:
        """A loop inside the item after *position* done ones goes on: check that the item is the same as before.

        Raises:
            InputChangedError: It is another one.
        """
        return

    @abstractmethod
    def has_done(self, item: ItemKey, position: int) -> bool:
        """Whether *item* is done when *position* items are."""

    @abstractmethod
    def count_left(self, position: int) -> int | None:
        """How many items are left after *position* done ones; None if that is unknown before the end."""

    @abstractmethod
    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        """A function that returns the saved form later, with the *position* items that are done now over all runs."""

    def changes(self, position: int) -> dict[str, Any]:
        """What has changed since the last :meth:`commit`."""
        form = self.as_now(position)()
        return form | {"samples": self._samples.uncommitted(form["samples"])}

    def commit(self, changes: Saved) -> None:
        """*changes* are stored. Until then :meth:`changes` repeats them."""
        self._samples.commit(changes["samples"])


class PositionLedger(Ledger):
    """Done are the first items of an input, up to a position.

    Attributes:
        as_made: What *items* were when the loop was made, if it has kept them.

    Raises:
        InputChangedError: *saved* was made by key or out of order, or *items* are not the input that it was made of.
        ValueError: *saved* is malformed.
    """

    as_made: Sequence[Any] | None = None

    def __init__(self, operation_id: str, items: Any, saved: Saved | None, fingerprint: Fingerprint) -> None:
        if fingerprint not in ("sampled", "full", None):
            raise ValueError(f"fingerprint must be 'sampled', 'full' or None, not {fingerprint!r}")
        saved = opened(operation_id, saved, "position")
        self._operation_id = operation_id
        self._items = items
        self.is_sampled = fingerprint is not None
        self.is_full = fingerprint == "full"
        self.start = count_from(saved, "position")
        samples = Samples(saved.get("samples", ()))
        if any(position >= self.start for position in samples.expected):
            raise ValueError("a saved sample lies at or beyond the saved position")
        self._samples = samples if self.is_sampled else Samples()
        self._at_end: dict[int, Sample | None] = {}
        under_way = saved.get("under_way", ())
        self._under_way = next(iter(_fingerprint.samples_from(under_way)), None) if under_way else None
        self._expected_roll: str | None = saved.get("rolled") if self.is_full else None
        self._expected_total: int | None = saved.get("total")
        self.total = sources.length(items)
        self._offered = self.start
        self._passed = 0
        self._differences: list[str] = []
        self._passed_roll = ""
        # The newest few, each with the number of items that it covers. A save needs the one of the last done item.
        self._rolls: tuple[tuple[int, str | None], ...] = ((self.start, saved.get("rolled") if self.start else ""),)
        if sources.is_indexed(items):
            self._check_indexed(items)

    def offer(self, item: Any) -> bool:
        """Examine the next *item* before the loop's body can change it. True: hand it out."""
        position = self._offered
        if self.is_sampled and position == _fingerprint.next_sampled(position):
            self._samples.add(position, item)
        if self.is_full:
            self._roll(item)
        self._offered = position + 1
        return True

    def offered(self, items: Iterable[T]) -> Generator[T]:
        """Hand out *items*, and examine each, in a Python step."""
        offer = self.offer
        for item in items:
            if offer(item):
                yield item

    def see_ahead(self, items: Sequence[Any], position: int, count: int) -> None:
        """Sample the *count* items from *position* of this run on, before any of them is handed out."""
        stop = min(self.start + position + count, len(items))
        # A wake may have cut a round short, which is then examined again: skip what was sampled.
        position = max(self._offered, self.start + position)
        while (sampled := _fingerprint.next_sampled(position)) < stop:
            self._samples.add(sampled, items[sampled])
            self._offered = position = sampled + 1

    def stretches(self, source: Iterator[Any]) -> Iterator[Iterator[Any] | tuple[Any]]:
        """*source* from the first item to do, cut into parts: an item that is sampled comes alone."""
        position = self.start
        while True:
            sampled = _fingerprint.next_sampled(position)
            yield islice(source, sampled - position)
            one = tuple(islice(source, 1))
            if not one:
                return
            self._samples.add(sampled, one[0])
            yield one
            position = sampled + 1

    def is_at(self, item: object, at: ItemKey) -> bool | None:
        if type(self._items) not in sources.SEEKABLE:
            return None
        return isinstance(at, int) and at < len(self._items) and self._items[at] is item

    def has_done(self, item: ItemKey, position: int) -> bool:
        return isinstance(item, int) and item < position

    def count_left(self, position: int) -> int | None:
        length = sources.length(self._items)
        return None if length is None else max(0, length - position)

    # -- has the input changed?

    def check_under_way(self, position: int) -> None:
        before, now = self._under_way, self._sample_at(position)
        if before is None or now is None or before.position != position or before.digest == now.digest:
            return
        raise InputChangedError(
            self._operation_id,
            [f"items[{position}] was {before.shown}, is {now.shown} now, and a loop inside it goes on in the middle"],
            ["put the items back into their order", *self._ways_back()],
        )

    def _ways_back(self) -> list[str]:
        return [
            f"start over, which does all items again:  {command_for('rm', self._operation_id)}",
            "start over, and allow order and number to change from then on:  remaining(..., key=...)",
        ]

    def _check_indexed(self, items: Sequence[Any]) -> None:
        """Compare the done items by index, without iterating, unless every item must be compared."""
        if self.is_sampled and len(items) < self.start:
            self._fail_short(len(items))
        if self.is_full:
            self.check_passing(iter(items))
        else:
            for position, one in self._samples.expected.items():
                self._compare(one, items[position])
            self._passed = self.start
            self.check_passed()

    def check_passing(self, items: Iterator[Any]) -> None:
        """Skip the done items of *items*. Raises InputChangedError if they have changed."""
        if self.is_full:
            deque(map(self.pass_by, islice(items, self.start)), maxlen=0)
        else:
            for position in sorted(self._samples.expected):
                self._passed += _advance(items, position - self._passed)
                for item in islice(items, 1):
                    self.pass_by(item)
            self._passed += _advance(items, self.start - self._passed)
        self.check_passed()

    def pass_by(self, item: Any) -> None:
        """Compare the next done item."""
        expected = self._samples.expected.get(self._passed)
        if expected is not None:
            self._compare(expected, item)
        if self.is_full:
            digest = _fingerprint.digest_at(self._passed, item)
            self._passed_roll = _fingerprint.roll(self._passed_roll, digest)
        self._passed += 1

    def check_passed(self) -> None:
        """All done items were skipped. Raises InputChangedError if they have changed."""
        if self.is_sampled and self._passed < self.start:
            self._fail_short(self._passed)
        if not self._differences and self._expected_roll not in (None, self._passed_roll):
            self._differences.append(f"one or more of the first {self.start:,} items; it is not known which")
        if self._differences:
            self._fail(self.total)
        self._rolls = ((self.start, self._passed_roll),)

    def _compare(self, expected: Sample, item: Any) -> None:
        if (difference := expected.difference(item)) is not None:
            self._differences.append(difference)

    def _fail_short(self, length: int) -> NoReturn:
        self._differences.append(f"{self.start:,} items are done, but there are only {length:,} now")
        self._fail(length)

    def _fail(self, length: int | None) -> NoReturn:
        """Raise the error. *length* is the present number of items; None if unknown."""
        if None not in (self.total, self._expected_total) and self.total != self._expected_total:
            self._differences.append(f"there were {self._expected_total:,} items, there are {self.total:,} now")
        ways_on = [] if length is not None and length <= self.start else [self._way_on()]
        ways = [*self._ways_behind(), *ways_on, *self._ways_back()]
        raise InputChangedError(self._operation_id, self._differences, ways)

    def _way_on(self) -> str:
        return (
            f"go on at items[{self.start}] of the new input:  remaining(..., fingerprint=None)  For each item that was "
            "removed before it, one is never done; for each that was inserted, one is done again."
        )

    def _ways_behind(self) -> list[str]:
        """Ways to resume after the last done item, if it can be found in the new input."""
        last = self._samples.expected.get(self.start - 1)
        found = _found(last, self._items) if last is not None else None
        if last is None or found is None or found + 1 == self.start:
            return []
        return [
            f"go on after the last done item, {last.shown}, which is items[{found}] now:  "
            f"{command_for('rm', self._operation_id)}  and  remaining(items[{found + 1}:])  Items inserted before it "
            "are skipped; state and outputs begin anew."
        ]

    # -- saved form

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        more: dict[str, Any] = {}
        is_asked = self.has_inner or self._under_way is not None
        if is_asked and (sample := self._sample_under_way(position)) is not None:
            more["under_way"] = [list(sample)]
        if not self.is_full:
            return partial(self._form, position, self._lasting(position - 1), **more)
        # The rolled digest for this position will soon be gone.
        position, rolled = self._rolled_at(position)
        return partial(self._form, position, self._lasting(position - 1), rolled=rolled, **more)

    def _form(self, position: int, last: Sample | None, **more: Any) -> dict[str, Any]:
        samples = self._samples.saved(lambda sampled: sampled < position, last)
        return {"by": "position", "position": position, "total": self.total, "samples": samples, **more}

    def _sample_under_way(self, position: int) -> Sample | None:
        before = self._under_way
        if before is not None and before.position == position:  # kept if the item is another one now
            return before
        return self._sample_at(position) if self.has_inner else None

    def _sample_at(self, position: int) -> Sample | None:
        """A sample of the item under way, as it was handed out, if there is one."""
        return (self._samples.at(position) if self.is_sampled else None) or self._lasting(position)

    def note_end(self, position: int) -> None:
        self._at_end = {at: self._lasting(at) for at in (position - 1, position)}

    def _lasting(self, position: int) -> Sample | None:
        """A sample of the item there, if it is at hand and the loop's body cannot have changed it."""
        if position in self._at_end:
            return self._at_end[position]
        made, items = self.as_made, self._items
        if made is not None and position < len(made):
            items = made
        if not self.is_sampled or type(items) not in sources.LASTING or not 0 <= position < len(items):
            return None
        item: Any
        if type(items) in sources.SEEKABLE:
            item = items[position]
        elif position >= _FAR_IN_DICT:
            return None
        else:
            item = next(islice(items, position, None))
        return _fingerprint.sample(position, item) if _fingerprint.is_lasting(item) else None

    def _roll(self, item: Any) -> None:
        count, rolled = self._rolls[-1]
        digest = _fingerprint.digest_at(count, item)
        self._rolls = (*self._rolls[-3:], (count + 1, _fingerprint.roll(rolled or "", digest)))

    def _rolled_at(self, position: int) -> tuple[int, str | None]:
        """The digest of the first *position* items; of more if another thread asks and *position* is behind."""
        rolls = self._rolls
        return next((roll for roll in reversed(rolls) if roll[0] <= position), rolls[0])


def opened(operation_id: str, saved: Saved | None, by: str) -> Saved:
    """*saved*, if the loop was followed *by* ``key``, ``position``, or out of order (``scattered``).

    Raises:
        InputChangedError: The loop was followed in another way.
        ValueError: The way is unknown.
    """
    if saved is None or saved.get("by") == by:
        return saved or {}
    if saved.get("by") not in list(_WAYS):  # a list, because it may not be hashable
        raise ValueError(f"a saved loop must be by one of {sorted(_WAYS)}, not {saved.get('by')!r}")
    was, before = _WAYS[saved["by"]]
    raise InputChangedError(
        operation_id,
        [f"earlier runs counted the loop's done items {was}; this call counts them {_WAYS[by][0]}"],
        [f"go on as before:  {before}", f"start over:  {command_for('rm', operation_id)}"],
    )


def count_from(saved: Saved, name: str) -> int:
    """A number of items in a saved form; 0 if it is missing. Raises ValueError if it is malformed."""
    value = saved.get(name, 0)
    if type(value) is not int or value < 0:
        raise ValueError(f"a saved {name} must be an int >= 0, not {value!r:.80}")
    return value


def _found(last: Sample, items: Any) -> int | None:
    """Where the item of *last* stands in *items*, if exactly once; searches around the old position."""
    if not sources.is_indexed(items):
        return None
    near = range(max(0, last.position - _LOOKED_AT), min(len(items), last.position + _LOOKED_AT))
    places = [place for place in near if _fingerprint.digest_at(place, items[place]) == last.digest]
    return places[0] if len(places) == 1 else None


def _advance(items: Iterator[Any], count: int) -> int:
    """Take *count* items off, in C. Returns how many there were."""
    last = deque(enumerate(islice(items, count), 1), maxlen=1)
    return last[0][0] if last else 0
