"""The common part of all maps: their settings, and what happens before and after the loop's body gets a result."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import tenacity

from ..._errors import RateLimitExhausted, RunAgain, TooManyFailedError
from ..._retry import Saver, check_policy, reason
from ..._text import shortened
from ..ledgers.by_position import ItemKey
from ..ledgers.failed import error_text
from ..loop import Items_co, LoopOwner
from .calls import LIMITS
from .grace import Grace
from .map_loop import MapLoop

if TYPE_CHECKING:
    from tenacity import RetryCallState

_log = logging.getLogger("resumable.retry")
OnError = Literal["raise", "skip", "collect"]
_FEW = 100
"""Without a length, *max_failed* as a share is a share of at least this many items: few failures mean little."""
PLAIN = frozenset({int, str, float, bool, type(None), dict, list, tuple, bytes})
"""Types of results that carry no quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """The arguments of ``map`` and ``amap``, checked; raises TypeError or ValueError."""

    max_in_flight: int = 64
    batch: int = 1
    retry: tenacity.BaseRetrying | None = None
    on_error: OnError = "raise"
    max_failed: float | None = None
    max_crashes: int = 2
    grace: float = 20.0

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "batch", "max_crashes"):
            number = getattr(self, name)
            if not isinstance(number, int):
                raise TypeError(f"{name} must be an int, not {number!r}")
            if number < 1:
                raise ValueError(f"{name} must be >= 1, not {number!r}")
        if self.on_error not in ("raise", "skip", "collect"):
            raise ValueError(f"on_error must be 'raise', 'skip' or 'collect', not {self.on_error!r}")
        _check_max_failed(self.max_failed)
        if isinstance(self.grace, bool) or not isinstance(self.grace, int | float):
            raise TypeError(f"grace must be seconds, not {self.grace!r:.80}")
        if not self.grace >= 0:
            raise ValueError(f"grace must be >= 0 seconds, not {self.grace!r}")
        check_policy(self.retry)

    @property
    def raises(self) -> bool:
        """Whether the first item that fails ends the map."""
        return self.on_error == "raise" and self.max_failed is None


def _check_max_failed(given: object) -> None:
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"max_failed must be a number of items, or a share of them, not {given!r:.80}")
    if not (given >= 0 if isinstance(given, int) else 0 <= given <= 1):
        raise ValueError(f"max_failed must be a number of items >= 0, or a share from 0.0 to 1.0, not {given!r}")


class MapOwner(LoopOwner[Items_co], Saver, Protocol[Items_co]):
    """What a map needs of its checkpoint, in addition to what each loop needs."""

    def observe(self, response: object, /) -> None: ...
    def error(self) -> None: ...
    @property
    def is_stopping(self) -> bool:
        """Whether a signal or the program asks to stop."""
        ...

    def open_grace(self, seconds: float) -> Grace:
        """Begin a map's grace: from now on, a stop gives its calls in flight *seconds* to finish."""
        ...

    def close_grace(self, grace: Grace) -> None:
        """None of the map's calls is in flight any more."""

    @property
    def is_metered(self) -> bool:
        """Whether any quota is known."""
        ...

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """Whether *more* requests are left beyond those *in_flight*; None: there will be no more requests."""
        ...


Owner = TypeVar("Owner", bound=MapOwner[Any])


class ResultHandler(Generic[Owner]):
    """Records results, and knows when to ask the owner: after *left* more items, or a wake."""

    def __init__(self, loop: MapLoop[Any], owner: Owner, settings: MapSettings) -> None:
        self.loop = loop
        self.owner = owner
        self.settings = settings
        self.left = 0
        self._failed = 0
        self._save_reason: str | None = None
        self._failure: BaseException | None = None
        self._limit: RunAgain | None = None
        self._is_ending = False
        if settings.raises and loop.left_out:
            _say_left_out(owner.operation_id, len(loop.left_out))

    @property
    def is_check_in_due(self) -> bool:
        """Whether to ask the owner before the next item."""
        return self.left <= 0 or not self.loop.flags

    def ask_for_save(self, retry_state: RetryCallState) -> None:
        """Request a save of all that is done, between two loop bodies: a worker will sleep. From any thread."""
        self._save_reason = reason(retry_state)
        self.loop.wake()

    def begin_check_in(self) -> str | None:
        """The owner is about to be asked. Returns the reason for a save that a retry requested."""
        self.loop.flags = [True]
        asked, self._save_reason = self._save_reason, None
        return asked

    def note_unsaved(self, failure: Exception) -> None:
        """A save for a retry failed. The next due save tries again, and raises if it fails, too."""
        _log.error("%r could not be saved before a retry: %s", self.owner.operation_id, failure)

    def give_up(self, key: ItemKey, item: Any, error: BaseException) -> Iterator[tuple[Any, Any]]:
        """An item has failed for good: yield what the body gets of it."""
        self.observe(error)
        if self.settings.raises or isinstance(error, RateLimitExhausted):  # the run ends, not the item
            error.add_note(f"resumable: at item {shortened(item, 80)}")
            self.fail(error)
            return
        if self.settings.on_error == "collect":
            self.loop.drop(key)
            if not (self.loop.is_at_item() and self.loop.current == key):  # the item's writes include those of its call
                self.loop.give_out(key)
            yield item, error
        self.note_failure(key, error)
        self.loop.take_back()
        self._check_failed(error)

    def _check_failed(self, error: BaseException) -> None:
        """*error* was recorded: end the map if too many items have failed."""
        self._failed += 1
        allowed = most = self.settings.max_failed
        if allowed is None or most is None:
            return
        tried, total = self.loop.done() + self._failed, self.loop.total
        if isinstance(most, float):
            most *= max(tried, _FEW) if total is None else total
        if self._failed > most:
            too_many = TooManyFailedError(self.owner.operation_id, self._failed, tried, allowed, error_text(error))
            too_many.__cause__ = error
            self.fail(too_many)

    def fail(self, error: BaseException) -> None:
        """End the map with *error*."""
        raise error

    def note_failure(self, key: ItemKey, error: BaseException) -> None:
        """Record *error* in the checkpoint, and count it."""
        self.loop.give_up(key, error)
        self.owner.error()

    def observe(self, seen: Any) -> None:
        """Read quotas from a response or an error."""
        if limits := getattr(seen, LIMITS, None):
            for limit in limits:
                self.owner.observe(limit)
        elif hasattr(seen, "headers") or hasattr(seen, "response"):
            self.owner.observe(seen)


def _say_left_out(operation_id: str, count: int) -> None:
    """Such an item has ended its worker too often. Who wants errors raised does not expect that it is left out."""
    logging.getLogger("resumable").warning(
        "%s: %s failed in an earlier run, and will be left out: cp.failed names what failed, and retry_failed=True in "
        "the map tries it again",
        operation_id,
        "1 item" if count == 1 else f"{count:,} items",
    )


class EndingHandler(ResultHandler[Owner]):
    """A result handler with calls in flight. Before an error or a stop, the body gets what has ended by then.

    Attributes:
        grace: How long a stop waits for the calls in flight.
    """

    grace: Grace

    def open(self) -> None:
        """The map begins."""
        self.loop.begin()
        self.grace = self.owner.open_grace(self.settings.grace)

    def close(self) -> None:
        """The map was left."""
        self.loop.on_wake = lambda: None
        self.owner.close_grace(self.grace)
        self.owner.has_quota(0)

    def note_end(self, keys: Iterable[ItemKey], error: BaseException) -> None:
        """The calls for *keys* ended with *error* because the run ends: they are not done. Others may still finish."""
        self.loop.drop_all(keys)
        if isinstance(error, RunAgain):
            self._limit = error  # the map's own thread may not reach the limit
            self.send_no_more()

    def fail(self, error: BaseException) -> None:
        """End the map with *error*, once the body has what has ended by now. The first of several errors counts."""
        self._failure = self._failure or error
        self.send_no_more()

    def send_no_more(self) -> None:
        """Send no more calls; those in flight may finish."""
        self._is_ending = True
        self.owner.has_quota(None)

    @property
    def is_at_end(self) -> bool:
        """Whether only calls that have ended by now are still taken."""
        return self._is_ending and (self._failure is not None or self.grace.is_over)

    def note_check_in(self) -> None:
        """The owner was asked, and may have noticed a request to stop."""
        if self.grace.until is not None and not self._is_ending:
            self.send_no_more()

    def before_stop(self) -> None:
        """The body has everything. Raises the error that ended the map; for a stop, a check-in raises."""
        if (error := self._failure or self._limit) is not None:
            raise error
        self.owner.close_grace(self.grace)

    def go_on(self) -> None:
        """The check-in raised nothing, because another loop has taken the stop."""
        self.grace = self.owner.open_grace(self.settings.grace)
        self._is_ending = False


class PlainResultHandler(ResultHandler[MapOwner[int]]):
    """A result handler that checks in without ``await``."""

    def check_in(self) -> None:
        """Save if a retry requested it; then ask the owner."""
        asked = self.begin_check_in()
        if asked is not None:
            try:
                self.owner.save(asked)
            except Exception as failure:
                self.note_unsaved(failure)
        self.left = max(1, self.owner.check_in())

    def check_in_if_due(self) -> None:
        """Check in if no items are left to pass, or the loop was woken."""
        if self.is_check_in_due:
            self.check_in()
