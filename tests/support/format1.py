"""Journals of format 1, which this release reads and no longer writes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from resumable._json import encode


def header_for(operation_id: str, generation: int, digest: str) -> bytes:
    """The first line's JSON."""
    return encode({"journal": 1, "operation_id": operation_id, "generation": generation, "digest": digest})


def frame(record: bytes, crc: int) -> tuple[bytes, int]:
    """One line, and the CRC from which the next one goes on."""
    crc = zlib.crc32(record, crc)
    return b"%d %08x %b\n" % (len(record), crc, record), crc


def lines_of(
    records: Iterable[dict[str, Any]], *, generation: int, digest: str = "d1", key: str = "job"
) -> list[bytes]:
    """The header's line, then one for each of *records*."""
    lines, crc = [], 0
    for record in (header_for(key, generation, digest), *map(encode, records)):
        line, crc = frame(record, crc)
        lines.append(line)
    return lines
