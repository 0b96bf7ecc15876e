"""Rows that are written outside of items, by outer items, or in an item that was left, are there once in the end."""

from __future__ import annotations

import asyncio
import contextlib
import csv
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import AsyncCheckpoint, Checkpoint, checkpointed, every, resumable
from resumable._durable import Sink
from resumable.testing import prove_resumable

Job = Callable[[Path], Any]


def opened(**options: Any) -> Any:
    return checkpointed("job", every(items=1), **options)


def a_header_for_each_outer_item(directory: Path) -> list[Any]:
    with opened() as cp:
        rows, log = cp.sink(directory / "rows.txt"), cp.log("log")
        for chapter in cp.remaining(["a", "b"]):
            rows.write(f"# {chapter}\n")
            log.append({"chapter": chapter})
            for page in cp.remaining(range(2)):
                rows.write(f"{chapter}{page}\n")
                log.append(page)
            rows.write("---\n")
        return list(log)


def around_the_loops(directory: Path) -> list[Any]:
    with opened() as cp:
        rows, log = cp.sink(directory / "rows.txt", header="n\n"), cp.log("log")
        for item in cp.remaining(range(2)):
            rows.write(f"{item}\n")
        print("between", 1, file=rows)
        log.extend(["between", "too"])
        for item in cp.remaining(range(2, 4)):
            rows.write(f"{item}\n")
            log.append(item)
        rows.write("last\n")
        log.append("last")
        return list(log)


def before_the_first_loop(directory: Path) -> list[Any]:
    with opened() as cp:
        rows, log = cp.sink(directory / "rows.txt", header="n\n"), cp.log("log")
        print("first", 1, file=rows)
        log.append("first")
        for item in cp.remaining(range(2)):
            rows.write(f"{item}\n")
            log.append(item)
        return list(log)


def under_a_plain_loop(directory: Path) -> None:
    with opened() as cp:
        rows = csv.writer(cp.sink(directory / "rows.txt"))
        for chapter in range(7):
            rows.writerow(["chapter", chapter])
            for page in cp.remaining([f"{chapter}.0"]):
                rows.writerow([page])


def of_bytes(directory: Path) -> None:
    with opened() as cp:
        rows = cp.sink(directory / "rows.bin", "b")
        for chapter in cp.remaining([1, 2]):
            rows.write(b"HEAD" + bytes([chapter]))
            for page in cp.remaining(range(2)):
                rows.write(bytes([page]))


def three_deep(directory: Path) -> None:
    with opened() as cp:
        rows = cp.sink(directory / "rows.txt")
        for part in cp.remaining(["x", "y"], key=str):
            rows.write(f"# {part}\n")
            for chapter in cp.remaining(range(2)):
                rows.write(f"## {part}{chapter}\n")
                for page in cp.remaining(range(2)):
                    rows.write(f"{part}{chapter}{page}\n")
                rows.write(f"end of {part}{chapter}\n")


def in_the_body_of_a_map(directory: Path) -> None:
    with opened() as cp:
        rows = cp.sink(directory / "rows.txt")
        for chapter, _ in cp.map(str.upper, ["a", "b"]):
            rows.write(f"# {chapter}\n")
            for page in cp.remaining(range(2)):
                rows.write(f"{chapter}{page}\n")


def in_the_function_of_a_map(directory: Path) -> None:
    with opened() as cp:
        rows = cp.sink(directory / "rows.txt")

        def write(chapter: str) -> None:
            rows.write(f"# {chapter}\n")
            for page in cp.remaining(range(2)):
                rows.write(f"{chapter}{page}\n")

        for chapter, _ in cp.map(write, ["a", "b"]):
            rows.write(f"end of {chapter}\n")


async def in_async_loops(directory: Path) -> None:
    async with opened() as cp:
        rows = await cp.sink(directory / "rows.txt")
        rows.write("first\n")
        async for chapter in cp.remaining(_async(["a", "b"])):
            rows.write(f"# {chapter}\n")
            async for page in cp.remaining(range(2)):
                rows.write(f"{chapter}{page}\n")
        rows.write("between\n")
        async for page in cp.remaining(range(2, 4)):
            rows.write(f"{page}\n")


async def _async(items: list[str]) -> AsyncIterator[str]:
    for item in items:
        yield item


def after_a_break(directory: Path) -> list[Any]:
    with opened() as cp:
        rows, log = cp.sink(directory / "rows.txt"), cp.log("log")
        for item in cp.remaining(range(9), name="nine"):
            rows.write(f"{item}\n")
            log.append(item)
            if item == 2:
                break
        for item in cp.remaining(["a", "b", "c"]):
            rows.write(f"{item}\n")
            log.append(item)
        found = list(log)
        cp.finalize()
        return found


def after_a_return(directory: Path) -> None:
    with opened() as cp:
        rows = cp.sink(directory / "rows.txt")

        def some() -> None:
            for chapter in cp.remaining(["a", "b", "c"]):
                rows.write(f"# {chapter}\n")
                for page in cp.remaining(range(3)):
                    rows.write(f"{chapter}{page}\n")
                    if (chapter, page) == ("b", 1):
                        return

        some()
        for item in cp.remaining(range(2)):
            rows.write(f"{item}\n")
        cp.finalize()


def equal_lines_everywhere(directory: Path) -> list[Any]:
    with opened() as cp:
        rows, log = cp.sink(directory / "rows.txt"), cp.log("log")
        for chapter in cp.remaining(range(3)):
            for part in range(2):
                rows.write("----\n")
                log.append("----")
                for page in cp.remaining(range(2)):
                    rows.write(f"{chapter}{part}{page}\n")
                    log.append(page)
            rows.write("----\n")
            for page in cp.remaining(range(2)):
                log.append(page)
        return list(log)


def lines_that_inner_items_continue(directory: Path) -> None:
    with opened() as cp:
        rows = cp.sink(directory / "rows.txt")
        for word in cp.remaining(["ab", "", "cde"]):
            print("[", end="", file=rows)
            rows.write(f"{word}:")
            for letter in cp.remaining(list(word)):
                rows.writelines([letter, ","])
            print("|", end="", file=rows)
            for letter in cp.remaining(list(word)):
                print(letter, end="", file=rows)
            print("]", file=rows)


PROGRAMS: list[Job] = [
    lines_that_inner_items_continue,
    equal_lines_everywhere,
    a_header_for_each_outer_item,
    around_the_loops,
    under_a_plain_loop,
    of_bytes,
    three_deep,
    in_the_body_of_a_map,
    in_the_function_of_a_map,
    in_async_loops,
    after_a_break,
    after_a_return,
]


@pytest.mark.slow
@pytest.mark.parametrize("job", PROGRAMS)
def test_each_row_is_there_once_whatever_stops_the_program(job: Job) -> None:
    prove_resumable(job, save_every=(1, 3), max_cases=60)


@pytest.mark.parametrize("job", [before_the_first_loop, lines_that_inner_items_continue])
def test_a_row_before_a_loop_is_there_once(job: Job) -> None:
    prove_resumable(job, save_every=(1,), max_cases=6)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_writes_no_row_around_its_loops_again(tmp_path: Path, is_async: bool) -> None:
    attempts = iter([0, 1, 1, 2])  # fails before the loop, twice in it, then not

    def write(cp: Any, log: Any, rows: Any) -> int:
        log.append("head")
        rows.write("head\n")
        at = next(attempts)
        if at == 0:
            raise ConnectionError
        return at

    def part(log: Any, rows: Any, chapter: int, page: int, at: int) -> None:
        if chapter == at == 1 and page == 1:
            raise ConnectionError
        log.append([chapter, page])
        rows.write(f"{chapter}{page}\n")

    options: Any = {
        "stop": tenacity.stop_after_attempt(4),
        "wait": tenacity.wait_none(),
        "retry": tenacity.retry_if_exception_type(ConnectionError),
    }

    @resumable(operation_id="job", store=tmp_path, retry=tenacity.Retrying(**options))
    def plain(cp: Checkpoint) -> list[Any]:
        log, rows = cp.log("log"), cp.sink(tmp_path / "rows.txt")
        at = write(cp, log, rows)
        for chapter in cp.remaining(range(3)):
            log.append(f"chapter {chapter}")
            for page in cp.remaining(range(2)):
                part(log, rows, chapter, page, at)
        return list(log)

    @resumable(operation_id="job", store=tmp_path, retry=tenacity.AsyncRetrying(**options))
    async def asynchronous(cp: AsyncCheckpoint) -> list[Any]:
        log, rows = cp.log("log"), await cp.sink(tmp_path / "rows.txt")
        at = write(cp, log, rows)
        async for chapter in cp.remaining(range(3)):
            log.append(f"chapter {chapter}")
            async for page in cp.remaining(range(2)):
                part(log, rows, chapter, page, at)
        return list(log)

    found = asyncio.run(asynchronous()) if is_async else plain()

    assert found == ["head", *(row for n in range(3) for row in (f"chapter {n}", [n, 0], [n, 1]))]
    assert (tmp_path / "rows.txt").read_text().split() == ["head", "00", "01", "10", "11", "20", "21"]


def test_what_is_not_equal_is_written(tmp_path: Path) -> None:
    """A line for each run must not be taken for one that is written again."""
    log: Any = []
    for run in range(3):
        with contextlib.suppress(LookupError), opened(store=tmp_path) as cp:
            log = cp.log("log")
            log.append("the beginning")
            log.append(f"run {run}")
            for item in cp.remaining(range(9)):
                log.append(item)
                if item == run:
                    raise LookupError
            raise AssertionError

    assert list(log) == ["the beginning", "run 0", "run 1", 0, "run 2", 1, 2]


def test_another_row_before_an_inner_loop_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for stop in (2, None):
        with contextlib.suppress(LookupError), opened(store=tmp_path) as cp:
            log = cp.log("numbered")
            for chapter in cp.remaining(["a", "b"]):
                log.append(f"{len(log)} {chapter}")
                for page in cp.remaining(range(3)):
                    if page == stop:
                        raise LookupError
                    log.append(f"{len(log)} {chapter} {page}")

    assert caplog.text.count("so both are there. Write nothing there that differs between runs") == 1


def test_an_item_that_was_left_in_the_middle_may_write_more_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The program goes on after the error, so the first rows of the item count."""
    for stop in ("a", "b", ""):
        with checkpointed("job", store=tmp_path) as cp:
            log = cp.log("log")
            with contextlib.suppress(LookupError):
                for number in cp.remaining(range(2)):
                    for letter in "abc":
                        log.append(f"{letter}{number}")
                        if letter == stop:
                            raise LookupError
            for letter in cp.remaining(["de"]):
                log.append(letter)
            rows = list(log)

    assert sorted(rows) == ["a0", "a1", "b0", "b1", "c0", "c1", "de"]
    assert "differs between runs" not in caplog.text


@pytest.mark.slow
def test_a_program_that_writes_equal_rows_again_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for job in (around_the_loops, equal_lines_everywhere, lines_that_inner_items_continue):
        for stop in range(1, 12):
            with contextlib.suppress(KeyboardInterrupt), monkeypatch.context() as patch:
                writes = iter(range(stop))

                def write(sink: Any, row: Any, write: Any = Sink.write, writes: Any = writes) -> Any:
                    if next(writes, None) is None:
                        raise KeyboardInterrupt
                    return write(sink, row)

                patch.setattr(Sink, "write", write)
                job(tmp_path)
        job(tmp_path)

    assert "differs between runs" not in caplog.text


@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_a_counter_that_an_item_counts_twice_is_told_of(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for stop in (1, None):
        with contextlib.suppress(LookupError), opened(store=tmp_path) as cp:
            counts = cp.mapping(place)
            for chapter in cp.remaining(["a", "b"]):
                counts["chapter"] = chapter
                counts["all"] = counts.get("all", 0) + (place == "before")
                for page in cp.remaining(range(3)):
                    counts["all"] = counts["all"] + (place == "inside")
                    if page == stop:
                        raise LookupError
                counts["all"] = counts["all"] + (place == "after")

    told = f"$.state.{place}.all: an item changed it a second time"
    assert (told in caplog.text) is (place == "before")


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("at", range(2))
def test_a_row_in_a_finally_around_a_loop_is_there_once_after_a_stop_between_items(
    at: int, is_async: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop has raised as it was asked for the next item: its items are done, and the row behind them counts."""

    monkeypatch.chdir(tmp_path)

    def plain(stop: int) -> None:
        with checkpointed("job", every(items=1)) as cp:
            rows = cp.sink("rows.txt")
            try:
                for item in cp.remaining(range(3)):
                    rows.write("row\n")
                    if item == stop:
                        cp.stop()
            finally:
                rows.write("end\n")

    async def in_task(stop: int) -> None:
        async with checkpointed("job", every(items=1)) as cp:
            rows = await cp.sink("rows.txt")
            try:
                async for item in cp.remaining(range(3)):
                    rows.write("row\n")
                    if item == stop:
                        cp.stop()
            finally:
                rows.write("end\n")

    def run(stop: int) -> None:
        asyncio.run(in_task(stop)) if is_async else plain(stop)

    with pytest.raises(SystemExit):
        run(at)
    run(9)

    assert sorted(Path("rows.txt").read_text().split()) == ["end", "row", "row", "row"]


@pytest.mark.parametrize("stop", range(1, 13))
def test_equal_rows_before_an_inner_loop_are_all_there_after_a_stop(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop before the first inner item ends the run where that loop begins: these rows do not count."""
    monkeypatch.chdir(tmp_path)

    def run(stop: int) -> list[str]:
        with opened() as cp:
            rows, log, steps = cp.sink("rows.txt"), cp.log("log"), iter(range(1, 1000))

            def write(text: str) -> None:
                rows.write(f"{text}\n")
                log.append(text)
                if next(steps) == stop:
                    cp.stop()

            for _ in cp.remaining(range(3)):
                write("-")
                write("-")
                for _ in cp.remaining(range(2)):
                    write("x")
                write("-")
            return list(log)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(stop)
    log = run(0)

    assert log == ["-", "-", "x", "x", "-"] * 3
    assert Path("rows.txt").read_text().split() == log


def test_rows_behind_a_loop_are_there_once_after_several_stops(tmp_path: Path) -> None:
    """The loop that begins again in the next run stands before them, not behind them."""
    stops = iter([1, 2, 3, 4, 5, 5, 3, 0])
    log: Any = []
    for stop in stops:
        left = iter(range(stop or 99))
        with contextlib.suppress(StopIteration), opened(store=tmp_path) as cp:
            rows, log = cp.sink(tmp_path / "rows.txt"), cp.log("log")
            for _ in range(2):
                for item in cp.remaining(range(2)):
                    rows.write(f"{item}\n")
                for word in "abc":
                    next(left)
                    rows.write(f"{word}\n")
                    log.append(word)

    assert (tmp_path / "rows.txt").read_text().split() == ["0", "1", "a", "b", "c"] * 2
    assert list(log) == ["a", "b", "c"] * 2


@pytest.mark.parametrize("fails_at", ["head", "between", "chapter 1"])
def test_a_retry_in_a_resumed_run_writes_no_row_before_a_loop_again(fails_at: str, tmp_path: Path) -> None:
    """The attempt before has written it again already, and failed in front of the loop."""
    has_run, failures = tmp_path / "has run", list[str]()
    retry = tenacity.Retrying(stop=tenacity.stop_after_attempt(2), retry=tenacity.retry_if_exception_type(OSError))

    @resumable(operation_id="job", store=tmp_path, retry=retry)
    def job(cp: Checkpoint) -> list[Any]:
        log, rows = cp.log("log"), cp.sink(tmp_path / "rows.txt")

        def write(text: str) -> None:
            log.append(text)
            rows.write(f"{text}\n")
            if failures and text == failures[0]:
                raise OSError(failures.pop())

        write("head")
        for item in cp.remaining(range(2)):
            write(f"{item}")
        write("between")
        for chapter in cp.remaining(range(2)):
            write(f"chapter {chapter}")
            for page in cp.remaining(range(2)):
                if page and chapter and not has_run.exists():
                    has_run.touch()
                    raise KeyboardInterrupt
                write(f"{chapter}.{page}")
        return list(log)

    with pytest.raises(KeyboardInterrupt):
        job()
    failures.append(fails_at)
    log = job()

    right = ["head", "0", "1", "between", "chapter_0", "0.0", "0.1", "chapter_1", "1.0", "1.1"]
    assert [text.replace(" ", "_") for text in log] == right
    assert (tmp_path / "rows.txt").read_text().replace(" ", "_").split() == right


@pytest.mark.parametrize("is_sink", [False, True])
def test_a_retry_in_an_item_leaves_out_no_row_of_a_later_item(*, is_sink: bool, tmp_path: Path) -> None:
    """A loop that ticks: what a failed attempt wrote may come again only until the tick."""
    failed = set[str]()
    with checkpointed("job", store=tmp_path) as cp:
        log, rows = cp.log("log"), cp.sink(tmp_path / "rows.txt")
        for number, word in enumerate(["a", "b", "a", "b"]):
            for attempt in cp.retrying(stop=tenacity.stop_after_attempt(2), reraise=True):
                with attempt:
                    row = f"{word}{attempt.retry_state.attempt_number}"
                    rows.write(f"{row}\n") if is_sink else log.append(row)
                    if word not in failed:
                        failed.add(word)
                        raise OSError(word)
            cp.state["next"] = number + 1
            cp.tick()

    assert [*log, *(tmp_path / "rows.txt").read_text().split()] == ["a1", "a2", "b1", "b2", "a1", "b1"]


@pytest.mark.parametrize("fails_at", [(18,), (15, 20), (1, 18)])
def test_a_retry_leaves_out_no_row_that_another_outer_item_has_written(
    fails_at: tuple[int, ...], tmp_path: Path
) -> None:
    """Views of loops are used again, so that those inside of done items must not be looked at."""
    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(4), retry=tenacity.retry_if_exception_type(OSError), reraise=True
    )
    written = list[str]()

    @resumable(operation_id="job", store=tmp_path, retry=retry)
    def job(cp: Checkpoint) -> list[Any]:
        log = cp.log("log")

        def write(row: str) -> None:
            log.append(row)
            written.append(row)
            if len(written) in fails_at:
                raise OSError(row)

        def work(number: int) -> int:
            write(f"work {number}")  # equal in each chapter
            return number

        for chapter in cp.remaining(range(2)):
            write(f"chapter {chapter}")
            for part, _ in cp.map(work, range(3)):
                write(f"part {chapter} {part}")
                for page in cp.remaining(range(2)):
                    write(f"page {chapter} {part} {page}")
            write(f"end {chapter}")
            write(f"very end {chapter}")
        return list(log)

    rows = job()
    assert all(rows.count(f"work {number}") >= 2 for number in range(3))
