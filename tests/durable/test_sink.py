"""Output files that go with the checkpoint."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from resumable import CheckpointCorruptError, InputChangedError, StateEncodeError, StoreError, checkpointed, every
from resumable._durable.sink import Sink
from resumable.stores import MemoryStore
from tests.faults.hostile import signed
from tests.support.stores import DictStore, put

ROOT = Path(__file__).parents[2]
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


@pytest.mark.slow
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


@pytest.mark.parametrize("row", [b"\x00\xff", bytearray(b"ab"), memoryview(b"xyz"), memoryview(array("i", [7, 8]))])
def test_bytes_go_into_a_sink_of_bytes(row: Any, here: Path) -> None:
    with checkpointed("job") as cp:
        assert cp.sink("rows.bin", mode="b").write(row) == len(bytes(row))

    assert (here / "rows.bin").read_bytes() == bytes(row)


@pytest.mark.parametrize("mode", ["t", "b"])
@pytest.mark.parametrize("row", ["text", b"bytes", 5, 10**13, [65, 66], None], ids=repr)
def test_nothing_of_another_kind_does(mode: Any, row: Any, here: Path) -> None:
    """``bytes(5)`` would be five zeros."""
    kind = str if mode == "t" else bytes
    if isinstance(row, kind):
        return
    with checkpointed("job") as cp:
        sink = cp.sink("rows", mode)
        with pytest.raises(TypeError, match=f"takes {kind.__name__}, not {type(row).__name__}"):
            sink.write(row)

    assert (here / "rows").read_bytes() == b""


@pytest.mark.parametrize(("argument", "value"), [("mode", "a"), ("existing", "refused")])
def test_a_mistyped_argument_is_refused(argument: str, value: str, here: Path) -> None:
    (here / "rows.txt").write_text("precious\n")
    wrong: Any = {argument: value}
    with pytest.raises(ValueError, match=f"{argument} must be .*not '{value}'"), checkpointed("job") as cp:
        cp.sink("rows.txt", **wrong)

    assert (here / "rows.txt").read_text() == "precious\n"


# -- closing ----------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """What leaves a block in these tests."""


def test_rows_of_a_closed_sink_are_there_and_count(here: Path) -> None:
    with pytest.raises(Stop), checkpointed("job") as cp:  # noqa: PT012
        with contextlib.closing(cp.sink("rows.txt")) as rows:
            rows.write("first\n")
        assert (here / "rows.txt").read_text() == "first\n"
        cp.save()
        raise Stop
    with checkpointed("job") as cp:
        cp.sink("rows.txt").write("second\n")

    assert (here / "rows.txt").read_text() == "first\nsecond\n"


def test_a_closed_sink_takes_no_row(here: Path) -> None:
    with checkpointed("job") as cp:
        rows = cp.sink("rows.txt")
        assert not rows.closed
        rows.close()
        rows.close()
        assert rows.closed
        with pytest.raises(ValueError, match="closed"):
            rows.write("late\n")

    assert (here / "rows.txt").read_text() == ""


def test_a_closed_sink_can_be_opened_again_without_a_save(here: Path) -> None:
    with checkpointed("job", every(items=100)) as cp:
        for number in cp.remaining(range(10)):
            with contextlib.closing(cp.sink("rows.txt")) as rows:
                rows.write(f"{number}\n")
        assert cp.metadata.save_count == 1

    assert numbers(here / "rows.txt") == list(range(10))


def test_a_closed_sink_to_which_others_add_is_not_opened_again(here: Path) -> None:
    with pytest.raises(InputChangedError, match="7 bytes have been added"), checkpointed("job") as cp:  # noqa: PT012
        cp.sink("rows.txt").close()
        (here / "rows.txt").write_text("theirs\n")
        cp.sink("rows.txt")

    assert (here / "rows.txt").read_text() == "theirs\n"


def test_a_close_that_fails_can_be_tried_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with checkpointed("job") as cp:
        rows = cp.sink("rows.txt")
        rows.write("row\n")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
            with pytest.raises(StoreError, match="No space left"):
                rows.close()
        assert not rows.closed
        rows.close()

    assert (here / "rows.txt").read_text() == "row\n"


def test_no_row_follows_the_last_save_of_a_run(here: Path) -> None:
    """A thread that outlives the block gets an error, instead of writing rows that do not count."""
    store = LastSave()
    with checkpointed("job", store=store) as cp:
        rows = cp.sink("rows.txt")
        store.rows = rows
        rows.write("row\n")
        cp.keep()

    assert store.refused
    assert (here / "rows.txt").read_text() == "row\n"


class LastSave(DictStore):
    """Writes a row, as another thread may, while the last save is being stored."""

    rows: Any = None
    refused = False

    def put(self, key: str, blob: bytes) -> str:
        if self.rows is not None:
            with pytest.raises(ValueError, match="closed"):
                self.rows.write("late\n" * 20_000)
            self.refused = True
        return super().put(key, blob)


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
            sink.flush()
            sink.close()
            os._exit(7)

    with checkpointed("job") as cp:
        sink = cp.sink("rows.txt")
        sink.write("parent\n")
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 7
        assert (here / "rows.txt").read_text() == ""

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
            with pytest.raises(StoreError, match="Nothing of this row was written"):
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
    put(store, "job", signed(document | {"resumable": {"generation": 1, "sinks": {str(rows): saved}}}))
    with pytest.raises(CheckpointCorruptError), checkpointed("job", store=store) as cp:
        cp.sink(rows)
    assert rows.read_text() == "a row\n"


def test_text_that_is_not_unicode_costs_one_row(here: Path) -> None:
    """The error names the file and what to do."""
    told = r"rows\.txt cannot be saved: .*lone surrogate.*'replace'"
    with pytest.raises(StateEncodeError, match=told), checkpointed("job") as cp:  # noqa: PT012
        rows = cp.sink("rows.txt")
        for number in cp.remaining(range(20)):
            rows.write("half an emoji \ud83d\n" if number == 10 else f"row {number}\n")

    assert (here / "rows.txt").read_text() == "".join(f"row {number}\n" for number in range(10))
    with checkpointed("job", auto_cleanup=False) as cp:
        assert cp.processed_items == 10


@pytest.mark.parametrize("nth", range(1, 8))
def test_a_signal_that_raises_within_a_write_moves_no_other_row_to_another_item(tmp_path: Path, nth: int) -> None:
    """It raises at the nth line of one write, and the program goes on; the next item is left half-way."""
    path, lines = tmp_path / "rows", 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code is not Sink.write.__code__:
            return None
        lines += event == "line"
        if lines == nth:
            raise TimeoutError
        return trace

    def run() -> None:
        with checkpointed("a", every(hours=1), store=tmp_path) as cp:
            sink = cp.sink(path)
            for item in cp.remaining(range(4)):
                before = sys.gettrace()
                sys.settrace(trace if item == 1 and not lines else before)
                try:
                    sink.write(f"{item}\n")
                except TimeoutError:
                    pass
                finally:
                    sys.settrace(before)
                if item == 2 and lines < 100:
                    raise InterruptedError

    with pytest.raises(InterruptedError):
        run()
    lines = 100
    run()

    assert path.read_text().split() in (["0", "2", "3"], ["0", "1", "2", "3"])
