"""The last moment at which everything could be saved, kept in case a later value cannot be saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from math import inf
from typing import Any

import msgspec

from .._durable import Durable
from .._durable.changes import about_bytes
from .._json import encode
from .._runtime.clock import Clock
from .._runtime.steps import Steps
from .ahead import waiting
from .capture import Save
from .parts import Parts
from .writer import Writer

_SOONEST = 0.05
"""Seconds between two samples, at least, except for the first ones."""
_FREE_SECONDS = 0.01
"""Until sampling has taken this long, a sample is also due after 25% more items: short loops end soon."""
_FEWEST_ITEMS, _QUARTER = 16, 4
_SHARE = 100
"""After a sample that took one second, none is taken for this many seconds."""
_WITHOUT_NEED = 0.25
"""Seconds until the next check whether there is anything to sample."""
_MANY = 100
"""A container of fewer entries is large only if one of these is."""
_KEEP_UP_TO = 4 << 20
"""Larger documents, in bytes, are not kept."""


class Guard(msgspec.Struct):
    """Samples the values that no assignment checks (plain values, logs) as often as that is cheap; keeps the good ones.

    Mappings, sets and output files refuse a bad value themselves. Not thread-safe: its owner takes turns.

    Attributes:
        is_asleep: Whether to take only the first samples; for a proof, which counts what a run does.
        has_looked: Whether the first sample was taken, or is not needed.
        looks: Number of samples.
        looks_at: When the next sample is due, in monotonic seconds.
        looks_at_item: The number of done items, over all runs, at which it is due.
        spent: Seconds that all samples took.
    """

    parts: Parts
    writer: Writer
    clock: Clock
    is_asleep: bool = False
    has_looked: bool = False
    looks: int = 0
    looks_at: float = 0.0
    looks_at_item: float = inf
    spent: float = 0.0

    # -- when to look

    def is_due(self, now: float) -> bool:
        """Whether to take a sample at *now* if no save is made. The first item, begun and done, makes one due, too."""
        parts = self.parts
        if not parts.is_proven and (parts.has_done or not self.has_looked):
            return True
        if self.is_asleep or (now < self.looks_at and parts.metadata.processed_items < self.looks_at_item):
            return False
        parts.cut.boundary.has_many = bool(waiting(parts))
        if self._is_needed():
            return True
        self.looks_at, self.looks_at_item = now + _WITHOUT_NEED, inf
        return False

    def _is_needed(self) -> bool:
        state = self.parts.state
        if type(state) is not dict:
            return True
        values = [value for value in state.copy().values() if not isinstance(value, Durable) or value.kind == "log"]
        logs = [value for value in values if isinstance(value, Durable)]
        return bool(values) and sum(log.changed_bytes() for log in logs) <= _KEEP_UP_TO

    # -- look

    def look(self, take: Callable[[], Save]) -> None:
        """Sample what *take* returns, and keep it until a newer sample or a save.

        Raises:
            StateEncodeError: It cannot be saved. The earlier sample is kept.
        """
        began, worked_before = self.clock.now(), time.thread_time()
        self.has_looked = True
        self.looks += 1
        if self.parts.is_proven and (large := self._too_large_to_keep()):
            self.parts.checker.check(large, "$.state")
        else:
            self._keep(self.writer.prepare(take, wholly=not self.parts.is_proven, most=_KEEP_UP_TO))
        ended = self.clock.now()
        took = min(ended - began, time.thread_time() - worked_before)  # on a busy machine, much of the time is waiting
        self.spent += took
        is_needed, done = self._is_needed(), self.parts.metadata.processed_items
        self.looks_at = ended + max(_SOONEST if is_needed else _WITHOUT_NEED, _SHARE * took)
        more = max(_FEWEST_ITEMS, (done - self.parts.items_before) // _QUARTER)
        self.looks_at_item = done + more if is_needed and self.spent < _FREE_SECONDS else inf

    def _too_large_to_keep(self) -> dict[str, Any]:
        """The plain values, if they are more than is kept: to encode them would hold up the loop for nothing."""
        state = self.parts.state
        if type(state) is not dict:
            return {}
        plain = {name: value for name, value in state.copy().items() if not isinstance(value, Durable)}
        return plain if sum(map(_about_bytes, plain.values())) > _KEEP_UP_TO else {}

    def _keep(self, save: Save | None) -> None:
        if save is None or self.parts.hooks:
            return
        if save.document is None or save.document.estimate <= _KEEP_UP_TO:
            self.writer.kept = save

    # -- save what was good

    def save_last_good(self, reason: str, *, at: datetime) -> Steps[int | None]:
        """Save the last good moment, because the present one cannot be saved and the run has ended for *reason*.

        Returns:
            The number of done items at that moment; None if nothing is stored and no sample was good.

        Raises:
            StoreError: The store cannot take it. The earlier checkpoint stands.
        """
        save, stored = self.writer.kept, self.writer.stored_values
        if save is not None and save.record is not None and stored is None:
            save = None  # after a failure nobody knows which save it would follow
        if stored is None and (save is None or (not self.parts.is_proven and not self.parts.last_run)):
            return None
        values = save.values if save is not None else stored
        if not values:
            values = self.parts.metadata.to_dict() | {"processed_items": self.parts.items_before}
        values = values | {"save_count": self.parts.metadata.save_count + 1, "last_save_reason": reason}
        items: int = values.get("processed_items", 0)
        history = self.parts.history.ended(reason, items, at=at)
        if save is not None:
            yield from save.first
        if save is not None and save.document is not None:
            save.document.retell(values, history)
            yield from self.writer.write_last(save.document, values, at)
        else:
            record = _retold(save.record if save is not None else None, values, history, at)
            yield from self.writer.write_last(record, values, at)
        return items


def _about_bytes(value: Any, depth: int = 3) -> int:
    """About how many bytes of JSON the large containers in *value* take, at least; small ones do not count."""
    if type(value) not in (dict, list):
        return 0
    some: list[Any] = list(islice(value.values() if type(value) is dict else value, _MANY))  # by one call
    if len(some) == _MANY:
        return about_bytes(len(value), some)
    return sum(_about_bytes(one, depth - 1) for one in some) if depth else 0


def _retold(record: bytes | None, values: dict[str, Any], history: bytes, at: datetime) -> bytes:
    """*record* (or an empty one) as a journal record with other metadata and another history."""
    parts: dict[str, Any] = {"at": at.isoformat()}
    sections: dict[str, Any] = {}
    if record is not None:
        parts = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        sections = msgspec.json.decode(parts["resumable"], type=dict[str, msgspec.Raw])
    sections["history"] = msgspec.Raw(history)
    return encode(parts | {"metadata": values, "resumable": sections})
