"""What the command line tells of the loops of an operation, and of the items that failed in them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from resumable import AsyncCheckpoint, Checkpoint, checkpointed, every
from resumable._report.stored.scan import _SCAN_FROM, read_all
from resumable._report.stored.shards import sums_of
from resumable._report.stored.summary import Summary
from resumable.stores import FileStore
from tests.support.command import document, resumable

pytestmark = pytest.mark.usefixtures("place")


def spoiled_by_threes(number: int) -> int:
    """*number*, but for multiples of three."""
    if number % 3 == 0:
        raise ValueError(f"no {number}")
    return number


def run_map(operation_id: str = "job", of: int = 8, *, fill: int = 0, **options: Any) -> None:
    """Map over 1 to *of*, so that each third item fails, beside *fill* bytes of state."""
    with checkpointed(operation_id, every(items=1), auto_cleanup=False) as cp:
        cp.state["fill"] = "x" * fill
        for _ in cp.map(spoiled_by_threes, range(1, of + 1), on_error="skip", **options):
            pass


def rows_under(heading: str, shown: str) -> list[list[str]]:
    """The cells of the table whose first column has that heading."""
    (table,) = (part for part in shown.split("\n\n") if part.startswith(f"{heading} "))
    return [re.split("  +", line.strip()) for line in table.splitlines()[1:]]


def counts_in(done: str) -> tuple[int, int | None]:
    """``4/10`` as numbers."""
    processed, _, total = done.partition("/")
    return int(processed), int(total) if total else None


# -- loops


def remaining(cp: Checkpoint) -> None:
    for item in cp.remaining(range(10)):
        if item == 4:
            raise OSError


def remaining_by_key(cp: Checkpoint) -> None:
    for item in cp.remaining(range(10), key=str, name="keyed"):
        if item == 4:
            raise OSError


def mapped(cp: Checkpoint) -> None:
    for item, _ in cp.map(abs, range(10)):
        if item == 4:
            raise OSError


def mapped_by_key(cp: Checkpoint) -> None:
    for item, _ in cp.map(abs, range(10), key=str):
        if item == 4:
            raise OSError


def nested(cp: Checkpoint) -> None:
    for outer in cp.remaining(range(10)):
        for inner in cp.remaining(range(3), key=str):
            if (outer, inner) == (4, 2):
                raise OSError


def maps_one_after_the_other(cp: Checkpoint) -> None:
    for _ in cp.map(abs, range(10)):
        pass
    mapped(cp)


BY_POSITION, BY_KEY, SCATTERED = "by position", "by key", "by position, in any order"


@pytest.mark.parametrize(
    ("work", "loops"),
    [
        pytest.param(remaining, [("loop-1", "position", "4/10", BY_POSITION)], id="remaining"),
        pytest.param(remaining_by_key, [("keyed", "key", "4", BY_KEY)], id="remaining by key"),
        pytest.param(mapped, [("loop-1", "scattered", "4/10", SCATTERED)], id="map"),
        pytest.param(mapped_by_key, [("loop-1", "key", "4", BY_KEY)], id="map by key"),
        pytest.param(
            nested,
            [("loop-1", "position", "4/10", BY_POSITION), ("loop-1/1", "key", "2", BY_KEY)],
            id="one inside another",
        ),
        pytest.param(
            maps_one_after_the_other,
            [("loop-1", "scattered", "10/10", SCATTERED), ("loop-2", "scattered", "4/10", SCATTERED)],
            id="two maps",
        ),
    ],
)
def test_show_tells_where_every_kind_of_loop_stands(
    work: Callable[[Checkpoint], None], loops: list[tuple[str, str, str, str]]
) -> None:
    with contextlib.suppress(OSError), checkpointed("job", every(items=1)) as cp:
        work(cp)

    rows, told = rows_under("LOOP", resumable("show", "job").stdout), document("show", "job")["loops"]

    assert rows == [[name, done, followed] for name, _, done, followed in loops]
    assert [tuple(one.values()) for one in told] == [(name, by, *counts_in(done)) for name, by, done, _ in loops]


async def test_show_tells_where_a_loop_of_amap_stands() -> None:
    async def work(number: int) -> int:
        return spoiled_by_threes(number)

    async with checkpointed("job") as cp:
        assert isinstance(cp, AsyncCheckpoint)
        async for _ in cp.amap(work, range(1, 9), on_error="skip"):
            pass

    assert document("show", "job")["loops"] == [
        {"name": "loop-1", "by": "scattered", "processed_items": 6, "total_items": 8}
    ]


def test_what_is_missing_in_a_scattered_loop_is_not_done() -> None:
    run_map()

    data = read_all(FileStore("."), "job")

    assert data is not None
    assert data.data.internal["loops"]["loop-1"]["missing"] == [[2, 2], [5, 5]]
    assert document("show", "job")["loops"][0]["processed_items"] == 6


# -- the total


def two_in_order(cp: Checkpoint) -> None:
    for _ in cp.remaining(range(10)):
        pass
    for item in cp.remaining(range(30)):
        if item == 15:
            raise OSError


def two_by_key(cp: Checkpoint) -> None:
    for _ in cp.remaining(range(10), key=str):
        pass
    for item in cp.remaining(range(30), key=str):
        if item == 15:
            raise OSError


def one_and_ticks(cp: Checkpoint) -> None:
    for _ in cp.remaining(range(10)):
        cp.tick()
    raise OSError


@pytest.mark.parametrize("fill", [0, 2 * _SCAN_FROM], ids=["small", "large"])
@pytest.mark.parametrize(
    ("work", "said", "done", "total"),
    [
        pytest.param(two_in_order, None, 25, 40, id="two loops"),
        pytest.param(two_in_order, 50, 25, 50, id="two loops, and a total that was said"),
        pytest.param(two_by_key, None, 25, 40, id="two loops by key"),
        pytest.param(nested, None, 18, None, id="one inside another"),
        pytest.param(nested, 40, 18, 40, id="one inside another, and a total that was said"),
        pytest.param(remaining, None, 4, 10, id="one loop"),
        pytest.param(one_and_ticks, None, 20, None, id="a loop, and ticks by hand"),
    ],
)
def test_the_total_is_of_all_that_is_counted(
    work: Callable[[Checkpoint], None], said: int | None, done: int, total: int | None, fill: int
) -> None:
    with contextlib.suppress(OSError), checkpointed("job", every(items=1), total=said) as cp:
        cp.state["fill"] = "x" * fill
        work(cp)

    row = document("list")["checkpoints"][0]

    assert (row["processed_items"], row["total_items"]) == (done, total)


# -- what failed


@pytest.mark.parametrize("fill", [0, 2 * _SCAN_FROM], ids=["small", "large"])
def test_a_run_that_ended_well_but_for_some_items_was_not_killed(fill: int) -> None:
    run_map(fill=fill)

    row = document("list")["checkpoints"][0]

    assert "! 2 items failed   6/8  75%" in resumable("list").stdout
    assert (row["state"], row["failed_items"], row["left_seconds"]) == ("incomplete", 2, None)


def test_it_is_finished_once_they_are_done() -> None:
    run_map(name="numbers")
    with checkpointed("job", auto_cleanup=False) as cp:
        assert len(list(cp.map(abs, range(1, 9), on_error="skip", retry_failed=True, name="numbers"))) == 2

    row = document("list")["checkpoints"][0]

    assert (row["state"], row["failed_items"], row["processed_items"]) == ("finished", 0, 8)
    assert "FAILED" not in resumable("show", "job").stdout


def test_show_names_what_failed_why_and_how_to_try_again() -> None:
    run_map(of=3, key=str, name="letters")

    shown = resumable("show", "job").stdout

    assert shown.startswith("job  ! 1 item failed\n")
    assert "  try again   retry_failed=True, in cp.remaining or cp.map" in shown
    assert rows_under("FAILED", shown) == [["3", "letters", "ValueError: no 3"]]
    assert document("show", "job")["failed"] == [{"loop": "letters", "key": "3", "error": "ValueError: no 3"}]


def test_show_names_the_first_twenty_and_counts_the_others() -> None:
    run_map(of=75)

    shown = resumable("show", "job").stdout

    *first, last = rows_under("FAILED", shown)
    assert [row[0] for row in first] == [f"position {number}" for number in range(2, 60, 3)]
    assert first[-1][1:] == ["loop-1", "ValueError: no 60"]
    assert last == ["and 5 more; --json shows all"]
    assert len(document("show", "job")["failed"]) == 25


def test_an_error_cannot_steer_the_terminal() -> None:
    def fail(text: str) -> None:
        raise ValueError(f"\x1b[31m{text}")

    with checkpointed("job") as cp:
        list(cp.map(fail, ["\x1b]0;a"], on_error="skip", key=str))

    shown = resumable("show", "job").stdout

    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown


def test_sums_count_shards_that_are_incomplete_and_what_failed_in_them() -> None:
    for shard in range(2):
        run_map(f"job-{shard}")
    with checkpointed("job-2", auto_cleanup=False) as cp:
        list(cp.map(abs, range(8)))

    (found,) = document("list")["sums"]

    assert "3: 2 incomplete, 1 finished; 4 items failed  20/24  83%" in resumable("list", "--sum").stdout
    assert (found["states"], found["failed_items"]) == ({"incomplete": 2, "finished": 1}, 4)
    assert found["left_seconds"] == 0


def test_what_failed_is_no_longer_worked_on_in_the_others_time_left() -> None:
    shards = [
        Summary(operation_id=f"job-{number}", state=state, processed_items=50, total_items=100, elapsed_time=50.0)
        for number, state in enumerate(("incomplete", "running"))
    ]

    (found,) = sums_of(shards)  # type: ignore[arg-type]

    assert (found.processed_items, found.total_items, found.left_seconds) == (100, 200, 50.0)
