"""What all ways to work on many items share: what was asked for, the body's turn, and what is noted after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ._done import Done
from ._failed import Key
from ._work import SEEN

if TYPE_CHECKING:
    import tenacity

OnError = Literal["raise", "skip", "collect"]
PLAIN = frozenset({int, str, float, bool, type(None), dict, list, tuple, bytes})
"""Types of results that say nothing of a quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``map`` was asked for.

    Raises:
        ValueError: If a number is below 1, or *on_error* is none of the three.
    """

    max_in_flight: int = 64
    batch: int = 1
    retry: tenacity.BaseRetrying | None = None
    on_error: OnError = "raise"
    max_crashes: int = 2

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "batch", "max_crashes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, not {getattr(self, name)!r}")
        if self.on_error not in ("raise", "skip", "collect"):
            raise ValueError(f"on_error must be 'raise', 'skip' or 'collect', not {self.on_error!r}")


class MapOwner(Protocol):
    """What a map asks of its checkpoint."""

    def check_in(self) -> int: ...
    def observe(self, response: object, /) -> None: ...
    def error(self) -> None: ...
    @property
    def is_metered(self) -> bool:
        """Whether any quota is known."""
        ...

    def has_quota(self, in_flight: int | None) -> bool:
        """Whether more than *in_flight* requests are left; None: nothing will be asked for."""
        ...


class Landing:
    """What both ways of working share: the body's turn, and what is noted after it."""

    def __init__(self, loop: Done[Any], owner: Any, settings: Settings) -> None:
        self.loop = loop
        self.owner = owner
        self.settings = settings
        self._left = 0

    def check_in(self) -> None:
        self.loop.rearm()
        self._left = max(1, self.owner.check_in())

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
