"""Running a job once, or stopped and run again; in this process, or in children that die by SIGKILL."""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import pickle
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ..stores import FileStore
from ._probe import Opening, Place, Probe, SimulatedInterrupt, SimulatedKill, installed, never

Effects = MutableSequence[Any] | Callable[[], Any] | None


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        result: What it returned, or what was read after it.
        error: What it raised, as text; "" if nothing.
        stopped: Where it was stopped, None if it came to its end.
        effects: What had been done to the world when it ended, earlier runs included.
        saved_effects: How many effects there were at its last save.
    """

    result: Any = None
    error: str = ""
    places: list[Place] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    stopped: Place | None = None
    effects: Any = None
    saved_effects: int = 0


@dataclass(slots=True)
class Stop:
    """How and where a run is to be stopped.

    Attributes:
        how: ``kill`` or ``interrupt``.
        wants: Whether it is this place.
    """

    how: str
    wants: Callable[[Place], bool]


class Trial:
    """One case: runs that share a checkpoint directory and the effects.

    Args:
        job: Called with a directory of its own, if *takes_directory*, else without arguments.
        is_hard: Runs in children, and kills them with SIGKILL.
    """

    def __init__(
        self,
        job: Callable[..., Any],
        directory: Path,
        *,
        takes_directory: bool,
        result: Callable[[], Any] | None,
        effects: Effects,
        save_every: int,
        is_hard: bool,
    ) -> None:
        self._job = job
        self._takes_directory = takes_directory
        self._result = result
        self._effects = effects
        self._save_every = save_every
        self._is_hard = is_hard
        self._files = directory / "files"
        self._checkpoints = directory / "checkpoints"
        self._report = directory / "report"
        self._files.mkdir()

    def run(self, stop: Stop | None = None) -> Outcome:
        """Run the job; again, if it was run before."""
        if self._is_hard:
            return self._run_in_child(stop)
        probe = self._probe(stop)
        outcome = self._watched(probe)
        outcome.effects = self.effects()
        return outcome

    def _probe(self, stop: Stop | None) -> Probe:
        probe = Probe(store=FileStore(self._checkpoints), save_every=self._save_every, count_effects=self._count)
        if stop is not None:
            probe.wants = stop.wants
            kill = self._die if self._is_hard else Probe.kill
            probe.stop = kill if stop.how == "kill" else interrupt
        return probe

    def _watched(self, probe: Probe) -> Outcome:
        outcome = Outcome()
        try:
            with installed(probe), _environment("CHECKPOINT_DIR", str(self._checkpoints)):
                returned = _ended(self._job(self._files) if self._takes_directory else self._job())
            outcome.result = _copied(self._result() if self._result is not None else returned)
        except BaseException as error:
            if probe.stopped is None and not isinstance(error, Exception):
                raise  # a real Ctrl-C, or the end of a test
            if probe.stopped is None:
                outcome.error = _told(error)
        outcome.places, outcome.openings, outcome.stopped = probe.places, probe.openings, probe.stopped
        outcome.saved_effects = probe.saved_effects
        return outcome

    # -- effects

    def effects(self) -> Any:
        """A copy of what was done to the world until now."""
        found = self._effects() if callable(self._effects) else self._effects
        own = _copied(list(found) if isinstance(found, MutableSequence) else found)
        return (own, _files_in(self._files)) if self._takes_directory else own

    def _count(self) -> int:
        found = self._effects() if callable(self._effects) else self._effects
        return len(found) if isinstance(found, list | tuple | MutableSequence) else 0

    # -- children

    def _run_in_child(self, stop: Stop | None) -> Outcome:
        self._report.unlink(missing_ok=True)
        pid = _fork()
        if pid == 0:
            self._be_child(stop)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not self._report.exists():
            return Outcome(error=f"the child process ended with {status} and told nothing", effects=self.effects())
        outcome, effects = pickle.loads(self._report.read_bytes())
        if isinstance(self._effects, MutableSequence):
            self._effects[:] = effects
        outcome.effects = self.effects()
        assert isinstance(outcome, Outcome)
        return outcome

    def _be_child(self, stop: Stop | None) -> NoReturn:
        code = 1
        try:
            self._tell(self._watched(self._probe(stop)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _die(self, probe: Probe) -> NoReturn:
        self._tell(Outcome("", "", probe.places, probe.openings, probe.stopped, None, probe.saved_effects))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def _tell(self, outcome: Outcome) -> None:
        effects = list(self._effects) if isinstance(self._effects, MutableSequence) else None
        try:
            told = pickle.dumps((outcome, effects))
        except Exception as error:
            outcome.result, outcome.error = None, f"hard=True needs results and effects that pickle: {error}"
            told = pickle.dumps((outcome, []))
        self._report.write_bytes(told)


def _ended(returned: Any) -> Any:
    """What a job returns; a coroutine is run to its end."""
    if not inspect.iscoroutine(returned):
        return returned
    import asyncio

    return asyncio.run(returned)


def interrupt(probe: Probe) -> NoReturn:
    raise SimulatedInterrupt


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child runs the job, no more
        return os.fork()


def _told(error: BaseException) -> str:
    """The error, and the line of the user's code that raised it."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    package = os.path.dirname(os.path.dirname(__file__))
    users = [frame for frame in frames if not frame.filename.startswith(package)]
    return text if not users else f"{text}\n(at {users[-1].filename}:{users[-1].lineno}: {users[-1].line})"


def _copied(value: Any) -> Any:
    """A copy of what it is now: the job may go on changing it."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _files_in(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_bytes().decode(errors="backslashreplace")
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def fresh_directory() -> Iterator[Path]:
    """An empty directory, in memory where there is one, gone afterwards."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="resumable-proof-", dir=memory, ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


__all__ = ["Effects", "Outcome", "SimulatedKill", "Stop", "Trial", "fresh_directory", "never"]
