"""Headings of programs that tick by hand: a run that goes on writes none a second time."""

from __future__ import annotations

import asyncio
import contextlib
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, current_checkpoint, every, resumable


class StoppedError(Exception):
    """Ends a run in the middle of an item."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plain(stop: int) -> None:
    with checkpointed("job", every(items=1)) as cp:
        rows = cp.sink("rows.txt")
        rows.write("head\n")
        print("a", "b", file=rows)
        for item in range(cp.processed_items, 4):
            rows.write("row\n")
            if item == stop:
                raise StoppedError
            cp.tick()
        rows.write("foot\n")


def in_helpers(stop: int) -> None:
    with checkpointed("job", every(items=1)) as cp:
        rows = cp.sink("rows.txt")
        begin(rows)
        item = cp.processed_items
        while item < 4:
            step(cp, rows, fails=item == stop)
            item += 1
        rows.write("foot\n")


def begin(rows: Any) -> None:
    csv.writer(rows, lineterminator="\n").writerow(["head"])
    print("a", "b", file=rows)


def step(cp: Any, rows: Any, *, fails: bool) -> None:
    rows.write("row\n")
    if fails:
        raise StoppedError
    cp.tick()


def after_a_handled_error(stop: int) -> None:
    with checkpointed("job", every(items=1)) as cp:
        rows = cp.sink("rows.txt")
        try:
            print("head", file=rows)
            raise LookupError
        except LookupError as error:
            del error
        with contextlib.suppress(LookupError):
            raise LookupError
        print("a", "b", file=rows)
        for item in range(cp.processed_items, 4):
            rows.write("row\n")
            if item == stop:
                raise StoppedError
            cp.tick()
        rows.write("foot\n")


def of_rows_that_are_equal(stop: int) -> None:
    """The heading is equal to each row, and to what comes after."""
    with checkpointed("job", every(items=1)) as cp:
        rows = cp.sink("rows.txt")
        rows.write("row\n")
        for item in range(cp.processed_items, 4):
            rows.write("row\n")
            if item == stop:
                raise StoppedError
            cp.tick()
        rows.write("row\n")


def in_async_code(stop: int) -> None:
    async def job() -> None:
        async with checkpointed("job", every(items=1)) as cp:
            rows = await cp.sink("rows.txt")
            rows.write("head\n")
            print("a", "b", file=rows)
            for item in range(cp.processed_items, 4):
                rows.write("row\n")
                if item == stop:
                    raise StoppedError
                await cp.tick()
            rows.write("foot\n")

    asyncio.run(job())


JOBS = [plain, in_helpers, after_a_handled_error, of_rows_that_are_equal, in_async_code]


@pytest.mark.parametrize("job", JOBS)
def test_a_heading_is_written_once(job: Callable[[int], None]) -> None:
    for stop in (1, 1, 3):
        with pytest.raises(StoppedError):
            job(stop)
    job(9)

    head, foot = (["row"], "row") if job is of_rows_that_are_equal else (["head", "a b"], "foot")
    assert Path("rows.txt").read_text().split("\n") == [*head, *["row"] * 4, foot, ""]


def test_the_first_entries_of_a_log_are_appended_once() -> None:
    def run(stop: int) -> list[Any]:
        with checkpointed("job", every(items=1)) as cp:
            log = cp.log("log")
            log.append({"columns": ["a", "b"]})
            for item in range(cp.processed_items, 4):
                log.append(item)
                if item == stop:
                    raise StoppedError
                cp.tick()
            return list(log)

    for stop in (1, 3):
        with pytest.raises(StoppedError):
            run(stop)
    assert run(9) == [{"columns": ["a", "b"]}, 0, 1, 2, 3]


@pytest.mark.parametrize("stops", [["b 1"], ["b 0", "b 1"], ["tick 1", "b 1"], ["a 1", "tick 1", "b 1"]])
@pytest.mark.parametrize("has_a", [False, True])
def test_a_heading_before_ticks_is_written_once_where_other_loops_are_left(stops: list[str], *, has_a: bool) -> None:
    """Ticks move the boundary, and the loop behind them knows only what was written since the last one."""

    def run(stop: str) -> list[Any]:
        with checkpointed("job", every(items=1)) as cp:
            rows, log = cp.sink("rows.txt"), cp.log("log")
            rows.write("head\n")
            log.append("head")
            for item in cp.remaining(range(2)) if has_a else ():
                write(f"a {item}", stop, rows, log)
            for item in range(cp.state.get("next", 0), 2):
                write(f"tick {item}", stop, rows, log)
                cp.state["next"] = item + 1
                cp.tick()
            for item in cp.remaining(range(2)):
                write(f"b {item}", stop, rows, log)
            return list(log)

    def write(row: str, stop: str, rows: Any, log: Any) -> None:
        rows.write("row\n")
        log.append("row")
        if row == stop:
            raise StoppedError

    for stop in stops if has_a else [stop for stop in stops if not stop.startswith("a")]:
        with pytest.raises(StoppedError):
            run(stop)

    before = ["row"] * 2 if has_a else []
    assert run("") == ["head", *before, *["row"] * 4]
    assert Path("rows.txt").read_text().split() == ["head", *before, *["row"] * 4]


@pytest.mark.parametrize("stops", [["head 2"], ["head 2", "tick 1"], ["tick 0", "tick 1"]])
def test_headings_that_are_equal_are_all_written(stops: list[str]) -> None:
    """A stopped run may have written some of them; what this run writes itself is none of an earlier one."""

    def run(stop: str) -> None:
        with checkpointed("job", every(items=1)) as cp:
            rows = cp.sink("rows.txt")
            for number in range(cp.state.get("first", 0), 2):
                cp.state["first"] = number + 1
                cp.tick()
            rows.write("---\n")
            at("head 1", stop)
            rows.write("columns\n")
            at("head 2", stop)
            rows.write("---\n")
            for number in range(cp.state.get("next", 0), 2):
                rows.write(f"{number}\n")
                at(f"tick {number}", stop)
                cp.state["next"] = number + 1
                cp.tick()

    for stop in stops:
        with pytest.raises(StoppedError):
            run(stop)
    run("")

    assert Path("rows.txt").read_text().split() == ["---", "columns", "---", "0", "1"]


def at(here: str, stop: str) -> None:
    if here == stop:
        raise StoppedError


def both_kinds(stop: str, *, skips: int = 0) -> None:
    with checkpointed("job", every(items=1)) as cp:
        rows, log = cp.sink("rows.txt"), cp.log("log")

        def write(row: str) -> None:
            rows.write(f"{row}\n")
            log.append(row)
            at(row, stop)

        for item in cp.remaining(range(2)):
            write(f"a {item}")
        write("between")
        for item in range(cp.state.get("next", 0), 4):
            if item >= skips:
                write(f"b {item}")
            cp.state["next"] = item + 1
            cp.tick()
        write("foot")
        for item in cp.remaining(range(2)):
            write(f"c {item}")
        assert log[-3:] == ["foot", "c 0", "c 1"]


def in_tasks(stop: str, *, skips: int = 0) -> None:
    async def job() -> None:
        async with checkpointed("job", every(items=1)) as cp:
            rows = await cp.sink("rows.txt")
            async for item in cp.remaining(range(2)):
                await write(f"a {item}", rows)
            await write("between", rows)
            for item in range(cp.state.get("next", 0), 4):
                if item >= skips:
                    await write(f"b {item}", rows)
                cp.state["next"] = item + 1
                await cp.tick()
            await write("foot", rows)
            async for item in cp.remaining(range(2)):
                await write(f"c {item}", rows)

    async def write(row: str, rows: Any) -> None:
        rows.write(f"{row}\n")
        at(row, stop)

    asyncio.run(job())


@pytest.mark.parametrize("job", [both_kinds, in_tasks])
@pytest.mark.parametrize("skips", [0, 2], ids=["each item writes", "the first ones write nothing"])
@pytest.mark.parametrize("stops", [["b 3"], ["between", "b 2"], ["b 2", "b 2"], ["b 2", "foot"], ["a 1", "b 3", "c 1"]])
def test_a_row_between_a_loop_and_one_that_ticks_is_written_once(
    job: Callable[..., None], skips: int, stops: list[str]
) -> None:
    for stop in stops:
        with pytest.raises(StoppedError):
            job(stop, skips=skips)
    job("", skips=skips)

    ticked = [f"b {number}" for number in range(skips, 4)]
    rows = ["a 0", "a 1", "between", *ticked, "foot", "c 0", "c 1"]
    assert Path("rows.txt").read_text().splitlines() == rows


def test_what_a_run_writes_only_sometimes_is_no_heading() -> None:
    """Phases that the state tells apart write rows that may be equal."""

    def run(stop: str) -> None:
        with checkpointed("job", every(items=1)) as cp:
            rows = cp.sink("rows.txt")
            for name in ("a", "b"):
                if name not in cp.state:
                    rows.write("row\n")
                    cp.state[name] = True
                    cp.save()
                if name == stop:
                    raise StoppedError
            for _ in range(cp.processed_items, 2):
                rows.write("row\n")
                cp.tick()

    with pytest.raises(StoppedError):
        run("a")
    with pytest.raises(StoppedError):
        run("b")
    run("")

    assert Path("rows.txt").read_text() == "row\n" * 4


def test_a_program_without_ticks_writes_all_its_rows() -> None:
    def run(*, fails: bool) -> None:
        with checkpointed("job") as cp:
            rows = cp.sink("rows.txt")
            rows.write("run\n")
            cp.save()
            if fails:
                raise StoppedError

    with pytest.raises(StoppedError):
        run(fails=True)
    run(fails=False)

    assert Path("rows.txt").read_text() == "run\nrun\n"


def test_a_program_that_ticks_once_adds_a_row_in_each_run() -> None:
    """A cron job that keeps its checkpoint: an equal row is another measurement."""

    def finish(cp: Any) -> None:
        cp.tick()
        cp.keep()

    for _ in range(3):
        with checkpointed("job") as cp:
            measured = [21 for _ in range(3)]
            cp.sink("rows.txt").write(f"{measured[0]} C\n")
            cp.log("rows").append(measured)
            cp.tick()
            cp.keep()
        with checkpointed("other") as cp:
            cp.sink("others.txt").write("21 C\n")
            finish(cp)

    assert Path("rows.txt").read_text() == Path("others.txt").read_text() == "21 C\n" * 3
    with checkpointed("job") as cp:
        assert len(cp.log("rows")) == 3


def work(cp: Any, stop: int) -> None:
    if cp.processed_items == stop:
        raise StoppedError
    done(cp)


def done(cp: Any) -> None:
    cp.tick()


def test_a_heading_before_a_loop_of_functions_that_tick_is_written_once() -> None:
    @resumable(operation_id="job", strategy=every(items=1), ignore_arguments=("stop",))
    def job(stop: int) -> None:
        cp = current_checkpoint()
        cp.sink("rows.txt").write("head\n")
        while cp.processed_items < 4:
            work(cp, stop)

    for stop in (1, 3):
        with pytest.raises(StoppedError):
            job(stop)
    job(9)

    assert Path("rows.txt").read_text() == "head\n"


LONG = """
def job(stop):
    with checkpointed("job", every(items=1)) as cp:
        rows, n = cp.sink("rows.txt"), 0
        try:
            int("x")
        except ValueError:
            n = 1
            if n < -1:
                n = 0
{filler}
        rows.write("head\\n")
        while cp.processed_items < 4:
            if cp.processed_items == stop:
                raise StoppedError
            cp.tick()
            if n < -1:
                n = 0
{filler}
"""


def test_a_heading_in_a_long_function_is_written_once() -> None:
    """A jump over many instructions has an instruction more."""
    filler = "".join(f"                n = n + {number} if n < {number} else 0\n" for number in range(80))
    names: dict[str, Any] = {"checkpointed": checkpointed, "every": every, "StoppedError": StoppedError}
    exec(LONG.replace("{filler}", filler), names)

    for stop in (1, 3):
        with pytest.raises(StoppedError):
            names["job"](stop)
    names["job"](9)

    assert Path("rows.txt").read_text() == "head\n"
