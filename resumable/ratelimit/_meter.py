"""Learns from all responses of a program whether the next request must wait."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from .._text import hidden
from ._budget import ANYTHING, Asked, Budget, Key, is_same_window, key_of
from ._known import KnownHost, Parts, parts_of
from ._limits import RateLimit, check_numbers, is_refusal
from ._response import host_named, read_response

Answer = Literal["wait", "raise"] | None
_MOST_HOSTS = 256
_LONGEST_ACCOUNT = 24
"""A longer name, or one that looks like a token, may be the token itself: it is neither stored nor shown."""


class Meter:
    """The quotas that one program uses. *now* is epoch seconds on our clock in every method.

    Args:
        saved: What :meth:`to_dict` gave in an earlier run.

    Attributes:
        longest: The longest time to a reset in any answer, in seconds.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self.longest = 0.0
        self._budget = Budget.from_dict(saved)
        self._is_refused = True  # until that was looked up
        self._hosts: dict[tuple[Any, str], KnownHost] = {}
        self._names: dict[str, str] = {}
        self._answers: dict[Key, tuple[float, Answer]] = {}
        spared = (saved or {}).get("spared")
        self._spared = frozenset(filter(_is_text, spared if isinstance(spared, list) else ()))

    def observe(
        self, response: object, *, now: float, account: str = "", host: str = "", overtaken: int = 0, line: float = 1.0
    ) -> bool | None:
        """Learn from *response*. See :meth:`Budget.observe` for *overtaken*, *line* and the result.

        Args:
            account: The name of the token of the request; "" if unknown.
            host: The server, or a URL, if *response* does not contain it.
        """
        if type(response) is RateLimit:
            limit = replace(response, account=self._named(account)) if account else response
            if type(limit.host) is not str or "/" in limit.host:
                limit = replace(limit, host=host_named(limit.host))
            if type(limit.remaining) is not int or type(limit.limit) is not int or type(limit.reset_at) is not float:
                check_numbers(limit)
            bucket = self._budget.bucket(key_of(limit))
            if bucket is not None and limit.remaining is not None and bucket.is_told_again(limit, now):
                return bucket.lower(limit.remaining, line)
            return self._observe([limit], now, overtaken, line)
        parts = None if host else parts_of(response)
        known = None if parts is None or self._is_refused else self._hosts.get((parts.place, account))
        if parts is not None and known is not None:
            matters = known.quick(parts, now, line)
            if matters is not None:
                return matters
        told = read_response(response).tells(now)
        if host:
            told = [limit if limit.host else replace(limit, host=host_named(host)) for limit in told]
        if account and told:
            name = self._named(account)
            told = [replace(limit, account=name) for limit in told]
        matters = self._observe(told, now, overtaken, line)
        if parts is not None:
            with suppress(Exception):  # the status and the headers of an unknown object may be anything
                self._learn(parts, account, told)
        return matters

    def is_refusal(self, response: object) -> bool:
        """Whether *response* is one."""
        return read_response(response).is_rate_limited

    def _observe(self, told: list[RateLimit], now: float, overtaken: int, line: float) -> bool | None:
        matters = self._budget.observe(told, now, overtaken=overtaken, line=line)
        self.longest = max(self.longest, *((limit.reset_at or now) - now for limit in told), 0.0)
        self._is_refused = self._budget.is_refused(now)
        return matters

    def _learn(self, parts: Parts, account: str, told: Iterable[RateLimit]) -> None:
        if parts.status >= 400:
            return
        if len(self._hosts) >= _MOST_HOSTS:
            self._hosts.clear()
        known = self._hosts.setdefault((parts.place, account), KnownHost())
        buckets = ((limit, self._budget.bucket(key_of(limit))) for limit in told if not is_refusal(limit))
        # If an earlier answer's end of the window is kept, the texts of this answer do not belong to it.
        kept = {one.resource: each for one, each in buckets if each and each.told.reset_at == one.reset_at}
        known.learn(parts, kept)

    def _named(self, account: str) -> str:
        """The name of *account* in what is stored and shown."""
        name = _name_of(account)
        if name.startswith("#"):
            self._names[name] = account
        return name

    # -- what the next request asks

    def asked(self, host: str = "", account: str = "", resource: str = "", accounts: Iterable[str] = ()) -> Asked:
        """The target of a request, by the program's own names. *host* may be a URL."""
        return Asked(host_named(host), account and self._named(account), resource, tuple(map(self._named, accounts)))

    def spare(self, host: str) -> None:
        """Do not wait for *host*: the program does that itself."""
        if host and host not in self._spared:
            self._spared |= {host}

    @property
    def anything(self) -> Asked:
        """The target of a request about which nothing is known."""
        return Asked(spared=self._spared) if self._spared else ANYTHING

    # -- whether it must wait

    def exhausted(self, now: float, reserve: int = 0, asked: Asked = ANYTHING) -> RateLimit | None:
        """The quota to wait for; None if there is none, or the program decided to go on. See :class:`Budget`."""

        def is_passed(limit: RateLimit) -> bool:
            return self.answer_for(limit, now) == (None,)

        return self._budget.exhausted(now, reserve, asked, is_passed=is_passed)

    def note_answer(self, limit: RateLimit, answer: Answer) -> None:
        """Note what the program decided for the empty quota *limit*, until its window ends."""
        self._answers[key_of(limit)] = limit.reset_at or 0.0, answer

    def answer_for(self, limit: RateLimit, now: float) -> tuple[Answer] | None:
        """The decision for *limit*, in a tuple; None if there is none."""
        known = self._answers.get(key_of(limit))
        if known is None:
            return None
        # A repeated refusal ends later; the decision holds until the end of the first one.
        holds = is_same_window(known[0], limit.reset_at) or (is_refusal(limit) and now < known[0])
        return (known[1],) if holds else None

    def ready_account(self, now: float, asked: Asked) -> str:
        """The account with quota left, as the program calls it; "" if none is known. See :class:`Budget`."""
        name = self._budget.ready_account(now, asked)
        return self._names.get(name, name)

    # -- numbers

    def scarcest(self, now: float) -> RateLimit | None:
        """The quota with the least share left; None if no window is known that is not over."""
        return self._budget.scarcest(now)

    def used(self, limit: RateLimit) -> int:
        """Units of *limit*'s quota that were used since the operation began, by anybody."""
        return self._budget.used(limit)

    def fresh(self, now: float) -> int | None:
        """How many requests fit into the windows that have just begun; None if no window with a limit is over."""
        return self._budget.fresh(now)

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        spared = {"spared": sorted(self._spared)} if self._spared else {}
        return self._budget.to_dict() | spared


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@lru_cache(maxsize=_MOST_HOSTS)
def _name_of(account: object) -> str:
    name = "".join(filter(str.isprintable, str(account)))
    if len(name) <= _LONGEST_ACCOUNT and hidden(name) == name:
        return name
    return f"#{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:12]}"
