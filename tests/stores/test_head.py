"""The head object of an operation: its bytes and back, and nothing else is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resumable.stores import Holder
from resumable.stores._head import Head, Shown, Snapshot, Spilled, segments_encoded, segments_in

HEAD = Head(
    Shown("job", 3, Holder("host", 7, "2026-01-01T00:00:00+00:00"), 30.0, 12, b"\n{}"),
    *("nonce", "write", 9),
    Snapshot(5, "snap", 2),
    Snapshot(1, "old", 1, end=6),
    (Spilled("part", 6, 7),),
    ((8, b"eight\n"), (9, b"")),
)


@pytest.mark.parametrize("head", [HEAD, Head(Shown("new"))], ids=["full", "new"])
def test_a_head_comes_back_from_its_bytes(head: Head) -> None:
    assert Head.decoded(head.encoded()) == head


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"{}\n{}\n", HEAD.encoded()[:-3], HEAD.encoded() + b"10 5\nab", HEAD.encoded() + b"x\n"]
)
def test_other_bytes_are_no_head(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"truncated|missing|cut off|malformed|invalid|subsection|not enough"):
        Head.decoded(data)


def test_segments_may_hold_any_bytes() -> None:
    segments = [(1, b"1 1\n"), (2, b""), (3, bytes(range(256)))]

    assert list(segments_in(segments_encoded(segments))) == segments


def test_only_the_last_save_with_its_own_bytes_is_held() -> None:
    assert HEAD.holds(9, b"")
    assert not HEAD.holds(8, b"eight\n")
    assert not HEAD.holds(9, b"other")
    assert not replace(HEAD, tail=()).holds(9, b"")


def test_its_objects_are_pieces_of_both_snapshots_and_spilled_segments() -> None:
    assert HEAD.objects() == {"part", "snap-00000", "snap-00001", "old-00000"}


def test_each_write_differs_from_the_one_before() -> None:
    again = HEAD.written_anew()

    assert again.write != HEAD.write
    assert replace(again, write=HEAD.write) == HEAD
