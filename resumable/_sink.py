"""An output file that is coupled to the checkpoint: what is written counts when the checkpoint does.

The checkpoint holds how far the file goes. A save brings the file to the disk first; a resume cuts it back to where
the checkpoint says, so that each row is there once, whatever died when.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar

from ._errors import InputChangedError, StoreError
from .stores import _disk

Existing = Literal["append", "replace", "refuse"]
Row = TypeVar("Row", str, bytes)

_SAMPLE = 4096
"""So many bytes at the beginning and before the end tell whether it is still the same file."""
_BUFFER = 1 << 16


class Sink(Generic[Row]):
    """A file to write rows to, text (UTF-8) or bytes. Any thread may write.

    Use it as a file: ``write``, ``writelines``, ``print(..., file=sink)``. It is flushed and closed by the checkpoint.
    """

    def __init__(self, operation_id: str, path: Path, mode: Literal["t", "b"]) -> None:
        if mode not in ("t", "b"):
            raise ValueError(f"mode must be 't' or 'b', not {mode!r}")
        self.path = path
        self.mode = mode
        self._operation_id = operation_id
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._head = b""
        self._tail = b""
        self._offset = 0
        self._file: int | None = None
        self._is_unsure = False

    # -- writing

    def write(self, row: Row) -> int:
        """Add *row*; a newline is the caller's. Returns its length. It counts from the next save on.

        Raises:
            TypeError: If *row* is not of the sink's kind.
            StoreError: It cannot be written, or this is a forked child.
        """
        data = row.encode() if isinstance(row, str) else bytes(row)
        if isinstance(row, str) is not (self.mode == "t"):
            raise TypeError(f"this sink takes {'str' if self.mode == 't' else 'bytes'}, not {type(row).__name__}")
        if os.getpid() != self._pid:
            raise StoreError(
                f"{self.path} belongs to the process that opened it; give rows back to it. None was written."
            )
        with self._lock:
            if self._file is None:
                raise ValueError(f"the checkpoint that {self.path} belongs to is closed")
            if len(self._waiting) + len(data) > _BUFFER:
                with self._as_store_error("Of this row, nothing was written."):
                    self._flush()
            self._note(data)
            self._waiting += data
        return len(row)

    def writelines(self, rows: Iterable[Row]) -> None:
        """Add each of *rows*."""
        for row in rows:
            self.write(row)

    def flush(self) -> None:
        """Hand what is written to the system, so that others can read it. It counts from the next save on.

        Raises:
            StoreError: It cannot be written; the next flush or save tries again.
        """
        with self._lock, self._as_store_error("The last checkpoint stands."):
            self._flush()

    def _note(self, data: bytes) -> None:
        self._offset += len(data)
        if len(self._head) < _SAMPLE:
            self._head += data[: _SAMPLE - len(self._head)]
        self._tail = (self._tail + data[-_SAMPLE:])[-_SAMPLE:]

    def _flush(self) -> None:
        if self._file is not None and self._waiting:
            # A write that failed halfway is done again from its beginning.
            os.lseek(self._file, self._offset - len(self._waiting), os.SEEK_SET)
            _disk.write_all(self._file, bytes(self._waiting))
            self._waiting.clear()

    # -- for the checkpoint

    def open(self, saved: Mapping[str, Any] | None, existing: Existing) -> None:
        """Open the file, and cut off what no checkpoint holds.

        Raises:
            InputChangedError: The file is not the one that was written; it was not touched.
            StoreError: It cannot be opened.
        """
        try:
            self._open(saved, existing)
        except OSError as error:
            self.close()
            raise StoreError(f"cannot open {self.path}: {error.strerror or error}. It was not changed.") from error

    def _open(self, saved: Mapping[str, Any] | None, existing: Existing) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self.path, flags | (os.O_CREAT if saved is None else 0), 0o666)
        except FileNotFoundError:
            self._refuse(f"{self.path} is gone")
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise OSError("it is not a regular file")
        size = os.fstat(self._file).st_size
        offset = int(saved["offset"]) if saved is not None else self._first_offset(size, existing)
        if size < offset:
            self._refuse(f"{self.path} held {offset:,} bytes, now {size:,}")
        self._head = os.pread(self._file, min(_SAMPLE, offset), 0)
        self._tail = os.pread(self._file, min(_SAMPLE, offset), max(0, offset - _SAMPLE))
        self._offset = offset
        if saved is not None and saved["sample"] != self._sample():
            self._refuse(f"{self.path} was changed in what the checkpoint holds of it")
        os.ftruncate(self._file, offset)
        os.lseek(self._file, offset, os.SEEK_SET)
        _disk.sync_directory(self.path.parent)

    def _first_offset(self, size: int, existing: Existing) -> int:
        if existing == "refuse" and size:
            self._refuse(f"{self.path} exists, and no checkpoint knows of it")
        return 0 if existing == "replace" else size

    def _refuse(self, difference: str) -> NoReturn:
        self.close()
        raise InputChangedError(
            self._operation_id,
            [difference],
            [
                f"put back the {self.path.name} that the last run left",
                f"start over:  move {self.path.name} away, then  resumable rm {self._operation_id}",
            ],
        )

    def _sample(self) -> str:
        return hashlib.sha256(b"%d:%b%b" % (len(self._head), self._head, self._tail)).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """How far it goes now; true on the disk after the next :meth:`sync`."""
        with self._lock:
            return {"offset": self._offset, "sample": self._sample()}

    def sync(self) -> None:
        """Bring all that was written to the disk.

        Raises:
            StoreError: That failed; the checkpoint must not count it.
        """
        with self._lock:
            if self._file is None:
                return
            if self._is_unsure:
                raise StoreError(
                    f"{self.path} could not be brought to the disk before. Run again: it is cut back then."
                )
            with self._as_store_error("The last checkpoint stands."):
                self._flush()
                try:
                    _disk.sync_data(self._file)
                except OSError:
                    # The kernel may have dropped the pages: a second sync that succeeds proves nothing.
                    self._is_unsure = True
                    raise

    @contextlib.contextmanager
    def _as_store_error(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}. {consequence}") from error

    def close(self) -> None:
        """Close the file; what was not synced is cut off by the next run."""
        with self._lock:
            if self._file is not None:
                with contextlib.suppress(OSError):  # what counts is on the disk already
                    os.close(self._file)
                self._file = None


class Sinks:
    """The sinks of one operation, by the path that the user gave.

    Args:
        saved: How far each went at the last save.
    """

    def __init__(self, operation_id: str, saved: Mapping[str, Mapping[str, Any]]) -> None:
        self._operation_id = operation_id
        self._saved = dict(saved)
        self._open: dict[str, Sink[Any]] = {}

    def get(self, path: str | os.PathLike[str]) -> Sink[Any] | None:
        """The open sink *path*, None if it is not open."""
        return self._open.get(os.fspath(path))

    def open(self, path: str | os.PathLike[str], mode: Literal["t", "b"], existing: Existing) -> Sink[Any]:
        """Open the sink *path*. See :meth:`Sink.open`."""
        name = os.fspath(path)
        sink: Sink[Any] = Sink(self._operation_id, Path(name).absolute(), mode)
        sink.open(self._saved.get(name), existing)
        self._open[name] = sink
        return sink

    def is_saved(self, path: str | os.PathLike[str]) -> bool:
        """Whether an earlier run's checkpoint knows the sink *path*."""
        return os.fspath(path) in self._saved

    def to_dict(self) -> dict[str, Any]:
        """How far each goes now."""
        return {**self._saved, **{name: sink.to_dict() for name, sink in self._open.items()}}

    def syncs(self) -> list[Callable[[], None]]:
        """What brings each to the disk."""
        return [sink.sync for sink in self._open.values()]

    def close(self) -> None:
        """Close them all."""
        for sink in self._open.values():
            sink.close()
