"""The journal's lines: complete lines are read, a torn tail is cut, other damage is reported."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumable._format import journal
from resumable._format.document import UnknownFormatError
from resumable._format.journal import JournalContent, Position, SnapshotFacts
from resumable._json import encode
from tests.support import format1

Record = dict[str, Any]

RECORDS: list[Record] = [
    {"at": "2026-01-01", "set": {"n": 1}},
    {"set": {"text": "Größe\n\0 🦊"}},
    {"fold": 8},
    {"set": {"big": "x" * 300}},
    {},
]
BEGIN = Position(100, 7)
"""Where the snapshot stands that the journals here go on from."""
SNAPSHOT = SnapshotFacts("crawl", 100, "d1", 7)


def chained(records: list[Record], begin: Position = BEGIN) -> list[bytes]:
    """A line of format 2 for each of *records*."""
    lines, position = [], begin
    for record in records:
        line, position = journal.line(encode(record), position.sequence + 1, position.crc)
        lines.append(line)
    return lines


class Written:
    """A journal of :data:`RECORDS` in one of the formats.

    Attributes:
        lines: All of them.
        leads: How many of them are headers.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.lines = self.of(RECORDS)
        self.leads = 1 if number == 1 else 0
        self.raw = b"".join(self.lines)
        self.ends = [sum(map(len, self.lines[:count])) for count in range(len(self.lines) + 1)]

    def of(self, records: list[Record]) -> list[bytes]:
        if self.number == 2:
            return chained(records)
        return format1.lines_of(records, generation=7, key="crawl")

    def whole_lines(self, size: int) -> int:
        """How many lines the first *size* bytes hold wholly."""
        return sum(end <= size for end in self.ends[1:])

    def begins_with(self, content: JournalContent, count: int) -> bool:
        """Whether *content* holds the first *count* lines, and nothing else."""
        return saved(content) == RECORDS[: max(0, count - self.leads)]


def saved(content: JournalContent) -> list[Record]:
    """Its records as they were given to the writer."""
    return [{name: v for name, v in record.items() if name not in ("seq", "after")} for record in content.records]


def read(raw: bytes) -> JournalContent:
    content = journal.read(raw)
    assert content is not None
    return content


FORMATS = {number: Written(number) for number in (1, 2)}


@pytest.fixture(params=FORMATS, ids=lambda number: f"format {number}")
def written(request: pytest.FixtureRequest) -> Written:
    return FORMATS[request.param]


# -- what was written is read -----------------------------------------------------------------------------------------


def test_what_was_written_is_read(written: Written) -> None:
    content = read(written.raw)

    assert saved(content) == RECORDS
    assert content.ends == written.ends[written.leads + 1 :]
    assert (content.good_bytes, content.damage) == (len(written.raw), "")


def test_a_header_tells_whose_journal_of_format_1_it_is() -> None:
    assert read(FORMATS[1].raw).header == {"journal": 1, "operation_id": "crawl", "generation": 7, "digest": "d1"}
    assert read(FORMATS[2].raw).header == {}


def test_appending_goes_on_from_the_crc_that_was_read() -> None:
    content = read(FORMATS[2].raw)
    line, _ = journal.line(b'{"more":1}', 106, content.crc)

    assert saved(read(FORMATS[2].raw + line)) == [*RECORDS, {"more": 1}]


def test_a_line_is_readable_by_people() -> None:
    line, position = journal.line(b'{"n":1}', 12, 34)
    length, crc, text = line.split(b" ", 2)

    assert text == b'{"seq":12,"after":34,"n":1}\n'
    assert int(length) == len(text) - 1
    assert position == Position(12, zlib.crc32(text[:-1])) == Position(12, int(crc, 16))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.text().filter(lambda name: name not in ("seq", "after"))


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.dictionaries(names, plain, max_size=4), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_what_line_makes_read_gives_back(records: list[Record], crc: int) -> None:
    raw = b"".join(chained(records, Position(100, crc)))
    content = read(raw)

    assert saved(content) == records
    assert [record["seq"] for record in content.records] == [*range(101, 101 + len(records))]
    assert (content.damage, content.good_bytes, content.newest) == ("", len(raw), 100 + len(records))
    snapshot = facts(100, crc)
    assert journal.saves_for(content, snapshot) == content.records
    assert journal.position_after(content, snapshot, len(raw)) == Position(100 + len(records), content.crc)


# -- torn -------------------------------------------------------------------------------------------------------------


def test_cut_at_every_byte_the_whole_lines_stand_and_nothing_is_damage(written: Written) -> None:
    for size in range(len(written.raw)):
        content = journal.read(written.raw[:size])
        count = written.whole_lines(size)
        if count == 0:
            assert content is None
            continue
        assert content is not None, size
        assert content.damage == "", size
        assert written.begins_with(content, count), size
        assert content.good_bytes == written.ends[count], size


def test_blocks_of_the_last_append_that_were_never_written_are_a_torn_tail(written: Written) -> None:
    """A crash may leave the length without the contents: zeros, up to the end or with the end written."""
    raw, line = written.raw, written.leads + 3
    start, end = written.ends[line], written.ends[line + 1] - 20
    for image in (raw[:start] + b"\0" * 512, raw[: start + 30] + b"\0" * 256, raw[: end - 64] + b"\0" * 84):
        content = read(image)
        assert content.damage == ""
        assert written.begins_with(content, line)


def test_blocks_that_went_missing_before_the_last_append_are_damage(written: Written) -> None:
    """Later saves were acknowledged: to drop them silently would lose them."""
    lines, ends, raw = written.lines, written.ends, written.raw
    for line in range(1, len(lines) - 1):
        content = read(raw[: ends[line]] + b"\0" * len(lines[line]) + raw[ends[line + 1] :])
        # In format 1, what follows the last hole may be the end of the same line.
        assert content.damage or (written.number == 1 and line == len(lines) - 2)
        assert written.begins_with(content, line)


def test_a_first_save_that_went_missing_before_others_is_damage() -> None:
    """Format 1 wrote its header and the first save as one; format 2 has no header."""
    lines = FORMATS[2].lines
    for count in range(2, len(lines) + 1):
        raw = b"".join(lines[:count])
        content = read(b"\0" * len(lines[0]) + raw[len(lines[0]) :])
        assert content.damage == "its line at byte 0 is damaged"


def test_a_new_journals_first_append_may_be_torn(written: Written) -> None:
    first = written.ends[written.leads + 1]
    for start in range(first):
        for end in range(start + 16, first + 1):
            content = journal.read(written.raw[:start] + b"\0" * (end - start) + written.raw[end:first])
            assert content is None or not content.damage, (start, end)


def test_a_tail_longer_than_the_line_that_it_begins_is_damage(written: Written) -> None:
    """More than one append was there: the saves after the hole were acknowledged."""
    raw, ends = written.raw, written.ends
    for line in range(1, len(written.lines) - 1):
        begun = raw[: ends[line] + 14]
        for image in (begun + b"\0" * (len(raw) - len(begun)), raw[: ends[line + 1] - 3] + b"\0" * 600):
            content = read(image)
            assert content.damage, line
            assert content.good_bytes == ends[line]


def test_zeros_do_not_hide_the_lines_after_them(written: Written) -> None:
    lines = written.of([{"set": {"n": number, "pad": "x" * 50}} for number in range(200)])
    raw = b"".join(lines)
    last = len(raw) - len(lines[-1])
    for start in range(0, last - 4096, 97):
        assert read(raw[:start] + b"\0" * 4096 + raw[start + 4096 :]).damage, start


@pytest.mark.parametrize(
    "text", [b" ", b"  12 ", b"\r\n", b"x", b"0", b"12  ", b"12 0a1B", b"12 0a1b2c3d [", b"12 0a1b2c3d4"]
)
@pytest.mark.parametrize("line", [0, 3])
def test_a_tail_that_begins_as_no_line_does_is_damage(text: bytes, line: int, written: Written) -> None:
    content = read(written.raw[: written.ends[line]] + text)

    assert content.damage == f"its line at byte {written.ends[line]} is damaged"


def test_a_journal_that_became_blanks_or_one_line_is_damage(written: Written) -> None:
    for image in (b" " * len(written.raw), written.raw.replace(b"\n", b" ")):
        assert read(image).damage


# -- damaged ----------------------------------------------------------------------------------------------------------


def test_every_bit_that_flips_is_noticed(written: Written) -> None:
    for position in range(len(written.raw)):
        for bit in range(8):
            image = bytearray(written.raw)
            image[position] ^= 1 << bit
            content = read(bytes(image))
            assert content.damage, (position, bit)
            assert written.begins_with(content, written.whole_lines(position)), (position, bit)


@pytest.mark.parametrize("line", range(1, len(RECORDS) - 1))
def test_a_line_that_is_lost_or_repeated_or_moved_is_noticed(line: int, written: Written) -> None:
    before, this, after = written.lines[:line], written.lines[line], written.lines[line + 1 :]
    for image in (before + after, [*before, this, this, *after], [*before, after[0], this, *after[1:]]):
        content = read(b"".join(image))
        assert content.damage


def test_a_line_that_does_not_go_on_from_the_one_before_is_told() -> None:
    lines = FORMATS[2].lines
    content = read(b"".join([lines[0], *lines[2:]]))

    assert content.damage == f"its line at byte {len(lines[0])} does not go on from the line before it"
    assert content.good_bytes == len(lines[0])


def test_a_line_of_another_journal_is_noticed(written: Written) -> None:
    other = written.of([{"another": 1}, *RECORDS[1:]])
    content = read(b"".join([*written.lines[: written.leads + 1], *other[written.leads + 1 :]]))

    assert content.damage
    assert saved(content) == RECORDS[:1]


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"{", b"NaN", b"[" * 5000, b"\xff"], ids=ascii)
def test_a_whole_line_that_is_no_object_is_damage(body: bytes, written: Written) -> None:
    line, _ = format1.frame(body, read(written.raw).crc if written.leads else 0)
    again = read(written.raw + line)

    assert again.damage == f"its line at byte {len(written.raw)} is damaged"
    assert saved(again) == RECORDS


@pytest.mark.parametrize(
    "record",
    [b'{"seq":106}', b'{"seq":"106","after":1}', b'{"seq":true,"after":1}', b'{"after":1}', b'{"seq":0,"after":1}'],
    ids=ascii,
)
def test_a_line_without_its_numbers_is_damage(record: bytes) -> None:
    line, _ = format1.frame(record, 0)

    assert read(FORMATS[2].raw + line).damage


def test_a_number_that_does_not_rise_is_damage() -> None:
    raw = FORMATS[2].raw
    for number in (104, 105):
        assert read(raw + journal.line(b"{}", number, read(raw).crc)[0]).damage
    assert not read(raw + journal.line(b"{}", 900, read(raw).crc)[0]).damage


def test_a_header_that_tells_nothing_is_damage() -> None:
    raw, _ = format1.frame(b"{}", 0)

    assert read(raw).damage == "its line at byte 0 is damaged"


# -- which snapshot it fits -------------------------------------------------------------------------------------------


def facts(generation: int, crc: int | None, digest: str = "d1") -> SnapshotFacts:
    return SnapshotFacts("crawl", generation, digest, crc)


def crcs() -> list[int]:
    """Of the lines of format 2."""
    return [read(b"".join(FORMATS[2].lines[: count + 1])).crc for count in range(len(RECORDS))]


@pytest.mark.parametrize("count", range(len(RECORDS) + 1))
def test_saves_count_from_the_snapshot_on_also_one_made_of_the_first_of_them(count: int) -> None:
    """The chain goes on over folds: a snapshot that holds *count* of the saves notes the CRC of the last of these."""
    content = read(FORMATS[2].raw)
    snapshot = facts(100 + count, [7, *crcs()][count])

    assert journal.saves_for(content, snapshot) == content.records[count:]
    position = journal.position_after(content, snapshot, len(FORMATS[2].raw))
    assert position == Position(105, content.crc)


@pytest.mark.parametrize(
    "snapshot",
    [
        pytest.param(facts(100, 8), id="of an earlier life, whose numbers are the same"),
        pytest.param(facts(0, None), id="of another tool"),
        pytest.param(facts(100, None), id="of format 1"),
        pytest.param(facts(200, 7), id="newer than all saves"),
        pytest.param(facts(103, 7), id="in the midst of them"),
        pytest.param(facts(50, 9), id="older"),
    ],
)
def test_a_journal_that_does_not_go_on_from_the_snapshot_is_ignored(snapshot: SnapshotFacts) -> None:
    content = read(FORMATS[2].raw)

    assert journal.saves_for(content, snapshot) == []
    assert journal.position_after(content, snapshot, len(FORMATS[2].raw)) is None


def test_where_the_next_line_goes_on() -> None:
    raw = FORMATS[2].raw
    assert journal.position_after(None, facts(100, 7), 0) == Position(100, 7)
    assert journal.position_after(None, facts(100, None), 0) is None
    assert journal.position_after(None, facts(0, None), 0) is None
    assert journal.position_after(None, facts(100, 7), 5) is None, "torn"
    assert journal.position_after(read(raw[:-1]), facts(100, 7), len(raw) - 1) is None, "torn"
    assert journal.position_after(read(FORMATS[1].raw), facts(7, None), len(FORMATS[1].raw)) is None


@pytest.mark.parametrize(
    ("generation", "first"), [(7, 0), (8, 3), (6, None), (9, None)], ids=["its own", "folded", "older", "newer"]
)
def test_saves_of_format_1_count_from_the_generation_that_they_build_upon(generation: int, first: int | None) -> None:
    content = read(FORMATS[1].raw)

    assert journal.saves_for(content, facts(generation, None)) == ([] if first is None else RECORDS[first:])
    assert content.newest == 8


def test_of_two_folds_to_one_generation_the_later_counts() -> None:
    content = read(b"".join(FORMATS[1].of([{"fold": 8}, {"set": {}}, {"fold": 8}, {"set": {"n": 1}}])))

    assert journal.saves_for(content, facts(8, None)) == content.records[3:]


def test_a_journal_of_format_1_of_another_operation_or_snapshot_is_damage() -> None:
    content = read(FORMATS[1].raw)
    with pytest.raises(ValueError, match="another operation"):
        journal.saves_for(content, SnapshotFacts("other", 7, "d1", None))
    with pytest.raises(ValueError, match="another snapshot of the same generation"):
        journal.saves_for(content, facts(7, None, "d2"))
    assert journal.saves_for(content, facts(8, None, "d2")) == RECORDS[3:]


def test_a_damaged_journal_fits_nothing(written: Written) -> None:
    content = read(written.raw + b"x")
    for snapshot in (facts(100, 7), facts(7, None), facts(1, 1)):
        with pytest.raises(ValueError, match=r"its journal is damaged: .*; the 5 saves before that are good"):
            journal.saves_for(content, snapshot)


@pytest.mark.parametrize("found", [3, "3", 2.1, "10"])
def test_a_newer_format_is_unknown_and_not_damaged(found: Any) -> None:
    header, _ = format1.frame(encode({"journal": found, "anything": 1}), 0)
    with pytest.raises(UnknownFormatError, match=rf"its journal: a newer release wrote it, with format {found!r}"):
        journal.saves_for(read(header), SNAPSHOT)
    with pytest.raises(UnknownFormatError, match=rf"its journal: a newer release wrote it, with format {found!r}"):
        journal.noted_crc({"format": found})


@pytest.mark.parametrize("found", [None, 0, 2, "x", True, [], {}])
def test_a_header_of_no_format_is_damage(found: Any) -> None:
    header, _ = format1.frame(encode({"journal": found}), 0)
    if found is True:
        return  # 1, for whoever compares
    with pytest.raises(ValueError, match="the unknown format"):
        journal.saves_for(read(header), SNAPSHOT)


def test_what_a_snapshot_notes_of_its_journal_is_read() -> None:
    assert journal.noted_crc(journal.note_for(123)) == 123
    assert journal.noted_crc(None) is None
    for note in (5, {}, {"format": 1, "crc": 3}, {"format": 2}, {"format": 2, "crc": "3"}, {"format": 2, "crc": True}):
        with pytest.raises(ValueError, match="its 'journal' entry is malformed"):
            journal.noted_crc(note)


# -- two journals as one ----------------------------------------------------------------------------------------------


def test_the_journals_before_and_after_a_fold_hold_all_saves_together() -> None:
    """The old one may have been written to until the fold was done: what both hold counts once."""
    raw, ends = FORMATS[2].raw, FORMATS[2].ends
    for first in range(1, len(RECORDS)):
        for begin in range(first + 1):
            assert journal.joined(raw[: ends[first]], raw[ends[begin] :]) == raw


def test_journals_that_do_not_go_on_from_each_other_are_not_joined() -> None:
    raw, ends = FORMATS[2].raw, FORMATS[2].ends
    assert journal.joined(raw[: ends[1]], raw[ends[2] :]) == b"", "a save is missing"
    assert journal.joined(raw, b"".join(chained([{}], Position(300, 9)))) == b"", "of another snapshot"
    assert journal.joined(raw, raw) == b"", "nothing new"
    assert journal.joined(b"", raw) == journal.joined(raw, b"") == b""
    assert journal.joined(FORMATS[1].raw, raw) == journal.joined(raw, FORMATS[1].raw) == b""


# -- anything ---------------------------------------------------------------------------------------------------------

frames = st.builds(lambda body: b"%d %08x %b\n" % (len(body), zlib.crc32(body), body), st.binary(max_size=30))
lines = st.sampled_from([line for one in FORMATS.values() for line in one.lines])


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | frames | lines | st.just(b"\0" * 20), max_size=6).map(b"".join))
@example(b"9" * 5000 + b" 00000000 {}\n")
@example("² 00000000 {}\n".encode())
@example(b"-1 00000000 {}\n")
def test_whatever_the_bytes_reading_answers(raw: bytes) -> None:
    content = journal.read(raw)
    if content is not None:
        assert content.good_bytes <= len(raw)
        assert len(content.ends) == len(content.records)
        assert content.damage or content.header or content.records


@settings(deadline=None)
@given(st.sampled_from([1, 2]), st.integers(0, 600), st.binary(max_size=60))
def test_what_is_appended_by_chance_is_never_taken_for_a_save(number: int, size: int, garbage: bytes) -> None:
    raw = FORMATS[number].raw
    content = journal.read(raw[:size] + garbage)
    if content is not None and not raw.startswith(raw[:size] + garbage):
        assert saved(content) == RECORDS[: len(content.records)]


def test_mixes_of_two_journals_never_give_a_third(written: Written) -> None:
    """An old journal's bytes may stand behind the new one's: only whole prefixes of either are read."""
    others: list[Record] = [{"set": {"other": number}} for number in range(9)]
    other, raw = b"".join(written.of(others)), written.raw
    chance = random.Random(1)
    for _ in range(3000):
        cuts = sorted(chance.randrange(len(raw)) for _ in range(2))
        content = journal.read(raw[: cuts[0]] + other[cuts[0] : cuts[1]] + raw[cuts[1] :])
        if content is not None:
            found = saved(content)
            assert any(found == history[: len(found)] for history in (others, RECORDS))
