"""Open files that this process owns: nobody else writes to them, as far as the system can tell."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path

from .disk import identity

_log = logging.getLogger("resumable")
_owned: dict[int, tuple[int, int]] = {}
"""Device and inode of each file that this process owns, by descriptor."""


def own(descriptor: int) -> None:
    """Own an open file until :func:`disown`; other callers of this function, in any process, are refused.

    Raises:
        BlockingIOError: Another owner has it.
    """
    status = os.fstat(descriptor)
    identity = (status.st_dev, status.st_ino)
    if identity in _owned.values():
        raise BlockingIOError(errno.EAGAIN, "this process already writes to it")
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # no locks here: then only this process is checked
            _log.debug("cannot lock an output file: %s", error)
    _owned[descriptor] = identity


def disown(descriptor: int) -> None:
    """Release an open file, and close it."""
    if _owned.pop(descriptor, None) is not None:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have it open, too
    os.close(descriptor)


def leave(descriptor: int) -> None:
    """In a forked child: close its copy of a file that the parent owns.

    The lock belongs to all copies. A child that outlives a killed parent, such as a worker of a process pool, would
    keep everybody from the file.
    """
    if _owned.pop(descriptor, None) is not None:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def check_end(descriptor: int, path: Path, end: int) -> None:
    """Check that *path* is still the open file, and that nobody else has appended to it or cut it.

    Raises:
        OSError: It is not; the text says why.
    """
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) != identity(path):
        raise OSError("another program removed or replaced it while this run wrote to it")
    if status.st_size != end:
        more = status.st_size - end
        what = f"added {more:,} bytes to it" if more > 0 else f"cut {-more:,} bytes off it"
        raise OSError(f"another program {what} while this run wrote to it")
