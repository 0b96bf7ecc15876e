"""What the functions that a body calls add to is told of, where it begins anew."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import checkpointed, every

ROWS: list[int] = []
CACHE: dict[int, str] = {}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(item: int) -> None:
    ROWS.append(item)


class Job:
    def __init__(self) -> None:
        self.rows: list[int] = []
        self.count = 0

    def keep(self, item: int) -> None:
        self.rows.append(item)

    def tell(self) -> None:
        self.count += 1


def by_a_function(stops_at: int | None) -> None:
    ROWS.clear()
    with checkpointed("job", every(items=1)) as cp:
        for item in cp.remaining(range(5)):
            keep(item)
            if item == stops_at:
                raise LookupError


def by_a_method(stops_at: int | None) -> None:
    job = Job()
    with checkpointed("job", every(items=1)) as cp:
        for item in cp.remaining(range(5)):
            job.keep(item)
            if item == stops_at:
                raise LookupError


def by_an_inner_function(stops_at: int | None) -> None:
    found = 0

    def count() -> None:
        nonlocal found
        found += 1

    with checkpointed("job", every(items=1)) as cp:
        for item in cp.remaining(range(5)):
            count()
            if item == stops_at:
                raise LookupError
    assert found


@pytest.mark.parametrize(
    ("job", "name"), [(by_a_function, "ROWS"), (by_a_method, "job.rows"), (by_an_inner_function, "found")]
)
def test_what_a_function_adds_to_begins_anew(job: Callable[[int | None], None], name: str, caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        job(3)
    job(None)

    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert [f"{name!r} lacks what earlier runs put into it" in one for one in told] == [True]


def cached(item: int) -> str:
    if item not in CACHE:
        CACHE[item] = str(item)
    return CACHE[item]


def with_a_cache(stops_at: int | None) -> None:
    CACHE.clear()
    with checkpointed("job", every(items=1)) as cp:
        rows = cp.log("rows")

        def note(item: int) -> None:
            rows.append(cached(item))

        for item in cp.remaining(range(5)):
            cached(item)
            note(item)
            if item == stops_at:
                raise LookupError


def test_a_cache_and_a_collection_may_be_added_to(caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        with_a_cache(3)
    with_a_cache(None)

    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def by_a_function_with_a_file(stops_at: int | None) -> None:
    with open("rows.txt", "w") as file, checkpointed("job", every(items=1)) as cp:

        def save(item: int) -> None:
            file.write(f"{item}\n")

        for item in cp.remaining(range(5)):
            save(item)
            if item == stops_at:
                raise LookupError


def test_a_file_of_a_function_is_told_of(caplog: Any) -> None:
    with contextlib.suppress(LookupError):
        by_a_function_with_a_file(3)
    by_a_function_with_a_file(None)

    assert caplog.text.count("does not keep 'rows.txt'") == 1
