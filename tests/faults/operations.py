"""What is done to a checkpoint while faults are injected, and what it must hold afterwards.

Run as a module, it is a server that forks a child for each request, so that what is injected hits no import. A child
tells which step it is about to save (``begin 3``), which one was acknowledged (``saved 3``), and what failed
(``failed StoreError: …``).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resumable import Checkpoint, CheckpointManager, ResumableError, checkpointed, every
from resumable._engine import background
from resumable._format.anywhere import copy
from resumable._format.repair import repair
from resumable.stores import FileStore
from resumable.stores._names import file_name, plain_name
from tests.faults.api_jobs import JOBS
from tests.faults.hostile import in_format_1

FileStore.traits = dataclasses.replace(FileStore.traits, fold_after=0)  # so that small checkpoints see folds
ID = "job"
OLD_ID = "old job"
"""An earlier release kept its files under the plain name."""
PR_SET_PTRACER = 0x59616D61
"""Lets a process that is no ancestor trace this one (Linux, ``ptrace_scope`` 1)."""
NEVER = every(hours=1000)
PADDING = {f"{number}": "x" * 90 for number in range(228)}
STEP = 3000
"""Bytes that a step adds: far more than what is measured varies by, so that a fold always begins with one step."""
PREPARED = 4
"""Steps that lie in the journal before a fold, a rewrite or an end."""
SMALL = ("first", "replace", "move", "manager", "sink", "artifact", "repair")
"""These keep a list in a small state; the others fill a mapping and a log."""
MENDED = 2
"""The step of the save before the damaged one, which is that of the clean end."""
COPIED = 1
"""Steps that the checkpoint has which is copied over the one that is there, more than that one."""
JOURNALED = ("append", "rewrite", "fold", "format 1", "move journal", "finalize", "load", "copy")
"""These begin with saves in a journal."""
MOVED = ("move", "move journal")
"""These begin with files under a name that is not theirs any more."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1 = {"files_data": [{"path": "a.js", "sha": "1"}], "processed_dirs": ["src"], "timestamp": "2024-01-15T10:30:00"}


class Deferred:
    """What a thread does, done when it is waited for or asked for the third time.

    So the order of system calls is always the same.
    """

    patience = 2

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work: Callable[[], Any] | None = work
        self.asked = 0
        self.value: Any = None
        self.error: BaseException | None = None

    def done(self) -> bool:
        self.asked += 1
        return self.asked > self.patience

    def exception(self) -> BaseException | None:
        work, self.work = self.work, None
        if work is not None:
            try:
                self.value = work()
            except Exception as error:
                self.error = error
        return self.error

    def result(self) -> tuple[Any, float]:
        if self.exception() is not None:
            raise self.error  # type: ignore[misc]
        return self.value, 0.0


def defer_threads(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Have checkpoints do beside the loop nothing at all."""
    set_attribute(background.Threads, "start", lambda threads, work: Deferred(work))


# -- where it lies ----------------------------------------------------------------------------------------------------


def id_of(name: str) -> str:
    """The operation's id."""
    return OLD_ID if name in MOVED else ID


def file_of(name: str, directory: Path, suffix: str = ".json") -> Path:
    """The operation's file that ends in *suffix*."""
    return directory / (file_name(id_of(name)).removesuffix(".json") + suffix)


def older_file_of(name: str, directory: Path, suffix: str = ".json") -> Path:
    """The file before the operation was moved."""
    return directory / (str(plain_name(id_of(name))).removesuffix(".json") + suffix)


# -- what it holds ----------------------------------------------------------------------------------------------------


def expected(name: str, step: int) -> dict[str, Any]:
    """The state after *step* steps."""
    if name == "migrate":
        old = {"files_data": {"a.js": {"path": "a.js", "sha": "1"}}, "processed_dirs": ["src"]}
        return old | ({"step": step} if step else {})
    if name in SMALL:
        return {"step": step, "done": list(range(step))}
    changed = {"last": step} | {f"new {number}": text(name, number) for number in range(1, step + 1)}
    return {"files": PADDING | changed, "log": list(range(step)), "step": step}


def text(name: str, number: int) -> str:
    """What one step adds; to ``rewrite`` it is more than the journal takes, so that all is written anew."""
    return "y" * (40_000 if name == "rewrite" and number > PREPARED else STEP)


def step(cp: Checkpoint, name: str) -> int:
    """One item's work; which one it was."""
    number = int(cp.state.get("step", 0)) + 1
    if name in SMALL:
        cp.state.setdefault("done", []).append(number - 1)
    elif name != "migrate":
        files = cp.mapping("files")
        files["last"] = number
        files[f"new {number}"] = text(name, number)
        cp.log("log").append(number - 1)
    cp.state["step"] = number
    return number


# -- what is done -----------------------------------------------------------------------------------------------------


@contextmanager
def opened(name: str, directory: Path, *, cleanup: bool = False) -> Iterator[Checkpoint]:
    with checkpointed(id_of(name), NEVER, store=directory, auto_cleanup=cleanup) as cp:
        yield cp


def rows(step: int) -> str:
    """What a sink holds after *step* steps."""
    return "".join(f"row {number} {'r' * 700}\n" for number in range(1, step + 1))


def rows_in(directory: Path) -> Path:
    return directory / "rows.txt"


def model(step: int) -> str:
    """What an artifact holds after *step* steps."""
    return "" if not step else f"model {step} {'m' * 700}"


def write_model(cp: Checkpoint, step: int) -> None:
    """Write the artifact as a program does that knows nothing of the library."""
    data = model(step).encode()
    try:
        with cp.artifact("model").write() as path:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, data[:100])
                os.write(file, data[100:])
            finally:
                os.close(file)
    except OSError as error:
        raise ResumableError(f"the job's own: {error}") from error


def model_in(cp: Checkpoint) -> str:
    """What the artifact holds."""
    artifact = cp.artifact("model")
    try:
        return artifact.path.read_text() if artifact.exists else ""
    except OSError as error:
        raise ResumableError(f"the job's own: {error}") from error


def save_steps(name: str, directory: Path, count: int, tell: Callable[[str], None]) -> None:
    with opened(name, directory) as cp:
        if name == "artifact":
            assert model_in(cp) == model(cp.state.get("step", 0))
        sink = cp.sink(rows_in(directory)) if name == "sink" else None
        for _ in range(count):
            if name == "artifact":  # work first, then one assignment: an error on the way saves the state as it is
                write_model(cp, cp.state.get("step", 0) + 1)
            number = step(cp, name)
            if sink is not None:
                sink.write(rows(number).removeprefix(rows(number - 1)))
            tell(f"begin {number}")
            cp.save()
            tell(f"saved {number}")


def save_by_manager(directory: Path, tell: Callable[[str], None]) -> None:
    manager = CheckpointManager(directory)
    found = manager.load_checkpoint(ID)
    number = found.state["step"] + 1 if found is not None else 1
    tell(f"begin {number}")
    manager.create_checkpoint(ID, expected("manager", number))
    tell(f"saved {number}")


def load(directory: Path, tell: Callable[[str], None]) -> None:
    found = CheckpointManager(directory).load_checkpoint(ID)
    assert found is not None, "taken for none"
    number = found.state["step"]
    assert found.state == expected("load", number)
    tell(f"begin {number}")
    tell(f"saved {number}")


def mend(directory: Path, tell: Callable[[str], None]) -> None:
    """Go back from a damaged save to the one before it."""
    tell(f"begin {MENDED}")
    repair(file_of("repair", directory), now=NOW)
    tell(f"saved {MENDED}")


def source_of(directory: Path) -> Path:
    """From where a later checkpoint is copied to *directory*."""
    return directory.with_name("source")


def copy_here(directory: Path, tell: Callable[[str], None]) -> None:
    """Copy a snapshot and its journal from elsewhere."""
    tell(f"begin {PREPARED + COPIED}")
    copy(FileStore(source_of(directory)), FileStore(directory), ID, now=NOW)
    tell(f"saved {PREPARED + COPIED}")


def finalize(directory: Path, tell: Callable[[str], None]) -> None:
    tell("begin end")
    with opened("finalize", directory, cleanup=True):
        pass
    tell("saved end")


def prepare(name: str, directory: Path) -> None:
    """What lies there before."""
    directory.mkdir()
    if name in JOBS:
        return
    if name == "migrate":
        file_of(name, directory).write_text(json.dumps(V1))
    elif name == "manager":
        save_by_manager(directory, lambda text: None)
    elif name in ("replace", "move", "sink", "artifact"):
        save_steps(name, directory, 2, lambda text: None)
    elif name == "repair":
        save_steps("replace", directory, MENDED, lambda text: None)
        current = file_of(name, directory)
        current.write_bytes(current.read_bytes().replace(b'"step": 2', b'"step": 3'))
    elif name != "first":
        with opened(name, directory) as cp:
            cp.mapping("files").update(PADDING)
            cp.save()
        save_steps(name, directory, 1 if name == "append" else PREPARED, lambda text: None)
    if name == "copy":
        shutil.copytree(directory, source_of(directory))
        save_steps(name, source_of(directory), COPIED, lambda text: None)
        assert file_of(name, source_of(directory), ".journal").exists()
    if name in MOVED:
        for suffix in (".json", ".json.prev", ".journal", ".journal.prev"):
            with contextlib.suppress(FileNotFoundError):
                file_of(name, directory, suffix).rename(older_file_of(name, directory, suffix))
        file_of(name, directory, ".lock").unlink()
    if name == "format 1":
        files = [file_of(name, directory, suffix) for suffix in (".json", ".journal")]
        older = in_format_1(*(path.read_bytes() for path in files))
        for path, data in zip(files, older, strict=True):
            path.write_bytes(data)


def act(name: str, directory: Path, tell: Callable[[str], None]) -> None:
    if name in JOBS:
        try:
            JOBS[name][0](directory)
        except OSError as error:  # of what the job itself does: it is begun again, too
            raise ResumableError(f"the job's own: {error}") from error
    elif name == "finalize":
        finalize(directory, tell)
    elif name == "manager":
        save_by_manager(directory, tell)
    elif name == "load":
        load(directory, tell)
    elif name == "repair":
        mend(directory, tell)
    elif name == "copy":
        copy_here(directory, tell)
    else:
        save_steps(name, directory, COUNTS.get(name, 1), tell)


COUNTS = {"append": 2, "format 1": 2, "fold": 7, "move": 2, "move journal": 7, "sink": 2, "artifact": 3}
"""So many steps are saved; a fold ends before the last one."""
CHANGING = ("first", "replace", "append", "rewrite", "fold", "finalize", "migrate", "format 1", "move", "move journal")
WRITING = (*CHANGING, "manager", "sink", "artifact")
NAMES = (*WRITING, "load", "repair", "copy")


def tell(text: str) -> None:
    os.pwritev(1, [f"{text}\n".encode()], 0)  # appends; not a call that faults are injected into


def warm_up(name: str) -> None:
    """Load all code before the faults begin; they belong to the files, not to the interpreter."""
    with tempfile.TemporaryDirectory() as scratch:
        prepare(name, Path(scratch) / "warm")
        act(name, Path(scratch) / "warm", lambda text: None)
        with contextlib.suppress(ResumableError):
            CheckpointManager(scratch).create_checkpoint(ID, {"bad": {1}})


def perform(name: str, directory: Path) -> None:
    """Do it; after a failure, go on as a program that is started again would."""
    for _ in range(3):
        try:
            act(name, directory, tell)
            break
        except ResumableError as error:
            tell(f"failed {type(error).__name__}: {error}".splitlines()[0])


def child(name: str, directory: Path, output: str) -> None:
    """The work of a forked process. It waits for a command, so that a tracer can be attached first."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    defer_threads()
    warm_up(name)
    os.rename(output, f"{output}.ready")
    signal.sigwait([signal.SIGUSR1])
    perform(name, directory)


def serve() -> None:
    """Fork a child for each line of standard input; answer with its process id, then with how it ended."""
    for line in sys.stdin:
        name, directory, output = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(name, Path(directory), output)
                code = 0
            except BaseException:
                tell(traceback.format_exc())
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
