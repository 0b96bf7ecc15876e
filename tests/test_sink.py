"""Output files that go with the checkpoint."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointCorruptError, InputChangedError, StoreError, checkpointed, every
from resumable.stores import MemoryStore
from tests.faults.hostile import signed

ROOT = Path(__file__).parent.parent
JOB = """
import json
from resumable import checkpointed, every

with checkpointed("job", every(items=7)) as cp:
    rows = cp.sink("rows.jsonl")
    seen = cp.mapping("seen")
    for number in cp.remaining(range(4000)):
        rows.write(json.dumps(number) + "\\n")
        seen[f"k{number}"] = number
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(count: int, fails_at: int | None = None) -> None:
    with checkpointed("job", every(items=10)) as cp:
        rows = cp.sink("rows.txt")
        for number in cp.remaining(range(count)):
            rows.write(f"{number}\n")
            if number == fails_at:
                raise KeyError(number)


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()]


def test_the_row_of_the_item_that_failed_is_not_there_twice(here: Path) -> None:
    with pytest.raises(KeyError):
        write(50, fails_at=33)
    # What failed is not done; what it wrote is part of the state that was saved on the way out.
    write(50)

    assert [n for n in numbers(here / "rows.txt") if n != 33] == [n for n in range(50) if n != 33]


def test_killed_at_random_it_holds_each_row_once(here: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    chance, kills = random.Random(7), 0
    while True:
        job = subprocess.Popen([sys.executable, "-B", "-c", JOB], env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while kills < 6 and not list(here.glob(".checkpoint_job.json")) and time.monotonic() < deadline:
            if job.poll() is not None:
                break
            time.sleep(0.005)
        if kills < 6:
            time.sleep(chance.uniform(0, 0.15))
            job.send_signal(signal.SIGKILL)
        if job.wait() == 0:
            break
        kills += 1

    rows = [json.loads(line) for line in (here / "rows.jsonl").read_text().splitlines()]
    assert rows == list(range(4000))


def test_rows_beyond_the_last_save_are_cut_off(here: Path) -> None:
    with pytest.raises(KeyError):
        write(50, fails_at=20)
    with (here / "rows.txt").open("a") as file:
        file.write("a row that no checkpoint knows\n")
    write(50)

    assert "no checkpoint" not in (here / "rows.txt").read_text()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_text("other\n" * 100), id="other rows"),
        pytest.param(lambda path: os.truncate(path, 5), id="shorter"),
        pytest.param(lambda path: path.unlink(), id="gone"),
    ],
)
def test_a_file_that_others_changed_is_refused_and_left_alone(change: object, here: Path) -> None:
    with pytest.raises(KeyError):
        write(50, fails_at=30)
    change(here / "rows.txt")  # type: ignore[operator]
    before = {path.name: path.read_bytes() for path in here.glob("rows*")}

    with pytest.raises(InputChangedError, match=r"rows\.txt"):
        write(50)

    assert {path.name: path.read_bytes() for path in here.glob("rows*")} == before


@pytest.mark.parametrize(
    ("existing", "kept"), [pytest.param("append", "old\n", id="append"), pytest.param("replace", "", id="replace")]
)
def test_what_is_there_before_the_operation_began(existing: str, kept: str, here: Path) -> None:
    (here / "rows.txt").write_text("old\n")
    with checkpointed("job") as cp:
        cp.sink("rows.txt", existing=existing).write("new\n")  # type: ignore[call-overload]

    assert (here / "rows.txt").read_text() == f"{kept}new\n"


def test_it_can_be_refused(here: Path) -> None:
    (here / "rows.txt").write_text("old\n")
    with pytest.raises(InputChangedError, match="no checkpoint knows of it"), checkpointed("job") as cp:
        cp.sink("rows.txt", existing="refuse")

    assert (here / "rows.txt").read_text() == "old\n"


def test_bytes_go_into_a_sink_of_bytes_and_nothing_else_does(here: Path) -> None:
    with checkpointed("job") as cp:
        sink = cp.sink("rows.bin", mode="b")
        sink.write(b"\x00\xff")
        with pytest.raises(TypeError):
            sink.write("text")  # type: ignore[arg-type]

    assert (here / "rows.bin").read_bytes() == b"\x00\xff"


async def test_async_code_has_it_too(here: Path) -> None:
    async with checkpointed("job") as cp:
        rows = await cp.sink("rows.txt")
        async for number in cp.remaining(range(30)):
            rows.write(f"{number}\n")

    assert numbers(here / "rows.txt") == list(range(30))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_writes_nothing(here: Path) -> None:
    def child() -> None:
        try:
            sink.write("child\n")
        except StoreError:
            os._exit(7)

    with checkpointed("job") as cp:
        sink = cp.sink("rows.txt")
        sink.write("parent\n")
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 7

    assert (here / "rows.txt").read_text() == "parent\n"


def test_after_the_block_it_is_closed(here: Path) -> None:
    with checkpointed("job") as cp:
        sink = cp.sink("rows.txt")
    with pytest.raises(ValueError, match="closed"):
        sink.write("late\n")


def test_a_row_that_finds_the_disk_full_was_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes it again has it once."""
    rows = tmp_path / "rows.txt"
    with checkpointed("job", store=tmp_path) as cp:
        sink = cp.sink(rows)
        sink.write("a" * 60_000)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
            with pytest.raises(StoreError, match="Of this row, nothing was written"):
                sink.write("b" * 10_000)
            with pytest.raises(StoreError, match="No space left"):
                sink.flush()
        sink.write("b" * 10_000)
    assert rows.read_text() == "a" * 60_000 + "b" * 10_000


@pytest.mark.parametrize("saved", [{}, {"offset": "1", "sample": ""}, {"offset": -1, "sample": ""}, {"offset": 1}, 5])
def test_a_hostile_position_is_damage(saved: object, tmp_path: Path) -> None:
    store, rows = MemoryStore(), tmp_path / "rows.txt"
    rows.write_text("a row\n")
    document: dict[str, Any] = {"version": "2.0", "operation_id": "job", "state": {}, "metadata": {}}
    document |= dict.fromkeys(("created_at", "last_updated"), "2026-01-01")
    store.put("job", signed(document | {"resumable": {"generation": 1, "sinks": {str(rows): saved}}}))
    with pytest.raises(CheckpointCorruptError), checkpointed("job", store=store) as cp:
        cp.sink(rows)
    assert rows.read_text() == "a row\n"
