"""Output files whose rows count with the next save.

The checkpoint holds where each file ends. A save syncs the file to the disk first. A resume cuts the file back to the
saved end, so that it contains each row once, whatever died when. The last save of a run closes the file: rows behind
that end were written by others, and are never cut off.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakSet

from .._errors import StoreError
from .._json import check_unicode
from .._runtime import disk, owned
from .._runtime.boundary import Boundary, Noting, Where, give_up_long, remove_found
from .._runtime.interpreter import has_gil, is_held_here
from .sink_file import Existing, Extent, Target, as_saved, find_row, grown, open_file

Mode = Literal["t", "b"]
Row = TypeVar("Row", str, bytes)

_BUFFER = 1 << 16
"""Bytes that a sink buffers before it writes them."""
_MOST_ROWS, _LARGE = 1000, 4096
"""At most this many rows are joined at a time; a row with this many characters is joined at once."""
_LATE = 64
"""A row of another thread may stand behind rows of later items: search this many rows at the end."""
_opened: WeakSet[Sink[Any]] = WeakSet()


class Sink(Noting, Generic[Row]):
    """A file to write rows to, text (UTF-8) or bytes. Any thread may write.

    Use it as a file: ``write``, ``writelines``, ``print(..., file=sink)``. The checkpoint flushes and closes it.

    Example:
        >>> rows = cp.sink("rows.csv", header="number,square\\n")  # a Sink
        >>> print("3,9", file=rows)

    Attributes:
        path: The file's absolute path, with all links resolved.
        mode: ``"t"`` for text, ``"b"`` for bytes.
        header: The file's first bytes; empty without a header.
        is_announced: Whether the stored checkpoint says that this run writes to the file. Without that, a resume would
        take this run's rows for those of others.
    """

    _for_users = frozenset(("close", "closed", "flush", "header", "mode", "path", "write", "writelines"))

    def __repr__(self) -> str:
        return f"<Sink {str(self.path)!r}: {'closed' if self.closed else 'open'}>"

    def __init__(self, target: Target, mode: Mode, saved: Mapping[str, Any] | None, existing: Existing) -> None:
        # The extent ends after the buffer. Later rows lie in a list, each with the count at which it was written.
        self._file: int | None
        self._file, self._extent, self._claim = open_file(target, saved, existing)
        self._waiting = bytearray()
        self.header: bytes = target.header
        if not self._extent[0]:
            self._waiting += target.header
            self._extent = grown(self._extent, target.header)
        self._rows: list[Any] = []
        self._counts: list[int] = []
        self._most_rows = _MOST_ROWS  # 0: no row is written at once, because rows are held back or searched for
        self._pieces: list[Any] = []  # parts of a row that is searched for
        self._pieces_in: tuple[Where, bool] = [], True  # where, and whether rows come in order there
        self._is_held = False
        # One item wrote all rows behind the cut; it began at this count.
        self._cut, self._cut_count = self._extent, 0
        self._end: int | None = None  # where the run's last save cuts the file
        self.path: Path = target.path
        self.mode = mode
        self.is_announced: bool = saved is not None and not saved.get("closed")
        self._type: type = str if mode == "t" else bytes
        self._text = target.text
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._is_sealed = False
        self._is_unsure = False
        self._is_torn = False
        self.attach(Boundary())
        _opened.add(self)

    def attach(self, boundary: Boundary) -> None:
        super().attach(boundary)
        self._cut_count = boundary.ticks.__length_hint__()
        if not has_gil():
            self._lock = boundary.lock

    def attend(self) -> None:
        self._ticks = self._boundary.ticks
        self._end_pieces()
        boundary = self._boundary
        self._most_rows = 0 if self._is_held or boundary.is_asked else _MOST_ROWS

    # -- write

    def write(self, row: Row) -> int:
        """Add *row*, which needs its own newline. It counts with the next save. Returns its length.

        Raises:
            StateEncodeError: The text is not valid Unicode. The row was not added.
            TypeError: A text sink takes only str; a bytes sink takes bytes, bytearray and memoryview.
            ValueError: The sink is closed.
            StoreError: The disk fails, or this is a forked child. The row was not added.
        """
        if type(row) is not self._type or not row.isascii():
            row = self._as_row(row)  # raises here, not at the save
        size, rows = len(row), self._rows
        if len(rows) >= self._most_rows or size > _LARGE:
            return self._write_apart(row, size)
        try:
            self._counts.append(self._ticks.__length_hint__())
            if not self._most_rows and self._stand_by(row, size):  # a save or a map has begun meanwhile
                return size
            # No call from here on, except the one that adds the row.
            rows.append(row)
        except BaseException:
            del self._counts[len(rows) :]  # drop the counts of rows that were not added
            raise
        return size

    def _write_apart(self, row: Any, size: int) -> int:
        """Add *row* unless it is held back, or is there. Others write meanwhile: only an added row has a count."""
        if not self._is_put_aside(row, size):
            try:
                self._cross()
                self._rows.append(row)  # no call before it
            except BaseException:
                del self._counts[len(self._rows) :]
                raise
        return size

    def _as_row(self, row: object) -> Any:
        if self.mode == "t" and isinstance(row, str):
            check_row(row, self.path)
            return str.__str__(row)
        if self.mode == "b" and isinstance(row, bytes | bytearray | memoryview):
            return bytes(row)
        raise TypeError(f"this sink takes {'str' if self.mode == 't' else 'bytes'}, not {type(row).__name__}")

    def _stand_by(self, row: Any, size: int) -> bool:
        """Take the row's count back, and wait for a save under way. Returns whether to skip the row."""
        self._counts.pop()
        if self._is_put_aside(row, size):
            return True
        self._cross()
        return False

    def _is_put_aside(self, row: Any, size: int) -> bool:
        """Whether *row* is held back, or is there already; if not, make room for it."""
        self._check_usable()
        if (held_back := self._boundary.held_back()) is not None:
            held_back.append((self.write, row))
            return True
        if self._boundary.has(self, row):
            return True
        if len(self._rows) >= _MOST_ROWS or size > _LARGE:
            with self._lock, self._as_store_error("Nothing of this row was written."):
                self._drain()
                if len(self._waiting) + size > _BUFFER:
                    self._flush()
        return False

    def _cross(self) -> None:
        while True:
            self._counts.append(self._ticks.__length_hint__())
            if not self._is_held:  # No call from here on.
                return
            self._counts.pop()
            self._check_usable()
            self._wait()

    def _note(self) -> None:
        self._cut = self._extent

    def _check_usable(self) -> None:
        if self._is_forked():
            raise StoreError(
                f"{self.path} belongs to the process that opened it. No row was written; return the rows to that "
                "process."
            )
        if self.closed:
            raise ValueError(f"{self.path} is closed: close() was called, or the block of its checkpoint has ended")

    def _wait(self) -> None:
        with self._boundary.lock:
            if self._is_held:  # a signal handler inside a save
                self.let_go()

    def writelines(self, rows: Iterable[Row]) -> None:
        """Add each of *rows*. Raises what :meth:`write` raises."""
        for row in rows:
            self.write(row)

    def flush(self) -> None:
        """Hand all rows to the operating system, so that others can read them. They count with the next save.

        Raises:
            StoreError: The disk fails. The next flush or save tries again.
        """
        if not self._is_forked():
            with self._lock, self._as_store_error("The last checkpoint stands."):
                self._drain()
                self._flush()

    def close(self) -> None:
        """Sync all rows to the disk, and accept no more. The rows count with the next save.

        The checkpoint closes its sinks at its end. Closing twice does nothing. ``cp.sink`` opens the file again.

        Raises:
            StoreError: The disk fails. The sink stays open, and the next close or save tries again.
        """
        if not self._is_forked():
            with self._boundary.lock, self._lock:
                self.sync()
                self.release()

    @property
    def closed(self) -> bool:
        """Whether it accepts no more rows."""
        return self._file is None or self._is_sealed

    def _is_forked(self) -> bool:
        """Whether this is the copy in a forked child. The parent writes the rows in its buffer."""
        return os.getpid() != self._pid

    def _drain(self) -> None:
        """Encode the rows into the buffer. An exception from a signal handler leaves everything consistent."""
        self._end_pieces()
        rows, counts = self._rows, self._counts
        while rows:
            before, cut, at = self._extent, self._cut, self._cut_count
            first = 0
            stop = len(rows)
            window = max(0, stop - _LATE)
            last = min(counts[window:stop], default=at)
            is_other = last < at
            if is_other:  # a new item has written last
                first, at = counts.index(last, window if counts[window] > last else 0), last
            done, rest = self._joined(rows[:first]), self._joined(rows[first:stop])
            extent = grown(before, done) if done else before
            if is_other:
                cut = extent
            extent = grown(extent, rest)
            # No call from here on: other threads go on writing.
            if self._extent is before:
                del rows[:stop], counts[:stop]
                self._cut, self._cut_count, self._extent = cut, at, extent
                self._waiting += done
                self._waiting += rest

    # -- rows written again

    @property
    def known_as(self) -> str:
        return self._text

    def written_since(self, now: int) -> tuple[int, int] | None:
        last = self._counts[-1] if self._counts else self._cut_count
        if last != now and not self._pieces:
            return None
        with self._lock:
            self._drain()
            start, stop = self._cut[0], self._extent[0]
            return (start, stop) if self._cut_count == now and stop > start else None

    def is_there(self, row: Any, where: Where, /, *, in_order: bool = True) -> bool:
        self._pieces.append(row)
        self._pieces_in = where, in_order
        if self.mode == "t" and not row.endswith("\n"):  # print() writes a row in parts
            return True
        pieces, is_there = self._search()
        if not is_there:
            give_up_long(where)
            self._put(pieces[:-1])
        return is_there

    def _end_pieces(self) -> None:
        """Something else comes before the rest of a row: search for the parts so far."""
        if self._pieces:
            pieces, is_there = self._search()
            if not is_there:
                self._put(pieces)

    def _search(self) -> tuple[list[Any], bool]:
        """The parts of a row, of which none is left, and whether they are there already."""
        pieces, (where, in_order) = self._pieces, self._pieces_in
        self._pieces = []
        row = self._joined(pieces)
        self.flush()
        for number, (start, stop) in enumerate(where):
            if (found := find_row(self.path, row, start, stop)) is not None:
                remove_found(where, number, found, len(row), in_order=in_order)
                return pieces, True
        return pieces, False

    def _put(self, pieces: list[Any]) -> None:
        for piece in pieces:
            self._counts.append(self._boundary.now())
            self._rows.append(piece)

    def _joined(self, rows: list[Any]) -> bytes:
        return "".join(rows).encode() if self._type is str else b"".join(rows)

    def _flush(self) -> None:
        if self._file is not None and self._waiting:
            self._look_again()
            # After a write that failed halfway, write everything again.
            os.lseek(self._file, self._extent[0] - len(self._waiting), os.SEEK_SET)
            disk.write_all(self._file, bytes(self._waiting))
            self._waiting.clear()
            self._is_torn = False

    def _look_again(self) -> None:
        """Raise rather than count rows that are in no file, or overwrite those of others."""
        if self._file is not None and not self._is_torn:
            owned.check_end(self._file, self.path, self._extent[0] - len(self._waiting))
        self._is_torn = bool(self._waiting)

    # -- for the checkpoint

    def to_dict(self, *, settled: bool = False) -> dict[str, Any]:
        """The file's end, for the checkpoint. The rows are on the disk after the next :meth:`sync`.

        Args:
            settled: Whether to give the end at the beginning of the unfinished item; see :meth:`settle`.
        """
        with self._lock:
            self._drain()
            end = self._cut if settled else self._extent
            saved = as_saved(end) | {"path": self._text}
            if self._claim.token:
                saved["claim"] = self._claim.token
            if not self._is_sealed:
                return saved
            self._end = end[0]
            return saved | {"closed": True}

    def opened_again(self, target: Target, mode: Mode) -> Sink[Any]:
        """A sink that continues this one's file, which was closed, perhaps inside the unfinished item."""
        sink: Sink[Any] = Sink(target, mode, self.to_dict() | {"closed": True}, "append")
        sink.attach(self._boundary)
        sink.go_on_from(self._cut_count, self._cut)
        sink.is_announced = self.is_announced
        return sink

    def go_on_from(self, at: int, cut: Extent) -> None:
        """The unfinished item began *at* that count, when the file ended at *cut*."""
        self._cut_count, self._cut = at, cut

    def hold(self) -> None:
        self._is_held, self._most_rows = True, 0

    def settle(self, now: int) -> None:
        with self._lock:
            self._drain()
            if self._cut_count != now:  # that item is done
                self._note()
            self._cut_count = now

    def let_go(self) -> None:
        if not self.closed:
            self._is_held = False
            self.attend()

    def is_busy_here(self) -> bool:
        """Whether this thread is inside an operation that a save must not interrupt. A signal handler asks."""
        return is_held_here(self._lock)

    def seal(self) -> None:
        """Accept no more rows: :meth:`to_dict` now gives the final end, and the next sync cuts the file there."""
        with self._boundary.lock, self._lock:
            self._is_sealed = True
            self.hold()

    def sync(self) -> None:
        """Sync all rows to the disk.

        Raises:
            StoreError: The disk fails. The checkpoint must not count the rows.
        """
        with self._lock, self._as_store_error("The last checkpoint stands."):
            if self._file is None:
                if self._is_longer_than_saved:
                    self._cut_closed_file()
                return
            if self._is_unsure:
                raise StoreError(
                    f"{self.path} could not be written to the disk before. Run again: the next run cuts it back first."
                )
            self._drain()
            self._flush()
            self._look_again()
            if self._is_longer_than_saved:
                os.ftruncate(self._file, self._cut[0])
                self._extent = self._cut
            try:
                disk.sync_data(self._file)
            except OSError:
                # The kernel may have dropped the pages: a second sync that succeeds would prove nothing.
                self._is_unsure = True
                raise

    @property
    def _is_longer_than_saved(self) -> bool:
        """Whether the unfinished item has written rows that the run's last save does not count."""
        return self._end is not None and self._end < self._extent[0]

    def _cut_closed_file(self) -> None:
        """Cut back a file that the program has closed inside the unfinished item."""
        file = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            os.ftruncate(file, self._cut[0])
            disk.sync_data(file)
        finally:
            os.close(file)
        self._extent = self._cut

    @contextlib.contextmanager
    def _as_store_error(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}. {consequence}") from error

    def release(self, *, has_ended: bool = False) -> None:
        """Close the file without a sync. The next run cuts off rows that no save counts.

        Args:
            has_ended: Whether a save holds the final end of the file, so that others may write behind it.
        """
        with self._lock:
            if has_ended:
                self._claim.give_up()
            if self._file is not None:
                with contextlib.suppress(OSError):  # the rows that count are on the disk already
                    owned.disown(self._file)
                self._file = None
            self.hold()

    def leave(self) -> None:
        """In a forked child: accept no rows, and close this process's copy of the file. Takes no lock."""
        self.hold()
        file, self._file = self._file, None
        if file is not None:
            owned.leave(file)


def check_row(row: str, path: Path) -> None:
    """Raise StateEncodeError, naming the place, if *row* is not valid Unicode."""
    try:
        row.encode()
    except UnicodeEncodeError:
        check_unicode(row, str(path), "row.encode('utf-8', 'replace').decode() replaces it")
        raise


def _leave_in_child() -> None:
    for sink in list(_opened):
        sink.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)
