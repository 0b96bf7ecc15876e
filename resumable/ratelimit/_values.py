"""Readers of one header value. They never raise: a value that is unreadable or impossible is None."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

YEAR = 366 * 86400.0
"""Seconds. No quota is renewed later than this: a longer time is a mistake or an attack."""
_LARGEST_COUNT = 10**15
_LONGEST_VALUE = 4096
_EPOCH_FROM, _MILLISECONDS_FROM, _MICROSECONDS_FROM = 1e9, 1e12, 1e15  # smaller numbers are distances
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?")
_SPAN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ns|us|µs|ms|s|m|h|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

# RFC 9651, section 3.1: a list of items with parameters. Kinds of values that we do not use are only skipped.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf";[ \t]*([a-z*][a-z0-9_.*-]*)(?:=({_QUOTED}|:[A-Za-z0-9+/=]*:|[^;,\"\s]+))?[ \t]*")
_ITEM = re.compile(rf"[ \t]*({_QUOTED}|[A-Za-z*][\w!#$%&'*+.^`|~:/-]*)[ \t]*((?:{_PARAMETER.pattern})*)(?:,|$)")


def read_text(value: object) -> str:
    """*value* as text; "" if it is not a header value, or far too long for one."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18:
        value = format(value, ".17g")
    return value.strip() if isinstance(value, str) and len(value) <= _LONGEST_VALUE else ""


def read_number(text: str) -> float | None:
    """*text* as one finite number."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def read_numbers(text: str) -> list[float]:
    """The numbers of a header that was sent once or more often; none if one of them is broken."""
    numbers = [read_number(part) for part in text.split(",")]
    return [] if None in numbers else [number for number in numbers if number is not None]


def read_count(text: str | None) -> int | None:
    """A count of 0 or more, rounded down. Of several the lowest, to be careful."""
    lowest = min(read_numbers(text or ""), default=-1.0)
    return int(lowest) if 0 <= lowest <= _LARGEST_COUNT else None


def read_limit(text: str | None) -> int | None:
    """A count, also one with its policies behind it: ``100, 10;w=1, 100;w=60``; of several the lowest."""
    texts = (text or "").split(",")
    # A number with policies behind it is the one that counts. Without policies, a repeated header has several numbers.
    return read_count(texts[0].split(";")[0] if ";" in (text or "") else ",".join(texts))


def read_span(text: str) -> float | None:
    """Seconds, from a span such as ``6m0s``, ``1.5h`` or ``12ms``."""
    if _SPAN.sub("", text) or not text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _SPAN.findall(text))


def read_stamp(text: str) -> float | None:
    """Epoch seconds on the writer's clock, from an RFC 3339 time, an HTTP date, or Ruby's text of a time."""
    text = text.removesuffix(" UTC") if text[:4].isdigit() else text
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(Exception):  # the standard parsers raise anything
            stamp = parse(text)
            return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    return None


def read_offset(date: str | None, now: float) -> float:
    """How far our clock is ahead of the server's ``Date``, in seconds; 0 if unknown."""
    stamp = read_stamp(date) if date else None
    return now - stamp if stamp is not None and abs(now - stamp) <= YEAR else 0.0


def read_skew(date: str | None, now: float) -> float:
    """What to add to a server's time to get ours, in seconds."""
    ahead = read_offset(date, now)
    # A Date has no fractions: clocks that agree look up to one second apart.
    return 0.0 if 0 <= ahead <= 1 else ahead


def read_after(text: str, *, now: float, skew: float = 0.0) -> float | None:
    """Seconds from *now*, below 0 for the past, from a distance, a span, an epoch or a date; of several the latest."""
    number = max(read_numbers(text), default=None)
    if number is None:
        after, stamp = read_span(text), read_stamp(text)
    elif number < _EPOCH_FROM:
        after, stamp = number if number >= 0 else None, None
    else:
        after, stamp = None, number / _per_second(number)
    if after is None and stamp is not None:
        after = stamp + skew - now
    return after if after is not None and abs(after) <= YEAR else None


def _per_second(epoch: float) -> float:
    """In how many parts of a second *epoch* is counted."""
    if epoch >= _MICROSECONDS_FROM:
        return 1e6
    return 1e3 if epoch >= _MILLISECONDS_FROM else 1.0


def read_items(text: str) -> list[tuple[str, dict[str, str]]]:
    """The items of a structured list, each with its parameters; none if any part is malformed."""
    items: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(text):
        match = _ITEM.match(text, position)
        if match is None:
            return []
        items.append((match[1].strip('"'), dict(_PARAMETER.findall(match[2]))))
        position = match.end()
    return items
