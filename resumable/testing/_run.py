"""Runs a job once, or stops it and runs it again: in this process, or in child processes killed by SIGKILL."""

from __future__ import annotations

import asyncio
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
from typing import Any, Literal, NoReturn

from ..stores import FileStore
from ._probe import Opening, Place, Probe, installed, is_user_code

Effects = MutableSequence[Any] | Callable[[], Any] | None


@dataclass(slots=True)
class Outcome:
    """The outcome of one run.

    Attributes:
        result: What it returned, or what *result* read after it.
        stopped: Where it was stopped; None if it reached its end.
        effects: All effects when it ended, those of earlier runs included.
        saved_effects: The number of effects at its last save.
        item_effects: The number of effects when its last item began.
        has_ended: Whether it reached its end, perhaps because it caught the error that should stop it.
    """

    result: Any = None
    error: str = ""  # nothing was raised
    places: list[Place] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    stopped: Place | None = None
    effects: Any = None
    saved_effects: int = 0
    item_effects: int = 0
    has_ended: bool = False


@dataclass(slots=True)
class Stop:
    """How and where a run is to be stopped."""

    how: Literal["kill", "interrupt", "fail"]
    wants: Callable[[Place], bool]


@dataclass
class Trial:
    """One case: runs that share a checkpoint directory and the effects.

    Attributes:
        root: An empty directory.
        is_hard: Runs in children, and kills them with SIGKILL.
    """

    job: Callable[..., Any]
    root: Path
    result: Callable[[], Any] | None
    effects: Effects
    save_every: int
    is_hard: bool

    def __post_init__(self) -> None:
        self.takes_directory = takes_directory(self.job)
        self._files, self._checkpoints, self._report = map(self.root.joinpath, ("files", "checkpoints", "report"))
        self._files.mkdir()

    def run(self, stop: Stop | None = None) -> Outcome:
        """Run the job; again, if it was run before."""
        outcome = self._run_in_child(stop) if self.is_hard else self._watched(self._probe(stop))
        outcome.effects = self._effects_now()
        return outcome

    def _probe(self, stop: Stop | None) -> Probe:
        probe = Probe(store=FileStore(self._checkpoints), save_every=self.save_every, count_effects=self._count)
        if stop is not None:
            probe.wants = stop.wants
            kill = self._die if self.is_hard else Probe.kill
            probe.stop = {"kill": kill, "interrupt": Probe.interrupt, "fail": Probe.fail}[stop.how]
        return probe

    def _watched(self, probe: Probe) -> Outcome:
        result, problem, has_ended = None, "", False
        try:
            with installed(probe), _environment("CHECKPOINT_STORE", str(self._checkpoints)):
                returned = _ended(self.job(self._files) if self.takes_directory else self.job())
            result = _copied(self.result() if self.result is not None else returned)
            has_ended = True
        except BaseException as error:
            if probe.stopped is None and not isinstance(error, Exception):
                raise  # a real Ctrl-C, or pytest ends the test
            problem = _described(error) if probe.stopped is None else ""
        return _outcome(probe, result, problem, has_ended=has_ended)

    def _effects_now(self) -> Any:
        found = self._found()
        own = _copied(list(found) if isinstance(found, MutableSequence) else found)
        return (own, _files_in(self._files)) if self.takes_directory else own

    def _count(self) -> int:
        found = self._found()
        return len(found) if isinstance(found, list | tuple | MutableSequence) else 0

    def _found(self) -> Any:
        return self.effects() if callable(self.effects) else self.effects

    def _run_in_child(self, stop: Stop | None) -> Outcome:
        self._report.unlink(missing_ok=True)
        pid = _fork()
        if pid == 0:
            self._be_child(stop)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not self._report.exists():
            return Outcome(error=f"the child process ended with exit code {status}, without a report")
        outcome, effects = pickle.loads(self._report.read_bytes())
        if isinstance(self.effects, MutableSequence):
            self.effects[:] = effects
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
        self._tell(_outcome(probe))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def _tell(self, outcome: Outcome) -> None:
        effects = list(self.effects) if isinstance(self.effects, MutableSequence) else None
        try:
            told = pickle.dumps((outcome, effects))
        except Exception as error:
            outcome.result, outcome.error = None, f"hard=True needs results and effects that pickle: {error}"
            told = pickle.dumps((outcome, []))
        self._report.write_bytes(told)


def takes_directory(job: Callable[..., Any]) -> bool:
    """Whether *job* is called with a directory of its own for its files."""
    try:
        parameters = inspect.signature(job).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)


def _outcome(probe: Probe, result: Any = None, error: str = "", *, has_ended: bool = False) -> Outcome:
    return Outcome(
        result,
        error,
        probe.places,
        probe.openings,
        probe.stopped,
        saved_effects=probe.saved_effects,
        item_effects=probe.item_effects,
        has_ended=has_ended,
    )


def _ended(returned: Any) -> Any:
    return asyncio.run(returned) if inspect.iscoroutine(returned) else returned


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forks beside threads: the child only runs the job
        return os.fork()


def _described(error: BaseException) -> str:
    """The error, and the line of the user's code that raised it."""
    text = f"{type(error).__name__}: {error}"
    users = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_code(frame.filename)]
    return text if not users else f"{text}\n(at {users[-1].filename}:{users[-1].lineno}: {users[-1].line})"


def _copied(value: Any) -> Any:
    """A copy of *value*, which the job may go on changing."""
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
    """An empty directory, in memory if possible; it is removed afterwards."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="resumable-proof-", dir=memory, ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()
