"""The journal's bytes: one line for each save since a snapshot.

A line is ``length crc json\\n``: the length of the JSON in bytes, its CRC-32 in eight hex digits, one JSON object. The
object begins ``{"seq":N,"after":C``: N is the save's sequence number, C the CRC of the line before it. The first save
after a snapshot continues from the CRC that the snapshot notes. So each line can be checked alone, and the chain
reveals lines that were lost, moved or repeated, also across several snapshots.

A record of an operation with ``nan="allow"``, or of a typed state with such a number, has
``"nonfinite":"$float"``: in its ``set`` and ``collections``, ``{"$float":"nan"}`` (or ``"inf"``, ``"-inf"``) is that
number, and a dict whose only key is ``$float`` gets one more ``$``. A snapshot says this for its state in its section
``resumable``.

This is format 2. Format 1 is only read: its first line is a header, each CRC continues from the one before, and a
record may hold a ``fold`` marker; from there on, the journal also fits the snapshot of that generation.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from operator import itemgetter
from typing import Any

import msgspec

from .document import UnknownFormatError, is_newer, newer

Record = dict[str, Any]

FORMAT = 2
_HEADED = 1
"""The format whose journals begin with a header."""
_NUMBER = itemgetter("seq")
_decoder = msgspec.json.Decoder(Record)
_MAX_PREFIX = 32
_PREFIX = re.compile(rb"([1-9]\d{0,18}) ([0-9a-f]{8}) ")
_BEGINNING = re.compile(rb"([1-9]\d{0,18}( [0-9a-f]{0,8}| [0-9a-f]{8} (\{.*)?)?)?", re.DOTALL)
"""The first part of a line, cut anywhere."""
_SAVE = re.compile(rb'\d [0-9a-f]{8} \{"seq":')
"""How a save of format 2 begins. No JSON text contains it, because quotes are escaped there."""


class Position(msgspec.Struct, frozen=True):
    """A position in a chain of saves: after the save *sequence*, whose line has *crc*."""

    sequence: int
    crc: int


class SnapshotFacts(msgspec.Struct, frozen=True):
    """What a snapshot says about the journal that continues from it.

    Attributes:
        generation: Number of the last save that it holds; 0 if another tool wrote it.
        crc: The CRC from which the next line continues; None if its journal has format 1, or it has none.
    """

    operation_id: str
    generation: int
    digest: str
    crc: int | None


class JournalContent(msgspec.Struct, frozen=True):
    """A journal as read: its saves, oldest first, and where each ends in bytes.

    Attributes:
        header: First line of a journal of format 1; empty for format 2.
        good_bytes: Bytes of whole lines; a torn tail follows.
        crc: The CRC of the last whole line.
        damage: What is wrong after ``good_bytes``; "" for a torn tail, or nothing.
    """

    header: Record
    records: list[Record]
    ends: list[int]
    good_bytes: int
    crc: int
    damage: str = ""

    @property
    def newest(self) -> int:
        """The highest number of a save or a snapshot in these lines; else 0."""
        if not self.header:
            return int(self.records[-1]["seq"]) if self.records else 0
        return max((n for record in self.records if type(n := record.get("fold")) is int), default=0)


# -- write ------------------------------------------------------------------------------------------------------------


def line(record: bytes, sequence: int, after: int) -> tuple[bytes, Position]:
    """The line for the save *sequence*, and the position from which the next line continues.

    Args:
        record: The save, an encoded JSON object.
        after: CRC of the position from which this line continues.
    """
    rest = record[1:] if record == b"{}" else b"," + record[1:]
    numbered = b'{"seq":%d,"after":%d%b' % (sequence, after, rest)
    crc = zlib.crc32(numbered)
    return b"%d %08x %b\n" % (len(numbered), crc, numbered), Position(sequence, crc)


# -- read -------------------------------------------------------------------------------------------------------------


def read(raw: bytes) -> JournalContent | None:
    """The whole lines of *raw*, in either format; None if not even the first is whole.

    A torn tail, which an interrupted write leaves, is omitted. Anything else wrong is described in ``damage``; the
    lines before it are good.
    """
    header: Record = {}
    records: list[Record] = []
    ends: list[int] = []
    position, crc, last, damage = 0, 0, 0, ""
    while position < len(raw):
        found = _read_line(raw, position, crc if header else 0)
        if found is None or (position == 0 and not found[0]):
            damage = "" if _is_torn(raw, position) else f"its line at byte {position} is damaged"
            break
        record, end, its_crc = found
        number, after = record.get("seq", 0), record.get("after")
        if position == 0 and "seq" not in record:
            header = record
        elif header or (type(number) is type(after) is int and number > last and (after == crc or not records)):
            records.append(record)
            ends.append(end)
        else:
            damage = f"its line at byte {position} does not go on from the line before it"
            break
        position, crc, last = end, its_crc, number
    if position == 0 and not damage:
        return None
    return JournalContent(header, records, ends, position, crc, damage)


def _read_line(raw: bytes, start: int, crc: int) -> tuple[Record, int, int] | None:
    prefix = _PREFIX.match(raw, start)
    if prefix is None:
        return None
    end = prefix.end() + int(prefix[1])
    record = raw[prefix.end() : end]
    crc = zlib.crc32(record, crc)
    if raw[end : end + 1] != b"\n" or crc != int(prefix[2], 16):
        return None
    try:
        return _decoder.decode(record), end + 1, crc
    except Exception:  # the CRC is right, so somebody made it so; but it is no record
        return None


def _is_torn(raw: bytes, start: int) -> bool:
    """Whether the end of *raw* is what a crash leaves of one append: a part of it, or blocks never written.

    JSON contains no raw newline or NUL: a whole line ends with a newline, and a run of NULs was never written.
    """
    tail = raw[start:]
    # An append is one line; the first append of format 1 also has the header.
    lines = 2 if start == 0 and _SAVE.search(tail) is None else 1
    # After the head of the first line comes the head of the next: it was begun after the first was complete.
    if _SAVE.search(tail, _MAX_PREFIX) is not None or not _may_be_part_of(tail, lines):
        return False
    length = _told_length(tail)
    line = tail[:length]
    is_cut_off = b"\n" not in line and (length is None or len(line) < length)
    return is_cut_off or _has_hole(line)


def _may_be_part_of(tail: bytes, lines: int) -> bool:
    """Whether *tail* can be a part of *lines* lines, with any of their bytes replaced by zeros."""
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
    """The length of its first line, newline included; None if it cannot be read."""
    prefix = _PREFIX.match(tail)
    return None if prefix is None else prefix.end() + int(prefix[1]) + 1


def _has_hole(line: bytes) -> bool:
    # The first and last bytes of a line may share a disk block with older or later data.
    return b"\0" * 16 in line or line.startswith(b"\0") or line.endswith(b"\0")


def joined(older: bytes, newer: bytes) -> bytes:
    """The good saves of *older*, and those of *newer* that continue from them; empty if none do.

    A compaction begins a new journal and keeps the old one: together they hold all saves since the older snapshot.
    """
    before, after = read(older), read(newer)
    if before is None or after is None or before.header or after.header or not before.records:
        return b""
    starts = (0, *after.ends)
    more = bisect_right(after.records, before.newest, key=_NUMBER)
    if more == len(after.records) or after.records[more]["after"] != before.crc:
        return b""
    return older[: before.good_bytes] + newer[starts[more] :]


# -- which snapshot it fits -------------------------------------------------------------------------------------------


def saves_for(content: JournalContent, snapshot: SnapshotFacts) -> list[Record]:
    """The saves that a journal adds to a snapshot, oldest first; none if it belongs to another snapshot.

    Raises:
        UnknownFormatError: A newer release wrote the journal.
        ValueError: The journal is damaged, or of another operation.
    """
    if content.header:
        check_format(content.header)
    if content.damage:
        good = len(content.records)
        raise ValueError(f"its journal is damaged: {content.damage}; the {good} saves before that are good")
    if content.header:
        return _saves_after_header(content, snapshot)
    saves = content.records[bisect_right(content.records, snapshot.generation, key=_NUMBER) :]
    return saves if saves and saves[0]["after"] == snapshot.crc else []


def saves_astray(content: JournalContent, snapshot: SnapshotFacts) -> int:
    """How many saves are newer than a snapshot that none of them continues from: one before them is lost."""
    return (
        0 if content.header else len(content.records) - bisect_right(content.records, snapshot.generation, key=_NUMBER)
    )


def check_format(header: Record) -> None:
    """Make sure that this release can read a journal that begins with *header*.

    Raises:
        UnknownFormatError: A newer release wrote it.
        ValueError: There is no such format.
    """
    found = header.get("journal")
    if is_newer(found, str(FORMAT)):
        raise _unknown(found)
    if found != _HEADED:
        raise ValueError(f"its journal has the unknown format {found!r}")


def noted_crc(note: Any) -> int | None:
    """The :attr:`SnapshotFacts.crc` in a snapshot's ``resumable.journal``: ``{"format": 2, "crc": …}``, or None.

    Raises:
        UnknownFormatError: A newer release wrote its journal.
        ValueError: The note is malformed.
    """
    if note is None:
        return None
    if isinstance(note, dict):
        found, crc = note.get("format"), note.get("crc")
        if found == FORMAT and type(crc) is int:
            return crc
        if is_newer(found, str(FORMAT)):
            raise _unknown(found)
    raise ValueError(f"its 'journal' entry is malformed ({note!r:.80})")


def _unknown(found: object) -> UnknownFormatError:
    return UnknownFormatError(f"its journal: {newer('format', found, f'{FORMAT} and {_HEADED}')}")


def _saves_after_header(content: JournalContent, snapshot: SnapshotFacts) -> list[Record]:
    header, records = content.header, content.records
    if header.get("operation_id") != snapshot.operation_id:
        raise ValueError("its journal belongs to another operation")
    if header.get("generation") == snapshot.generation:
        if header.get("digest") != snapshot.digest:
            raise ValueError("its journal continues another snapshot of the same generation")
        return records
    folds = [index for index, record in enumerate(records) if record.get("fold") == snapshot.generation]
    return records[folds[-1] + 1 :] if folds else []


def position_after(content: JournalContent | None, snapshot: SnapshotFacts, size: int) -> Position | None:
    """The position of the next line in a journal of *size* bytes; None if only a new snapshot can follow."""
    if snapshot.crc is None or not snapshot.generation:
        return None
    if not size:
        return Position(snapshot.generation, snapshot.crc)
    if content is None or content.header or content.good_bytes < size:
        return None
    last = Position(content.records[-1]["seq"], content.crc)
    # The journal belongs to another snapshot: no line can continue from it.
    return last if saves_for(content, snapshot) or last == Position(snapshot.generation, snapshot.crc) else None


def note_for(crc: int) -> dict[str, int]:
    """A snapshot's note about its journal; the first line after it continues from *crc*."""
    return {"format": FORMAT, "crc": crc}
