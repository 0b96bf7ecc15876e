"""Where a job can be stopped: looks at the ticks, saves and lines of a run, and stops it at one of them.

It stands on the observers that every operation tells of its steps; a loop that nobody proves pays nothing for it.
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

_LIBRARIES = tuple(
    {
        os.path.dirname(os.path.dirname(__file__)) + os.sep,
        *(p + os.sep for n, p in sysconfig.get_paths().items() if "lib" in n),
    }
)


class SimulatedKill(BaseException):
    """Stands for a ``kill -9``: nothing is saved on the way out, and no ``except Exception`` sees it."""


class SimulatedInterrupt(KeyboardInterrupt):
    """Stands for Ctrl-C: what was ticked is saved on the way out."""


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


def never(place: Place) -> bool:
    """Stop nowhere."""
    return False


@dataclass(slots=True)
class Probe:
    """Watches one run, in the thread that installs it.

    Args:
        wants: Whether to stop at this place.
        stop: What stops the run there; it raises, or does not return at all.
        store, save_every: Take the place of the job's own store and strategy, if given.
        count_effects: How many effects there were until now.
        lines: Whether lines of the user's code are places, too.
        is_here: Whether what runs now belongs to the run that is watched.
    """

    wants: Callable[[Place], bool] = never
    stop: Callable[[Probe], NoReturn] | None = None
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
    open: list[object] = field(default_factory=list)
    _is_dead: bool = False
    _thread: int = field(default_factory=threading.get_ident)

    def at(self, kind: str, frame: FrameType | None = None) -> None:
        """The run is at a place of this *kind*; does not return if it is to be stopped there."""
        if threading.get_ident() != self._thread or not self.is_here():
            return
        if self._is_dead:
            raise SimulatedKill  # somebody caught the first one; a dead process does nothing any more
        if self.stopped is not None or not self.open:
            return
        items = max((core.processed_items for core in self.open if isinstance(core, Operation)), default=0)
        user = frame if frame is not None else _user_frame()
        file, line = (user.f_code.co_filename, user.f_lineno) if user is not None else ("", 0)
        place = Place(kind, items, self.saves, file, line)
        self.places.append(place)
        if self.wants(place):
            self.stopped = place
            assert self.stop is not None
            self.stop(self)

    def kill(self) -> NoReturn:
        """Stop as a ``kill -9`` would, as far as that is possible in one process."""
        self._is_dead = True
        raise SimulatedKill

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """For ``sys.settrace``: lines of user code are places."""
        if not is_user_code(frame.f_code.co_filename):
            return None
        if event == "line" and not self._is_dead:
            self.at("line", frame=frame)
        return self.trace


@functools.lru_cache(maxsize=4096)
def is_user_code(file: str) -> bool:
    """Whether *file* belongs neither to Python, nor to an installed library, nor to this one."""
    return not file.startswith(("<", *_LIBRARIES))


def _user_frame() -> FrameType | None:
    return next((frame for frame in interpreter.frames() if is_user_code(frame.f_code.co_filename)), None)


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# -- installing it ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def installed(probe: Probe) -> Iterator[None]:
    """While in the block, *probe* watches all that runs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(observer.installed(_Watcher(probe)))
        stack.enter_context(disk.without_syncs())  # no power is cut here
        if probe.lines:
            stack.enter_context(interpreter.traced(probe.trace))
        stack.callback(_let_go, probe)
        yield


def _let_go(probe: Probe) -> None:
    """What a kill between two lines left open; a process that dies lets go of its locks, too."""
    for operation in [operation for operation in probe.open if isinstance(operation, Operation)]:
        operation.release()


class _Watcher(observer.Observer):
    """Brings a probe to each place at which the run can be stopped."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def configure(self, options: Options) -> Options:
        probe = self._probe
        strategy = every(items=probe.save_every) if probe.save_every is not None else options.strategy
        return dataclasses.replace(
            options,
            store=probe.store if probe.store is not None else options.store,
            strategy=_AskedAtEachItem(strategy),
            works_beside=False,  # a thread would go on after the kill
        )

    def opened(self, operation: Observed) -> None:
        if self._probe.is_here():  # what runs beside it goes on when it is stopped
            self._probe.open.append(operation)
            opening = Opening(operation.operation_id, operation.resumed, operation.processed_items)
            self._probe.openings.append(opening)

    def closed(self, operation: Observed) -> None:
        self._forget(operation)

    def checking_in(self, operation: Observed) -> None:
        self._probe.at("tick")

    def checked_in(self, operation: Observed) -> None:
        self._probe.at("ticked")

    def saving(self, operation: Observed | None, reason: str) -> None:
        self._probe.at("save")

    def saved(self, operation: Observed | None, reason: str, seconds: float) -> None:
        self._probe.saves += 1
        self._probe.saved_effects = self._probe.count_effects()
        self._probe.at("saved")

    def finalizing(self, operation: Observed | None) -> None:
        self._probe.at("finalize")

    def managed(self, manager: CheckpointManager) -> None:
        if self._probe.store is not None:
            manager.store = self._probe.store
        self._probe.open.append(manager)

    def finalized(self, manager: CheckpointManager) -> None:
        self._forget(manager)

    def _forget(self, thing: object) -> None:
        self._probe.open[:] = [other for other in self._probe.open if other is not thing]


class _AskedAtEachItem(SaveStrategy):
    """Asks *strategy* at each item, so that each is a place."""

    def __init__(self, strategy: SaveStrategy) -> None:
        self._strategy = strategy

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        return self._strategy.should_save(context)
