"""Git repositories to serve, made in a moment, the example server in a process of its own, and a PostgreSQL server."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from examples.github_server import ServedRequest

_SERVER = Path(__file__).resolve().parents[2] / "examples" / "github_server.py"
_FIRST_COMMIT_AT = 1767225600  # 2026-01-01T00:00:00Z
_ENV = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def make_repository(
    path: Path,
    *,
    files: int = 100,
    commits: int = 200,
    extra: Mapping[str, bytes] | None = None,
    links: Mapping[str, str] | None = None,
) -> Path:
    """Make a git repository at *path* without a work tree's files; the same one for the same arguments.

    Args:
        files: Text files, spread over ten directories.
        commits: Commits on ``main``. The first adds everything; each later one changes one of *files*.
        extra: More files of the first commit, by path.
        links: Symbolic links of the first commit: path to target.

    Returns:
        *path*.
    """
    git("init", "--quiet", "--initial-branch=main", str(path))
    stream = b"".join(_history(files, commits, extra or {}, links or {}))
    git("fast-import", "--quiet", cwd=path, stdin=stream)
    return path


def read_files(repository: Path, ref: str = "HEAD") -> dict[str, bytes]:
    """Every regular file of a commit, by path: the truth that a fetch is compared with."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", ref, cwd=repository))) as archive:
        opened = ((member.name, archive.extractfile(member)) for member in archive if member.isfile())
        return {name: file.read() for name, file in opened if file is not None}


def git(*arguments: str, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    """Run git and return what it prints.

    Raises:
        subprocess.CalledProcessError: If git fails.
    """
    return subprocess.run(["git", *arguments], cwd=cwd, env=_ENV, input=stdin, capture_output=True, check=True).stdout


def _history(files: int, commits: int, extra: Mapping[str, bytes], links: Mapping[str, str]) -> Iterator[bytes]:
    yield _commit(0, "Add everything")
    for index in range(files):
        yield _file(_path(index), f"file {index}\n".encode() * (index % 40 + 1))
    for path, content in extra.items():
        yield _file(path, content)
    for path, target in links.items():
        yield _file(path, target.encode(), mode="120000")
    for number in range(1, commits):
        index = number % files
        yield _commit(number, f"Change file {index}\n\nChange {number}.")
        yield _file(_path(index), f"file {index}\nchange {number}\n".encode())


def _path(index: int) -> str:
    return f"src/part{index % 10}/file{index}.txt"


def _commit(number: int, message: str) -> bytes:
    who = f"Ada Example <ada@example.com> {_FIRST_COMMIT_AT + 60 * number} +0000"
    text = message.encode()
    return f"commit refs/heads/main\ncommitter {who}\ndata {len(text)}\n".encode() + text + b"\n"


def _file(path: str, content: bytes, mode: str = "100644") -> bytes:
    return f"M {mode} inline {path}\ndata {len(content)}\n".encode() + content + b"\n"


class ServerProcess:
    """``examples/github_server.py`` in a process of its own, on a free port of 127.0.0.1.

    Args:
        options: The command line's options: ``limit=400`` for ``--limit 400``.

    Attributes:
        url: Where it serves.
        process: The process, for tests that kill it.

    Raises:
        RuntimeError: If it does not start; the message is what it printed.
    """

    def __init__(self, repository: Path, **options: float) -> None:
        flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(_SERVER), str(repository), "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(self.process.communicate()[1])

    @property
    def requests(self) -> list[ServedRequest]:
        """All requests that it has served so far."""
        return [ServedRequest(**request) for request in _get_json(f"{self.url}/__requests")]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and wait for the end.

        Returns:
            The exit code and what it wrote to stderr.
        """
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=300)
        return self.process.returncode, errors

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)


def _get_json(url: str) -> Any:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the PATH."""
    found = [shutil.which("pg_ctl"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)]
    programs = [Path(path).resolve().parent for path in found if path]
    return next((one for one in programs if (one / "initdb").exists()), None)


class PostgresServer:
    """An empty PostgreSQL, reached by a socket in a folder of its own; both are gone at the end.

    Attributes:
        url: Of its database.

    Raises:
        subprocess.CalledProcessError: If it does not start.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
        self._place = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
        if self._user is not None:
            shutil.chown(self._place, self._user)
        self._data = str(self._place / "data")
        self._run("initdb", "--pgdata", self._data, "--auth=trust", "--username=postgres", "--no-sync")
        settings = f"-k {self._place} -c listen_addresses= -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", f"{self._data}/log", "-o", settings)
        self.url = f"postgresql://postgres@/postgres?host={self._place}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(
            command, cwd=self._place, user=self._user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", self._data)
        shutil.rmtree(self._place)
