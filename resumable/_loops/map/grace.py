"""What is under way in a map may still end once the program was asked to stop."""

from __future__ import annotations

from ..._runtime.clock import Clock
from ..._runtime.interpreter import running_here
from ..loop import mapped_item


class Grace:
    """The seconds that one map gives to what is under way.

    Attributes:
        context: The thread or task that the map's loop runs in.
        until: When they are over, by the clock's ``now()``; None as long as nobody asks to stop.
        is_seen: Whether a check-in has seen that it has begun.
        is_idle: Whether the map waits for its input, which a stop need not wait for.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self.context: object = running_here()
        self.until: float | None = None
        self.is_seen: bool = False
        self.is_idle: bool = False

    def begin(self) -> None:
        """The program is asked to stop."""
        if self.until is None:
            self.until = self._clock.now() + self._seconds

    @property
    def is_over(self) -> bool:
        """Whether it has begun, and the seconds have passed."""
        return self.until is not None and self._clock.now() >= self.until

    @property
    def left(self) -> float:
        """How many seconds are left of it, 0.0 or less once it is over."""
        return self._seconds if self.until is None else self.until - self._clock.now()


class Graces:
    """The graces of all maps that run on executors or in tasks, of one operation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[Grace] = []

    def open(self, seconds: float) -> Grace:
        """A map begins here. After a stop, its calls get *seconds* to end."""
        grace = Grace(seconds, self._clock)
        self._open = [*self._open, grace]
        return grace

    def close(self, grace: Grace) -> None:
        """That map was left, or nothing of it is under way any more."""
        self._open = [one for one in self._open if one is not grace]

    def here(self) -> Grace | None:
        """The one that covers what runs here: the body of a map's loop, or a call of it. Of several, the outermost."""
        if not self._open:
            return None
        is_call, here = mapped_item.get() is not None, running_here()
        return next((one for one in self._open if is_call or one.context is here), None)

    def begin_all(self) -> None:
        """The program is asked to stop."""
        for one in self._open:
            one.begin()

    @property
    def is_idle(self) -> bool:
        """Whether a map waits for its input."""
        return any(one.is_idle for one in self._open)

    @property
    def left(self) -> float | None:
        """In how many seconds the last one that has begun is over; None if none has begun."""
        ends = [one.until for one in self._open if one.until is not None]
        return max(ends) - self._clock.now() if ends else None
