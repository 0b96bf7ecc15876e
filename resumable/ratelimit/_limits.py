"""Values for what one answer says: a quota, a refusal, or a success."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

_REFUSED = "retry-after"
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 3600.0
"""The wait after a refusal that names no time. It doubles with each further one."""
_SHORT_PAUSE_SECONDS, _LONGEST_SHORT_PAUSE_SECONDS = 1.0, 60.0
"""The wait after a refusal whose time has passed, because servers round down. It doubles with each further one."""
CALM_SECONDS = 3600.0
"""A refusal this long after the end of the one before begins a new count."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One quota, as one answer states it.

    Example:
        >>> RateLimit("core", limit=5000, remaining=0, reset_at=time.time() + 60, host="api.github.com").remaining
        0

    Attributes:
        resource: Which of the server's quotas, such as ``core`` or ``tokens``; "" if it has only one.
        limit: Units in a full window, None if unknown.
        remaining: Units that are left in this window, None if unknown.
        reset_at: When the quota is fresh, in epoch seconds on our own clock; None if unknown.
        host: Which server, "" if unknown.
        account: The name of the token, if the program uses several; "" if it did not name one.
    """

    resource: str
    limit: int | None
    remaining: int | None
    reset_at: float | None
    host: str = ""
    account: str = ""


def check_numbers(limit: RateLimit) -> None:
    """Refuse a quota that a program states itself, if its numbers are none.

    Raises:
        TypeError: A value is not a number.
    """
    for name in ("remaining", "limit", "reset_at"):
        value = getattr(limit, name)
        if value is not None and not isinstance(value, Real):  # numpy's numbers are Real, too
            hint = ": seconds since the epoch, as from when.timestamp()" if name == "reset_at" else ""
            raise TypeError(f"{name} must be a number{hint}; not {value!r:.80}")


def refused(until: float | None, resource: str = "") -> RateLimit:
    """A refusal that lasts *until*, in epoch seconds; None if it names no time. *resource* may be unknown."""
    return RateLimit(f"{resource} {_REFUSED}".lstrip(), None, 0, until)


def succeeded(resource: str = "") -> RateLimit:
    """An answer that is not a refusal, and ends one."""
    return RateLimit(f"{resource} {_REFUSED}".lstrip(), None, None, None)


def is_refusal(limit: RateLimit) -> bool:
    """Whether *limit* stands for a refusal, or for the end of one."""
    return limit.limit is None and limit.resource.endswith(_REFUSED)


def is_success(limit: RateLimit) -> bool:
    """Whether *limit* ends a refusal."""
    return limit.remaining is None and is_refusal(limit)


def pause_after(after: float | None, tries: int) -> float:
    """Seconds to wait after a refusal.

    Args:
        after: Seconds until the time that it names, 0 or less if that has passed; None if it names none.
        tries: How many refusals came before it in a row, without a success.
    """
    if after is not None and after > 0:
        return after
    doubled = 2.0 ** min(tries, 16)
    if after is None:
        return min(_PAUSE_SECONDS * doubled, _LONGEST_PAUSE_SECONDS)
    return min(_SHORT_PAUSE_SECONDS * doubled, _LONGEST_SHORT_PAUSE_SECONDS)
