"""The journal's bytes: append-only lines, each a whole save, bound to one snapshot.

A line is ``length crc json\\n``: the length of the JSON in bytes, a CRC-32 in eight hex digits, one JSON object.
Each CRC goes on from that of the line before, so that a line which is lost, moved or repeated shows. The first line
names the operation and the snapshot that the saves after it build upon.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .._json import decode, encode

FORMAT = 1
_MAX_PREFIX = 32
_PREFIX = re.compile(rb"([1-9]\d{0,18}) [0-9a-f]{8} ")
_BEGINNING = re.compile(rb"([1-9]\d{0,18}( [0-9a-f]{0,8}| [0-9a-f]{8} (\{.*)?)?)?", re.DOTALL)
"""As much of a line as there is."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a journal ends, and the CRC from which it goes on."""

    size: int = 0
    crc: int = 0


@dataclass(frozen=True, slots=True)
class JournalContent:
    """A journal as read.

    Attributes:
        header: Its first line.
        records: The saves, oldest first.
        ends: Where each record ends, in bytes.
        good_bytes: How much of the file is whole; what follows is a torn tail.
        crc: To go on from when appending.
        damage: What is wrong after ``good_bytes``, "" if nothing but a torn tail.
    """

    header: dict[str, Any]
    records: list[dict[str, Any]]
    ends: list[int]
    good_bytes: int
    crc: int
    damage: str = ""

    def since(self, generation: int) -> int | None:
        """Index of the first record that builds upon snapshot *generation*, None if this journal is of another one."""
        if self.header.get("generation") == generation:
            return 0
        for index in range(len(self.records) - 1, -1, -1):
            if self.records[index].get("fold") == generation:
                return index + 1
        return None

    def newest_fold(self) -> int:
        """The highest generation that a fold was begun for, 0 if none was."""
        folds = (record.get("fold") for record in self.records)
        return max((fold for fold in folds if type(fold) is int), default=0)


def header_for(operation_id: str, generation: int, digest: str) -> bytes:
    """The first line's JSON."""
    return encode({"journal": FORMAT, "operation_id": operation_id, "generation": generation, "digest": digest})


def frame(record: bytes, crc: int) -> tuple[bytes, int]:
    """One line, and the CRC from which the next one goes on."""
    crc = zlib.crc32(record, crc)
    return b"%d %08x %b\n" % (len(record), crc, record), crc


class Lines:
    """Lines that go on from *tail*, made while they are iterated.

    Attributes:
        tail: Where the journal ends with those made so far.
    """

    def __init__(self, records: Iterable[bytes], tail: Tail) -> None:
        self._records = records
        self.tail = tail

    def __iter__(self) -> Iterator[bytes]:
        for record in self._records:
            line, crc = frame(record, self.tail.crc)
            self.tail = Tail(self.tail.size + len(line), crc)
            yield line


def read(raw: bytes) -> JournalContent | None:
    """The whole lines of *raw*; None if it does not even hold a header.

    A tail that was torn off while being written is left out. Anything else that is not as it was written is told in
    ``damage``: the lines before it are good.
    """
    header: dict[str, Any] | None = None
    records: list[dict[str, Any]] = []
    ends: list[int] = []
    position, crc, damage = 0, 0, ""
    while position < len(raw):
        line = _read_line(raw, position, crc)
        if line is None or (header is None and not line[0]):
            damage = "" if _is_torn(raw, position) else f"its line at byte {position} is damaged"
            break
        record, position, crc = line
        if header is None:
            header = record
        else:
            records.append(record)
            ends.append(position)
    if header is None:
        return JournalContent({}, [], [], 0, 0, damage) if damage else None
    return JournalContent(header, records, ends, position, crc, damage)


def _read_line(raw: bytes, start: int, crc: int) -> tuple[dict[str, Any], int, int] | None:
    prefix = raw[start : start + _MAX_PREFIX].split(b" ", 2)
    if len(prefix) < 3 or not prefix[0].isdigit() or len(prefix[1]) != 8 or prefix[0].startswith(b"0"):
        return None
    body = start + len(prefix[0]) + 10
    end = body + int(prefix[0])
    record = raw[body:end]
    crc = zlib.crc32(record, crc)
    if raw[end : end + 1] != b"\n" or b"%08x" % crc != prefix[1]:
        return None
    try:
        value = decode(record)
    except Exception:  # the CRC holds, so somebody made it so; whatever the parser says, it is no record
        return None
    return (value, end + 1, crc) if isinstance(value, dict) else None


def _is_torn(raw: bytes, start: int) -> bool:
    """Whether the end of *raw* is what a crash leaves of one append: a part of it, or blocks never written.

    JSON holds no raw newline or NUL: a whole line ends with the one, and a run of the other was never in it.
    """
    tail = raw[start:]
    # An append is a line, the first one the header as well.
    if not _may_be_part_of(tail, 2 if start == 0 else 1):
        return False
    length = _told_length(tail)
    line = tail[:length]
    is_cut_off = b"\n" not in line and (length is None or len(line) < length)
    return is_cut_off or _has_hole(line)


def _may_be_part_of(tail: bytes, lines: int) -> bool:
    """Whether *tail* is no more than *lines* lines with any of their bytes zeros, as far as can be told."""
    if _BEGINNING.fullmatch(tail[:_MAX_PREFIX].split(b"\0", 1)[0]) is None:
        return False
    length = _told_length(tail)
    if length is None:
        return tail.count(b"\n", 0, -1) < lines
    if b"\n" in tail[: length - 1] or tail[length - 1 : length] not in (b"\n", b"\0", b""):
        return False
    rest = tail[length:]
    return not rest or (lines > 1 and _may_be_part_of(rest, lines - 1))


def _told_length(tail: bytes) -> int | None:
    """How many bytes its first line has, newline included; None if that cannot be read."""
    prefix = _PREFIX.match(tail)
    return None if prefix is None else prefix.end() + int(prefix[1]) + 1


def _has_hole(line: bytes) -> bool:
    # At the ends of a line few bytes may share their block with what is older, or with what came after.
    return b"\0" * 16 in line or line.startswith(b"\0") or line.endswith(b"\0")
