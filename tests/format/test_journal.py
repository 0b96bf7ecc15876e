"""The journal's lines: what was wholly written is read, a torn tail is cut, any other damage is told."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumable._format import journal
from resumable._json import encode

RECORDS: list[dict[str, Any]] = [
    {"at": "2026-01-01", "set": {"n": 1}},
    {"set": {"text": "Größe\n\0 🦊"}},
    {"fold": 8},
    {"set": {"big": "x" * 300}},
    {},
]


def lines_of(records: list[dict[str, Any]], generation: int = 7) -> list[bytes]:
    """The header's line, then one for each of *records*."""
    line, crc = journal.frame(journal.header_for("crawl", generation, "d1"), 0)
    lines = [line]
    for record in records:
        line, crc = journal.frame(encode(record), crc)
        lines.append(line)
    return lines


LINES = lines_of(RECORDS)
RAW = b"".join(LINES)
ENDS = [sum(map(len, LINES[:count])) for count in range(len(LINES) + 1)]


def whole_lines(size: int) -> int:
    """How many lines the first *size* bytes hold wholly."""
    return sum(end <= size for end in ENDS[1:])


# -- what was written is read -----------------------------------------------------------------------------------------


def test_what_was_written_is_read() -> None:
    content = journal.read(RAW)
    assert content is not None
    assert content.header == {"journal": 1, "operation_id": "crawl", "generation": 7, "digest": "d1"}
    assert content.records == RECORDS
    assert content.ends == ENDS[2:]
    assert (content.good_bytes, content.damage) == (len(RAW), "")


def test_appending_goes_on_from_the_crc_that_was_read() -> None:
    content = journal.read(RAW)
    assert content is not None
    line, _ = journal.frame(b'{"more":1}', content.crc)
    again = journal.read(RAW + line)
    assert again is not None
    assert again.records == [*RECORDS, {"more": 1}]


def test_a_line_is_readable_by_people() -> None:
    length, crc, text = LINES[1].split(b" ", 2)
    assert (int(length), text[-1:]) == (len(text) - 1, b"\n")
    assert int(crc, 16) == zlib.crc32(text[:-1], zlib.crc32(LINES[0].split(b" ", 2)[2][:-1]))


@pytest.mark.parametrize(
    ("generation", "first"), [(7, 0), (8, 3), (6, None), (9, None)], ids=["its own", "folded", "older", "newer"]
)
def test_records_count_from_the_generation_that_they_build_upon(generation: int, first: int | None) -> None:
    content = journal.read(RAW)
    assert content is not None
    assert content.since(generation) == first
    assert content.newest_fold() == 8


def test_of_two_folds_to_one_generation_the_later_counts() -> None:
    content = journal.read(b"".join(lines_of([{"fold": 8}, {"set": {}}, {"fold": 8}, {"set": {"n": 1}}])))
    assert content is not None
    assert content.since(8) == 3


# -- torn -------------------------------------------------------------------------------------------------------------


def test_cut_at_every_byte_the_whole_lines_stand_and_nothing_is_damage() -> None:
    for size in range(len(RAW)):
        content = journal.read(RAW[:size])
        count = whole_lines(size)
        if count == 0:
            assert content is None
            continue
        assert content is not None, size
        assert content.damage == "", size
        assert content.records == RECORDS[: count - 1], size
        assert content.good_bytes == ENDS[count], size


def test_blocks_of_the_last_append_that_were_never_written_are_a_torn_tail() -> None:
    """A crash may leave the length without the contents: zeros, up to the end or with the end written."""
    start, end = ENDS[4], ENDS[5] - 20
    for image in (RAW[:start] + b"\0" * 512, RAW[: start + 30] + b"\0" * 256, RAW[: end - 64] + b"\0" * 84):
        content = journal.read(image)
        assert content is not None
        assert content.damage == ""
        assert content.records[:3] == RECORDS[:3]


def test_blocks_that_went_missing_before_the_last_append_are_damage() -> None:
    """Later saves were acknowledged: to drop them silently would lose them."""
    for line in range(1, len(LINES) - 1):
        image = RAW[: ENDS[line]] + b"\0" * len(LINES[line]) + RAW[ENDS[line + 1] :]
        content = journal.read(image)
        assert content is not None
        expected = line == len(LINES) - 2  # what follows it is one line: that may have been one append
        assert bool(content.damage) is not expected
        assert content.records == RECORDS[: line - 1]


def test_a_new_journals_header_and_first_record_may_be_torn_together() -> None:
    first = ENDS[2]
    for start in range(first):
        for end in range(start + 16, first + 1):
            content = journal.read(RAW[:start] + b"\0" * (end - start) + RAW[end:first])
            assert content is None or not content.damage, (start, end)


def test_a_tail_longer_than_the_line_that_it_begins_is_damage() -> None:
    """More than one append was there: the saves after the hole were acknowledged."""
    for line in range(1, 5):
        begun = RAW[: ENDS[line] + 14]
        for image in (begun + b"\0" * (len(RAW) - len(begun)), RAW[: ENDS[line + 1] - 3] + b"\0" * 600):
            assert (content := journal.read(image)) is not None
            assert content.damage, line
            assert content.good_bytes == ENDS[line]


def test_zeros_do_not_hide_the_lines_after_them() -> None:
    lines = lines_of([{"set": {"n": number, "pad": "x" * 50}} for number in range(200)])
    raw = b"".join(lines)
    last = len(raw) - len(lines[-1])
    for start in range(0, last - 4096, 97):
        content = journal.read(raw[:start] + b"\0" * 4096 + raw[start + 4096 :])
        assert content is not None, start
        assert content.damage, start


@pytest.mark.parametrize(
    "text", [b" ", b"  12 ", b"\r\n", b"x", b"0", b"12  ", b"12 0a1B", b"12 0a1b2c3d [", b"12 0a1b2c3d4"]
)
@pytest.mark.parametrize("line", [0, 3])
def test_a_tail_that_begins_as_no_line_does_is_damage(text: bytes, line: int) -> None:
    content = journal.read(RAW[: ENDS[line]] + text)
    assert content is not None
    assert content.damage == f"its line at byte {ENDS[line]} is damaged"


def test_a_journal_that_became_blanks_or_one_line_is_damage() -> None:
    for image in (b" " * len(RAW), RAW.replace(b"\n", b" ")):
        assert (content := journal.read(image)) is not None
        assert content.damage


# -- damaged ----------------------------------------------------------------------------------------------------------


def test_every_bit_that_flips_is_noticed() -> None:
    for position in range(len(RAW)):
        for bit in range(8):
            image = bytearray(RAW)
            image[position] ^= 1 << bit
            content = journal.read(bytes(image))
            assert content is not None, (position, bit)
            assert content.damage, (position, bit)
            assert content.records == RECORDS[: max(0, whole_lines(position) - 1)], (position, bit)


@pytest.mark.parametrize("line", range(1, len(LINES) - 1))
def test_a_line_that_is_lost_or_repeated_or_moved_is_noticed(line: int) -> None:
    before, this, after = LINES[:line], LINES[line], LINES[line + 1 :]
    for image in (before + after, [*before, this, this, *after], [*before, after[0], this, *after[1:]]):
        content = journal.read(b"".join(image))
        assert content is not None
        assert content.damage


def test_a_line_of_another_journal_is_noticed() -> None:
    other = lines_of(RECORDS, generation=8)
    content = journal.read(b"".join([*LINES[:2], *other[2:]]))
    assert content is not None
    assert content.damage
    assert content.records == RECORDS[:1]


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"{", b"NaN", b"[" * 5000, b"\xff"], ids=ascii)
def test_a_whole_line_that_is_no_object_is_damage(body: bytes) -> None:
    content = journal.read(RAW)
    assert content is not None
    line, _ = journal.frame(body, content.crc)
    again = journal.read(RAW + line)
    assert again is not None
    assert again.damage == f"its line at byte {len(RAW)} is damaged"
    assert again.records == RECORDS


def test_a_header_that_tells_nothing_is_damage() -> None:
    raw, _ = journal.frame(b"{}", 0)
    content = journal.read(raw)
    assert content is not None
    assert content.damage == "its line at byte 0 is damaged"


# -- anything ---------------------------------------------------------------------------------------------------------

frames = st.builds(lambda body: b"%d %08x %b\n" % (len(body), zlib.crc32(body), body), st.binary(max_size=30))


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=40) | frames | st.sampled_from(LINES) | st.just(b"\0" * 20), max_size=6).map(b"".join)
)
@example(b"9" * 5000 + b" 00000000 {}\n")
@example("² 00000000 {}\n".encode())
@example(b"-1 00000000 {}\n")
def test_whatever_the_bytes_reading_answers(raw: bytes) -> None:
    content = journal.read(raw)
    if content is not None:
        assert content.good_bytes <= len(raw)
        assert len(content.ends) == len(content.records)
        assert content.damage or content.header


@settings(deadline=None)
@given(st.integers(0, len(RAW)), st.binary(max_size=60))
def test_what_is_appended_by_chance_is_never_taken_for_a_save(size: int, garbage: bytes) -> None:
    content = journal.read(RAW[:size] + garbage)
    if content is not None and not RAW.startswith(RAW[:size] + garbage):
        assert content.records == RECORDS[: len(content.records)]


def test_mixes_of_two_journals_never_give_a_third() -> None:
    """An old journal's bytes may stand behind the new one's: only whole prefixes of either are read."""
    other = b"".join(lines_of([{"set": {"other": number}} for number in range(9)]))
    histories = ([{"set": {"other": number}} for number in range(9)], RECORDS)
    chance = random.Random(1)
    for _ in range(3000):
        cuts = sorted(chance.randrange(len(RAW)) for _ in range(2))
        content = journal.read(RAW[: cuts[0]] + other[cuts[0] : cuts[1]] + RAW[cuts[1] :])
        if content is not None:
            assert any(content.records == history[: len(content.records)] for history in histories)
