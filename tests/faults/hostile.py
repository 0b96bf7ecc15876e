"""Files that somebody made to do harm, and all that a program does with them.

Only ResumableErrors come out, nothing is executed, and nothing is touched that is not the checkpoint's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import pkgutil
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import resumable
from resumable import Checkpoint, ResumableError, checkpointed, every
from resumable._format.restore import restore
from resumable._json import encode
from resumable.stores import MemoryStore
from tests.support import format1, stores

T = TypeVar("T")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1 = {
    "files_data": [{"path": "a.js", "sha": "1"}],
    "processed_files": ["a.js"],
    "processed_dirs": ["src"],
    "timestamp": "2024-01-15T10:30:00",
    "completed": False,
}


class Files(MemoryStore):
    """A store that holds these bytes."""

    def __init__(self, snapshot: bytes, journal: bytes | None = None, *, key: str = "job") -> None:
        super().__init__()
        with stores.claimed(self, key) as lease:
            lease.stage(lease.next, [snapshot])(b"")
            if journal:
                lease.append(lease.next, journal)


# -- valid ones, to begin with ----------------------------------------------------------------------------------------


def work(cp: Checkpoint[dict[str, Any]]) -> None:
    """Something of everything that a loop may leave in its checkpoint."""
    cp.observe({"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4000", "x-ratelimit-reset": "1767229200"})
    files, seen, log = cp.mapping("files"), cp.set("seen"), cp.log("log")
    for number in cp.remaining(range(4), key=str):
        files[f"new {number}"] = {"n": number}
        seen.add(number)
        log.append(number)
        cp.state["last"] = number
        cp.save()
        for _ in cp.remaining(range(3)):
            pass


def _journaled(directory: str) -> tuple[bytes, bytes]:
    with checkpointed("job", every(hours=1000), store=directory, auto_cleanup=False) as cp:
        cp.mapping("files").update({f"{number}": "x" * 90 for number in range(100)})
        cp.save()
        work(cp)
    files = Path(directory)
    return (files / ".checkpoint_job.json").read_bytes(), (files / ".checkpoint_job.journal").read_bytes()


def seeds() -> list[tuple[bytes, bytes | None]]:
    """Valid pairs of snapshot and journal."""
    with tempfile.TemporaryDirectory() as name:
        journaled, journal = _journaled(name)
    with tempfile.TemporaryDirectory() as name:
        with checkpointed("job", every(hours=1000), store=name, auto_cleanup=False) as cp:
            work(cp)
        small = (Path(name) / ".checkpoint_job.json").read_bytes()
    document = json.loads(small)
    unsigned = {key: value for key, value in document.items() if key != "resumable"}
    unsigned["state"] = {"done": [1, 2.5, "ß"]}
    plain = [json.dumps(one).encode() for one in (unsigned, V1)]
    return [(journaled, journal), in_format_1(journaled, journal), *((one, None) for one in (small, *plain))]


def in_format_1(snapshot: bytes, journal: bytes) -> tuple[bytes, bytes]:
    """The pair in the form of an earlier release."""
    document = json.loads(snapshot)
    own = document["resumable"]
    del own["journal"]
    older = signed(document)
    saves = [json.loads(record) for record in records_of(journal)]
    for save in saves:
        del save["seq"], save["after"]
    saves[-2]["fold"] = own["generation"] + 1
    return older, b"".join(format1.lines_of(saves, generation=own["generation"], digest=own["digest"]))


# -- lies: the checksums are right, the content is not ----------------------------------------------------------------


def signed(document: Any) -> bytes:
    """*document* with a digest that is right, if it has a place for one."""
    if not isinstance(document, dict) or not isinstance(document.get("resumable"), dict):
        return json.dumps(document).encode()
    document["resumable"].pop("digest", None)
    try:
        digest = hashlib.sha256(encode(document)).hexdigest()
    except ResumableError:  # it holds what JSON cannot
        digest = ""
    document["resumable"]["digest"] = digest
    return json.dumps(document).encode()


_AFTER = re.compile(rb'(\A\{"seq": ?\d+, ?"after": ?)\d+')


def framed(records: list[bytes]) -> bytes:
    """A journal whose checksums are right, and whose lines go on from each other."""
    is_headed = not records[0].startswith(b'{"seq"')
    journal, crc = b"", 0
    for number, record in enumerate(records):
        linked = record if is_headed or number == 0 else _AFTER.sub(rb"\g<1>%d" % crc, record)
        line, crc = format1.frame(linked, crc if is_headed else 0)
        journal += line
    return journal


def records_of(journal: bytes) -> list[bytes]:
    """The JSON of each line, a header first."""
    return [line.split(b" ", 2)[2] for line in journal.splitlines()]


# -- what is done with them -------------------------------------------------------------------------------------------


def load(snapshot: bytes, journal: bytes | None) -> str:
    """``loaded``, or the name of the error. Anything but a ResumableError goes through."""
    try:
        restore(Files(snapshot, journal), "job", now=NOW)
    except ResumableError as error:
        str(error)
        return type(error).__name__
    return "loaded"


def use(snapshot: bytes, journal: bytes | None, directory: Path) -> None:
    """Go on from it, as a program would that knows nothing of its content; rows go to *directory*."""
    store = Files(snapshot, journal)
    with contextlib.suppress(ResumableError), checkpointed("job", every(items=2), store=store) as cp:
        assert cp.metadata.processed_items >= 0
        for kind, name in ((cp.mapping, "files"), (cp.set, "seen"), (cp.log, "log")):
            with contextlib.suppress(TypeError):  # the state holds something else: the program is told so
                len(kind(name))
        with contextlib.suppress(TypeError):
            work(cp)
        cp.sink(directory / "rows.txt").write("row\n")
        cp.tick()
        cp.save()


def load_modules() -> None:
    """Load what the library loads on demand, so that a file is not blamed for it."""
    for module in pkgutil.walk_packages(resumable.__path__, "resumable."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


# -- what it does to the world ----------------------------------------------------------------------------------------

_EXECUTES = ("exec", "compile", "import", "marshal.", "pickle.", "ctypes.", "subprocess.", "os.exec", "os.system")
_EXECUTES += ("os.posix_spawn", "os.fork", "os.putenv", "socket.connect", "socket.bind", "socket.send", "urllib.")
_TOUCHES = ("open", "os.", "shutil.", "tempfile.")


def _is_own_text(source: object) -> bool:
    """Whether it is a function of this file, and so nothing that a checkpoint holds."""
    text = source.decode() if isinstance(source, bytes) else str(source)
    return len(text) > 100 and text.removeprefix("if 1:\n").strip() in _OWN_TEXT


_OWN_TEXT = Path(__file__).read_text()


class Guard:
    """Notes whatever is executed, loaded, or touched outside of *directory*, while it is on.

    Threads that were there before, such as what another test left to look for a preemption, are none of its business.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.is_on = False
        self.others: set[int | None] = set()
        self.told: list[str] = []
        sys.addaudithook(self._hear)

    def watch(self, function: Callable[[], T]) -> T:
        """What *function* gives.

        Raises:
            AssertionError: It did something to the world.
        """
        self.others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        self.is_on = True
        try:
            result = function()
        finally:
            self.is_on = False
        assert self.told == [], self.told
        return result

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or threading.get_ident() in self.others:
            return
        if event == "compile" and _is_own_text(arguments[0]):  # read as a syntax tree, for warnings
            return
        if event.startswith(_EXECUTES) or (event.startswith(_TOUCHES) and self._is_outside(arguments)):
            self.told.append(f"{event} {arguments!r}"[:300])

    def _is_outside(self, arguments: tuple[Any, ...]) -> bool:
        paths = [os.fsdecode(one) for one in arguments[:2] if isinstance(one, bytes | str | os.PathLike)]
        harmless = (self.directory, os.devnull)  # the library keeps one descriptor in reserve, open to nowhere
        return any(os.sep in path and not path.startswith(harmless) for path in paths)
