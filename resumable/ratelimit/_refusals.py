"""What counts as a refusal for a rate limit, and how long it lasts; :mod:`resumable.ratelimit` lists the rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ._bodies import is_refused, read_body_after, read_graphql
from ._headers import MILLISECONDS_FIELDS, named_resource, read_headers, read_reset, read_retry_after, wanted
from ._limits import RateLimit, refused
from ._values import read_number

_REFUSAL_WORDS = re.compile(
    r"rate.?limit|too many requests|abuse detection|quota.exceeded|throttl|daily.?limit.?exceeded"
    r"|request limit (?:is )?reached|reduce your request rate"
    r"|wait a few minutes before you try again|retry your request again later",
    re.IGNORECASE,
)
_ASKS_TO_WAIT = frozenset({None, 202, 301, 302, 303, 307, 308, 408, 413, 425, 500, 502, 504})
"""Statuses whose ``Retry-After`` applies to another try, though they are not refusals."""


def is_rate_limited(
    status: int | None, headers: Mapping[str, str], message: str | None = None, body: Any = None
) -> bool:
    """Whether an answer is a refusal for a rate limit.

    Args:
        status: None if only the headers are known.
        message: The error's own words.
        body: The decoded body.
    """
    if status == 429:
        return True
    if status not in (None, 200, 400, 403, 503):
        return False
    fields = wanted(headers)
    if (message and _REFUSAL_WORDS.search(message)) or (body is not None and is_refused(body)):
        return True
    if status == 200:
        return re.search("maxlag|ratelimited", fields.get("mediawiki-api-error", "")) is not None
    if status == 400:
        return False
    if "stripe-rate-limited-reason" in fields or read_retry_after(fields, now=None) is not None:
        return True
    return status == 403 and any(limit.remaining == 0 for limit in read_headers(fields, now=0.0))


def read_refusal(headers: Mapping[str, str], body: Any, limits: list[RateLimit], *, now: float) -> RateLimit | None:
    """How long a refusal lasts; None if it lasts until one of the *limits* that came with it is fresh.

    Args:
        body: The decoded body, if there is one.
        now: Epoch seconds on our clock.
    """
    resource = named_resource(limits)
    after = read_retry_after(headers, now=now)
    if after is None:
        after = read_body_after(body, now=now)
    if after is None and (told := read_graphql(body, now=now)) and told.reset_at is not None:
        after = told.reset_at - now
    if after is not None:
        return refused(now + after, resource)
    empty = [limit for limit in limits if limit.remaining == 0] or [one for one in limits if one.remaining is None]
    reset_at = max((limit.reset_at for limit in empty if limit.reset_at is not None), default=None)
    if reset_at is None and not limits and (after := read_reset(headers, now=now)) is not None:
        reset_at = now + after
    if reset_at is not None and reset_at > now and any(limit.remaining == 0 and limit.limit != 0 for limit in empty):
        return None
    return refused(reset_at, resource)


def read_wish(status: int | None, headers: Mapping[str, str], *, now: float) -> float | None:
    """The seconds to wait before another try, by an answer that is not a refusal; None if it names none."""
    return read_retry_after(headers, now=now) if status in _ASKS_TO_WAIT else None


def is_exact(headers: Mapping[str, str]) -> bool:
    """Whether *headers* state the time to wait in fractions of a second, so that it is not rounded."""
    fields = wanted(headers)
    number = read_number(fields.get("retry-after", ""))
    return not fields.keys().isdisjoint(MILLISECONDS_FIELDS) or (number is not None and number % 1 != 0)
