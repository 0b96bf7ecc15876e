"""The sum of a job that consists of shards, each an operation of its own."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import get_args

from .summary import State, Summary, percent_of

_SHARD = re.compile(r"(?P<job>.*\D)(?<=[-_/.:# ])(?P<number>[0-9]{1,5})", re.DOTALL)
_DATED = re.compile(r".*[0-9][-_/.:# ]+", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The progress of all shards of a job together, by the last save of each. Unknown values are None.

    Attributes:
        pattern: What the ids have in common: ``job-*``.
        states: The number of shards in each state.
        processed_items, failed_items: Of all shards for which they are known.
        total_items: None unless known for every shard. A finished shard counts with the items that it did.
        left_seconds: Until the last shard is done, at the pace of the running shards; if none runs, of all.
        missing: Numbers in between without a checkpoint: shards that have not begun, or are finished and removed.
    """

    pattern: str
    operation_ids: tuple[str, ...]
    states: dict[State, int]
    processed_items: int | None
    total_items: int | None
    failed_items: int
    percent: int | None
    left_seconds: float | None
    last_updated: datetime | None
    missing: tuple[int, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether no shard will do more, unless it is told to try failed items again."""
        return self.states.keys() <= {"finished", "incomplete"}


def matches(operation_id: str, pattern: str) -> bool:
    """Whether *pattern* is the id itself, or matches it with the shell's wildcards."""
    return operation_id == pattern or fnmatchcase(operation_id, pattern)


def sums_of(summaries: Sequence[Summary], patterns: Iterable[str] = ()) -> list[Sum]:
    """A sum of the matching operations for each of *patterns*; without any, for each job with numbered shards.

    These are two or more ids that differ only in a number at their end, counted from 0 or 1: ``job-0``, ``job-1``.
    A date at the end counts as no number (``crawl-2026-01-02``), nor does a year (``crawl-2026``).
    """
    if patterns:
        found = {one: [s for s in summaries if matches(s.operation_id, one)] for one in dict.fromkeys(patterns)}
        return [_sum(pattern, shards, ()) for pattern, shards in found.items() if len(shards) > 1]
    return [
        _sum(f"{job}*", [shards[key] for key in sorted(shards)], _missing({number for number, _ in shards}))
        for job, shards in _numbered(summaries).items()
        if len(shards) > 1 and min(shards)[0] < 2
    ]


def _numbered(summaries: Iterable[Summary]) -> dict[str, dict[tuple[int, str], Summary]]:
    """Shards by job, then by number and id, because ``job-1`` and ``job-01`` differ."""
    jobs: dict[str, dict[tuple[int, str], Summary]] = collections.defaultdict(dict)
    for summary in summaries:
        shard = _SHARD.fullmatch(summary.operation_id)
        if shard and not _DATED.fullmatch(shard["job"]):
            jobs[shard["job"]][int(shard["number"]), summary.operation_id] = summary
    return jobs


def _missing(numbers: set[int]) -> tuple[int, ...]:
    return tuple(number for number in range(min(numbers), max(numbers)) if number not in numbers)


def _sum(pattern: str, shards: Sequence[Summary], missing: tuple[int, ...]) -> Sum:
    counts = collections.Counter(one.state for one in shards)
    known = [one.processed_items for one in shards if one.processed_items is not None]
    processed, total = sum(known) if known else None, _total(shards)
    return Sum(
        pattern=pattern,
        operation_ids=tuple(one.operation_id for one in shards),
        states={state: counts[state] for state in get_args(State) if counts[state]},
        processed_items=processed,
        total_items=total,
        failed_items=sum(one.failed_items or 0 for one in shards),
        percent=percent_of(processed, total),
        left_seconds=None if total is None else _left(shards),
        last_updated=max((one.last_updated for one in shards if one.last_updated), default=None),
        missing=missing,
    )


def _total(shards: Iterable[Summary]) -> int | None:
    totals = [one.processed_items if one.state == "finished" else one.total_items for one in shards]
    return None if None in totals else sum(total for total in totals if total is not None)


def _left(shards: Iterable[Summary]) -> float | None:
    unfinished = [one for one in shards if not one.has_ended]
    items = sum((one.total_items or 0) - (one.processed_items or 0) for one in unfinished)
    if items <= 0:
        return 0.0 if items == 0 else None
    rate = sum(map(_rate, [one for one in unfinished if one.state == "running"] or unfinished))
    if not rate:
        return None
    return round(max([items / rate, *(one.left_seconds or 0.0 for one in unfinished)]), 1)


def _rate(summary: Summary) -> float:
    """Its items a second, over all runs."""
    return (summary.processed_items or 0) / summary.elapsed_time if summary.elapsed_time else 0.0
