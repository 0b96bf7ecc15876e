"""How much is left of each server's quotas, as far as its answers have told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ._headers import RateLimit

_MOST_BUCKETS = 64
SAME_WINDOW_SECONDS = 2.0
"""The reset of one window may differ by this much from answer to answer: servers round, and answers take time."""


@dataclass(slots=True)
class _Bucket:
    told: RateLimit
    used: int = 1


class Budget:
    """The quotas of all servers that answered, by host and resource.

    *now* is epoch seconds on our clock in every method. A budget has no lock: threads that share one take turns.
    """

    def __init__(self, buckets: Iterable[_Bucket] = ()) -> None:
        self._buckets = {(bucket.told.host, bucket.told.resource): bucket for bucket in buckets}

    def observe(self, limits: Iterable[RateLimit], now: float) -> None:
        """Learn the *limits* that one answer told.

        Answers to requests that were sent together overtake each other. So within one window the lowest
        ``remaining`` stays; an answer of a later window replaces what was known.
        """
        for new in limits:
            key = (new.host, new.resource)
            if (bucket := self._buckets.get(key)) is not None:
                merged = _merge(bucket.told, new, now)
                bucket.used += _spent(bucket.told, merged, now)
                bucket.told = merged
                continue
            if len(self._buckets) >= _MOST_BUCKETS:  # a server that invents names must not fill the memory
                del self._buckets[max(self._buckets, key=lambda known: _fraction(self._buckets[known].told, now))]
            self._buckets[key] = _Bucket(new)

    def used(self, limit: RateLimit) -> int:
        """Units of *limit*'s quota that were used since the operation began, by anybody."""
        bucket = self._buckets.get((limit.host, limit.resource))
        return bucket.used if bucket else 0

    def scarcest(self, now: float) -> RateLimit | None:
        """The quota with the least share left; None if no window is known that is not over."""
        told = (bucket.told for bucket in self._buckets.values())
        measured = [limit for limit in told if limit.limit and _is_live(limit, now)]
        return min(measured, key=lambda limit: _fraction(limit, now), default=None)

    def exhausted(self, now: float, reserve: int = 0) -> RateLimit | None:
        """The quota to wait for: at most *reserve* units are left, and its reset is to come. Of several, the last."""
        empty = [bucket.told for bucket in self._buckets.values() if _is_empty(bucket.told, now, reserve)]
        return max(empty, key=lambda limit: limit.reset_at or 0.0, default=None)

    def fresh(self, now: float) -> int | None:
        """How many requests fit into the windows that have just begun; None if no window with a limit is over."""
        limits = [bucket.told.limit for bucket in self._buckets.values() if not _is_live(bucket.told, now)]
        return min(filter(None, limits), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, so that the next run knows what is left and until when."""
        return {"buckets": [asdict(bucket.told) | {"used": bucket.used} for bucket in self._buckets.values()]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | None) -> Budget:
        """The budget whose :meth:`to_dict` gave *document*. Entries that cannot be read are left out."""
        entries = (document or {}).get("buckets")
        return cls(filter(None, map(_bucket_from, entries if isinstance(entries, list) else [])))


def _merge(old: RateLimit, new: RateLimit, now: float) -> RateLimit:
    full = old.limit if new.limit is None else new.limit
    if new.remaining is None or _is_overtaken(old, new, now):
        return replace(old, limit=full)
    if old.remaining is None or old.reset_at is None or old.reset_at <= now:
        return replace(new, limit=full)
    reset_at = old.reset_at if new.reset_at is None else new.reset_at
    if abs(reset_at - old.reset_at) > SAME_WINDOW_SECONDS:
        # Of two refusals the longer one holds; else the server has changed its mind.
        is_refused_longer = old.remaining == new.remaining == 0 and reset_at < old.reset_at
        return replace(old if is_refused_longer else new, limit=full)
    if (old.remaining, -old.reset_at) <= (new.remaining, -reset_at):
        return replace(old, limit=full)
    return replace(new, limit=full, reset_at=reset_at)


def _is_overtaken(old: RateLimit, new: RateLimit, now: float) -> bool:
    """Whether *new* is about a window that is over, while *old* is about a later one."""
    if old.reset_at is None or new.reset_at is None:
        return False
    return new.reset_at < old.reset_at - SAME_WINDOW_SECONDS and new.reset_at <= now + SAME_WINDOW_SECONDS


def _spent(old: RateLimit, merged: RateLimit, now: float) -> int:
    """Units that were used between two answers. Before a window's first answer, one is assumed."""
    if merged.remaining is None or merged == old:
        return 0
    if old.remaining is None or merged.remaining > old.remaining or not _is_live(old, now):
        return 1
    return old.remaining - merged.remaining


def _is_live(limit: RateLimit, now: float) -> bool:
    """Whether the numbers still hold: once the window is over, nobody knows."""
    return limit.remaining is not None and (limit.reset_at is None or limit.reset_at > now)


def _is_empty(limit: RateLimit, now: float, reserve: int) -> bool:
    # A limit of 0, such as GraphQL without a token, stays 0: waiting does not help.
    has_reset = limit.limit != 0 and limit.reset_at is not None and limit.reset_at > now
    return has_reset and limit.remaining is not None and limit.remaining <= reserve


def _fraction(limit: RateLimit, now: float) -> float:
    """The share that is left, from 0 to 1; 1 where it is not known."""
    if limit.remaining is None or not _is_live(limit, now):
        return 1.0
    if not limit.limit:
        return 0.0 if limit.remaining == 0 else 1.0
    return min(1.0, limit.remaining / limit.limit)


def _bucket_from(entry: object) -> _Bucket | None:
    if not isinstance(entry, Mapping):
        return None
    host, resource, reset_at = entry.get("host"), entry.get("resource"), entry.get("reset_at")
    if not isinstance(host, str) or not isinstance(resource, str):
        return None
    counts = map(entry.get, ("limit", "remaining", "used"))
    limit, remaining, used = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    reset = float(reset_at) if isinstance(reset_at, int | float) else None
    return _Bucket(RateLimit(resource, limit, remaining, reset, host), used or 0)
