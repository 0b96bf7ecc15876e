"""A killed operation's claim on the end of an output file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, InputChangedError, checkpointed, every
from resumable._durable.claim import record_path
from resumable.stores import MemoryStore
from tests.support.stores import DictStore

ROOT = Path(__file__).parents[2]
DAY = """
import os, signal, sys
from resumable import checkpointed, every

day, killed_at, store = sys.argv[1:]
with checkpointed(day, every(items=2), store=store) as cp:
    rows = cp.sink("rows.txt", header="day\\n")
    for x in cp.remaining(range(6)):
        rows.write(f"{day}:{x}\\n")
        rows.flush()
        if str(x) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(day: str, *, killed_at: object = "never", store: str = "ck") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "-c", DAY, day, str(killed_at), store],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=False,
    )


def kill(day: str, at: int = 3, store: str = "ck") -> None:
    assert run(day, killed_at=at, store=store).returncode == -signal.SIGKILL


def rows_of(*days: str) -> list[str]:
    return ["day", *(f"{day}:{x}" for day in days for x in range(6))]


def lines(path: str = "rows.txt") -> list[str]:
    return Path(path).read_text().splitlines()


def left() -> list[str]:
    return sorted(path.name for path in Path.cwd().glob(".*"))


@pytest.mark.slow
def test_the_next_day_waits_for_the_one_that_was_killed(here: Path) -> None:
    kill("mon")

    tuesday = run("tue")

    assert tuesday.returncode == 1
    assert "rows.txt belongs to 'mon', which is not done" in tuesday.stderr
    assert "resumable rm --dir ck mon" in tuesday.stderr
    assert run("mon").returncode == run("tue").returncode == 0
    assert lines() == rows_of("mon", "tue")
    assert left() == []


def test_an_operation_that_was_given_up_lets_others_go_on(here: Path) -> None:
    kill("mon")

    CheckpointManager("ck").delete_checkpoint("mon")

    assert run("tue").returncode == 0
    assert lines()[-6:] == rows_of("tue")[1:]
    assert run("mon").returncode == 0, "it begins anew, behind the rows of the other"
    assert lines()[-12:] == rows_of("tue", "mon")[1:]


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 3])
def test_whatever_item_it_is_killed_at_each_row_is_there_once(at: int, here: Path) -> None:
    kill("mon", at)
    assert run("tue").returncode == 1
    kill("mon", min(at + 1, 5))
    assert run("tue").returncode == 1
    assert run("mon").returncode == 0
    assert lines() == rows_of("mon")


def test_the_same_operation_in_another_store_is_another_one(here: Path) -> None:
    kill("mon")

    assert run("mon", store="elsewhere").returncode == 1
    assert run("mon").returncode == 0
    assert lines() == rows_of("mon")


def test_file_and_checkpoint_may_be_moved_together(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "old").mkdir()
    monkeypatch.chdir(here / "old")
    kill("mon")
    shutil.copytree(here / "old", here / "new")
    monkeypatch.chdir(here / "new")

    assert run("tue").returncode == 1
    assert run("mon").returncode == 0
    assert lines() == rows_of("mon")


def test_a_checkpoint_that_was_hidden_meanwhile_does_not_cut_the_rows_of_others(here: Path) -> None:
    kill("mon")
    Path("ck").rename("hidden")
    assert run("tue").returncode == 0
    before = lines()

    monday = run("mon", store="hidden")

    assert monday.returncode == 1
    assert "bytes have been added" in monday.stderr
    assert lines() == before


def test_a_file_that_is_replaced_belongs_to_who_replaces_it(here: Path) -> None:
    kill("mon")

    with checkpointed("tue", store="ck") as cp:
        cp.sink("rows.txt", existing="replace").write("tue\n")

    assert lines() == ["tue"]
    assert run("mon").returncode == 1
    assert lines() == ["tue"]


@pytest.mark.parametrize("ending", ["well", "by an error", "kept"])
def test_an_orderly_end_leaves_nothing_behind(ending: str, here: Path) -> None:
    class Stop(Exception):
        pass

    try:
        with checkpointed("mon", store="ck") as cp:
            cp.sink("rows.txt").write("mon\n")
            assert left() == [".rows.txt.claim"]
            if ending == "by an error":
                raise Stop
            if ending == "kept":
                cp.keep()
    except Stop:
        pass

    assert left() == []
    assert run("tue").returncode == 1, "the header is not there"
    with checkpointed("tue", store="ck") as cp:
        cp.sink("rows.txt").write("tue\n")
    assert lines() == ["mon", "tue"]


@pytest.mark.parametrize("store", [MemoryStore(), DictStore()], ids=["memory", "simple"])
def test_other_stores_leave_nothing_behind_either(store: Any, here: Path) -> None:
    with checkpointed("mon", store=store) as cp:
        cp.sink("rows.txt").write("mon\n")
        assert left() == ([] if isinstance(store, MemoryStore) else [".rows.txt.claim"])

    assert left() == []


def test_a_checkpoint_of_a_memory_store_respects_the_claim_of_others(here: Path) -> None:
    kill("mon")

    with pytest.raises(InputChangedError, match="belongs to 'mon'"), checkpointed("tue", store=MemoryStore()) as cp:
        cp.sink("rows.txt")


def test_a_sink_that_was_closed_early_is_claimed_until_a_save_holds_its_end(here: Path) -> None:
    with checkpointed("mon", every(hours=1), store="ck") as monday, checkpointed("tue", store="ck") as tuesday:
        rows = monday.sink("rows.txt")
        rows.write("mon\n")
        rows.close()
        with pytest.raises(InputChangedError, match="belongs to 'mon'"):
            tuesday.sink("rows.txt")


def test_a_directory_in_which_no_file_can_be_made_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from resumable._runtime import disk

    def refuse(path: Path, chunks: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(disk, "write_new", refuse)
    with checkpointed("mon", store=MemoryStore()) as cp:
        cp.sink("rows.txt")
        assert caplog.messages == []
    simple: Any = DictStore()
    with checkpointed("mon", store=simple) as cp:
        cp.sink("rows.txt").write("mon\n")

    assert "which says who writes to the output file" in caplog.text
    assert lines() == ["mon"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"token": 1}', b"\xff", b"[" * 5000], ids=range(5))
def test_what_is_no_record_is_taken_for_none(content: bytes, here: Path) -> None:
    record_path(here / "rows.txt").write_bytes(content)

    assert run("mon").returncode == 0
    assert lines() == rows_of("mon")


def test_a_name_that_leaves_no_room_gets_a_record_too(here: Path) -> None:
    name = "r" * 255
    with checkpointed("mon", store="ck") as cp:
        cp.sink(name).write("mon\n")
        assert len(left()) == 1

    assert left() == []
    assert lines(name) == ["mon"]
