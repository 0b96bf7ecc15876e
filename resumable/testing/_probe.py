"""Watches the ticks, saves and lines of a run, and stops it at one of them.

It uses the observers of operations, so it costs nothing without a proof.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import linecache
import os
import sysconfig
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .._api.manager import CheckpointManager
from .._engine.operation import Operation
from .._engine.options import Options
from .._models import CheckpointContext
from .._runtime import disk, interpreter, observer
from .._runtime.observer import Observed
from .._strategies import SaveDecision, SaveStrategy, every
from ..stores import CheckpointStore

_LIBRARIES = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    *{path + os.sep for name, path in sysconfig.get_paths().items() if "lib" in name},
)


_HEADS = ("for ", "async for ", "while ", "with ", "async with ")


class SimulatedKill(BaseException):
    """Simulates ``kill -9``: nothing is saved after it, and no ``except Exception`` catches it."""


class SimulatedInterrupt(KeyboardInterrupt):
    """Simulates Ctrl-C: what was ticked is saved."""


class SimulatedError(Exception):
    """Simulates an error in the middle of an item, such as a lost connection or a bad row."""


@dataclass(frozen=True, slots=True)
class Place:
    """A moment of a run at which it can be stopped.

    Attributes:
        kind: ``line``, ``tick`` (counted, nothing saved yet), ``ticked`` (what was due is saved), ``save`` (about to
            be written), ``saved`` (it stands), ``finalize`` (about to be removed).
        items: How many items were ticked, over all runs.
        saves: How many saves of this run stand.
        file, line: Of the user's code that was running, "" and 0 if none was.
    """

    kind: str
    items: int
    saves: int
    file: str
    line: int

    def __str__(self) -> str:
        last = f"save {self.saves}" if self.saves else "no save"
        if self.kind in ("tick", "ticked") and not self.items:
            return f"before the first item, after {last}"
        words = {
            "line": f"after item {self.items} and {last}, before this line ran",
            "tick": f"at the tick of item {self.items}, after {last}, before it saved",
            "ticked": f"right after the tick of item {self.items} and {last}",
            "save": f"right before save {self.saves + 1} was written, at item {self.items}",
            "saved": f"right after save {self.saves} stood, at item {self.items}",
            "finalize": f"at the end of the block, after item {self.items}",
        }
        return words[self.kind]

    @property
    def can_fail(self) -> bool:
        """Whether an ordinary error can happen at this line.

        Python visits the line of a ``for`` or ``with`` once more after its block, where it does nothing of its own.
        """
        return self.kind == "line" and not linecache.getline(self.file, self.line).lstrip().startswith(_HEADS)

    @property
    def source(self) -> str:
        """``loops.py:12: cp.tick()``"""
        if not self.file:
            return "outside of any user code"
        return f"{_shown(self.file)}:{self.line}: {linecache.getline(self.file, self.line).strip()}"


@dataclass(frozen=True, slots=True)
class Opening:
    """An operation was opened: anew, or *resumed* after so many items."""

    operation_id: str
    resumed: bool
    items: int

    def __str__(self) -> str:
        return f"{self.operation_id!r} " + (f"resumed after item {self.items}" if self.resumed else "began anew")


@dataclass(eq=False)
class Probe(observer.Observer):
    """Watches one run, in the thread that installs it.

    Args:
        wants: Returns whether to stop at a place.
        stop: Stops the run there: it raises, or does not return.
        store, save_every: Replace the job's own store and strategy, if given.
        count_effects: Returns the number of effects so far.
        lines: Whether lines of the user's code are places, too.
        is_here: Returns whether the running code belongs to the watched run.
    """

    wants: Callable[[Place], bool] = lambda place: False
    stop: Callable[[Probe], NoReturn] = lambda probe: probe.kill()
    store: CheckpointStore | None = None
    save_every: int | None = None
    count_effects: Callable[[], int] = lambda: 0
    lines: bool = True
    is_here: Callable[[], bool] = lambda: True
    places: list[Place] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    stopped: Place | None = None
    saves: int = 0
    saved_effects: int = 0
    item_effects: int = 0
    open: list[object] = field(default_factory=list)
    _is_dead: bool = False
    _thread: int = field(default_factory=threading.get_ident)

    def at(self, kind: str, frame: FrameType | None = None) -> None:
        """Note that the run is at a place of this *kind*. Does not return if the run is to stop there."""
        if threading.get_ident() != self._thread or not self.is_here():
            return
        if self._is_dead:
            raise SimulatedKill  # the job caught the first one; a dead process does nothing any more
        if self.stopped is not None or not self.open:
            return
        items = max((operation.processed_items for operation in self._operations()), default=0)
        user = frame if frame is not None else _user_frame()
        file, line = (user.f_code.co_filename, user.f_lineno) if user is not None else ("", 0)
        place = Place(kind, items, self.saves, file, line)
        self.places.append(place)
        if self.wants(place):
            self.stopped = place
            self.stop(self)

    def _operations(self) -> list[Operation]:
        return [opened for opened in self.open if isinstance(opened, Operation)]

    def release(self) -> None:
        """Release what a kill between two lines left open, as the end of a process releases its locks."""
        for operation in self._operations():
            operation.release()

    def kill(self) -> NoReturn:
        """Stop like a ``kill -9``, as far as that is possible in one process."""
        self._is_dead = True
        raise SimulatedKill

    def interrupt(self) -> NoReturn:
        """Stop like Ctrl-C."""
        raise SimulatedInterrupt

    def fail(self) -> NoReturn:
        """Stop like any error in the user's code."""
        raise SimulatedError(f"a simulated error, {self.stopped}")

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """For ``sys.settrace``: lines of user code are places."""
        if not is_user_code(frame.f_code.co_filename):
            return None
        if event == "line" and not self._is_dead:
            self.at("line", frame=frame)
        return self.trace

    def configure(self, options: Options) -> Options:
        store = self.store if self.store is not None else options.store
        strategy = every(items=self.save_every) if self.save_every is not None else options.strategy
        # A thread that writes beside the loop must not go on after the kill.
        return dataclasses.replace(options, store=store, strategy=_AskedAtEachItem(strategy), works_beside=False)

    def opened(self, operation: Observed) -> None:
        if self.is_here():  # code in other threads goes on when the loop stops
            self.open.append(operation)
            self.openings.append(Opening(operation.operation_id, operation.resumed, operation.processed_items))

    def closed(self, operation: Observed) -> None:
        self._forget(operation)

    def checking_in(self, operation: Observed) -> None:
        self.item_effects = self.count_effects()
        self.at("tick")

    def checked_in(self, operation: Observed) -> None:
        self.at("ticked")

    def saving(self, operation: Observed | None, reason: str) -> None:
        self.at("save")

    def saved(self, operation: Observed | None, reason: str, seconds: float) -> None:
        self.saves += 1
        self.saved_effects = self.count_effects()
        self.at("saved")

    def finalizing(self, operation: Observed | None) -> None:
        self.at("finalize")

    def managed(self, manager: CheckpointManager) -> None:
        if self.store is not None:
            manager.store = self.store
        self.open.append(manager)

    def finalized(self, manager: CheckpointManager) -> None:
        self._forget(manager)

    def _forget(self, thing: object) -> None:
        self.open[:] = [other for other in self.open if other is not thing]


@functools.lru_cache(maxsize=4096)
def is_user_code(file: str) -> bool:
    """Whether *file* belongs neither to Python nor to a library, this one included."""
    return not file.startswith(("<", *_LIBRARIES))


def _user_frame() -> FrameType | None:
    return next((frame for frame in interpreter.frames() if is_user_code(frame.f_code.co_filename)), None)


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def installed(probe: Probe) -> Iterator[None]:
    """Within the block, *probe* watches everything that runs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(observer.installed(probe))
        stack.enter_context(disk.without_syncs())  # no power is cut here
        if probe.lines:
            stack.enter_context(interpreter.traced(probe.trace))
        stack.callback(probe.release)
        yield


@dataclass(frozen=True)
class _AskedAtEachItem(SaveStrategy):
    """Asks *strategy* at each item, so that each item is a place."""

    strategy: SaveStrategy

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        return self.strategy.should_save(context)
