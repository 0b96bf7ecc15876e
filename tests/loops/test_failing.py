"""``cp.fail``: an item that fails is noted, the loop goes on, and a later run tries it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, checkpointed, every
from resumable._loops import remaining as remaining_module
from resumable.stores import MemoryStore
from tests.support import stores

ITEMS = [f"u{number}" for number in range(8)]
INPUTS: dict[str, Callable[[], Iterable[str]]] = {
    "list": lambda: ITEMS,
    "generator": lambda: (item for item in ITEMS),
    "dict": lambda: dict.fromkeys(ITEMS),
}


@pytest.fixture
def manager() -> CheckpointManager:
    return CheckpointManager(store=MemoryStore())


@pytest.fixture(params=["in C", "in steps"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in steps":
        monkeypatch.setattr(remaining_module, "has_gil", lambda: False)


def run(
    manager: CheckpointManager, bad: set[str], items: Iterable[str] = ITEMS, **options: Any
) -> tuple[list[str], dict[str | int, str]]:
    seen = []
    with checkpointed("crawl", every(items=1), manager=manager) as cp:
        for item in cp.remaining(items, **options):
            seen.append(item)
            if item in bad:
                cp.fail(item, ValueError(f"no {item}"))
        return seen, cp.failed


@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
@pytest.mark.parametrize("items", INPUTS.values(), ids=INPUTS)
@pytest.mark.usefixtures("_ways")
def test_the_loop_goes_on_and_a_later_run_tries_again(
    manager: CheckpointManager, items: Callable[[], Iterable[str]], key: Any
) -> None:
    seen, failed = run(manager, {"u2", "u5"}, items(), key=key)
    assert seen == ITEMS
    assert list(failed) == (["u2", "u5"] if key else [2, 5])

    assert run(manager, set(), items(), key=key) == ([], failed)
    seen, failed = run(manager, {"u5"}, items(), key=key, retry_failed=True)
    assert seen == ["u2", "u5"]
    assert list(failed) == (["u5"] if key else [5])
    assert run(manager, set(), items(), key=key, retry_failed=True) == (["u5"], {})
    assert stores.keys(manager.store) == [], "nothing is left to do"


def test_what_failed_comes_before_what_is_left(manager: CheckpointManager) -> None:
    run(manager, {"u2", "u5"}, ITEMS[:6])

    assert run(manager, set(), ITEMS, retry_failed=True)[0] == ["u2", "u5", "u6", "u7"]


@pytest.mark.parametrize("items", [lambda: ITEMS, lambda: (item for item in ITEMS)], ids=["list", "generator"])
def test_async_loops_too(manager: CheckpointManager, items: Callable[[], Iterable[str]]) -> None:
    async def job(bad: set[str], **options: Any) -> tuple[list[str], list[Any]]:
        seen = []
        async with checkpointed("crawl", every(items=1), manager=manager) as cp:
            async for item in cp.remaining(items(), **options):
                seen.append(item)
                if item in bad:
                    cp.fail(item, ValueError(item))
            return seen, list(cp.failed)

    assert asyncio.run(job({"u2", "u5"})) == (ITEMS, [2, 5])
    assert asyncio.run(job({"u5"}, retry_failed=True)) == (["u2", "u5"], [5])
    assert asyncio.run(job(set(), retry_failed=True)) == (["u5"], [])
    assert stores.keys(manager.store) == []


def test_an_async_input_cannot_be_had_again(manager: CheckpointManager) -> None:
    async def items() -> AsyncIterator[str]:
        for item in ITEMS:
            yield item

    async def job(**options: Any) -> None:
        async with checkpointed("crawl", manager=manager) as cp:
            async for item in cp.remaining(items(), **options):
                cp.fail(item, "no")

    asyncio.run(job())
    with pytest.raises(TypeError, match="items that can be had again"):
        asyncio.run(job(retry_failed=True))


def test_an_item_of_the_loop_around_can_be_named_inside(manager: CheckpointManager) -> None:
    outer, inner = ["a", "b"], ["x", "y"]
    with checkpointed("crawl", manager=manager) as cp:
        for one in cp.remaining(outer, name="outer"):
            for other in cp.remaining(inner, name="inner"):
                if other == "y" and one == "b":
                    cp.fail(one, "all of it")
        assert cp.failed == {1: "all of it ('b')"}
        cp.keep()
    assert '"outer":[[1,' in stores.document(manager.store, "crawl").decode().replace(" ", "").replace("\n", "")  # type: ignore[union-attr]


@pytest.mark.parametrize("is_helped", [False, True])
def test_an_equal_item_of_the_loop_around_does_not_stand_for_that_of_the_loop(
    manager: CheckpointManager, *, is_helped: bool
) -> None:
    """An input that can only be iterated does not tell which item it is at."""
    words = ["a", "b"]

    def helper(cp: Any, word: str) -> None:
        cp.fail(word, "of the inner loop")

    with checkpointed("crawl", manager=manager) as cp:
        for one in cp.remaining(words, name="outer"):
            for other in cp.remaining(iter(words), name="inner"):
                if one == other == "b":
                    helper(cp, other) if is_helped else cp.fail(other, "of the inner loop")
            for _ in cp.remaining(iter("xy"), name="other"):
                if one == "a" and "outer" not in str(cp.failed):
                    cp.fail(one, "of the outer loop")
        assert {text.split(" (")[0] for text in cp.failed.values()} == {"of the inner loop", "of the outer loop"}
        cp.keep()

    saved = json.loads(stores.document(manager.store, "crawl"))  # type: ignore[arg-type]
    failed = saved["resumable"]["failed"]
    assert {name.partition("/")[0]: [entry[0] for entry in entries] for name, entries in failed.items()} == {
        "inner": [1],
        "outer": [0],
    }


def test_an_error_after_the_note_has_the_item_given_out_again(manager: CheckpointManager) -> None:
    with pytest.raises(ConnectionError), checkpointed("crawl", manager=manager) as cp:  # noqa: PT012
        for item in cp.remaining(ITEMS):
            cp.fail(item, "no")
            raise ConnectionError
    with checkpointed("crawl", manager=manager) as cp:
        assert list(cp.remaining(ITEMS)) == ITEMS
        assert cp.failed == {}


@pytest.mark.usefixtures("_ways")
def test_a_second_try_that_is_cut_off_counts_for_nothing(manager: CheckpointManager, tmp_path: Path) -> None:
    def job(fails: bool) -> None:
        with checkpointed("crawl", every(items=1), manager=manager) as cp:
            rows = cp.sink(tmp_path / "rows.txt")
            log = cp.log("log")
            for item in cp.remaining(ITEMS, retry_failed=True):
                if item == "u2" and not (tmp_path / "rows.txt").read_text().count("u7"):
                    cp.fail(item, "no")
                    continue
                rows.write(f"{item}\n")
                log.append(item)
                if fails and item == "u2":
                    raise ConnectionError

    job(fails=False)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            job(fails=True)
        assert manager.load_checkpoint("crawl").state["log"].count("u2") == 0  # type: ignore[union-attr]
    job(fails=False)

    assert sorted((tmp_path / "rows.txt").read_text().split()) == ITEMS


def test_a_retried_item_is_counted_once(manager: CheckpointManager) -> None:
    run(manager, {"u2"})
    with checkpointed("crawl", manager=manager) as cp:
        assert list(cp.remaining(ITEMS, retry_failed=True)) == ["u2"]
        assert cp.processed_items == 8


def test_the_text_has_the_error_the_place_and_the_item_and_no_secret(manager: CheckpointManager) -> None:
    with checkpointed("crawl", manager=manager) as cp:
        for item in cp.remaining(["https://user:pw@host/", "plain"]):
            try:
                raise PermissionError("401 for token=oldSecret1")
            except PermissionError as error:
                cp.fail(item, error)
        assert cp.failed[0].startswith("PermissionError: 401 for token=*** (test_failing.py:")
        assert cp.failed[0].endswith("; 'https://user:***@host/')")
        assert cp.metadata.error_count == 2
        cp.keep()


def test_outside_of_a_loop_there_is_nothing_to_note(manager: CheckpointManager) -> None:
    def work(item: str) -> None:
        cp.fail(item, "no")

    with checkpointed("crawl", manager=manager) as cp:
        with pytest.raises(RuntimeError, match=r"works only in the body of a loop over cp\.remaining"):
            cp.fail("u1", "no")
        with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="for a map, use on_error"):
            list(cp.map(work, ITEMS, executor=pool))
        cp.finalize()


# -- an item that stops run after run


def stopped(manager: CheckpointManager, error: BaseException, at: str = "u3") -> None:
    with pytest.raises(type(error)), checkpointed("crawl", every(items=1), manager=manager) as cp:  # noqa: PT012
        for item in cp.remaining(ITEMS):
            if item == at:
                raise error


def test_an_item_that_has_stopped_three_runs_is_named(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        stopped(manager, ValueError())
        assert "has stopped" not in caplog.text

    stopped(manager, ValueError())
    assert "crawl: item 3 has stopped 3 runs; to leave it out" in caplog.text
    run(manager, set())
    assert "item 3 has stopped 4 runs" in caplog.text


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([ValueError(), ValueError(), KeyboardInterrupt()], id="a person"),
        pytest.param([ValueError(), SystemExit(143), ValueError()], id="SIGTERM"),
    ],
)
def test_what_others_stop_is_not_the_items_fault(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture, errors: list[BaseException]
) -> None:
    for error in errors:
        stopped(manager, error)
    run(manager, set())

    assert "has stopped" not in caplog.text


def test_three_items_are_not_one(manager: CheckpointManager, caplog: pytest.LogCaptureFixture) -> None:
    for at in ("u3", "u4", "u5"):
        stopped(manager, ValueError(), at)
    run(manager, set())

    assert "has stopped" not in caplog.text


def test_the_history_tells_where(manager: CheckpointManager) -> None:
    stopped(manager, ValueError())

    document = json.loads(stores.document(manager.store, "crawl") or b"")
    assert document["resumable"]["history"][-1]["stopped_at"] == ["loop-1", 3]
