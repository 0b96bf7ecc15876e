"""Readers of headers, and of a GraphQL answer's ``rateLimit``: what a server says of its rate limits.

Nothing here raises: headers that are broken, absurd or hostile are ignored. :mod:`resumable.ratelimit` lists the
families, with sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ._values import (
    YEAR,
    read_after,
    read_count,
    read_items,
    read_limit,
    read_numbers,
    read_offset,
    read_skew,
    read_stamp,
    read_text,
)

_MOST_LIMITS = 16
_LONGEST_NAME = 64
_PREFIXES = ("x-ratelimit", "ratelimit", "x-rate-limit")
_OTHER_FIELDS = frozenset({"date", "retry-after", "retry-after-ms", "x-shopify-shop-api-call-limit"})
_SUFFIXED = re.compile(r"x-ratelimit-(?P<number>limit|remaining|reset)-(?!after$)(?P<resource>[a-z0-9_.-]{1,64})")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(?P<resource>[a-z0-9_-]{1,64})-(?P<number>limit|remaining|reset)")
_DICTIONARY = re.compile(r"\b(limit|remaining|reset)=([0-9]{1,18})\b")
_CALL_LIMIT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_REFUSAL_WORDS = re.compile(
    r"rate.?limit|too many requests|abuse detection|quota.exceeded|throttl"
    r"|wait a few minutes before you try again|retry your request again later",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One quota, as one answer told it.

    Attributes:
        resource: Which of the server's quotas, such as ``core`` or ``tokens``; "" if it has only one.
        limit: Units in a full window, None if unknown.
        remaining: Units that are left in this window, None if unknown.
        reset_at: When the quota is fresh, in epoch seconds on our own clock; None if unknown.
        host: Which server, "" if unknown.
    """

    resource: str
    limit: int | None
    remaining: int | None
    reset_at: float | None
    host: str = ""


class _Reading(NamedTuple):
    fields: dict[str, str]
    now: float
    skew: float

    def limit(self, resource: str, limit: int | None, remaining: int | None, reset: str | None) -> RateLimit:
        after = read_after(reset, now=self.now, skew=self.skew) if reset else None
        reset_at = None if after is None else self.now + after
        # Names are shown on terminals: keep out what could steer one.
        name = "".join(filter(str.isprintable, resource[:_LONGEST_NAME]))
        return RateLimit(name, limit, remaining, reset_at)

    def limit_of(self, resource: str, numbers: Mapping[str, str]) -> RateLimit:
        limit, remaining = read_limit(numbers.get("limit")), read_count(numbers.get("remaining"))
        return self.limit(resource, limit, remaining, numbers.get("reset"))


def read_headers(headers: Mapping[str, str], *, status: int | None = None, now: float) -> list[RateLimit]:
    """All quotas that *headers* tell of, in any family's way. Upper and lower case do not matter.

    Args:
        status: The answer's status. A 403 or 429 with ``Retry-After`` counts as a quota that is used up.
        now: Epoch seconds on our clock. The server's ``Date`` says how far its clock is off.
    """
    fields = _wanted(headers)
    reading = _Reading(fields, now, read_skew(fields.get("date"), now))
    found = (limit for read in _FAMILIES for limit in read(reading))
    told = [limit for limit in found if limit.limit is not None or limit.remaining is not None]
    after = _retry_after(fields, now) if status in (403, 429) else None
    refusal = [] if after is None else [RateLimit("retry-after", None, 0, now + after)]
    return (refusal + told)[:_MOST_LIMITS]


def read_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms``, else by ``Retry-After``; None if neither can be read.

    A date in it is compared with the server's own ``Date``, else with *now* (epoch seconds on our clock).
    """
    return _retry_after(_wanted(headers), now)


def is_rate_limited(status: int | None, headers: Mapping[str, str], message: str | None = None) -> bool:
    """Whether an answer is a refusal for a rate limit: a 429, or another refusal that gives this reason.

    The error's own words in *message* reveal refusals with status 200 (GraphQL), 400 or 503, too. *status* is None if
    only the headers are known.
    """
    if status == 429:
        return True
    if message and status in (None, 200, 400, 403, 503) and _REFUSAL_WORDS.search(message):
        return True
    if status not in (None, 403):
        return False
    fields = _wanted(headers)
    if "stripe-rate-limited-reason" in fields or _retry_after(fields, None) is not None:
        return True
    return status == 403 and any(limit.remaining == 0 for limit in read_headers(headers, now=0.0))


def read_graphql(body: Any, *, now: float) -> RateLimit | None:
    """The ``rateLimit`` object of a GraphQL answer; None if *body* has none that can be read.

    *body* is the decoded answer, its ``data``, or the object itself; *now* is epoch seconds on our clock.
    """
    for name in ("data", "rateLimit"):
        body = body.get(name, body) if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping):
        return None
    limit, left, reset = (read_text(body.get(name)) for name in ("limit", "remaining", "resetAt"))
    if (remaining := read_count(left)) is None:
        return None
    return _Reading({}, now, 0.0).limit("graphql", read_limit(limit), remaining, reset)


def _wanted(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that may tell of limits, in lower case. Values of one name are joined by a comma."""
    fields: dict[str, str] = {}
    try:
        pairs = [(read_text(name).lower(), value) for name, value in headers.items()]
    except Exception:  # not a mapping after all
        return fields
    for name, value in pairs:
        if name in _OTHER_FIELDS or "ratelimit" in name or "rate-limit" in name:
            known, text = fields.get(name), read_text(value)
            fields[name] = f"{known}, {text}" if known else text
    return fields


def _retry_after(fields: dict[str, str], now: float | None) -> float | None:
    """Seconds to wait, or None. Without *now* the number means nothing, only that there is one."""
    milliseconds = max(read_numbers(fields.get("retry-after-ms", "")), default=-1.0)
    if 0 <= milliseconds <= YEAR * 1000:
        return milliseconds / 1000
    text, date = fields.get("retry-after", ""), fields.get("date")
    if now is None:
        now = read_stamp(date or text) or 0.0
    after = read_after(text, now=now, skew=read_offset(date, now))
    return None if after is None else max(0.0, after)


def _plain(reading: _Reading) -> Iterator[RateLimit]:
    """``X-RateLimit-Limit``, ``-Remaining``, ``-Reset`` and kin: GitHub, GitLab, Discord, Reddit, old drafts."""
    for prefix in _PREFIXES:
        if not {f"{prefix}-limit", f"{prefix}-remaining"} & reading.fields.keys():
            continue
        limit, remaining, used, reset, reset_after, *names = (
            reading.fields.get(f"{prefix}-{name}")
            for name in ("limit", "remaining", "used", "reset", "reset-after", "resource", "bucket", "name")
        )
        left, spent, full = read_count(remaining), read_count(used), read_limit(limit)
        if full is None and left is not None and spent is not None:
            full = left + spent
        yield reading.limit(next(filter(None, names), ""), full, left, reset_after or reset)


def _suffixed(reading: _Reading) -> Iterator[RateLimit]:
    """One header for each quota and number: OpenAI, Groq, Azure, Kong; Anthropic with the quota's name first."""
    quotas: dict[str, dict[str, str]] = {}
    for name, value in reading.fields.items():
        if match := _SUFFIXED.fullmatch(name) or _ANTHROPIC.fullmatch(name):
            quotas.setdefault(match["resource"], {})[match["number"]] = value
    for resource, quota in quotas.items():
        yield reading.limit_of(resource, quota)


def _structured(reading: _Reading) -> Iterator[RateLimit]:
    """``RateLimit`` and ``RateLimit-Policy`` of the IETF's drafts 8 to 11."""
    limits, policies = (_by_name(reading.fields.get(name, "")) for name in ("ratelimit", "ratelimit-policy"))
    for name in limits | policies:
        full, left = policies.get(name, {}), limits.get(name, {})
        yield reading.limit(name, read_limit(full.get("q")), read_count(left.get("r")), left.get("t"))


def _by_name(text: str) -> dict[str, dict[str, str]]:
    # A partition key tells quotas of one policy apart.
    return {f"{name} {values.get('pk', '').strip(':')}".strip(): values for name, values in read_items(text)}


def _dictionary(reading: _Reading) -> Iterator[RateLimit]:
    """``RateLimit: limit=100, remaining=50, reset=5`` of the IETF's draft 7."""
    yield reading.limit_of("", dict(_DICTIONARY.findall(reading.fields.get("ratelimit", ""))))


def _shopify(reading: _Reading) -> Iterator[RateLimit]:
    """Shopify's ``32/40``: 32 of 40 are used."""
    if match := _CALL_LIMIT.fullmatch(reading.fields.get("x-shopify-shop-api-call-limit", "")):
        used, limit = int(match[1]), int(match[2])
        yield reading.limit("shop", limit, max(0, limit - used), None)


_FAMILIES = (_plain, _suffixed, _structured, _dictionary, _shopify)
