"""How much is left: the quotas of all servers, kept apart, as far as the answers have told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ._headers import RateLimit

_MOST_BUCKETS = 64
_SAME_WINDOW = 2.0
"""Seconds by which the reset of one window may differ from answer to answer: rounding, and the way here."""


@dataclass(slots=True)
class _Bucket:
    told: RateLimit
    used: int = 1


class Budget:
    """The quotas of all servers that answered, by host and resource.

    ``now`` is epoch seconds on our clock throughout. Pure, and not locked: callers in threads take turns.
    """

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._counted = 0

    def observe(self, limits: Iterable[RateLimit], now: float) -> None:
        """Learn from one answer.

        Answers that were asked at the same time overtake each other, so within one window the lowest
        ``remaining`` stays; an answer of a later window replaces what was known.
        """
        for limit in limits:
            self._observe_one(limit, now)

    def _observe_one(self, new: RateLimit, now: float) -> None:
        key = (new.host, new.resource)
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now)
            self._buckets[key] = _Bucket(new)
            return
        merged = _merge(bucket.told, new, now)
        bucket.used += _spent(bucket.told, merged, now)
        bucket.told = merged

    def _make_room(self, now: float) -> None:
        """Forget the quota that matters least: a server that names a new one each time must not fill memory."""
        if len(self._buckets) >= _MOST_BUCKETS:
            fullest = max(self._buckets, key=lambda key: _fraction(self._buckets[key].told, now))
            del self._buckets[fullest]

    def count(self, requests: int = 1) -> None:
        """Add requests that no answer told of."""
        self._counted += requests

    @property
    def requests_used(self) -> int:
        """Requests since the operation began: what the busiest quota lost, and what was counted by hand.

        An answer that costs nothing (304) takes nothing from a quota and does not count. Quotas of tokens
        count no requests; :meth:`used` tells of each quota in its own units.
        """
        used = (bucket.used for (_, name), bucket in self._buckets.items() if "token" not in name)
        return self._counted + max(used, default=0)

    def used(self, limit: RateLimit) -> int:
        """Units of the same quota as *limit* that went since the operation began, by whomever."""
        bucket = self._buckets.get((limit.host, limit.resource))
        return bucket.used if bucket else 0

    def scarcest(self, now: float) -> RateLimit | None:
        """The quota with the least share left; None if none is known that still runs."""
        known = [bucket.told for bucket in self._buckets.values() if _is_live(bucket.told, now)]
        measured = [limit for limit in known if limit.limit]
        return min(measured, key=lambda limit: _fraction(limit, now), default=None)

    def exhausted(self, now: float, reserve: int = 0) -> RateLimit | None:
        """The quota to wait for: at most *reserve* left and not fresh yet; of several the last to be fresh."""
        empty = [bucket.told for bucket in self._buckets.values() if _is_empty(bucket.told, now, reserve)]
        return max(empty, key=lambda limit: limit.reset_at or 0.0, default=None)

    def fresh(self, now: float) -> int | None:
        """How many requests a window that has just begun has, by what is known of the last one; None if none has.

        Of several, the least.
        """
        limits = [bucket.told.limit for bucket in self._buckets.values() if not _is_live(bucket.told, now)]
        return min(filter(None, limits), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint, so that the next run knows what is left and until when."""
        buckets = [asdict(bucket.told) | {"used": bucket.used} for bucket in self._buckets.values()]
        return {"counted": self._counted, "buckets": buckets}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | None) -> Budget:
        """The budget that :meth:`to_dict` wrote down. Entries that cannot be read are left out."""
        budget = cls()
        document = document or {}
        budget._counted = _whole(document.get("counted")) or 0
        entries = document.get("buckets")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, Mapping) and (told := _from_entry(entry)):
                used = _whole(entry.get("used")) or 0
                budget._buckets[told.host, told.resource] = _Bucket(told, used)
        return budget


def _merge(old: RateLimit, new: RateLimit, now: float) -> RateLimit:
    full = old.limit if new.limit is None else new.limit
    if new.remaining is None or _is_overtaken(old, new, now):
        return replace(old, limit=full)
    if old.remaining is None or old.reset_at is None or old.reset_at <= now:
        return replace(new, limit=full)
    reset_at = old.reset_at if new.reset_at is None else new.reset_at
    if abs(reset_at - old.reset_at) > _SAME_WINDOW:
        # Of two refusals the longer one holds; else the server has changed its mind.
        is_refused_longer = old.remaining == new.remaining == 0 and reset_at < old.reset_at
        return replace(old if is_refused_longer else new, limit=full)
    if (old.remaining, -old.reset_at) <= (new.remaining, -reset_at):
        return replace(old, limit=full)
    return replace(new, limit=full, reset_at=reset_at)


def _is_overtaken(old: RateLimit, new: RateLimit, now: float) -> bool:
    """Whether *new* speaks of a window that is over, when a later one is known."""
    if old.reset_at is None or new.reset_at is None:
        return False
    return new.reset_at < old.reset_at - _SAME_WINDOW and new.reset_at <= now + _SAME_WINDOW


def _spent(old: RateLimit, merged: RateLimit, now: float) -> int:
    """Units that went between two answers. Of what went unseen before a window's first answer: one."""
    if merged.remaining is None or merged == old:
        return 0
    if old.remaining is None or merged.remaining > old.remaining or not _is_live(old, now):
        return 1
    return old.remaining - merged.remaining


def _is_live(limit: RateLimit, now: float) -> bool:
    """Whether the numbers still hold: once the window is over, nobody knows."""
    return limit.remaining is not None and (limit.reset_at is None or limit.reset_at > now)


def _is_empty(limit: RateLimit, now: float, reserve: int) -> bool:
    # A limit of 0 is a door that is shut, such as GraphQL without a token: no wait opens it.
    if limit.limit == 0 or limit.remaining is None or limit.reset_at is None:
        return False
    return limit.remaining <= reserve and limit.reset_at > now


def _fraction(limit: RateLimit, now: float) -> float:
    """The share that is left, from 0 to 1; 1 where it is not known."""
    if limit.remaining is None or not _is_live(limit, now):
        return 1.0
    if not limit.limit:
        return 0.0 if limit.remaining == 0 else 1.0
    return min(1.0, limit.remaining / limit.limit)


def _from_entry(entry: Mapping[str, Any]) -> RateLimit | None:
    host, resource, reset_at = entry.get("host"), entry.get("resource"), entry.get("reset_at")
    if not isinstance(host, str) or not isinstance(resource, str):
        return None
    reset = float(reset_at) if isinstance(reset_at, int | float) else None
    return RateLimit(resource, _whole(entry.get("limit")), _whole(entry.get("remaining")), reset, host)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
