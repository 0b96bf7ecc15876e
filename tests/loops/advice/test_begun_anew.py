"""A loop that goes on warns of what the program begins anew around it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import linecache
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import resumable
from resumable import checkpointed, every


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass
class Inner:
    total: int = 0
    rows: list[int] = field(default_factory=list)


def opened(**options: Any) -> Any:
    return checkpointed("job", every(items=1), **options)


def the_item_before(stops_at: int | None) -> None:
    last = None
    with opened() as cp:
        pairs = cp.log("pairs")
        for item in cp.remaining(range(5)):
            pairs.append([last, item])
            last = item
            if item == stops_at:
                raise LookupError


def of_an_object(stops_at: int | None) -> None:
    class Job:
        count = 0

        def run(self) -> None:
            with opened() as cp:
                for item in cp.remaining(range(5)):
                    self.count += 1
                    if item == stops_at:
                        raise LookupError

    job = Job()
    job.run()
    assert job.count


class Stats:
    def __init__(self) -> None:
        self.total = 0
        self.rows: list[int] = []

    def add(self, row: int) -> None:
        self.rows.append(row)


def of_an_object_in_an_object(stops_at: int | None) -> None:
    class Job:
        def __init__(self) -> None:
            self.stats = Stats()

        def run(self) -> None:
            with opened() as cp:
                for item in cp.remaining(range(5)):
                    self.stats.total += item
                    if item == stops_at:
                        raise LookupError

    job = Job()
    job.run()
    assert job.stats.total


def by_a_method_of_an_object_in_an_object(stops_at: int | None) -> None:
    class Job:
        def __init__(self) -> None:
            self.stats = Stats()

        def run(self) -> list[int]:
            with opened() as cp:
                for item in cp.remaining(range(5)):
                    self.stats.add(item)
                    if item == stops_at:
                        raise LookupError
            return self.stats.rows

    Job().run()


def a_flag(stops_at: int | None) -> None:
    is_first = True
    with opened() as cp:
        rows = cp.log("rows")
        for item in cp.remaining(range(5)):
            if is_first:
                rows.append("head")
                is_first = False
            if item == stops_at:
                raise LookupError


def beside_a_bar(stops_at: int | None) -> None:
    def bar(loop: Any) -> Iterator[int]:
        yield from loop

    largest = 0
    with opened() as cp:
        for item in bar(cp.remaining(range(5))):
            largest = max(largest, item)
            if item == stops_at:
                raise LookupError
    assert largest


def numbers_beside_it(stops_at: int | None) -> None:
    numbers = itertools.count()
    with opened() as cp:
        rows = cp.log("rows")
        for item in cp.remaining(range(5)):
            rows.append(next(numbers))
            if item == stops_at:
                raise LookupError


def numbered_in_a_generator(stops_at: int | None) -> None:
    def pairs(loop: Any) -> Iterator[tuple[int, int]]:
        number = 0
        for item in loop:
            yield number, item
            number = number + 1

    with opened() as cp:
        for _, item in pairs(cp.remaining(range(5))):
            if item == stops_at:
                raise LookupError


def a_numbered_map(stops_at: int | None) -> None:
    with opened() as cp:
        for _, (item, _) in enumerate(cp.map(str, range(5))):
            if item == stops_at:
                raise LookupError


def a_numbered_short_form(stops_at: int | None) -> None:
    for _, item in enumerate(resumable.loop(range(5), "job", strategy=every(items=1))):
        if item == stops_at:
            raise LookupError


def a_bar_that_is_numbered(stops_at: int | None) -> None:
    def bar(loop: Any) -> Iterator[int]:
        yield from loop

    with opened() as cp:
        for _, item in enumerate(bar(cp.remaining(range(5)))):
            if item == stops_at:
                raise LookupError


def a_file_of_its_own(stops_at: int | None) -> None:
    with opened() as cp, open("rows.csv", "w") as file:
        rows = csv.writer(file)
        for item in cp.remaining(range(5)):
            rows.writerow([item])
            if item == stops_at:
                raise LookupError


def a_file_of_an_object(stops_at: int | None) -> None:
    class Job:
        def __init__(self) -> None:
            self.file = open("of an object.csv", "w")  # noqa: SIM115
            self.rows = csv.writer(self.file)

        def run(self) -> None:
            with opened() as cp, self.file:
                for item in cp.remaining(range(5)):
                    self.rows.writerow([item])
                    if item == stops_at:
                        raise LookupError

    Job().run()


def an_archive(stops_at: int | None) -> None:
    with opened() as cp, zipfile.ZipFile("all.zip", "w") as archive:
        for item in cp.remaining(range(5)):
            archive.writestr(str(item), "")
            if item == stops_at:
                raise LookupError


def a_text_in_memory(stops_at: int | None) -> None:
    text = io.StringIO()
    with opened() as cp:
        for item in cp.remaining(range(5)):
            text.write(str(item))
            if item == stops_at:
                raise LookupError


def places_for_results(stops_at: int | None) -> Any:
    results: list[int | None] = [None] * 5
    with opened() as cp:
        for item in cp.remaining(range(5)):
            results[item] = item
            if item == stops_at:
                raise LookupError
    return results


def under_a_while(stops_at: int | None) -> Any:
    with opened() as cp:
        items = iter(cp.remaining(range(5)))
        total = 0
        while (item := next(items, None)) is not None:
            total += item
            if item == stops_at:
                raise LookupError
    return total


def of_slots(stops_at: int | None) -> Any:
    class Sums:
        __slots__ = ("total",)

    sums = Sums()
    sums.total = 0  # type: ignore[attr-defined]
    with opened() as cp:
        for item in cp.remaining(range(5)):
            sums.total += item  # type: ignore[attr-defined]
            if item == stops_at:
                raise LookupError
    return sums


def a_pair(stops_at: int | None) -> Any:
    best = (float("-inf"), None)
    with opened() as cp:
        for item in cp.remaining(range(5)):
            best = max(best, (item, None))
            if item == stops_at:
                raise LookupError
    return best


def a_digest(stops_at: int | None) -> Any:
    digest = hashlib.sha256()
    with opened() as cp:
        for item in cp.remaining(range(5)):
            digest.update(bytes(item))
            if item == stops_at:
                raise LookupError
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (of_slots, "'sums.total' lacks"),
        (a_pair, "'best' lacks"),
        (a_digest, "'digest' lacks"),
        (a_file_of_an_object, "does not keep 'of an object.csv'"),
        (an_archive, "does not keep"),
        (a_text_in_memory, "'text' lacks"),
        (places_for_results, "'results' lacks"),
        (under_a_while, "'total' lacks"),
        (the_item_before, "'last' lacks what earlier runs put into it"),
        (of_an_object, "'self.count' lacks"),
        (of_an_object_in_an_object, "'self.stats.total' lacks"),
        (by_a_method_of_an_object_in_an_object, "'self.stats.rows' lacks"),
        (a_flag, "'is_first' lacks"),
        (beside_a_bar, "'largest' lacks"),
        (numbers_beside_it, "next(numbers) in its body starts from the beginning"),
        (numbered_in_a_generator, "'number' lacks"),
        (a_numbered_map, "enumerate() around it starts from its beginning"),
        (a_numbered_short_form, "enumerate() around it starts from its beginning"),
        (a_bar_that_is_numbered, "enumerate() around it starts from its beginning"),
        (a_file_of_its_own, "does not keep 'rows.csv', which the program opened itself"),
    ],
)
def test_what_begins_anew_is_warned_of_once(job: Callable[[int | None], None], told: str, caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        job(3)
    assert "goes on" not in caplog.text
    caplog.clear()

    job(None)
    assert [told in one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == [True]


def a_connection(stops_at: int | None) -> None:
    connection = None
    with opened() as cp:
        rows = cp.log("rows")
        for item in cp.remaining(range(5)):
            if connection is None:
                connection = object()
            rows.append(str(connection)[:1])
            if item == stops_at:
                raise LookupError


def a_writer_on_a_sink(stops_at: int | None) -> None:
    with opened() as cp:
        rows = csv.writer(cp.sink("rows.csv"))
        for item in cp.remaining(range(5)):
            rows.writerow([item])
            if item == stops_at:
                raise LookupError


def of_a_typed_state(stops_at: int | None) -> None:
    @dataclass
    class State:
        inner: Inner = field(default_factory=Inner)
        total: int | None = None

    class Job:
        def run(self) -> None:
            with opened(state=State) as self.cp:
                self.inner = self.cp.state.inner
                if not self.cp.processed_items:
                    self.cp.state.total = 0
                for item in self.cp.remaining(range(5)):
                    self.cp.state.total += item
                    self.cp.state.inner.total += item
                    self.inner.rows.append(item)
                    if item == stops_at:
                        raise LookupError

    Job().run()


def printed_into_memory(stops_at: int | None) -> None:
    with contextlib.redirect_stdout(io.StringIO()), opened() as cp:
        for item in cp.remaining(range(5)):
            if item == stops_at:
                raise LookupError
            sys.stdout.write(f"{item}\n")


def kept_before_each_save(stops_at: int | None) -> None:
    with opened() as cp:
        late = cp.state.get("late", 0)

        @cp.before_save
        def keep() -> None:
            cp.state["late"] = late

        for item in cp.remaining(range(5)):
            late += item > 3
            if item == stops_at:
                raise LookupError
    assert late == 1


def files_of_items(stops_at: int | None) -> None:
    with opened() as cp:
        for item in cp.remaining(range(5)):
            with open(f"{item}.txt", "w") as file:
                file.write(str(item))
            if item == stops_at:
                raise LookupError


RIGHT = [
    *(a_connection, a_writer_on_a_sink, kept_before_each_save, files_of_items, of_a_typed_state, printed_into_memory)
]


@pytest.mark.parametrize("job", RIGHT)
def test_what_may_begin_anew(job: Callable[[int | None], None], caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        job(3)
    job(None)

    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("begin", [10**400, 1e400, float("nan")])
def test_numbers_of_any_size_may_be_carried_on(begin: float, tmp_path: Path) -> None:
    number = begin
    for _ in range(2):
        with contextlib.suppress(LookupError), checkpointed("job", every(items=1), store=tmp_path) as cp:
            for item in cp.remaining(range(3)):
                number += item
                if item == 1 and not cp.resumed:
                    raise LookupError

    assert not list(tmp_path.glob("*.json"))
    assert number != 0


def test_what_cannot_be_judged_stops_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resumable._loops.advice.bodies.loop_at", lambda frame: frame.nothing)

    with checkpointed("job", store=tmp_path) as cp:
        assert [item for item in cp.remaining(range(3)) if item] == [1, 2]


def puts(cp: Any, stops_at: int) -> None:
    number = 0
    for item in cp.remaining(range(1, 5)):
        number += item
        cp.state["number"] = number
        if item == stops_at:
            raise LookupError


def takes_and_puts(cp: Any, stops_at: int) -> None:
    number = cp.state.get("number", 0)
    for item in cp.remaining(range(1, 5)):
        number += item
        cp.state["number"] = number
        if item == stops_at:
            raise LookupError


@pytest.mark.parametrize(("program", "is_told"), [(puts, True), (takes_and_puts, False)])
def test_a_variable_that_is_put_into_the_state_but_not_taken_from_it_is_told_of(
    program: Callable[[Any, int], None], is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for stops_at in (3, 0):
        with contextlib.suppress(LookupError), checkpointed("job", every(items=1), store=tmp_path) as cp:
            program(cp, stops_at)

    assert any("'number' lacks" in one.getMessage() for one in caplog.records) == is_told


CELL = """
total, rows, printed = 0, [], 0
with checkpointed("job", every(items=1)) as cp:
    for item in cp.remaining(range(5)):
        total += item
        rows.append(item)
        printed += 1
        if printed == 1:
            print(item)
        if item == stops_at:
            raise LookupError
"""


def test_what_another_cell_of_a_notebook_may_read_is_told_of(caplog: Any) -> None:
    name = "<cell of a notebook>"
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)
    cell = compile(CELL, name, "exec")
    for stops_at in (3, None):
        with contextlib.suppress(LookupError):
            exec(cell, {"checkpointed": checkpointed, "every": every, "stops_at": stops_at})

    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert [name for name in ("total", "rows", "printed") if any(f"{name!r} lacks" in one for one in told)] == [
        "total",
        "rows",
    ]
