"""Stores whose pieces and saves are compressed: smaller, mixed with what was there before, damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable import CheckpointCorruptError, checkpointed, every, open_store
from resumable._format.anywhere import copy, repair_in, verify_in
from resumable.stores import Stored
from resumable.stores._compressed import MARK, expanded, frame
from tests.format.test_anywhere import NOW
from tests.format.test_anywhere import run as run_in


def stored_bytes(path: Path) -> int:
    query = (
        "SELECT (SELECT sum(length(data)) FROM resumable_pieces) + (SELECT sum(length(data)) FROM resumable_segments)"
    )
    with closing(sqlite3.connect(path)) as database:
        ((size,),) = database.execute(query)
    return int(size)


def test_it_takes_less_room(tmp_path: Path) -> None:
    for name, layer in (("plain", ""), ("small", "?compress=zstd")):
        run_in(open_store(f"sqlite:///{tmp_path}/{name}.db{layer}"))

    assert stored_bytes(tmp_path / "small.db") < stored_bytes(tmp_path / "plain.db") / 4


def test_a_loop_goes_on_when_the_layer_is_put_on(tmp_path: Path) -> None:
    plain = f"sqlite:///{tmp_path}/store.db"
    run_in(open_store(plain))
    compressed = open_store(plain + "?compress=zstd")

    assert run_in(compressed, 80) == [*range(60)]
    assert run_in(compressed, 80) == [*range(80)]
    assert verify_in(compressed, "job", now=NOW).verdict == "good"


def test_without_the_layer_it_says_what_is_missing(tmp_path: Path) -> None:
    plain = f"sqlite:///{tmp_path}/store.db"
    with checkpointed("job", every(items=5), store=plain + "?compress=zstd", auto_cleanup=False) as cp:
        cp.state["n"] = 1
    with pytest.raises(CheckpointCorruptError, match="compress=zstd"), checkpointed("job", store=plain):
        pass


def test_a_copy_takes_the_layer_off(tmp_path: Path) -> None:
    compressed = open_store(f"sqlite:///{tmp_path}/store.db?compress=zstd")
    run_in(compressed)
    copy(compressed, open_store(tmp_path / "files"), "job", now=NOW)

    assert run_in(open_store(tmp_path / "files")) == [*range(60)]


def test_damage_is_told_and_the_last_good_save_gone_back_to(tmp_path: Path) -> None:
    compressed = open_store(f"sqlite:///{tmp_path}/store.db?compress=zstd")
    run_in(compressed)
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        last = "(SELECT max(seq) FROM resumable_segments)"
        statement = f"UPDATE resumable_segments SET data = x'525a53310000000441424344' WHERE seq = {last} - 1"
        assert database.execute(statement).rowcount == 1
        database.commit()
    with pytest.raises(CheckpointCorruptError):
        run_in(compressed)
    assert verify_in(compressed, "job", now=NOW).verdict == "damaged"
    repair_in(compressed, "job", now=NOW)
    before = run_in(compressed)

    assert before == [*range(len(before))]
    assert len(before) >= 40


@pytest.mark.slow
@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 2000))
def test_frames_are_read_back_and_what_is_cut_is_no_error(parts: list[bytes], cut: int) -> None:
    raw = b"".join(map(frame, parts))
    whole = expanded(Stored(b"", raw, ""))
    assert whole is not None
    assert whole.journal == b"".join(parts)
    torn = expanded(Stored(raw[:cut], raw[cut:], ""))

    assert torn is not None


@given(st.binary(max_size=300))
def test_any_bytes_may_stand_there(raw: bytes) -> None:
    for text in (raw, MARK + raw):
        assert expanded(Stored(text, text, "")) is not None


def test_a_layer_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compress must be 'zstd'"):
        open_store(f"sqlite:///{tmp_path}/store.db?compress=gzip")
