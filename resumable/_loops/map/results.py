"""What all ways to work on many items share: what was asked for, the body's turn, and what is noted after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import tenacity

from ..._retry import Saver, reason
from .calls import SEEN
from .map_loop import Done, Key

if TYPE_CHECKING:
    from tenacity import RetryCallState

_log = logging.getLogger("resumable.retry")
OnError = Literal["raise", "skip", "collect"]
PLAIN = frozenset({int, str, float, bool, type(None), dict, list, tuple, bytes})
"""Types of results that say nothing of a quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``map`` was asked for.

    Raises:
        TypeError: If a number is no int, or *retry* is no policy of tenacity.
        ValueError: If a number is below 1, or *on_error* is none of the three.
    """

    max_in_flight: int = 64
    batch: int = 1
    retry: tenacity.BaseRetrying | None = None
    on_error: OnError = "raise"
    max_crashes: int = 2

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "batch", "max_crashes"):
            if not isinstance(getattr(self, name), int):
                raise TypeError(f"{name} must be an int, not {getattr(self, name)!r}")
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, not {getattr(self, name)!r}")
        if self.on_error not in ("raise", "skip", "collect"):
            raise ValueError(f"on_error must be 'raise', 'skip' or 'collect', not {self.on_error!r}")
        if self.retry is not None and not isinstance(self.retry, tenacity.BaseRetrying):
            raise TypeError(f"retry must be a policy such as tenacity.Retrying(...), not {self.retry!r:.80}")


class Owner(Saver, Protocol):
    """What any map asks of its checkpoint."""

    def observe(self, response: object, /) -> None: ...
    def error(self) -> None: ...
    @property
    def is_metered(self) -> bool:
        """Whether any quota is known."""
        ...

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """Whether *more* requests are left beyond those *in_flight*; None: nothing will be asked for."""
        ...


class MapOwner(Owner, Protocol):
    """The same for plain code."""

    def check_in(self) -> int: ...


class Landing:
    """What all ways of working share: the body's turn, and what is noted after it."""

    def __init__(self, loop: Done[Any], owner: Any, settings: Settings) -> None:
        self.loop = loop
        self.owner = owner
        self.settings = settings
        self._left = 0
        self._reason: str | None = None

    def ask_for_save(self, retry_state: RetryCallState) -> None:
        """A worker is about to sleep: have all saved that is done, as soon as no body is half-way. From any thread."""
        self._reason = reason(retry_state)
        self.loop.wake()

    def check_in(self) -> None:
        self.loop.rearm()
        if self._reason is not None:
            asked, self._reason = self._reason, None
            try:
                self.owner.save(asked)
            except Exception as failure:
                self.note_unsaved(failure)
        self._left = max(1, self.owner.check_in())

    def note_unsaved(self, failure: Exception) -> None:
        """A save for a retry failed: the next one that is due tries again, and tells the loop if it fails, too."""
        _log.error("%r could not be saved before a retry: %s", self.owner.operation_id, failure)

    def check_in_if_due(self) -> None:
        if self._left <= 0 or self.loop.was_woken:
            self.check_in()

    def give_up(self, key: Key, item: Any, error: BaseException) -> Iterator[tuple[Any, Any]]:
        """What the body sees of an item that failed."""
        self.observe(error)
        if self.settings.on_error == "raise":
            error.add_note(f"resumable: at item {item!r:.80}")
            raise error
        if self.settings.on_error == "collect":
            self.loop.at(key)
            yield item, error
        self.note_failure(key, error)

    def note_failure(self, key: Key, error: BaseException) -> None:
        self.loop.give_up(key, error)
        self.owner.error()

    def observe(self, seen: Any) -> None:
        """Learn of quotas from a response or an error."""
        limits = getattr(seen, SEEN, None)
        if limits:
            for limit in limits:
                self.owner.observe(limit)
        elif hasattr(seen, "headers") or hasattr(seen, "response"):
            self.owner.observe(seen)
