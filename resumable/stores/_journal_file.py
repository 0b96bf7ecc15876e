"""A journal on the disk, added to where room was made ahead: a save need not wait for a file to grow.

``fdatasync`` of a file that has grown brings its new length through as well, which takes longer than the bytes of a
small save do. So the saves overwrite room that was filled and synced before, as they do in SQLite's write-ahead log
(https://sqlite.org/wal.html). What fills it is in no UTF-8 text, and is not what lost blocks read as. It is cut off
when the journal is closed; a run that is killed leaves it there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .._runtime import disk

ROOM = b"\xff"
"""What fills it."""
_LEAST_ROOM = 1 << 16
_MOST_ROOM = 1 << 20
_SAVES_AHEAD = 48


class JournalFile:
    """A journal that is open at *end*; what stood behind that is cut off.

    Raises:
        OSError: It cannot be opened, or is shorter than that.
    """

    def __init__(self, path: Path, end: int) -> None:
        self.path = path
        self.end = end
        self._room_ends = end
        self._owner_pid = os.getpid()
        self._descriptor = os.open(path, disk.WRITE | os.O_CREAT, 0o600)
        try:
            size = os.fstat(self._descriptor).st_size
            if size < end:
                raise OSError("it is shorter than it was; somebody else wrote to it or removed it")
            if size > end:
                # Else a power cut might leave what is written next mixed with what was cut off.
                os.ftruncate(self._descriptor, end)
                disk.sync_data(self._descriptor)
            os.lseek(self._descriptor, end, os.SEEK_SET)
            disk.sync_directory(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, data: bytes, meanwhile: Callable[[], None] | None = None) -> None:
        """Add *data*; it is safe on the disk when this returns.

        Args:
            meanwhile: Called while the disk writes.

        Raises:
            OSError: That failed; nothing was added, and the journal is closed. As when *meanwhile* raises.
        """
        end = self.end + len(data)
        try:
            disk.write_all(self._descriptor, data)
            if end >= self._room_ends:
                self._make_room(end, len(data))
            if meanwhile is not None:
                disk.begin_sync(self._descriptor, self.end, len(data))
                meanwhile()
            disk.sync_data(self._descriptor)
        except BaseException:
            # What failed may be read back though it never got to the disk: the next run must not build upon it.
            self._room_ends = end
            self.close()
            raise
        self.end = end

    def close(self) -> None:
        """Cut off the room. A forked child lets it be: the parent goes on."""
        with contextlib.suppress(OSError):
            if self._room_ends > self.end and os.getpid() == self._owner_pid:
                os.ftruncate(self._descriptor, self.end)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _make_room(self, end: int, length: int) -> None:
        room = min(max(_SAVES_AHEAD * length, _LEAST_ROOM), _MOST_ROOM)
        self._room_ends = end + room
        try:
            disk.write_all(self._descriptor, ROOM * room)
        except OSError:  # a full disk: what is left of it is for others, and for the saves themselves
            os.ftruncate(self._descriptor, end)
            self._room_ends = sys.maxsize
        os.lseek(self._descriptor, end, os.SEEK_SET)


def without_room(raw: bytes) -> bytes:
    """A journal as read, without the room; within a save that was cut off, it reads as the zeros of lost blocks."""
    return raw.rstrip(ROOM).replace(ROOM, b"\0")
