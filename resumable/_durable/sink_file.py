"""Opens the file of a sink at its saved end, or not at all."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from .._errors import InputChangedError, StoreError
from .._runtime import disk, owned
from .._text import command_for, quoted, shortened
from .claim import Claim, Owner

_log = logging.getLogger("resumable")

Existing = Literal["append", "replace", "refuse"]

_SAMPLE = 4096
"""Bytes at the beginning and before the end by which the file is recognized."""

_LOOKED_THROUGH_FIRST, _LOOKED_THROUGH = 1 << 14, 1 << 24
"""How many written bytes to search for a row that is written again."""
Extent = tuple[int, bytes, bytes]
"""The end of a file, its first bytes, and the bytes before its end. A plain tuple, because each row makes a new one."""


def grown(extent: Extent, data: bytes) -> Extent:
    """The extent of the file with *data* appended."""
    end, head, tail = extent
    if len(head) < _SAMPLE:
        head += data[: _SAMPLE - len(head)]
    return end + len(data), head, (tail + data[-_SAMPLE:])[-_SAMPLE:]


def as_saved(extent: Extent) -> dict[str, Any]:
    """The extent in the form that the checkpoint holds: the end, and a digest of the bytes."""
    end, head, tail = extent
    return {"offset": end, "sample": hashlib.sha256(b"%d:%b%b" % (len(head), head, tail)).hexdigest()[:32]}


@dataclass(frozen=True, slots=True)
class Target:
    """The file that a sink writes to: its name as *given* by the user, and its *path*, with all links resolved.

    Attributes:
        header: Its first bytes; empty if anything may stand there.
    """

    owner: Owner
    given: str
    path: Path
    header: bytes = b""

    @property
    def operation_id(self) -> str:
        return self.owner.operation_id

    @property
    def text(self) -> str:
        return text_of(self.path)


def text_of(path: str | os.PathLike[str]) -> str:
    """*path* in a form that JSON can hold, even if it is not UTF-8."""
    return os.fsdecode(path).encode(errors="backslashreplace").decode()


def open_file(target: Target, saved: Mapping[str, Any] | None, existing: Existing) -> tuple[int, Extent, Claim]:
    """Open the file, and cut off the rows that no checkpoint counts.

    Returns its descriptor, the extent to continue from, and the claim on its end. Does not write the header.

    Args:
        saved: Where the file ended at the last save; None for a new file. With ``closed``, this operation wrote nothing
            after that.
        existing: What to do if a new file already exists.

    Raises:
        InputChangedError: It is not the file that the last run left, or must not exist, or does not begin with the
            header, or another operation will cut it. It is unchanged.
        StoreError: It cannot be opened. It is unchanged.
    """
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        file = os.open(target.path, flags | (os.O_CREAT if saved is None else 0), 0o666)
        try:
            owned.own(file)
            claim = Claim(target.path, target.owner, saved)
            extent = _extent(file, target, saved, existing, claim)
            claim.take()
            os.ftruncate(file, extent[0])
            os.lseek(file, extent[0], os.SEEK_SET)
            disk.sync_directory(target.path.parent)
        except BaseException:
            owned.disown(file)
            raise
    except BlockingIOError:
        raise StoreError(
            f"another sink, of this process or another one, writes to {target.path}, and the rows of two would mix. "
            "Nothing was changed. Give each job or shard a file of its own, and join them at the end."
        ) from None
    except FileNotFoundError:
        _refuse(target, "is gone", _how_to_put_back(target, saved or {}), is_there=False)
    except OSError as error:
        raise StoreError(f"cannot open {target.path}: {error.strerror or error}. It was not changed.") from error
    return file, extent, claim


def _extent(file: int, target: Target, saved: Mapping[str, Any] | None, existing: Existing, claim: Claim) -> Extent:
    """The extent of the rows that count."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file")
    if saved is not None:
        _refuse_rival(target, claim)
        extent = _checked(file, target, saved, status.st_size, is_lost=claim.is_lost)
        return _with_header(file, target, extent, is_new=False)
    if existing == "replace":
        return _read(file, 0)
    _refuse_rival(target, claim)
    extent = _with_header(file, target, _read(file, status.st_size), is_new=True)
    # A header alone may come from a run that was killed before its first save.
    if existing == "refuse" and extent[0] > len(target.header):
        ways_out = ["move it away", "give existing='append' or existing='replace'"]
        headline = f"exists already, and no checkpoint of {target.operation_id!r} knows of it; nothing was done."
        raise InputChangedError(target.operation_id, [], ways_out, f"{target.path} {headline}")
    return extent


def _with_header(file: int, target: Target, extent: Extent, *, is_new: bool) -> Extent:
    """*extent* if the file begins with the header; an empty extent if the header must be written.

    Args:
        is_new: Whether no checkpoint knows the file; then a part of the header is what a killed run wrote.
    """
    header, size = target.header, extent[0]
    start = _read_at(file, min(len(header), size), 0)
    if start == header:
        return extent
    if header.startswith(start) and (is_new or not size):
        return _read(file, 0)
    first = _read_at(file, _SAMPLE, 0).splitlines(keepends=True)[0]
    ways_out = ["give the header that the file has", f"move {target.path.name} away, if the operation is new"]
    headline = f"an output file of {target.operation_id!r} does not begin with its header; nothing was done."
    difference = f"{target.path} begins with {_shown(first)}; the header is {_shown(header)}"
    raise InputChangedError(target.operation_id, [difference], ways_out, headline)


def _shown(line: bytes) -> str:
    try:
        return shortened(line.decode(), 120)
    except UnicodeDecodeError:
        return shortened(line, 120)


def _checked(file: int, target: Target, saved: Mapping[str, Any], size: int, *, is_lost: bool) -> Extent:
    offset = int(saved["offset"])
    if size < offset:
        _refuse(target, f"held {offset:,} bytes, now {size:,}", _how_to_put_back(target, saved))
    extent, more = _read(file, offset), size - offset
    if saved["sample"] != as_saved(extent)["sample"]:
        _refuse(target, "was changed in the part that the checkpoint knows", _how_to_put_back(target, saved))
    if more and (is_lost or saved.get("closed")):
        path = quoted(str(target.path))
        keep = f"keep them elsewhere, then cut them off:  tail -c {more} {path} > ADDED"
        when = "at the last save" if is_lost else "when it was closed"
        difference = f"held {offset:,} bytes {when}, now {size:,}: {more:,} bytes have been added"
        _refuse(target, difference, [keep, f"cut them off:  truncate -s {offset} {path}"])
    if more:
        _log.warning("%s: cut %s bytes off %s that no save counts", target.operation_id, f"{more:,}", target.path)
    return extent


def _read(file: int, offset: int) -> Extent:
    length = min(_SAMPLE, offset)
    return offset, _read_at(file, length, 0), _read_at(file, length, offset - length)


def _read_at(file: int, length: int, offset: int) -> bytes:
    """Moves the position, for Windows has no ``os.pread``."""
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, length)


# -- refuse


def _refuse(target: Target, difference: str, ways_out: list[str], *, is_there: bool = True) -> NoReturn:
    away = f"move {target.path.name} away, then  " if is_there else ""
    start_over = f"start over:  {away}{command_for('rm', target.operation_id)}"
    headline = f"an output file of {target.operation_id!r} is not as the last run left it; nothing was done."
    raise InputChangedError(target.operation_id, [f"{target.path} {difference}"], [*ways_out, start_over], headline)


def _refuse_rival(target: Target, claim: Claim) -> None:
    rival = claim.rival
    if rival is None:
        return
    name = target.path.name
    ways_out = [
        f"run {rival.operation_id!r} again until it is done",
        f"give it up:  {command_for('rm', rival.operation_id, rival.directory)}",
        "give each operation a file of its own, and join them at the end",
    ]
    if not rival.file:
        ways_out[1] += f"  and remove {claim.path}"
    raise InputChangedError(
        target.operation_id,
        [f"{target.path} has the last rows of {rival.operation_id!r}, whose checkpoint is {rival.location}"],
        ways_out,
        f"{name} belongs to {rival.operation_id!r}, which is not done. Its next run cuts {name} back to its own last "
        "save, and so would remove what others have added; nothing was done.",
    )


def _how_to_put_back(target: Target, saved: Mapping[str, Any]) -> list[str]:
    ways_out = [f"put back the {target.path.name} that the last run left"]
    before = saved.get("path")
    if not os.path.isabs(target.given) and before != target.text:
        there = f"; the last run wrote {before}" if before else ""
        ways_out.append(f"start it where it ran before: {target.given} is relative to {os.getcwd()}{there}")
    return ways_out


def find_row(path: Path, row: bytes, start: int, stop: int) -> int | None:
    """The offset of *row* in a part of the file, at its beginning or as a line of its own; None if it is not there."""
    for most in (_LOOKED_THROUGH_FIRST, _LOOKED_THROUGH):
        size = min(stop - start, most)
        try:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(size)
        except OSError:  # if somebody removed the file, the next save reports it
            return None
        if data.startswith(row):
            return start
        found = data.find(b"\n" + row) if row.endswith(b"\n") else -1
        if found >= 0:
            return start + found + 1
        if size < most:
            return None
    return None
