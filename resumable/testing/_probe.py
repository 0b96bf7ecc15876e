"""Where a job can be stopped: looks at the ticks, saves and lines of a run, and stops it at one of them.

Only for proofs: while a probe is installed it takes the place of the core's own methods, so that a loop which nobody
proves pays nothing for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import linecache
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .._api.manager import CheckpointManager
from .._engine.operation import Core
from .._engine.options import Options
from .._engine.writer import StoredOperation
from .._runtime import disk
from .._runtime.steps import Steps
from .._strategies import every
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
        items = max((core.processed_items for core in self.open if isinstance(core, Core)), default=0)
        user = frame if frame is not None else _user_frame(sys._getframe(1))
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


def _user_frame(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not is_user_code(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# -- installing it ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def installed(probe: Probe) -> Iterator[None]:
    """While in the block, *probe* watches all that runs."""
    with contextlib.ExitStack() as stack:
        for owner, name, make in (
            (Core, "__init__", _core_init),
            (Core, "open", _core_open),
            (Core, "release", _core_release),
            (Core, "check_in", _core_check_in),
            (StoredOperation, "save", _stored_save),
            (StoredOperation, "delete", _stored_delete),
            (CheckpointManager, "__init__", _manager_init),
            (CheckpointManager, "finalize", _manager_finalize),
        ):
            original = getattr(owner, name)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, functools.wraps(original)(make(original, probe)))
        for name in ("sync", "sync_data", "sync_directory"):  # no power is cut here
            stack.callback(setattr, disk, name, getattr(disk, name))
            setattr(disk, name, lambda where: None)
        if probe.lines:
            stack.callback(sys.settrace, sys.gettrace())
            sys.settrace(probe.trace)
        stack.callback(_let_go, probe)
        yield


def _let_go(probe: Probe) -> None:
    """What a kill between two lines left open; a process that dies lets go of its locks, too."""
    for core in [core for core in probe.open if isinstance(core, Core)]:
        core.release()


def _core_init(original: Any, probe: Probe) -> Any:
    def init(core: Core, options: Options, *rest: Any) -> None:
        if probe.store is not None:
            options = dataclasses.replace(options, store=probe.store)
        if probe.save_every is not None:
            options = dataclasses.replace(options, strategy=every(items=probe.save_every))
        original(core, options, *rest)

    return init


def _core_open(original: Any, probe: Probe) -> Any:
    def open_(core: Core, checkpoint: Any) -> Steps[None]:
        yield from original(core, checkpoint)
        if not probe.is_here():  # what runs beside it goes on when it is stopped
            return
        probe.open.append(core)
        probe.openings.append(Opening(core.options.operation_id, core.resumed, core.processed_items))

    return open_


def _core_release(original: Any, probe: Probe) -> Any:
    def release(core: Core) -> None:
        probe.open[:] = [other for other in probe.open if other is not core]
        original(core)

    return release


def _core_check_in(original: Any, probe: Probe) -> Any:
    def check_in(core: Core) -> Steps[float]:
        probe.at("tick")
        items: float = yield from original(core)
        probe.at("ticked")
        return min(items, 1)

    return check_in


def _stored_save(original: Any, probe: Probe) -> Any:
    def save(stored: StoredOperation, take: Any, *, wait: bool = True) -> Steps[Any]:
        probe.at("save")
        # Written in the loop's own time: a thread would go on after the kill.
        location = yield from original(stored, take)
        probe.saves += 1
        probe.saved_effects = probe.count_effects()
        probe.at("saved")
        return location

    return save


def _stored_delete(original: Any, probe: Probe) -> Any:
    def delete(stored: StoredOperation) -> Steps[bool]:
        probe.at("finalize")
        found: bool = yield from original(stored)
        return found

    return delete


def _manager_init(original: Any, probe: Probe) -> Any:
    def init(manager: CheckpointManager, *args: Any, **options: Any) -> None:
        original(manager, *args, **options)
        if probe.store is not None:
            manager.store = probe.store
        probe.open.append(manager)

    return init


def _manager_finalize(original: Any, probe: Probe) -> Any:
    def finalize(manager: CheckpointManager, operation_id: str) -> Any:
        probe.at("finalize")
        found = original(manager, operation_id)
        probe.open[:] = [other for other in probe.open if other is not manager]
        return found

    return finalize
