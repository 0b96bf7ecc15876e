"""How it goes: what one item takes, and how long a quota's windows are. Values that learn look by look.

Pure: a new value for each look; the caller says what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_RESUMED_SECONDS, _RESUMED_ITEMS = 60.0, 10.0
"""Earlier runs count for so much work, at most: this one may go at another speed."""

_SAME_WINDOW = 2.0
"""Seconds by which the end of one window may differ from answer to answer: rounding, and the way here."""

_OPENINGS_KEPT = 3
_CUSTOMARY_WINDOWS = (60.0, 3600.0, 86400.0)


@dataclass(frozen=True, slots=True)
class PerItem:
    """How much of something, seconds or units, one item takes: a mean in which older items count for less.

    Of what is the same for each item, the mean is exact, however the items are weighed.
    """

    items: float = 0.0
    amount: float = 0.0

    @property
    def mean(self) -> float | None:
        """None before the first item."""
        return self.amount / self.items if self.items > 0 else None

    def after(self, items: float, amount: float, keep: float) -> PerItem:
        """With *items* more, which took *amount*; what was measured before counts *keep* of what it did."""
        return PerItem(self.items * keep + items, self.amount * keep + amount)

    def in_a_new_run(self) -> PerItem:
        """The same mean, but of so little weight that the new run soon has its own."""
        if self.items <= 0:
            return PerItem()
        by_amount = _RESUMED_SECONDS / self.amount if self.amount > 0 else 0.0
        share = min(1.0, max(by_amount, _RESUMED_ITEMS / self.items))
        return PerItem(self.items * share, self.amount * share)

    def to_dict(self) -> dict[str, float]:
        """Plain values for the checkpoint."""
        return {"items": self.items, "amount": self.amount}

    @classmethod
    def from_dict(cls, entry: object) -> PerItem:
        """What :meth:`to_dict` gave; nothing measured, if it cannot be read."""
        fields = as_mapping(entry)
        items, amount = _amount(fields.get("items")), _amount(fields.get("amount"))
        return cls(items, amount) if items > 0 else cls()


@dataclass(frozen=True, slots=True)
class WindowLength:
    """How long the windows of one quota are, as far as its answers have shown.

    An answer tells when its window ends, not when it began. So the length is what the first answer of a new window
    has before it. Until one was seen to open, it is taken for a minute, an hour or a day, whichever is the first
    that is long enough.

    Attributes:
        opened: Seconds that the last few windows had before them when they opened, the newest last.
        longest: The most seconds that any answer had before it.
        reset_at: End of the newest window, in epoch seconds.
    """

    opened: tuple[float, ...] = ()
    longest: float = 0.0
    reset_at: float | None = None

    @property
    def seconds(self) -> float | None:
        """The likely length; None before the first answer."""
        if self.opened:
            # The middle one, of two the shorter: one absurd answer must not stretch all waits to come.
            return sorted(self.opened)[(len(self.opened) - 1) // 2]
        if not self.longest:
            return None
        guesses = (length for length in _CUSTOMARY_WINDOWS if self.longest <= length + _SAME_WINDOW)
        return next(guesses, self.longest)

    def look(self, reset_at: float, *, now: float, is_new: bool = False) -> WindowLength:
        """Learn from what is known of the quota at *now*, in epoch seconds.

        Args:
            is_new: Whether the very first answer opened its window: then it shows the whole length, too.
        """
        left = reset_at - now
        if not 0 < left < math.inf:
            return self
        has_opened = is_new if self.reset_at is None else self._has_opened(reset_at, now)
        opened = (*self.opened, left)[-_OPENINGS_KEPT:] if has_opened else self.opened
        return WindowLength(opened, max(self.longest, left), reset_at)

    def _has_opened(self, reset_at: float, now: float) -> bool:
        assert self.reset_at is not None
        return reset_at > self.reset_at + _SAME_WINDOW or self.reset_at <= now < reset_at

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {"opened": list(self.opened), "longest": self.longest}

    @classmethod
    def from_dict(cls, entry: object) -> WindowLength:
        """What :meth:`to_dict` gave; what cannot be read is left out."""
        fields = as_mapping(entry)
        opened = fields.get("opened")
        lengths = [_amount(length) for length in opened] if isinstance(opened, list) else []
        return cls(tuple(filter(None, lengths))[-_OPENINGS_KEPT:], _amount(fields.get("longest")))


def as_mapping(value: object) -> Mapping[str, Any]:
    """*value* if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _amount(value: object) -> float:
    """A finite number of 0 or more; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0.0
