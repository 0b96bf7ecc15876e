"""Output files whose rows count from the next save on.

The checkpoint holds where each file ends. A save brings the file to the disk first. A resume cuts the file back to the
saved end, so that it holds each row once, whatever died when. The last save of a run closes the file: what is found
behind that end later was written by others, and is never cut off.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from .._errors import StoreError
from .._runtime import disk
from .._runtime.interpreter import is_held_here
from .sink_file import Existing, Target, as_saved, grown, open_file, text_of

Mode = Literal["t", "b"]
Row = TypeVar("Row", str, bytes)

_BUFFER = 1 << 16  # bytes that a sink gathers before it writes them


class Sink(Generic[Row]):
    """A file to write rows to, text (UTF-8) or bytes. Any thread may write.

    Use it as a file: ``write``, ``writelines``, ``print(..., file=sink)``. The checkpoint flushes and closes it.

    Attributes:
        path: The file, from the root on, with all links resolved.
        mode: ``"t"`` for text, ``"b"`` for bytes.
        is_announced: Whether the stored checkpoint says that this run writes to it. Until then, a resume would take
            the rows of this run for those of others.
    """

    def __init__(self, target: Target, mode: Mode, saved: Mapping[str, Any] | None, existing: Existing) -> None:
        self._file: int | None
        self._file, self._extent = open_file(target, saved, existing)
        self.path = target.path
        self.mode = mode
        self.is_announced = saved is not None and not saved.get("closed")
        self._text = target.text
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._waiting = bytearray()
        self._is_sealed = False
        self._is_unsure = False

    # -- writing

    def write(self, row: Row) -> int:
        """Add *row*, which needs its own newline. It counts from the next save on. Returns its length.

        Raises:
            TypeError: A text sink takes str only; a bytes sink takes bytes, bytearray and memoryview.
            ValueError: The sink is closed.
            StoreError: The disk refuses, or this is a forked child. The row was not added.
        """
        data = self._encoded(row)
        if self._is_forked():
            raise StoreError(
                f"{self.path} belongs to the process that opened it; give rows back to it. None was written."
            )
        with self._lock:
            if self.closed:
                raise ValueError(f"{self.path} is closed: close() was called, or the block of its checkpoint has ended")
            if len(self._waiting) + len(data) > _BUFFER:
                with self._as_store_error("Of this row, nothing was written."):
                    self._flush()
            waiting, extent = self._waiting, grown(self._extent, data)
            # No call from here on: an exception from a signal handler tears nothing.
            self._extent = extent
            waiting += data
        return len(row) if isinstance(row, str) else len(data)

    def _encoded(self, row: object) -> bytes:
        if self.mode == "t" and isinstance(row, str):
            return row.encode()
        if self.mode == "b" and isinstance(row, bytes | bytearray | memoryview):
            return bytes(row)
        raise TypeError(f"this sink takes {'str' if self.mode == 't' else 'bytes'}, not {type(row).__name__}")

    def writelines(self, rows: Iterable[Row]) -> None:
        """Add each of *rows*. Raises what :meth:`write` raises."""
        for row in rows:
            self.write(row)

    def flush(self) -> None:
        """Hand all rows to the operating system, so that others can read them. They count from the next save on.

        Raises:
            StoreError: The disk refuses. The next flush or save tries again.
        """
        if not self._is_forked():
            with self._lock, self._as_store_error("The last checkpoint stands."):
                self._flush()

    def close(self) -> None:
        """Bring all rows to the disk, and take no more. The rows count from the next save on.

        The checkpoint closes its sinks itself at its end. Closing twice does nothing. ``cp.sink`` opens the file again.

        Raises:
            StoreError: The disk refuses. The sink stays open, and the next close or save tries again.
        """
        if not self._is_forked():
            with self._lock:
                self.sync()
                self.release()

    @property
    def closed(self) -> bool:
        """Whether it takes no more rows."""
        return self._file is None or self._is_sealed

    def _is_forked(self) -> bool:
        """Whether this is the copy in a forked child. The parent writes the rows that wait in it."""
        return os.getpid() != self._pid

    def _flush(self) -> None:
        if self._file is not None and self._waiting:
            # After a write that failed halfway, write all of it again.
            os.lseek(self._file, self._extent[0] - len(self._waiting), os.SEEK_SET)
            disk.write_all(self._file, bytes(self._waiting))
            self._waiting.clear()

    # -- for the checkpoint

    def to_dict(self) -> dict[str, Any]:
        """Where the file ends, as the checkpoint holds it. The disk has it after the next :meth:`sync`."""
        with self._lock:
            saved = as_saved(self._extent) | {"path": self._text}
            return saved | {"closed": True} if self._is_sealed else saved

    def is_busy_here(self) -> bool:
        """Whether this thread is in the middle of a write. A signal handler asks before it saves."""
        return is_held_here(self._lock)

    def seal(self) -> None:
        """Take no more rows: :meth:`to_dict` gives the final end from now on."""
        with self._lock:
            self._is_sealed = True

    def sync(self) -> None:
        """Bring all rows to the disk.

        Raises:
            StoreError: The disk refuses. The checkpoint must not count the rows.
        """
        with self._lock, self._as_store_error("The last checkpoint stands."):
            if self._file is None:
                return
            if self._is_unsure:
                raise StoreError(
                    f"{self.path} could not be brought to the disk before. Run again: it is cut back then."
                )
            self._flush()
            try:
                disk.sync_data(self._file)
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

    def release(self) -> None:
        """Close the file without a sync. The next run cuts off what no save counts."""
        with self._lock:
            if self._file is not None:
                with contextlib.suppress(OSError):  # the rows that count are on the disk already
                    os.close(self._file)
                self._file = None


class Sinks:
    """All sinks of one operation.

    A run knows a file by its absolute path, with all links resolved. The checkpoint keeps the name that the user gave,
    so that a directory may be moved together with its checkpoint.

    Args:
        saved: Where each file ended at the last save, by name.
    """

    def __init__(self, operation_id: str, saved: Mapping[str, Mapping[str, Any]]) -> None:
        self._operation_id = operation_id
        self._saved = dict(saved)
        self.opened: dict[str, Sink[Any]] = {}
        self._names: dict[str, str] = {}

    def open(self, path: str | os.PathLike[str], mode: Mode, existing: Existing) -> Sink[Any]:
        """The sink that writes to *path*; opens the file if it is not open. Raises what :func:`open_file` raises, too.

        Raises:
            TypeError: The file is open in the other mode.
            ValueError: There is no such *mode*, or no such *existing*.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be 't' or 'b', not {mode!r}")
        if existing not in get_args(Existing):
            raise ValueError(f"existing must be 'append', 'replace' or 'refuse', not {existing!r}")
        given = os.fspath(path)
        target = Target(self._operation_id, given, Path(os.path.realpath(given)))
        known = self.opened.get(target.text)
        if known is None:
            known = self._open_first(target, mode, existing)
        elif known.closed:
            is_announced = known.is_announced
            known = Sink(target, mode, known.to_dict() | {"closed": True}, "append")
            known.is_announced = is_announced
        elif known.mode != mode:
            raise TypeError(
                f"{known.path} is open with mode={known.mode!r}; it cannot be written with {mode!r} as well"
            )
        self.opened[target.text] = known
        return known

    def _open_first(self, target: Target, mode: Mode, existing: Existing) -> Sink[Any]:
        names = self._saved_names(target)
        sink: Sink[Any] = Sink(target, mode, self._saved[names[0]] if names else None, existing)
        for name in names:
            self._saved.pop(name, None)
        is_free = target.given not in self._saved and target.given not in self._names.values()
        self._names[target.text] = target.given if is_free else target.text
        return sink

    def _saved_names(self, target: Target) -> list[str]:
        """The names under which the checkpoint has the file; the first one is right."""
        # Checkpoints of earlier releases do not say where the file lay: take its name as a path.
        paths = {name: sink.get("path") or text_of(os.path.realpath(name)) for name, sink in self._saved.items()}
        names = [name for name, path in paths.items() if path == target.text]
        if target.given in self._saved and (target.given in names or not names):
            names.insert(0, target.given)
        return names

    def to_dict(self) -> dict[str, Any]:
        """Where each file ends now, by name."""
        return {**self._saved, **{self._names[path]: sink.to_dict() for path, sink in self.opened.items()}}

    def syncs(self) -> list[Callable[[], None]]:
        """Functions that bring each sink to the disk; each may block, and raises what :meth:`Sink.sync` raises."""
        return [sink.sync for sink in self.opened.values()]

    def is_busy_here(self) -> bool:
        """Whether this thread is in the middle of a write to any sink. A signal handler asks before it saves."""
        return any(map(Sink.is_busy_here, list(self.opened.values())))

    def seal(self) -> None:
        """Take no more rows in any sink."""
        for sink in self.opened.values():
            sink.seal()

    def release(self) -> None:
        """Close all files without a sync."""
        for sink in self.opened.values():
            sink.release()
