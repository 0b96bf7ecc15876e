"""What of a loop's input is done, by position: how it is saved, and compared on the way back.

A ledger is told of each item that is given out (``offer``) and of each that is done (``finish``). Its saved form is
plain JSON. Between two saves only ``changes`` need to be written; ``_keys.merged`` puts them together again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal, NoReturn, Protocol

from .._errors import InputChangedError
from .._text import command_for
from . import fingerprint as _fingerprint
from .fingerprint import Sample

Fingerprint = Literal["sampled", "full"] | None
Saved = Mapping[str, Any]

_MANY_SAMPLES = 40
_BEFORE = {
    "key": ("by key", "remaining(..., key=...)"),
    "position": ("by position", "remaining(...) without key"),
    "scattered": ("by position, out of order,", "map(...) or amap(...) without key"),
}
"""How a loop can have been followed, and what goes on with it."""


class Ledger(Protocol):
    """The part that every loop needs, whatever the items are known by."""

    start: int
    """How many items were done before this run."""
    total: int | None
    """How many items there are, as far as the loop knows."""

    def offer(self, item: Any) -> bool:
        """Look at *item* before it is given out; False if it is done already."""
        ...

    def finish(self) -> None:
        """The item offered last is done."""

    def pass_by(self, item: Any) -> None:
        """Look at one of the first ``start`` items that a loop by position leaves out."""

    def to_dict(self, position: int) -> dict[str, Any]:
        """The saved form, with *position* items done over all runs."""
        ...

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        """What gives the saved form later, as it is now, whatever is done meanwhile."""
        ...

    def changes(self, position: int) -> dict[str, Any]:
        """What has changed since the last ``settle``; for :func:`merged`."""
        ...

    def settle(self, changes: Saved) -> None:
        """*changes* are safely stored. Until then they are named again."""


class PositionLedger:
    """Done is what lies before a position; a few samples tell whether it is the same input.

    Raises:
        InputChangedError: If *saved* was made by key.
        ValueError: If *saved* cannot have come from a ledger.
    """

    def __init__(self, operation_id: str, saved: Saved | None = None, fingerprint: Fingerprint = "sampled") -> None:
        if fingerprint not in ("sampled", "full", None):
            raise ValueError(f"fingerprint must be 'sampled', 'full' or None, not {fingerprint!r}")
        saved = opened(operation_id, saved, "position")
        self._operation_id = operation_id
        self._fingerprint = fingerprint
        self.start = _count_from(saved.get("position", 0))
        self._samples = _fingerprint.samples_from(saved.get("samples", ()))
        if any(one.position >= self.start for one in self._samples):
            raise ValueError("a saved sample lies at or beyond the saved position")
        self._expected = {one.position: one for one in self._samples} if fingerprint else {}
        self._expected_roll: str | None = saved.get("rolled") if fingerprint == "full" else None
        self._expected_total: int | None = saved.get("total")
        self.total: int | None = None
        if fingerprint is None:
            self._samples = ()
        self._settled: tuple[Sample, ...] = self._samples
        self._offered = self.start
        self._passed = 0
        self._rolled = ""
        self._digest = ""
        self._differences: list[str] = []

    @property
    def is_sampled(self) -> bool:
        return self._fingerprint is not None

    @property
    def is_full(self) -> bool:
        return self._fingerprint == "full"

    def offer(self, item: Any) -> bool:
        if self.is_sampled and self._offered == _fingerprint.next_sampled(self._offered):
            self.see(self._offered, item)
        if self.is_full:
            self._digest = _fingerprint.digest(item)
        self._offered += 1
        return True

    def finish(self) -> None:
        if self.is_full:
            self._rolled = _fingerprint.roll(self._rolled, self._digest)

    def see(self, position: int, item: Any) -> None:
        """Remember *item*, before the loop's body can change it."""
        samples = (*self._samples, _fingerprint.sample(position, item))
        # One assignment of a whole tuple: a save may read it in another thread.
        self._samples = samples if len(samples) < _MANY_SAMPLES else _fingerprint.thinned(samples, last=8)

    def see_ahead(self, items: Sequence[Any], position: int, count: int) -> None:
        """Remember what is to be remembered of the *count* items from *position* on, before any is given out."""
        stop = min(position + count, len(items))
        while (sampled := _fingerprint.next_sampled(position)) < stop:
            self.see(sampled, items[sampled])
            position = sampled + 1

    def check_indexed(self, items: Sequence[Any]) -> None:
        """Compare the done part of *items* without going through it, unless every item counts.

        Raises:
            InputChangedError: If it is not the same.
        """
        if self.is_sampled and len(items) < self.start:
            self._fail_short(len(items))
        if self.is_full:
            deque(map(self.pass_by, islice(items, self.start)), maxlen=0)
        else:
            for position, one in self._expected.items():
                self._compare(one, items[position])
            self._passed = self.start
        self.check_passed()

    def check_passing(self, items: Iterator[Any]) -> None:
        """Take the done part off *items* and compare it.

        Raises:
            InputChangedError: If it is not the same.
        """
        if self.is_full:
            deque(map(self.pass_by, islice(items, self.start)), maxlen=0)
        else:
            self._leap(items)
        self.check_passed()

    def _leap(self, items: Iterator[Any]) -> None:
        for position in sorted(self._expected):
            self._passed += _advance(items, position - self._passed)
            for item in islice(items, 1):
                self.pass_by(item)
        self._passed += _advance(items, self.start - self._passed)

    def pass_by(self, item: Any) -> None:
        expected = self._expected.get(self._passed)
        if expected is not None:
            self._compare(expected, item)
        if self.is_full:
            self._rolled = _fingerprint.roll(self._rolled, _fingerprint.digest(item))
        self._passed += 1

    def check_passed(self) -> None:
        """All of the done part has gone by.

        Raises:
            InputChangedError: If it was not the same.
        """
        if self.is_sampled and self._passed < self.start:
            self._fail_short(self._passed)
        if not self._differences and self._expected_roll not in (None, self._rolled):
            self._differences.append(f"one or more of the first {self.start:,} items, though not those that were kept")
        if self._differences:
            self._fail(self.total)

    def _compare(self, expected: Sample, item: Any) -> None:
        difference = expected.difference(item)
        if difference is not None:
            self._differences.append(difference)

    def _fail_short(self, length: int) -> None:
        self._differences.append(f"{self.start:,} items were done, but there are only {length:,} now")
        self._fail(length)

    def _fail(self, length: int | None) -> NoReturn:
        """*length* items are there now; None if that is not known."""
        if None not in (self.total, self._expected_total) and self.total != self._expected_total:
            self._differences.append(f"there were {self._expected_total:,} items, there are {self.total:,} now")
        ways_out = [] if length is not None and length <= self.start else [self._way_on()]
        raise InputChangedError(self._operation_id, self._differences, [*ways_out, *self._ways_back()])

    def _way_on(self) -> str:
        return f"go on at items[{self.start}] of the new input:  remaining(..., fingerprint=None)"

    def _ways_back(self) -> list[str]:
        return [
            f"start over:  {command_for('rm', self._operation_id)}",
            "start over, and from then on let order and number change:  remaining(..., key=...)",
        ]

    def to_dict(self, position: int, last: Sample | None = None) -> dict[str, Any]:
        """The saved form; *last* is a sample of the last done item, where it can be had."""
        samples = [*_fingerprint.thinned(one for one in self._samples if one.position < position)]
        if last is not None and last.position not in {one.position for one in samples}:
            samples.append(last)
        return self._form(position, samples)

    def as_now(self, position: int, last: Sample | None = None) -> Callable[[], dict[str, Any]]:
        if not self.is_full:
            return partial(self.to_dict, position, last)
        form = self.to_dict(position, last)
        return lambda: form

    def changes(self, position: int, last: Sample | None = None) -> dict[str, Any]:
        form = self.to_dict(position, last)
        settled = {one.position for one in self._settled}
        return form | {"samples": [one for one in form["samples"] if one[0] not in settled]}

    def settle(self, changes: Saved) -> None:
        self._settled = (*self._settled, *_fingerprint.samples_from(changes["samples"]))[-64:]

    def _form(self, position: int, samples: Iterable[Sample]) -> dict[str, Any]:
        form = {"by": "position", "position": position, "total": self.total, "samples": list(map(list, samples))}
        return form | {"rolled": self._rolled} if self.is_full else form


def opened(operation_id: str, saved: Saved | None, by: str) -> Saved:
    if saved is None or saved.get("by") == by:
        return saved or {}
    if saved.get("by") not in list(_BEFORE):  # it may not be hashable
        raise ValueError(f"a saved loop must be by one of {sorted(_BEFORE)}, not {saved.get('by')!r}")
    was, before = _BEFORE[saved["by"]]
    raise InputChangedError(
        operation_id,
        [f"the loop was followed {was} and is to be followed by {by} now"],
        [
            f"go on as before:  {before}",
            f"start over:  {command_for('rm', operation_id)}",
        ],
    )


def _count_from(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"a saved position must be an int >= 0, not {value!r:.80}")
    return value


def _advance(items: Iterator[Any], count: int) -> int:
    """Take *count* items off, in C; how many there were."""
    last = deque(enumerate(islice(items, count), 1), maxlen=1)
    return last[0][0] if last else 0
