"""What of an input is done, by position and in any order: a head, and what is missing below it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from .._errors import InputChangedError
from .._text import command_for
from . import fingerprint
from .by_key import KeyLedger
from .by_position import Saved
from .ranges import Ranges

T = TypeVar("T")
_MANY_SAMPLES = 40
_MOST_MISSING = 10_000_000


class ScatteredLedger(KeyLedger):
    """Done by position, in any order: the key is the position. Memory follows what is missing, not what is done.

    Raises:
        InputChangedError: If *saved* was made by key, or by a loop that goes in order.
        ValueError: If *saved* cannot have come from a ledger: missing < head <= handed out must hold.
    """

    def __init__(self, operation_id: str, saved: Saved | None = None) -> None:
        if saved and saved.get("by") != "scattered":
            raise followed_otherwise(operation_id, saved, "out of order, by position")
        saved = saved or {}
        self._operation_id = operation_id
        # What is at or beyond the head was handed out, perhaps, but none of it is done.
        self.head = _count_from(saved, "head")
        if not self.head <= _count_from(saved, "handed"):
            raise ValueError(f"{self.head} saved positions cannot be done, only {saved.get('handed')} were handed out")
        missing = Ranges.from_list(saved.get("missing", []), total=self.head)
        if len(missing) > _MOST_MISSING:
            raise ValueError(f"{len(missing)} saved positions cannot be missing")
        # In ascending order, as positions are handed out in it; copied in one step when a save runs in a thread.
        self._missing = dict.fromkeys(missing)
        self._handed = self.head
        self._samples = fingerprint.samples_from(saved.get("samples", ()))
        if any(one.position not in self for one in self._samples):
            raise ValueError("a saved sample is of a position that is not done")
        self._expected = {one.position: one for one in self._samples}
        self._settled_samples: frozenset[int] = frozenset()
        self._next_sampled = fingerprint.next_sampled(self.head)
        self._passed = 0
        self._offered: str | int = 0
        self.start = self.head - len(missing)
        self.total: int | None = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and 0 <= key < self._handed and key not in self._missing

    @property
    def missing(self) -> list[int]:
        """What was handed out and is not done, ascending."""
        return list(self._missing)

    def offer(self, item: Any) -> bool:
        """Look at the next *item* of an input that is gone through from its first; False if it is done already."""
        self._offered = position = self._passed
        self._passed += 1
        if position >= self.head:
            self.hand_out(position, item)
            return True
        if position in self._expected:
            self.compare(position, item)
        return position in self._missing

    def hand_out(self, position: int, item: Any) -> None:
        """*item*, one that was never handed out, is to be worked on now."""
        if position == self._next_sampled:
            self._see(position, item)
        self._missing[position] = None
        self._handed = position + 1

    def handing_out(self, items: Iterable[T]) -> Iterator[tuple[int, T]]:
        """*items*, those from the head on, each with its position: it is handed out."""
        missing = self._missing
        for position, item in enumerate(items, self._handed):
            if position == self._next_sampled:
                self._see(position, item)
            missing[position] = None
            self._handed = position + 1
            yield position, item

    @property
    def done(self) -> int:
        """How many items are done over all runs."""
        return self._handed - len(self._missing)

    def _see(self, position: int, item: Any) -> None:
        self._next_sampled = fingerprint.next_sampled(position + 1)
        samples = (*self._samples, fingerprint.sample(position, item))
        # One assignment of a whole tuple: a save may read it in another thread.
        self._samples = samples if len(samples) < _MANY_SAMPLES else fingerprint.thinned(samples, last=8)

    def add(self, key: str | int) -> None:
        del self._missing[key]  # type: ignore[arg-type]

    def check_indexed(self, items: Sequence[Any]) -> None:
        """Compare what is done of *items*, without going through it.

        Raises:
            InputChangedError: If it is not the same.
        """
        self.check_length(len(items))
        for position in self._expected:
            self.compare(position, items[position])

    def check_length(self, length: int) -> None:
        """*length* items are all that there are.

        Raises:
            InputChangedError: If items beyond that are done.
        """
        if length < self.head:
            self._fail(f"items up to the {self.head:,}th were done, but there are only {length:,} now")

    def compare(self, position: int, item: Any) -> None:
        """Look whether *item* is the one that was at *position*.

        Raises:
            InputChangedError: If it is not.
        """
        difference = self._expected[position].difference(item)
        if difference is not None:
            self._fail(difference)

    def _fail(self, difference: str) -> NoReturn:
        raise InputChangedError(
            self._operation_id,
            [difference],
            [
                f"start over:  {command_for('rm', self._operation_id)}",
                "start over, and from then on let order and number change:  map(..., key=...)",
            ],
        )

    def count_left(self, items: Collection[Any]) -> int:
        return max(0, len(items) - self._handed) + len(self._missing)

    def to_dict(self, position: int) -> dict[str, Any]:
        return self.as_now(position)()

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        handed = self._handed
        return partial(self._form, handed, list(self._missing))

    def _form(self, handed: int, missing: list[int]) -> dict[str, Any]:
        head, missing = handed, missing[:]
        while missing and missing[-1] >= head - 1:
            head = min(head, missing.pop())
        undone = set(missing)
        samples = [one for one in self._samples if one.position < head and one.position not in undone]
        return {
            "by": "scattered",
            "head": head,
            "handed": handed,
            "missing": _spans(missing),
            "total": self.total,
            "samples": list(map(list, fingerprint.thinned(samples))),
        }

    def changes(self, position: int) -> dict[str, Any]:
        form = self.to_dict(position)
        return form | {"samples": [one for one in form["samples"] if one[0] not in self._settled_samples]}

    def settle(self, changes: Saved) -> None:
        now = {one[0] for one in changes["samples"]}
        kept = {one.position for one in self._samples}
        self._settled_samples = frozenset(now | (self._settled_samples & kept))


def followed_otherwise(operation_id: str, saved: Saved, now: str) -> Exception:
    was = {"key": "by key", "position": "in order, by position", "scattered": "out of order, by position"}
    if saved.get("by") not in was:
        return ValueError(f"a saved loop must be by one of {sorted(was)}, not {saved.get('by')!r}")
    return InputChangedError(
        operation_id,
        [f"the loop was followed {was[saved['by']]}, and is to be followed {now} now"],
        ["go on as before", f"start over:  {command_for('rm', operation_id)}"],
    )


def _count_from(saved: Saved, name: str) -> int:
    value = saved.get(name, 0)
    if type(value) is not int or value < 0:
        raise ValueError(f"a saved {name} must be an int >= 0, not {value!r:.80}")
    return value


def _spans(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending *numbers* as ``[[first, last], ...]``, the form of :class:`Ranges`, in one pass."""
    spans: list[list[int]] = []
    last = -2
    for number in numbers:
        if number == last + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
        last = number
    return spans
