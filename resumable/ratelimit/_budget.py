"""How much is left of each quota, by the answers of servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

from ._limits import CALM_SECONDS, RateLimit, is_refusal, is_success, pause_after

_MOST_BUCKETS = 256
SAME_WINDOW_SECONDS = 2.0
"""The reset of one window may differ by this much from answer to answer: servers round, and answers take time."""


class Key(NamedTuple):
    """What distinguishes quotas."""

    host: str
    account: str
    resource: str


def key_of(limit: RateLimit) -> Key:
    """The key of *limit*'s quota."""
    return Key(limit.host, limit.account, limit.resource)


def is_same_window(reset_at: float | None, other: float | None) -> bool:
    """Whether two resets of one quota belong to one window."""
    if reset_at is None or other is None:
        return reset_at is other
    return abs(reset_at - other) <= SAME_WINDOW_SECONDS


def without_port(host: str) -> str:
    """The name of the server without its port. Each port has its own quotas; a name alone means all ports."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit() or (":" in name and not name.endswith("]")):
        return host
    return name.strip("[]")


class Asked(NamedTuple):
    """The target of the next request; "" and an empty tuple mean any.

    Attributes:
        host: A host; without a port, each of its ports.
        accounts: All accounts of the program, if it names them. One without an answer so far counts as full.
        spared: Hosts to ignore.
    """

    host: str = ""
    account: str = ""
    resource: str = ""
    accounts: tuple[str, ...] = ()
    spared: frozenset[str] = frozenset()

    def concerns(self, limit: RateLimit) -> bool:
        """Whether the request would use *limit*'s quota."""
        if self.account and limit.account != self.account:
            return False
        if self.host and limit.host != self.host and without_port(limit.host) != self.host:
            return False
        if self.resource and limit.resource != self.resource and not is_refusal(limit):
            return False
        return not self.spared or self.spared.isdisjoint((limit.host, without_port(limit.host)))


ANYTHING = Asked()


class Bucket:
    """One quota.

    Attributes:
        left: Units that are left, None if unknown.
        reset_at: When it is fresh, in epoch seconds; 0.0 if unknown.
        used: Units that were used since the operation began, by anybody.
        tries: For a refusal: how many came before it in a row, without a success.
        overtaken: For a refusal: how many successes do not end it, because their requests were sent before it.
    """

    __slots__ = ("_told", "left", "overtaken", "reset_at", "tries", "used")

    _told: RateLimit
    left: int | None
    reset_at: float

    def __init__(self, told: RateLimit, used: int = 1, tries: int = 0, overtaken: int = 0) -> None:
        self.told = told
        self.used = used
        self.tries = tries
        self.overtaken = overtaken

    @property
    def told(self) -> RateLimit:
        """What is known about the quota."""
        if self._told.remaining != self.left:
            self._told = replace(self._told, remaining=self.left)
        return self._told

    @told.setter
    def told(self, told: RateLimit) -> None:
        self._told, self.left, self.reset_at = told, told.remaining, told.reset_at or 0.0

    def is_told_again(self, new: RateLimit, now: float) -> bool:
        """Whether *new* differs only in how much is left of the present window."""
        known = self._told
        is_same = new.reset_at == known.reset_at and new.limit == known.limit and new.remaining is not None
        return is_same and self.reset_at > now and not is_refusal(known)

    def lower(self, remaining: int, line: float) -> bool:
        """Note that *remaining* units are left. Returns whether that is none, or at most the share *line*."""
        left = self.left
        if left is None or remaining >= left:  # a late answer does not increase what is left
            return False
        self.left = remaining
        self.used += left - remaining
        return _is_crossed(left, remaining, self._told.limit, line)


class Budget:
    """The quotas of all servers that answered, by host, account and resource.

    In every method, *now* is epoch seconds on our clock. A budget has no lock: callers must not use it concurrently.
    """

    def __init__(self, buckets: Iterable[Bucket] = ()) -> None:
        self._buckets = {key_of(bucket.told): bucket for bucket in buckets}

    def observe(self, limits: Iterable[RateLimit], now: float, *, overtaken: int = 0, line: float = 1.0) -> bool | None:
        """Learn the *limits* from one answer.

        Answers to concurrent requests arrive in any order. So within one window the lowest ``remaining`` counts; an
        answer of a later window replaces it.

        Args:
            overtaken: The number of other requests in flight. Their successes do not end a refusal that came first.
            line: A share to report when a quota falls to it; from 1 on, every number is reported.

        Returns:
            Whether the caller must act: a window or a refusal began or ended, or a quota fell to nothing or to the
            share *line*. None if the answer had no limits.
        """
        matters = None
        for new in limits:
            key = key_of(new)
            bucket = self._buckets.get(key)
            if is_refusal(new):
                if bucket is None and is_success(new):
                    self._note_account(new, now)
                    continue
                self._note_refusal(key, new, now, overtaken)
                matters = True
            elif bucket is not None:
                old, merged = bucket.told, _merge(bucket.told, new, now)
                bucket.used += _spent(old, merged, now)
                bucket.told = merged
                matters = matters or _is_turn(old, merged, now, line)
            else:
                self._add(key, Bucket(new), now)
                most = inf if new.remaining is None else new.remaining + 1.0
                matters = matters or _is_crossed(max(most, new.limit or 0), new.remaining, new.limit, line)
        return matters

    def bucket(self, key: Key) -> Bucket | None:
        """The quota with that *key*; None before its first answer."""
        return self._buckets.get(key)

    def is_refused(self, now: float) -> bool:
        """Whether there is a refusal that a success may end."""
        return any(
            is_refusal(bucket.told) and now < bucket.reset_at + CALM_SECONDS for bucket in self._buckets.values()
        )

    def _add(self, key: Key, bucket: Bucket, now: float) -> None:
        if len(self._buckets) >= _MOST_BUCKETS:  # a server that invents new names must not fill the memory
            fullest = max(self._buckets, key=lambda known: _fraction(self._buckets[known].told, now))
            self._buckets.pop(fullest).reset_at = 0.0  # whoever still uses it sees that it has ended
        self._buckets[key] = bucket

    def _note_account(self, new: RateLimit, now: float) -> None:
        """A request of an account succeeded: the account is ready, even if no answer tells its quota."""
        limit = RateLimit("", None, None, None, new.host, new.account)
        if new.account and key_of(limit) not in self._buckets:
            self._add(key_of(limit), Bucket(limit, used=0), now)

    def _note_refusal(self, key: Key, new: RateLimit, now: float, overtaken: int) -> None:
        """Note a refusal as an empty quota. Without a time, each repetition lasts longer."""
        known = self._buckets.get(key)
        if is_success(new):
            if known is not None:
                known.overtaken -= 1
                if known.overtaken < 0:
                    del self._buckets[key]
            return
        before = known.told.reset_at or now if known is not None else now
        tries = 0
        if known is not None and now < before + CALM_SECONDS:
            tries = known.tries + (now >= before)  # refusals of requests that were sent together are one
        after = None if new.reset_at is None else new.reset_at - now
        until = now + pause_after(after, tries)
        if known is not None and before > now:
            until = max(until, before)
        self._buckets.pop(key, None)
        self._add(key, Bucket(replace(new, reset_at=until), tries=tries, overtaken=overtaken), now)

    def used(self, limit: RateLimit) -> int:
        """Units of *limit*'s quota that were used since the operation began, by anybody."""
        bucket = self._buckets.get(key_of(limit))
        return bucket.used if bucket else 0

    def scarcest(self, now: float) -> RateLimit | None:
        """The quota with the least share left; None if no present window is known.

        Of several accounts of a host, the one with the most left counts.
        """
        of_hosts: dict[str, dict[str, RateLimit]] = {}
        for bucket in self._buckets.values():
            told = bucket.told
            if told.limit and _is_live(told, now):
                accounts = of_hosts.setdefault(told.host, {})
                known = accounts.get(told.account)
                if known is None or _fraction(told, now) < _fraction(known, now):
                    accounts[told.account] = told
        best = [max(one.values(), key=lambda limit: _fraction(limit, now)) for one in of_hosts.values()]
        return min(best, key=lambda limit: _fraction(limit, now), default=None)

    def exhausted(
        self,
        now: float,
        reserve: int = 0,
        asked: Asked = ANYTHING,
        *,
        is_passed: Callable[[RateLimit], bool] = lambda limit: False,
    ) -> RateLimit | None:
        """The quota to wait for before the request that is *asked*; None if there is none.

        An account waits for its last reset, a host for the first of its accounts, several hosts for the last.

        Args:
            reserve: Units to keep: if at most these are left, the quota counts as empty.
            is_passed: Whether not to wait for a given empty quota.
        """
        of_hosts: dict[str, dict[str, RateLimit | None]] = {}
        for bucket in self._buckets.values():
            told = bucket.told
            if not asked.concerns(told):
                continue
            accounts = of_hosts.setdefault(told.host, dict.fromkeys(asked.accounts))
            last = accounts.setdefault(told.account, None)
            if _is_empty(told, now, reserve) and not is_passed(told) and (last is None or _reset(told) > _reset(last)):
                accounts[told.account] = told
        first = [_first_ready(accounts.values()) for accounts in of_hosts.values()]
        return max(filter(None, first), key=_reset, default=None)

    def ready_account(self, now: float, asked: Asked) -> str:
        """The account of a host with the most left; if all are empty, the first to be fresh."""
        of_accounts: dict[str, tuple[float, float]] = dict.fromkeys(asked.accounts, (0.0, -1.0))
        for bucket in self._buckets.values():
            told = bucket.told
            if asked.concerns(told) and (not asked.accounts or told.account in of_accounts):
                busy = _reset(told) if _is_empty(told, now, 0) else 0.0
                measure = busy, -_fraction(told, now)
                of_accounts[told.account] = max(of_accounts.get(told.account, measure), measure)
        return min(of_accounts, key=of_accounts.__getitem__, default="")

    def fresh(self, now: float) -> int | None:
        """How many requests fit into the windows that have just begun; None if no window with a limit is over."""
        limits = [bucket.told.limit for bucket in self._buckets.values() if not _is_live(bucket.told, now)]
        return min(filter(None, limits), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, so that the next run knows what is left and until when."""
        return {"buckets": [_to_dict(bucket) for bucket in self._buckets.values()]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | None) -> Budget:
        """The budget whose :meth:`to_dict` gave *document*. Entries that cannot be read are left out."""
        entries = (document or {}).get("buckets")
        return cls(filter(None, map(_bucket_from, entries if isinstance(entries, list) else [])))


def _is_turn(old: RateLimit, merged: RateLimit, now: float, line: float) -> bool:
    """Whether a new window began, or a quota fell below the line."""
    if merged == old or merged.remaining is None:
        return False
    if old.remaining is None or not _is_live(old, now) or merged.remaining > old.remaining:
        return True
    if merged.remaining == 0 and not is_same_window(old.reset_at, merged.reset_at):
        return True
    return _is_crossed(old.remaining, merged.remaining, merged.limit, line)


def _is_crossed(before: float, left: int | None, limit: int | None, line: float) -> bool:
    """Whether *left* fell to nothing, or to the share *line*; *before* was more."""
    if left is None or left >= before:
        return False
    if left <= 0:
        return True
    return limit is not None and limit > 0 and left / limit <= line and (line >= 1 or before / limit > line)


def _first_ready(accounts: Iterable[RateLimit | None]) -> RateLimit | None:
    """The first reset that an account of a host waits for; None if one account need not wait."""
    waits = list(accounts)
    return None if None in waits else min(filter(None, waits), key=_reset, default=None)


def _reset(limit: RateLimit) -> float:
    return limit.reset_at or 0.0


def _merge(old: RateLimit, new: RateLimit, now: float) -> RateLimit:
    full = old.limit if new.limit is None else new.limit
    if new.remaining is None or _is_overtaken(old, new, now):
        return replace(old, limit=full)
    if old.remaining is None or old.reset_at is None or old.reset_at <= now:
        return replace(new, limit=full)
    reset_at = old.reset_at if new.reset_at is None else new.reset_at
    if not is_same_window(reset_at, old.reset_at):
        # Of two empty quotas the longer wait counts; otherwise the newer answer does.
        is_empty_longer = old.remaining == new.remaining == 0 and reset_at < old.reset_at
        return replace(old if is_empty_longer else new, limit=full)
    if (old.remaining, -old.reset_at) <= (new.remaining, -reset_at):
        return replace(old, limit=full)
    return replace(new, limit=full, reset_at=reset_at)


def _is_overtaken(old: RateLimit, new: RateLimit, now: float) -> bool:
    """Whether *new* is about an ended window, and *old* about a later one."""
    if old.reset_at is None or new.reset_at is None:
        return False
    return new.reset_at < old.reset_at - SAME_WINDOW_SECONDS and new.reset_at <= now + SAME_WINDOW_SECONDS


def _spent(old: RateLimit, merged: RateLimit, now: float) -> int:
    """Units used between two answers. Before the first answer of a window, one is assumed."""
    if merged.remaining is None or merged == old:
        return 0
    if old.remaining is None or merged.remaining > old.remaining or not _is_live(old, now):
        return 1
    return old.remaining - merged.remaining


def _is_live(limit: RateLimit, now: float) -> bool:
    """Whether the numbers are still valid: after the end of the window they are unknown."""
    return limit.remaining is not None and (limit.reset_at is None or limit.reset_at > now)


def _is_empty(limit: RateLimit, now: float, reserve: int) -> bool:
    # A limit of 0, such as GraphQL without a token, stays 0: waiting does not help.
    has_reset = limit.limit != 0 and limit.reset_at is not None and limit.reset_at > now
    return has_reset and limit.remaining is not None and limit.remaining <= reserve


def _fraction(limit: RateLimit, now: float) -> float:
    """The share that is left, from 0 to 1; 1 if unknown."""
    if limit.remaining is None or not _is_live(limit, now):
        return 1.0
    if not limit.limit:
        return 0.0 if limit.remaining == 0 else 1.0
    return min(1.0, limit.remaining / limit.limit)


def _to_dict(bucket: Bucket) -> dict[str, Any]:
    told = bucket.told
    entry = {
        "resource": told.resource,
        "limit": told.limit,
        "remaining": told.remaining,
        "reset_at": told.reset_at,
        "host": told.host,
        "used": bucket.used,
    }
    others = {"account": told.account, "tries": bucket.tries}
    return entry | {name: value for name, value in others.items() if value}


def _bucket_from(entry: object) -> Bucket | None:
    if not isinstance(entry, Mapping):
        return None
    host, resource, reset_at = entry.get("host"), entry.get("resource"), entry.get("reset_at")
    account = entry.get("account", "")
    if not isinstance(host, str) or not isinstance(resource, str) or not isinstance(account, str):
        return None
    counts = map(entry.get, ("limit", "remaining", "used", "tries"))
    limit, remaining, used, tries = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    reset = float(reset_at) if isinstance(reset_at, int | float) else None
    return Bucket(RateLimit(resource, limit, remaining, reset, host, account), used or 0, tries or 0)
