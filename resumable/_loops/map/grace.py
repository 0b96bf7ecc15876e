"""Grace: the time in which a map's calls in flight may finish after a request to stop."""

from __future__ import annotations

from collections.abc import Callable

from ..._runtime.clock import Clock
from ..._runtime.interpreter import running_here
from ..loop import mapped_item


class Grace:
    """The grace of one map.

    Attributes:
        context: The thread or task of the map's loop.
        until: Its end by the clock's ``now()``; None before a request to stop.
        is_seen: Whether a check-in has noticed that it has begun.
        is_idle: Whether the map waits for its input; a stop need not wait for that.
        held: The items whose calls wait for a quota beyond its end.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self.context: object = running_here()
        self.until: float | None = None
        self.is_seen: bool = False
        self.is_idle: bool = False
        self.held: set[object] = set()

    def begin(self) -> None:
        """Begin it: the program is asked to stop."""
        if self.until is None:
            self.until = self._clock.now() + self._seconds

    @property
    def is_over(self) -> bool:
        """Whether it has begun and ended."""
        return self.until is not None and self._clock.now() >= self.until

    @property
    def left(self) -> float:
        """Seconds until its end; 0.0 or less afterwards."""
        return self._seconds if self.until is None else self.until - self._clock.now()


class Graces:
    """The graces of all maps of one operation that run on executors or in tasks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[Grace] = []

    def open(self, seconds: float) -> Grace:
        """A map begins. After a stop, its calls get *seconds* to finish."""
        grace = Grace(seconds, self._clock)
        self._open = [*self._open, grace]
        return grace

    def close(self, grace: Grace) -> None:
        """The map was left, or none of its calls is in flight any more."""
        self._open = [one for one in self._open if one is not grace]

    def here(self) -> Grace | None:
        """The grace for the present code: a map's loop body, or one of its calls. Of several, the outermost."""
        if not self._open:
            return None
        is_call, here = mapped_item() is not None, running_here()
        return next((one for one in self._open if is_call or one.context is here), None)

    def begin_all(self) -> None:
        """Begin all: the program is asked to stop."""
        for one in self._open:
            one.begin()

    def note_wait(self, seconds: float, wake: Callable[[], object]) -> None:
        """The present call waits for *seconds*. If that is beyond the end of its grace, *wake* the map."""
        grace, call = self.here(), mapped_item()
        if grace is not None and call is not None and seconds >= grace.left and call[1] not in grace.held:
            grace.held.add(call[1])
            wake()

    @property
    def is_idle(self) -> bool:
        """Whether a map waits for its input."""
        return any(one.is_idle for one in self._open)

    @property
    def left(self) -> float | None:
        """Seconds until the last grace ends; None if none has begun."""
        ends = [one.until for one in self._open if one.until is not None]
        return max(ends) - self._clock.now() if ends else None
