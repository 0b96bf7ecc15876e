"""Items that fail in a loop inside of another: noted with the item around them, and given out again there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointManager, checkpointed, every
from resumable._loops.ledgers.failed import Failed
from resumable.stores import MemoryStore
from tests.support import stores

REPOS = ["a", "b", "c"]
FILES = ["x", "y", "z"]
Seen = list[tuple[str, ...]]
Body = Callable[[Checkpoint, Seen, bool], object]


class Died(BaseException):
    """The program is killed."""


@pytest.fixture
def manager() -> CheckpointManager:
    return CheckpointManager(store=MemoryStore())


def run(manager: CheckpointManager, body: Body, *, fails: bool = False) -> tuple[Seen, int]:
    """What the loops gave out, and how many items are noted then."""
    seen: Seen = []
    with suppress(Died), checkpointed("crawl", every(items=1), manager=manager) as cp:
        body(cp, seen, fails)
    return seen, len(cp.failed)


def named(name: str, is_named: bool) -> dict[str, Any]:
    return {"name": name} if is_named else {}


def files_of_repos(*, is_named: bool, retry_failed: bool, files: Callable[[list[str]], Any] = list) -> Body:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        options: Any = {"retry_failed": retry_failed}
        for repo in cp.remaining(REPOS, **options, **named("outer", is_named)):
            for file in cp.remaining(files(FILES), **options, **named("inner", is_named)):
                seen.append((repo, file))
                if fails and file == "y":
                    cp.fail(file, f"no {repo}/{file}")

    return body


@pytest.mark.parametrize("files", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("is_first_ready", [False, True])
def test_each_is_noted_and_given_out_again_alone(
    manager: CheckpointManager, is_named: bool, is_first_ready: bool, files: Any
) -> None:
    plain = files_of_repos(is_named=is_named, retry_failed=False, files=files)
    again = files_of_repos(is_named=is_named, retry_failed=True, files=files)

    seen, noted = run(manager, again if is_first_ready else plain, fails=True)
    assert (len(seen), noted) == (9, 3)
    assert run(manager, plain) == ([], 3), "a run that does not ask for them leaves them noted"
    assert run(manager, again, fails=True) == ([(repo, "y") for repo in REPOS], 3)
    assert run(manager, again) == ([(repo, "y") for repo in REPOS], 0)
    assert stores.keys(manager.store) == [], "nothing is left to do"


def test_other_loops_of_the_item_around_are_not_done_again(manager: CheckpointManager) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        for repo in cp.remaining(REPOS, retry_failed=True):
            for file in cp.remaining(FILES, retry_failed=True):
                seen.append((repo, file))
                if fails and (repo, file) == ("b", "y"):
                    cp.fail(file, "no")
            for issue in cp.remaining(["1", "2"]):
                seen.append((repo, issue))

    assert len(run(manager, body, fails=True)[0]) == 15
    assert run(manager, body) == ([("b", "y")], 0)


def test_three_loops_deep(manager: CheckpointManager) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        for repo in cp.remaining(REPOS, retry_failed=True):
            for file in cp.remaining(FILES, retry_failed=True):
                for line in cp.remaining(["1", "2"], retry_failed=True):
                    seen.append((repo, file, line))
                    if fails and (repo, file, line) in [("a", "x", "2"), ("c", "y", "1")]:
                        cp.fail(line, "no")

    assert len(run(manager, body, fails=True)[0]) == 18
    assert run(manager, body) == ([("a", "x", "2"), ("c", "y", "1")], 0)


def test_items_by_key_may_move(manager: CheckpointManager) -> None:
    def body(repos: list[str], files: list[str]) -> Body:
        def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
            for repo in cp.remaining(repos, key=str, retry_failed=True):
                for file in cp.remaining(files, key=str, retry_failed=True):
                    seen.append((repo, file))
                    if fails and file == "y":
                        cp.fail(file, "no")

        return body

    run(manager, body(REPOS, FILES), fails=True)
    seen, noted = run(manager, body(["c", "d", "b", "a"], ["z", "y", "x"]))

    assert sorted(seen) == [("a", "y"), ("b", "y"), ("c", "y"), *(("d", file) for file in FILES)]
    assert noted == 0


@pytest.mark.parametrize("at", range(1, 7))
def test_a_second_try_that_dies_loses_nothing(manager: CheckpointManager, at: int) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        for repo in cp.remaining(REPOS, retry_failed=True):
            for file in cp.remaining(FILES, retry_failed=True):
                seen.append((repo, file))
                if fails and file != "x":
                    cp.fail(file, "no")
                if not fails and len(seen) == at:
                    raise Died

    run(manager, body, fails=True)
    first, noted = run(manager, body)
    assert (len(first), noted) == (at, 7 - at)
    second: Seen = []
    with suppress(Died), checkpointed("crawl", manager=manager) as cp:
        body(cp, second, False)
    done = [*first[:-1], *second]
    assert done[: min(len(done), 6)] == [(repo, file) for repo in REPOS for file in ("y", "z")][: len(done)]


def test_an_item_around_that_has_failed_itself_comes_again_too(manager: CheckpointManager) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        for repo in cp.remaining(REPOS, retry_failed=True):
            seen.append((repo,))
            for file in cp.remaining(FILES, retry_failed=True):
                seen.append((repo, file))
                if fails and (repo, file) == ("b", "y"):
                    cp.fail(file, "no")
            if fails and repo != "c":
                cp.fail(repo, "no")

    assert run(manager, body, fails=True)[1] == 3
    assert run(manager, body) == ([("a",), *(("a", file) for file in FILES), ("b",), ("b", "y")], 0)


def test_async_loops_too(manager: CheckpointManager) -> None:
    async def job(*, fails: bool) -> tuple[Seen, int]:
        seen: Seen = []
        async with checkpointed("crawl", every(items=1), manager=manager) as cp:
            async for repo in cp.remaining(REPOS, retry_failed=not fails):
                async for file in cp.remaining(FILES, retry_failed=not fails):
                    seen.append((repo, file))
                    if fails and file == "y":
                        cp.fail(file, "no")
            return seen, len(cp.failed)

    assert asyncio.run(job(fails=True))[1] == 3
    assert asyncio.run(job(fails=False)) == ([(repo, "y") for repo in REPOS], 0)


def test_a_map_inside_too(manager: CheckpointManager) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        def fetch(file: str) -> None:
            if fails and file == "y":
                raise ConnectionError

        with ThreadPoolExecutor(2) as pool:
            for repo in cp.remaining(REPOS, retry_failed=True):
                results = cp.map(fetch, FILES, executor=pool, on_error="skip", retry_failed=True)
                seen.extend((repo, file) for file, _ in results)

    assert run(manager, body, fails=True)[1] == 3
    assert run(manager, body) == ([(repo, "y") for repo in REPOS], 0)


@pytest.mark.parametrize("has_pool", [False, True], ids=["inline", "threads"])
@pytest.mark.parametrize("key", [None, str], ids=["by position", "by key"])
def test_a_map_around_too(manager: CheckpointManager, key: Any, has_pool: bool) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        def fetch(repo: str) -> None:
            for file in cp.remaining(FILES, retry_failed=True):
                seen.append((repo, file))
                if fails and file == "y":
                    cp.fail(file, "no")

        with ThreadPoolExecutor(2) as pool:
            list(cp.map(fetch, REPOS, executor=pool if has_pool else None, key=key, retry_failed=True))

    seen, noted = run(manager, body, fails=True)
    assert (len(seen), noted) == (9, 3)
    seen, noted = run(manager, body, fails=True)
    assert (sorted(seen), noted) == ([(repo, "y") for repo in REPOS], 3)
    seen, noted = run(manager, body)
    assert (sorted(seen), noted) == ([(repo, "y") for repo in REPOS], 0)
    assert stores.keys(manager.store) == []


def test_a_plain_loop_around_needs_nothing(manager: CheckpointManager) -> None:
    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        for repo in REPOS:
            for file in cp.remaining(FILES, retry_failed=True):
                seen.append((repo, file))
                if fails and file == "y":
                    cp.fail(file, "no")

    assert run(manager, body, fails=True)[1] == 3
    assert run(manager, body) == ([(repo, "y") for repo in REPOS], 0)


def test_names_beyond_those_that_are_taken_are_found(manager: CheckpointManager) -> None:
    many = list(range(150))

    def body(cp: Checkpoint, seen: Seen, fails: bool) -> None:
        for number in cp.remaining(many, retry_failed=True):
            for file in cp.remaining(["x"], retry_failed=True):
                seen.append((str(number),))
                if fails:
                    cp.fail(file, "no")

    assert run(manager, body, fails=True)[1] == 150
    assert run(manager, body) == ([(str(number),) for number in many], 0)


def test_an_item_holds_what_has_failed_inside_until_all_is_done() -> None:
    around = {"lines": (("files", 1), ("repos", 0)), "files": (("repos", 0),)}
    failed = Failed({"lines": [(7, "no")]}, around=lambda loop: around.get(loop, ()))

    failed.add("lines", 8, "no")
    failed.add("files", 2, "no")
    assert failed.holds("files", 1)
    assert failed.holders("repos") == {0}
    failed.discard("lines", 7)
    failed.discard("lines", 8)
    assert not failed.holds("files", 1)
    assert failed.holds("repos", 0)
    failed.discard("files", 2)
    assert not failed.holds("repos", 0)
    assert len(failed) == 0
