"""Readers of decoded bodies: what an API says about its limits in JSON.

Nothing here raises, whatever shape a body has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ._limits import RateLimit
from ._values import YEAR, read_after, read_count, read_limit, read_number, read_span, read_text

_LONGEST_MESSAGE = 500
_MOST_ERRORS = 10
_CODE_NAMES = ("type", "code", "reason", "status", "error_code", "errorCode", "error")
_OWN_CODE_NAMES = ("error", "error_code", "errorCode", "errorType", "__type", "code")
"""The fields that hold the code, if the body itself is an error."""
_REFUSAL_CODE = re.compile(
    r"ratelimit|throttl|toomanyrequests|maxlag|slowdown|resourceexhausted|throughputexceeded|complexitybudgetexhausted"
    r"|(daily|concurrent|variableterm|request|usage)limitexceeded|quotaexceeded"
)
_SECONDS_NAMES = ("retry_after", "retryAfter", "retry_after_seconds", "retryAfterSeconds", "retry_in_seconds")
_MILLISECONDS_NAMES = ("retry_after_ms", "retryAfterMs")
_RESET_NAMES = ("resetAt", "reset_at", "windowResetAt")


def read_graphql(body: Any, *, now: float) -> RateLimit | None:
    """The quota in a GraphQL answer; None if there is none that can be read.

    If less is left than this query cost, nothing counts as left: the next query would be refused.

    Args:
        body: The decoded answer, its ``data``, or GitHub's ``rateLimit`` object itself; Shopify's ``throttleStatus``
            stands in the answer's ``extensions``.
        now: Epoch seconds on our clock.
    """
    cost = _at(body, "extensions", "cost")
    throttle = _at(cost, "throttleStatus")
    if isinstance(throttle, Mapping):
        return _read_throttle(throttle, _number(cost, "requestedQueryCost"), now)
    for name in ("data", "rateLimit"):
        body = body.get(name, body) if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping):
        return None
    limit, left, reset = (read_text(body.get(name)) for name in ("limit", "remaining", "resetAt"))
    if (remaining := read_count(left)) is None:
        return None
    after = read_after(reset, now=now) if reset else None
    if remaining < (_number(body, "cost") or 0):
        remaining = 0
    return RateLimit("graphql", read_limit(limit), remaining, None if after is None else now + after)


def _read_throttle(throttle: Mapping[str, Any], cost: float | None, now: float) -> RateLimit | None:
    """Shopify's bucket, which fills at a constant rate."""
    full, left, rate = (_number(throttle, name) for name in ("maximumAvailable", "currentlyAvailable", "restoreRate"))
    if full is None or left is None or not 0 <= left <= full <= 1e12:
        return None
    if cost is None or left >= cost:
        return RateLimit("graphql", int(full), int(left), None)
    after = (min(cost, full) - left) / rate if rate and rate > 0 else None
    return RateLimit("graphql", int(full), 0, None if after is None or after > YEAR else now + after)


def is_refused(body: Any) -> bool:
    """Whether the code of an error in *body* names a limit as the reason. Words do not count."""
    return any(_REFUSAL_CODE.search(code) for code in _codes(body))


def read_body_after(body: Any, *, now: float) -> float | None:
    """The seconds to wait that *body* asks for; None if it asks for none."""
    for place in _places(body):
        for name in (*_SECONDS_NAMES, "retryDelay"):
            if (after := _seconds(place.get(name))) is not None:
                return after
        for name in _MILLISECONDS_NAMES:
            if (after := _number(place, name)) is not None and 0 <= after <= YEAR * 1000:
                return after / 1000
        for name in _RESET_NAMES:
            if (text := read_text(place.get(name))) and (after := read_after(text, now=now)) is not None:
                return after
    return None


def read_status(body: Any) -> int | None:
    """The status that *body* repeats, as Telegram, Google and RFC 9457 do."""
    problem = _at(body, "status") if _at(body, "title") is not None else None
    for value in (_at(body, "error_code"), _at(body, "error", "code"), problem):
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return None


def is_error(body: Mapping[Any, Any]) -> bool:
    """Whether a decoded *body* is an error, and neither a mapping of headers nor an answer."""
    names = ("error", *_OWN_CODE_NAMES[1:-1], "documentation_url")
    return body.get("ok") is False or read_status(body) is not None or any(map(body.get, names))


def read_words(source: Any) -> str:
    """The message in the body of an error, in any of the fields that APIs use."""
    if isinstance(source, str):
        return source[:_LONGEST_MESSAGE]
    if isinstance(source, list | tuple):
        return read_words(source[0]) if source else ""
    if not isinstance(source, Mapping) and _item(source, "message") is None:
        return ""
    parts = (_item(source, name) for name in ("type", "code", "title", "message", "description", "error", "errors"))
    return " ".join(filter(None, map(read_words, parts)))[:_LONGEST_MESSAGE]


def _places(body: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in which APIs say how long to wait."""
    if isinstance(body, list):
        body = body[0] if body else None
    for path in ((), ("parameters",), ("extensions", "cost"), ("extensions",)):
        if isinstance(place := _at(body, *path), Mapping):
            yield place
    for error in _errors(body):
        yield error
        details = error.get("details")
        for place in (error.get("extensions"), _at(error, "extensions", "cost"), error.get("metadata"), details):
            if isinstance(place, Mapping):
                yield place
        if isinstance(details, list):
            yield from (detail for detail in details[:_MOST_ERRORS] if isinstance(detail, Mapping))


def _errors(body: Any) -> Iterator[Mapping[str, Any]]:
    """The errors of GraphQL, Google, MediaWiki and others, also those within one."""
    if isinstance(body, list):
        body = body[0] if body else None
    for found in (_at(body, "errors"), _at(body, "error"), _at(body, "error", "errors")):
        for error in found[:_MOST_ERRORS] if isinstance(found, list) else [found]:
            if isinstance(error, Mapping):
                yield error


def _codes(body: Any) -> Iterator[str]:
    for error in _errors(body):
        for place in (error, error.get("extensions")):
            if isinstance(place, Mapping):
                yield from map(_plain, map(place.get, _CODE_NAMES))
    if isinstance(body, list):  # Salesforce
        yield _plain(_at(body[0] if body else None, "errorCode"))
    yield from (_plain(_at(body, name)) for name in _OWN_CODE_NAMES)


def _plain(code: Any) -> str:
    """A code such as ``RATE_LIMITED`` or ``dailyLimitExceeded``, normalized; "" for a sentence."""
    is_code = isinstance(code, str) and len(code) <= 100 and " " not in code
    return code.lower().replace("_", "").replace("-", "") if is_code else ""


def _seconds(value: Any) -> float | None:
    """Seconds, from a number, a span such as ``600s``, or protobuf's ``{"seconds": 600}``."""
    if isinstance(value, Mapping):
        value = value.get("seconds")
    text = read_text(value)
    number = read_number(text)
    seconds = read_span(text) if number is None else number
    return seconds if seconds is not None and 0 <= seconds <= YEAR else None


def _number(source: Any, name: str) -> float | None:
    return read_number(read_text(_at(source, name)))


def _at(body: Any, *path: str) -> Any:
    for name in path:
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def _item(source: Any, name: str) -> Any:
    """An entry of a mapping, or an attribute of an object that stands for one."""
    try:
        return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    except Exception:
        return None
