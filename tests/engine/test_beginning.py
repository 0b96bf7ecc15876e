"""What a run did before its work is done again by the next one, and is there once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

Stop = Callable[[str], None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(**options: Any) -> Any:
    return checkpointed("job", every(items=1), **options)


def run_with_stops(job: Callable[[Stop], Any], *places: str) -> Any:
    """What the last run gives, after one that an error has ended at each of *places*."""

    def stop_at(place: str) -> Stop:
        def stop(name: str) -> None:
            if name == place:
                raise LookupError

        return stop

    for place in places:
        with pytest.raises(LookupError):
            job(stop_at(place))
    return job(lambda name: None)


def rows() -> list[str]:
    return Path("rows.txt").read_text().split()


PLACES = [("begun",), ("head",), ("head", "head"), ("begun", "head", "item 0"), ("item 0", "head", "item 1", "head")]


@pytest.mark.parametrize("places", PLACES)
def test_rows_before_the_first_loop(places: tuple[str, ...]) -> None:
    def job(stop: Stop) -> Any:
        with opened() as cp:
            log, sink = cp.log("log"), cp.sink("rows.txt")
            stop("begun")
            log.append("head")
            sink.write("head\n")
            stop("head")
            for item in cp.remaining(range(3)):
                log.append(item)
                sink.write(f"{item}\n")
                stop(f"item {item}")
            return list(log)

    assert run_with_stops(job, *places) == ["head", 0, 1, 2]
    assert rows() == ["head", "0", "1", "2"]


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("flag", ["resumed", "state"])
def test_rows_that_the_program_leaves_out_when_it_goes_on(flag: str, places: tuple[str, ...]) -> None:
    def job(stop: Stop) -> None:
        with opened() as cp:
            stop("begun")
            sink = cp.sink("rows.txt")
            if (flag == "resumed" and not cp.resumed) or (flag == "state" and not cp.state.get("has_head")):
                sink.write("head\n")
                if flag == "state":
                    cp.state["has_head"] = True
            stop("head")
            for item in cp.remaining(range(3)):
                sink.write(f"{item}\n")
                stop(f"item {item}")

    run_with_stops(job, *places)
    assert rows() == ["head", "0", "1", "2"]


@dataclass
class State:
    largest: int = 0


@pytest.mark.parametrize("kind", [None, State])
@pytest.mark.parametrize("places", [("item 0",), ("item 0", "item 0"), ("item 1", "item 1"), ("done 0", "item 1")])
def test_what_the_first_item_wrote_before_its_tick(places: tuple[str, ...], kind: type[Any] | None) -> None:
    def job(stop: Stop) -> Any:
        with opened(**({} if kind is None else {"state": kind})) as cp:
            sink = cp.sink("rows.txt")
            log, counts = (cp.log("log"), cp.mapping("counts")) if kind is None else ([], {})
            for item in range(cp.processed_items, 3):
                log.append(item)
                counts["all"] = counts.get("all", 0) + 1
                sink.write(f"{item}\n")
                stop(f"item {item}")
                cp.tick()
                stop(f"done {item}")
            return list(log), dict(counts)

    found = run_with_stops(job, *places)
    assert rows() == ["0", "1", "2"]
    assert kind is not None or found == ([0, 1, 2], {"all": 3})


def test_what_fills_a_mapping_first_goes_on_from_there() -> None:
    fetched: list[int] = []

    def job(stop: Stop) -> Any:
        with opened() as cp:
            pages, log = cp.mapping("pages"), cp.log("log")
            for page in range(3):
                if str(page) not in pages:
                    fetched.append(page)
                    pages[str(page)] = page
                    log.append(f"page {page}")
                stop(f"page {page}")
            for page in cp.remaining(list(pages)):
                log.append(page)
            return list(log)

    assert run_with_stops(job, "page 0", "page 1") == ["page 0", "page 1", "page 2", "0", "1", "2"]
    assert fetched == [0, 1, 2]


def test_a_program_without_loops_goes_on_from_what_its_log_has() -> None:
    def job(stop: Stop) -> Any:
        with opened() as cp:
            log = cp.log("log")
            for item in range(len(log), 3):
                log.append("ok")
                stop(f"item {item}")
            return list(log)

    assert run_with_stops(job, "item 0", "item 1") == ["ok", "ok", "ok"]


def test_what_the_program_saves_itself_is_gone_on_from() -> None:
    with contextlib.suppress(LookupError), opened() as cp:
        cp.log("log").append("head")
        cp.save()
        raise LookupError
    with opened() as cp:
        assert cp.resumed
        assert cp.log("log") == ["head"]
        for _ in cp.remaining([1]):
            pass


@pytest.mark.parametrize("first", [{"done": []}, {"next": 0, "name": ""}, {"sums": {"bytes": 0, "seen": {}}}])
def test_rows_of_a_first_item_whose_program_has_only_set_up_its_state(first: dict[str, Any]) -> None:
    def job(stop: Stop) -> None:
        with opened() as cp:
            sink = cp.sink("rows.txt")
            for name, value in first.items():
                cp.state.setdefault(name, value)
            for item in range(cp.processed_items, 3):
                sink.write(f"{item}\n")
                stop(f"item {item}")
                cp.tick()

    run_with_stops(job, "item 0", "item 0", "item 1")
    assert rows() == ["0", "1", "2"]


@pytest.mark.parametrize("saves", ["save", "once"])
def test_rows_of_a_first_item_in_which_the_program_saves(saves: str) -> None:
    def job(stop: Stop, run: int) -> list[list[int]]:
        with opened() as cp:
            log = cp.log("log")
            for item in range(cp.processed_items, 3):
                log.append([item, run])
                _ = cp.once("mail", lambda: 1) if saves == "once" else cp.save()
                stop(f"item {item}")
                cp.tick()
            return [*log]

    runs = iter(range(9))
    assert run_with_stops(lambda stop: job(stop, next(runs)), "item 0", "item 0") == [[0, 2], [1, 2], [2, 2]]


class Clock:
    def tick(self, rate: int) -> None: ...


def test_a_loop_that_ticks_something_else_and_saves_goes_on_from_there() -> None:
    def job(stop: Stop, run: int) -> list[list[int]]:
        with opened() as cp:
            log, clock = cp.log("log"), Clock()
            for item in range(len(log), 6):
                log.append([item, run])
                cp.save()
                stop(f"item {item}")
                clock.tick(60)
            return [*log]

    runs = iter(range(9))
    assert run_with_stops(lambda stop: job(stop, next(runs)), "item 3")[3:] == [[3, 0], [4, 1], [5, 1]]
