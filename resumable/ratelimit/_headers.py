"""Readers of headers: what a server says about its rate limits.

Nothing here raises: broken, absurd or hostile headers are ignored. :mod:`resumable.ratelimit` lists the
families, with sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ._limits import RateLimit, refused
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
PREFIXES = ("x-ratelimit", "ratelimit", "x-rate-limit", "rate-limit")
MILLISECONDS_FIELDS = ("retry-after-ms", "x-ms-retry-after-ms")
_OTHER_FIELDS = frozenset(
    {"date", "retry-after", *MILLISECONDS_FIELDS, "x-shopify-shop-api-call-limit", "mediawiki-api-error"}
)
SUFFIXED = re.compile(r"x-ratelimit-(?P<number>limit|remaining|reset)-(?!after$)(?P<resource>[a-z0-9_.-]{1,64})")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(?P<resource>[a-z0-9_-]{1,64})-(?P<number>limit|remaining|reset)")
_INFIXED = re.compile(r"x-ratelimit-(?P<resource>[a-z0-9_.-]{1,64})-(?P<number>limit|remaining|reset)")
_WINDOW = re.compile(r";[ \t]*w=([0-9]{1,8})")
_DICTIONARY = re.compile(r"\b(limit|remaining|reset)=([0-9]{1,18})\b")
_CALL_LIMIT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


class _Reading(NamedTuple):
    fields: dict[str, str]
    now: float
    skew: float

    def limit(self, resource: str, limit: int | None, remaining: int | None, reset: str | None) -> RateLimit:
        after = read_after(reset, now=self.now, skew=self.skew) if reset else None
        reset_at = None if after is None else self.now + after
        # Names are shown on terminals, so they must not contain control characters.
        name = "".join(filter(str.isprintable, resource[:_LONGEST_NAME]))
        return RateLimit(name, limit, remaining, reset_at)

    def reset(self, prefix: str) -> str | None:
        """When the quota is fresh, by the headers that begin with *prefix*."""
        found = (self.fields.get(f"{prefix}-{name}") for name in ("reset-after", "reset", "resettime"))
        return next(filter(None, found), None)

    def limit_of(self, resource: str, numbers: Mapping[str, str]) -> RateLimit:
        limit, remaining = read_limit(numbers.get("limit")), read_count(numbers.get("remaining"))
        return self.limit(resource, limit, remaining, numbers.get("reset"))


def read_headers(headers: Mapping[str, str], *, status: int | None = None, now: float) -> list[RateLimit]:
    """All quotas in *headers*, of any family. Upper and lower case do not matter.

    Example:
        >>> [quota] = read_headers({"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "7"}, now=time.time())
        >>> quota.remaining
        7

    Args:
        status: The answer's status. A 403, 429 or 503 with ``Retry-After`` counts as a quota that is used up.
        now: Epoch seconds on our clock. The server's ``Date`` says how far its clock is off.
    """
    fields = wanted(headers)
    reading = _Reading(fields, now, read_skew(fields.get("date"), now))
    found = (limit for read in _FAMILIES for limit in read(reading))
    told = [limit for limit in found if limit.limit is not None or limit.remaining is not None]
    after = _retry_after(fields, now) if status in (403, 429, 503) else None
    refusal = [] if after is None else [refused(now + after)]
    return (refusal + told)[:_MOST_LIMITS]


def read_retry_after(headers: Mapping[str, str], *, now: float | None) -> float | None:
    """Seconds to wait by ``retry-after-ms``, else by ``Retry-After``; None if neither can be read.

    A date in it is compared with the server's own ``Date``, else with *now* (epoch seconds on our clock). Without
    *now* the number means nothing, only that there is one.

    Example:
        >>> read_retry_after({"Retry-After": "30"}, now=None)
        30.0
    """
    return _retry_after(wanted(headers), now)


def read_reset(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds until a quota is fresh, if *headers* say nothing else about it; None if they do not."""
    fields = wanted(headers)
    resets = filter(None, map(_Reading(fields, now, 0.0).reset, PREFIXES))
    afters = (read_after(reset, now=now, skew=read_skew(fields.get("date"), now)) for reset in resets)
    return max((after for after in afters if after is not None), default=None)


def named_resource(limits: list[RateLimit]) -> str:
    """The name of the quota that an answer is about; "" if it names none."""
    return limits[0].resource if len(limits) == 1 else ""


def is_wanted(name: str) -> bool:
    """Whether the header *name*, in lower case, may be about limits."""
    return name in _OTHER_FIELDS or "ratelimit" in name or "rate-limit" in name


def wanted(headers: Mapping[str, str]) -> dict[str, str]:
    """The *headers* that may be about limits, in lower case. Values of one name are joined by a comma."""
    fields: dict[str, str] = {}
    try:
        pairs = [(read_text(name).lower(), value) for name, value in headers.items()]
    except Exception:  # not a mapping after all
        return fields
    for name, value in pairs:
        if is_wanted(name):
            known, text = fields.get(name), read_text(value)
            fields[name] = f"{known}, {text}" if known else text
    return fields


def _retry_after(fields: dict[str, str], now: float | None) -> float | None:
    for name in MILLISECONDS_FIELDS:
        milliseconds = max(read_numbers(fields.get(name, "")), default=-1.0)
        if 0 <= milliseconds <= YEAR * 1000:
            return milliseconds / 1000
    text, date = fields.get("retry-after", ""), fields.get("date")
    if not text:
        return None
    if now is None:
        now = read_stamp(date or text) or 0.0
    after = read_after(text, now=now, skew=read_offset(date, now))
    return None if after is None else max(0.0, after)


def _plain(reading: _Reading) -> Iterator[RateLimit]:
    """``X-RateLimit-Limit``, ``-Remaining``, ``-Reset`` and kin: GitHub, GitLab, Discord, Reddit, old drafts."""
    for prefix in PREFIXES:
        if not {f"{prefix}-limit", f"{prefix}-remaining"} & reading.fields.keys():
            continue
        limit, remaining, used, *names = (
            reading.fields.get(f"{prefix}-{name}")
            for name in ("limit", "remaining", "used", "resource", "bucket", "name")
        )
        left, spent, full = read_limit(remaining), read_count(used), read_limit(limit)
        if full is None and left is not None and spent is not None:
            full = left + spent
        reset = reading.reset(prefix)
        if reset is None and left == 0 and (window := _WINDOW.search(remaining or "")):
            reset = window[1]  # Docker Hub says only this: 0;w=21600
        yield reading.limit(next(filter(None, names), ""), full, left, reset)


def _suffixed(reading: _Reading) -> Iterator[RateLimit]:
    """One header for each quota and number: OpenAI, Groq, Azure, Kong; Anthropic and Linear with the name first."""
    quotas: dict[str, dict[str, str]] = {}
    for name, value in reading.fields.items():
        if match := SUFFIXED.fullmatch(name) or _ANTHROPIC.fullmatch(name) or _INFIXED.fullmatch(name):
            quotas.setdefault(match["resource"], {})[match["number"]] = value
    for resource, quota in quotas.items():
        yield reading.limit_of(resource, quota)


def _structured(reading: _Reading) -> Iterator[RateLimit]:
    """``RateLimit`` and ``RateLimit-Policy`` of the IETF's drafts 8 to 11."""
    limits, policies = (_by_name(reading.fields.get(name, "")) for name in ("ratelimit", "ratelimit-policy"))
    for name in limits | policies:
        full, left = policies.get(name, {}), limits.get(name, {})
        remaining = read_count(left.get("r"))
        # Without a time, the length of the window is an upper bound.
        reset = left.get("t") or (full.get("w") if remaining == 0 else None)
        yield reading.limit(name, read_limit(full.get("q")), remaining, reset)


def _by_name(text: str) -> dict[str, dict[str, str]]:
    # A partition key distinguishes the quotas of one policy.
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
