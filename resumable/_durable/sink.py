"""An output file that is coupled to the checkpoint: what is written counts when the checkpoint does.

The checkpoint holds how far the file goes. A save brings the file to the disk first; a resume cuts it back to where
the checkpoint says, so that each row is there once, whatever died when. The last save of a run says that it is: no row
of ours follows it, so that what is found behind it is of others.
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
from .sink_file import Existing, Extent, Place, open_file, text_of

Mode = Literal["t", "b"]
Row = TypeVar("Row", str, bytes)

_BUFFER = 1 << 16


class Sink(Generic[Row]):
    """A file to write rows to, text (UTF-8) or bytes. Any thread may write.

    Use it as a file: ``write``, ``writelines``, ``print(..., file=sink)``. It is flushed and closed by the checkpoint.

    Attributes:
        path: The file, from the root on, with all links resolved.
        mode: ``"t"`` for text, ``"b"`` for bytes.
    """

    def __init__(self, place: Place, mode: Mode) -> None:
        self.path = place.path
        self.mode = mode
        self._place = place
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._waiting = bytearray()
        self._extent = Extent()
        self._file: int | None = None
        self._is_sealed = False
        self._is_unsure = False

    # -- writing

    def write(self, row: Row) -> int:
        """Add *row*; a newline is the caller's. Returns its length. It counts from the next save on.

        Raises:
            TypeError: *row* is not of the sink's kind: str, or else bytes, bytearray or memoryview.
            ValueError: The sink is closed.
            StoreError: It cannot be written, or this is a forked child.
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
            extent, waiting = self._extent, self._waiting
            grown = extent.grown(data)
            # No call from here on: an exception out of a signal handler tears nothing.
            extent.offset, extent.head, extent.tail = grown
            waiting += data
        return len(row) if isinstance(row, str) else len(data)

    def _encoded(self, row: object) -> bytes:
        if self.mode == "t" and isinstance(row, str):
            return row.encode()
        if self.mode == "b" and isinstance(row, bytes | bytearray | memoryview):
            return bytes(row)
        raise TypeError(f"this sink takes {'str' if self.mode == 't' else 'bytes'}, not {type(row).__name__}")

    def writelines(self, rows: Iterable[Row]) -> None:
        """Add each of *rows*."""
        for row in rows:
            self.write(row)

    def flush(self) -> None:
        """Hand what is written to the system, so that others can read it. It counts from the next save on.

        Raises:
            StoreError: It cannot be written; the next flush or save tries again.
        """
        if self._is_forked():
            return
        with self._lock, self._as_store_error("The last checkpoint stands."):
            self._flush()

    def close(self) -> None:
        """Bring what is written to the disk, and take no more. It counts from the next save on.

        No need to call it: the checkpoint closes it at its end. Once more does nothing; ``cp.sink`` opens it again.

        Raises:
            StoreError: It cannot be written. It stays open, and the next close or save tries again.
        """
        if self._is_forked():
            return
        with self._lock:
            self._sync()
            self._release()

    @property
    def closed(self) -> bool:
        """Whether it takes no more rows."""
        return self._file is None or self._is_sealed

    def _is_forked(self) -> bool:
        """Whether this is a child's copy. The rows that wait in it are the parent's to write."""
        return os.getpid() != self._pid

    def _flush(self) -> None:
        if self._file is not None and self._waiting:
            # A write that failed halfway is done again from its beginning.
            os.lseek(self._file, self._extent.offset - len(self._waiting), os.SEEK_SET)
            disk.write_all(self._file, bytes(self._waiting))
            self._waiting.clear()

    # -- for the checkpoint

    def open(self, saved: Mapping[str, Any] | None, existing: Existing) -> None:
        """Open the file. See :func:`open_file`."""
        self._file, self._extent = open_file(self._place, saved, existing)

    def to_dict(self) -> dict[str, Any]:
        """How far it goes now; true on the disk after the next :meth:`sync`."""
        with self._lock:
            saved = self._extent.to_dict() | {"path": self._place.text}
            return saved | {"closed": True} if self._is_sealed else saved

    def is_busy_here(self) -> bool:
        """Whether this very thread is in the midst of a write: a signal handler asks."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def seal(self) -> None:
        """Take no more rows: what :meth:`to_dict` gives from now on is where the file ends."""
        with self._lock:
            self._is_sealed = True

    def sync(self) -> None:
        """Bring all that was written to the disk.

        Raises:
            StoreError: That failed; the checkpoint must not count it.
        """
        with self._lock:
            self._sync()

    def _sync(self) -> None:
        if self._file is None:
            return
        if self._is_unsure:
            raise StoreError(f"{self.path} could not be brought to the disk before. Run again: it is cut back then.")
        with self._as_store_error("The last checkpoint stands."):
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
        """Let go of the file; what was not synced is cut off by the next run."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what counts is on the disk already
                os.close(self._file)
            self._file = None


class Sinks:
    """The sinks of one operation.

    In a run, a file is known by its place: the path with all links resolved. In the checkpoint it keeps the name that
    the user gave it, so that a directory may be moved, together with its checkpoint.

    Args:
        saved: How far each went at the last save, by name.
    """

    def __init__(self, operation_id: str, saved: Mapping[str, Mapping[str, Any]]) -> None:
        self._operation_id = operation_id
        self._saved = dict(saved)
        self._open: dict[str, Sink[Any]] = {}
        self._names: dict[str, str] = {}
        self._announced: set[str] = set()

    def open(self, path: str | os.PathLike[str], mode: Mode, existing: Existing) -> Sink[Any]:
        """The sink *path*, opened if it is not open. See :func:`open_file`.

        Raises:
            TypeError: It is open in the other mode.
            ValueError: There is no such *mode*, or no such *existing*.
        """
        _check(mode, existing)
        given = os.fspath(path)
        place = Place(self._operation_id, given, Path(os.path.realpath(given)))
        known = self._open.get(place.text)
        if known is None:
            return self._open_first(place, mode, existing)
        if known.closed:
            return self._open_again(place, mode, known)
        if known.mode != mode:
            raise TypeError(
                f"{known.path} is open with mode={known.mode!r}; it cannot be written with {mode!r} as well"
            )
        return known

    def _open_first(self, place: Place, mode: Mode, existing: Existing) -> Sink[Any]:
        names = self._saved_names(place)
        saved = self._saved[names[0]] if names else None
        sink: Sink[Any] = Sink(place, mode)
        sink.open(saved, existing)
        for name in names:
            self._saved.pop(name, None)
        is_free = place.given not in self._saved and place.given not in self._names.values()
        self._names[place.text] = place.given if is_free else place.text
        self._open[place.text] = sink
        if saved is not None and not saved.get("closed"):
            self._announced.add(place.text)
        return sink

    def _open_again(self, place: Place, mode: Mode, known: Sink[Any]) -> Sink[Any]:
        sink: Sink[Any] = Sink(place, mode)
        sink.open(known.to_dict() | {"closed": True}, "append")
        self._open[place.text] = sink
        return sink

    def _saved_names(self, place: Place) -> list[str]:
        """The names under which the file is saved; the first one is to be believed."""
        names = [name for name, sink in self._saved.items() if _place_of(name, sink) == place.text]
        if place.given in self._saved and (place.given in names or not names):
            names.insert(0, place.given)
        return names

    def is_announced(self, sink: Sink[Any]) -> bool:
        """Whether the checkpoint says that rows of this run's may follow in the file.

        Until it does, they would be taken for those of others, or not be known at all.
        """
        return text_of(sink.path) in self._announced

    def note_announced(self, sink: Sink[Any]) -> None:
        """A save with *sink* stands."""
        self._announced.add(text_of(sink.path))

    def to_dict(self) -> dict[str, Any]:
        """How far each goes now, by name."""
        return {**self._saved, **{self._names[place]: sink.to_dict() for place, sink in self._open.items()}}

    def syncs(self) -> list[Callable[[], None]]:
        """What brings each to the disk."""
        return [sink.sync for sink in self._open.values()]

    def is_busy_here(self) -> bool:
        """Whether a signal handler that asks interrupts a write."""
        return any(sink.is_busy_here() for sink in list(self._open.values()))

    def seal(self) -> None:
        """Take no more rows. See :meth:`Sink.seal`."""
        for sink in self._open.values():
            sink.seal()

    def release(self) -> None:
        """Let go of them all."""
        for sink in self._open.values():
            sink.release()


def _check(mode: str, existing: str) -> None:
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be 't' or 'b', not {mode!r}")
    if existing not in get_args(Existing):
        raise ValueError(f"existing must be 'append', 'replace' or 'refuse', not {existing!r}")


def _place_of(name: str, saved: Mapping[str, Any]) -> str:
    """Where the file *name* lay; earlier releases have not saved that."""
    place: str = saved.get("path") or text_of(os.path.realpath(name))
    return place
