"""Streams of bytes, cut and joined anew."""

from __future__ import annotations

import pytest

from resumable.stores._pieces import Stream, blocks


@pytest.mark.parametrize("pieces", [[], [b""], [b"a"], [b"abc"], [b"abcd", b"", b"efghij"], [b"a"] * 9])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_blocks_are_full_but_for_the_last_and_there_is_at_least_one(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)

    assert list(blocks(pieces, size)) == [whole[at : at + size] for at in range(0, len(whole) or 1, size)]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_stream_gives_what_is_asked_for_up_to_its_end(size: int) -> None:
    stream, found = Stream([b"ab", b"", b"cdefg"]), []
    while piece := stream.read(size):
        found.append(piece)

    assert b"".join(found) == b"abcdefg"
    assert all(len(piece) == size for piece in found[:-1])
    assert stream.read(1) == b""
