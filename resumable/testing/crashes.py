"""Stops each ``@resumable`` function that a test calls, and calls it again until it ends."""

from __future__ import annotations

import contextlib
import functools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

from .._api.call import ResumableFunction
from ._probe import Place, Probe, SimulatedInterrupt, SimulatedKill, installed

_RUNNING: ContextVar[Probe | None] = ContextVar("resumable_crash", default=None)
_KINDS = frozenset({"tick", "ticked", "save", "saved"})
_FURTHEST = 12


class Crashes:
    """Stops each call of a decorated function *times* times, by kill and Ctrl-C in turn. *seed* chooses the places.

    Attributes:
        told: One line for each stop.
        stops: How often each function was stopped.
    """

    def __init__(self, times: int, seed: int) -> None:
        self._times = times
        self._chance = random.Random(seed)
        self._is_busy = False
        self.told: list[str] = []
        self.stops: Counter[str] = Counter()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Within the block, functions are stopped."""
        original = ResumableFunction.__call__

        @functools.wraps(original)
        def call(function: ResumableFunction, *arguments: Any) -> Any:
            again = functools.partial(original, function, *arguments)
            if self._is_busy:  # a call within a function that is being stopped, or beside it
                return again()
            return self._call_async(function.name, again) if function.is_async else self._call(function.name, again)

        ResumableFunction.__call__ = call  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            ResumableFunction.__call__ = original  # type: ignore[method-assign]

    def _call(self, name: str, call: Callable[[], Any]) -> Any:
        for number in range(self._times):
            with self._stopping(number) as probe:
                try:
                    return call()
                except (SimulatedKill, SimulatedInterrupt):
                    self._tell(name, probe, number)
        return call()

    async def _call_async(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        for number in range(self._times):
            if self._is_busy:
                break
            with self._stopping(number) as probe:
                try:
                    return await call()
                except (SimulatedKill, SimulatedInterrupt):
                    self._tell(name, probe, number)
        return await call()

    @contextlib.contextmanager
    def _stopping(self, number: int) -> Iterator[Probe]:
        left = iter(range(self._chance.randint(1, _FURTHEST)))

        def wants(place: Place) -> bool:
            # Every loop, however short, has an end to stop at.
            return place.kind == "finalize" or (place.kind in _KINDS and next(left, None) is None)

        def stop(probe: Probe) -> NoReturn:
            if _is_interrupt(number, probe.stopped):
                probe.interrupt()
            probe.kill()

        probe = Probe(wants, stop, lines=False, is_here=lambda: _RUNNING.get() is probe)
        token = _RUNNING.set(probe)
        self._is_busy = True
        try:
            with installed(probe):
                yield probe
        finally:
            self._is_busy = False
            _RUNNING.reset(token)

    def _tell(self, name: str, probe: Probe, number: int) -> None:
        if probe.stopped is None:
            raise
        how = "interrupted" if _is_interrupt(number, probe.stopped) else "killed"
        self.stops[name] += 1
        self.told.append(f"{name} was {how} {probe.stopped}\n  at {probe.stopped.source}")


def _is_interrupt(number: int, place: Place | None) -> bool:
    return number % 2 == 1 and place is not None and place.kind != "finalize"
