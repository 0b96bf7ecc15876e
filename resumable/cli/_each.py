"""``resumable run --items FILE -- COMMAND``: runs a command for each line of a file, many at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import tenacity

from .._api.checkpoint import Checkpoint
from .._api.checkpointed import checkpointed
from .._errors import InputChangedError, TooManyFailedError
from .._runtime.groups import Groups
from .._text import command_for, hidden_in_command, printable, quoted, shortened
from ..stores.defaults import without_password

_HEADER = "item\tbegan\tseconds\texit\tcommand\n"
_IN_MEMORY = 1 << 20
_LONGEST_TAIL, _LONGEST_NAME = 300, 80
_GRACE_SECONDS = 5.0


class CommandError(Exception):
    """A command failed for one item: its exit *code*, negative for a signal, and the end of its stderr."""

    def __init__(self, code: int, tail: str = "", row: tuple[str, ...] = ()) -> None:
        super().__init__(code, tail, row)
        self.code, self.tail, self.row = code, tail, row

    def __str__(self) -> str:
        how = f"exit code {self.code}" if self.code >= 0 else f"ended by signal {-self.code}"
        parts = [shortened(self.row[0], _LONGEST_NAME) if self.row else "", how, self.tail]
        return ": ".join(part for part in parts if part)


@dataclass
class Each:
    """Runs a command for each item.

    Args:
        command: The item replaces each ``{}`` in it; without one, the item is added as the last argument.
        is_shell: Whether the command is one text for the shell. Items are quoted for it.
        jobs: How many commands run at a time.
        joblog: A file that gets a line for each command that has ended.
        retries: How often a command is tried for one item, at most.
        any_order: Whether to identify items by their text instead of their position.

    Attributes:
        why: Why the last run gave up, in a sentence; "" if it did not.
    """

    command: Sequence[str]
    is_shell: bool = False
    jobs: int = 1
    joblog: Path | None = None
    retries: int = 1
    max_failed: float | None = None
    retry_failed: bool = False
    any_order: bool = False
    why: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._alive: set[subprocess.Popen[Any]] = set()
        self._lock = threading.Lock()
        self._groups = Groups()

    def run(self, items: list[str], operation_id: str, **options: Any) -> int:
        """Run the command for all items that are not done yet. Returns the exit code: 0, or 1 if any failed."""
        where = without_password(options["store"])
        try:
            with self._groups, ExitStack() as ending, checkpointed(operation_id, **options) as cp:
                ending.callback(self._end_all)
                self._run_all(cp, items)
                failed = len(cp.failed)
            self.why = f"{failed:,} of {len(items):,} failed" if failed else ""
        except TooManyFailedError as error:
            last = error.last.removeprefix(f"{CommandError.__name__}: ")
            self.why = (
                f"{error.failed:,} of {error.tried:,} failed, more than --max-failed allows; the last error: {last}"
            )
        except InputChangedError as error:
            self.why = f"it began with other items; nothing was done: {'; '.join(error.differences)}"
            _say(self.why, f"start over  {command_for('rm', operation_id, where)}  and from then on add --any-order")
            return 1
        if self.why:
            seen = f", and {quoted(str(self.joblog))}" if self.joblog is not None else ""
            look = f"{command_for('show', operation_id, where)}{seen}"
            _say(self.why, f"which       {look}", "try again   run it once more with --retry-failed")
        return 1 if self.why else 0

    def _run_all(self, cp: Checkpoint, items: list[str]) -> None:
        log = cp.sink(self.joblog, header=_HEADER) if self.joblog is not None else None
        ended = cp.map(
            self._run_one,
            items,
            key=_known if self.any_order else None,
            executor=lambda: ThreadPoolExecutor(self.jobs),
            max_in_flight=self.jobs,
            on_error="collect",
            max_failed=self.max_failed,
            retry_failed=self.retry_failed,
            retry=self._retry_policy(),
        )
        for item, result in ended:
            if log is not None:
                log.write(self._log_line(item, result))

    def _retry_policy(self) -> tenacity.Retrying | None:
        if self.retries == 1:
            return None
        wait = tenacity.wait_random_exponential(max=60)
        return tenacity.Retrying(stop=tenacity.stop_after_attempt(self.retries), wait=wait, reraise=True)

    def _log_line(self, item: str, result: object) -> str:
        row = result.row if isinstance(result, CommandError) else result
        row = row if isinstance(row, tuple) and row else _row(item, datetime.now(UTC), 0.0, str(result))
        return "\t".join(map(_cell, (*row, shlex.join(hidden_in_command(self._filled(item)))))) + "\n"

    def _filled(self, item: str) -> list[str]:
        if self.is_shell:
            text = " ".join(self.command)
            return [text.replace("{}", shlex.quote(item)) if "{}" in text else f"{text} {shlex.quote(item)}"]
        if not any("{}" in part for part in self.command):
            return [*self.command, item]
        return [part.replace("{}", item) for part in self.command]

    def _run_one(self, item: str) -> tuple[str, ...]:
        filled, began, since = self._filled(item), datetime.now(UTC), time.monotonic()
        alone: dict[str, Any] = (
            {"process_group": 0} if os.name == "posix" else {}
        )  # Ctrl-C must reach only this program
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as output, tempfile.TemporaryFile() as errors:
            output.rollover()
            child = subprocess.Popen(
                filled[0] if self.is_shell else filled,
                shell=self.is_shell,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                **alone,
            )
            self._alive.add(child)
            self._groups.add(child.pid)
            try:
                code = child.wait()
            finally:
                self._alive.discard(child)
                self._groups.remove(child.pid)
            with self._lock:
                _pass_on(output, sys.stdout)
                tail = _pass_on(errors, sys.stderr)
        row = _row(item, began, time.monotonic() - since, str(code))
        if code:
            raise CommandError(code, tail, row)
        return row

    def _end_all(self) -> None:
        """End the commands that still run: SIGTERM, then, after the grace, SIGKILL."""
        for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            for child in list(self._alive):
                with contextlib.suppress(OSError):
                    os.killpg(child.pid, number) if os.name == "posix" else child.terminate()
            until = time.monotonic() + _GRACE_SECONDS
            while self._alive and time.monotonic() < until:
                time.sleep(0.01)


def _say(text: str, *lines: str) -> None:
    print("\n  ".join([f"resumable run: {printable(text)}", *lines]), file=sys.stderr)


def _row(item: str, began: datetime, seconds: float, code: str) -> tuple[str, ...]:
    return item, began.isoformat(timespec="milliseconds"), f"{seconds:.3f}", code


def _cell(text: str) -> str:
    """*text* as a cell: without tabs and line ends."""
    return _known(text).replace("\t", " ").replace("\n", " ").replace("\r", " ")


def _known(text: str) -> str:
    """*text* as valid Unicode: a byte that is not UTF-8 becomes ``\\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _pass_on(file: IO[bytes], stream: Any) -> str:
    """Copy the content of *file* to *stream*. Returns its last characters."""
    file.seek(0, os.SEEK_END)
    length = file.tell()
    file.seek(0)
    with contextlib.suppress(BrokenPipeError):  # nobody reads the output any more; the command has done its work
        if length and stream.isatty():
            stream.write(file.read().decode(errors="replace"))  # above the bar
        elif length:
            stream.flush()
            shutil.copyfileobj(file, stream.buffer)
            stream.buffer.flush()
    file.seek(max(length - _LONGEST_TAIL, 0))
    return file.read().decode(errors="replace").strip()


def read_items(path: str) -> list[str]:
    """The lines of a file that are not blank; ``-`` is standard input. Raises OSError.

    If the file holds NUL characters, they separate the items, as ``find -print0`` writes them. Such an item may have
    several lines.
    """
    raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    parts = raw.split(b"\0") if b"\0" in raw else [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    return [part.decode(errors="surrogateescape") for part in parts if part.strip()]


def why_not(command: Sequence[str]) -> int:
    """Why *command* cannot be run, as a shell's exit code: 127 not found, 126 not executable; 0 if it can, or may."""
    name = command[0]
    if "{}" in name or shutil.which(name) is not None:
        return 0
    return 126 if os.path.dirname(name) and os.path.exists(name) else 127


def id_for(items: str, command: Sequence[str]) -> str:
    """The default id: the names of the command and of the file, and a digest of the whole command and path."""
    digest = hashlib.sha256("\0".join([os.path.abspath(items), *command]).encode(errors="surrogateescape")).hexdigest()
    name = os.path.basename(command[0].split()[0] if command[0].strip() else command[0])
    return f"run-{name}-{Path(items).stem or 'stdin'}-{digest[:8]}"
