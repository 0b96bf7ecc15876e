"""An effect happens once, whenever a run dies; an unknown outcome is reported."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import (
    AsyncCheckpoint,
    Checkpoint,
    CheckpointManager,
    StateEncodeError,
    StoreError,
    UnknownOutcomeError,
    checkpointed,
    every,
)
from resumable._durable.once import name_of
from resumable.stores import MemoryStore
from resumable.testing import FaultyStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Died(BaseException):
    """The program ends."""


class Post:
    """An effect that counts how often it happened."""

    def __init__(self, result: Any = None) -> None:
        self.count = 0
        self.result = result

    def __call__(self) -> Any:
        self.count += 1
        return {"sent": self.count} if self.result is None else self.result


def opened(**options: Any) -> checkpointed:
    return checkpointed("job", every(hours=9), store="ck", **options)


def run(work: Callable[[Checkpoint], object]) -> None:
    """A run that does some work and then dies."""
    with suppress(Died), opened() as cp:
        work(cp)
        raise Died


def stored() -> dict[str, Any]:
    found = CheckpointManager("ck").load_checkpoint("job")
    assert found is not None
    return dict(found.internal.get("once", {}))


def raises(error: BaseException) -> Callable[[], Any]:
    def fn() -> None:
        raise error

    return fn


# -- once -------------------------------------------------------------------------------------------------------------


def test_a_second_call_gives_the_result_of_the_first() -> None:
    post = Post()
    with opened() as cp:
        assert [cp.once("mail", post), cp.once("mail", post), cp.once("other", post)] == [
            {"sent": 1},
            {"sent": 1},
            {"sent": 2},
        ]


def test_a_later_run_gets_the_result_too() -> None:
    post = Post()
    run(lambda cp: cp.once("mail", post))
    with opened() as cp:
        assert cp.once("mail", post) == {"sent": 1}
    assert post.count == 1


@pytest.mark.parametrize("result", [None, 0, "", [], {"a": [1, None]}, True], ids=repr)
def test_any_result_that_json_holds_comes_back(result: Any) -> None:
    count = []
    for _ in range(2):
        with suppress(Died), opened() as cp:
            assert cp.once("mail", lambda: count.append(1) or result) == result
            raise Died
    assert count == [1]


def test_a_result_is_a_new_one_each_time() -> None:
    """Else what a caller does with it would change what is stored."""
    with opened() as cp:
        cp.once("mail", Post([1])).append(2)
        assert cp.once("mail", Post()) == [1]


def test_what_is_intended_is_on_the_disk_before_and_the_result_after() -> None:
    with opened() as cp:
        assert cp.once("mail", lambda: list(stored()["mail"])) == ["at"]
        assert stored()["mail"]["result"] == ["at"]


def test_numbers_and_texts_are_different_keys() -> None:
    names = [name_of(key) for key in (1, "1", '"1"', "-1", -1, "a", "1a", '"')]

    assert len(set(names)) == len(names)
    assert name_of("invoice 7") == "invoice 7"


@pytest.mark.parametrize("key", [None, 1.5, True, ("a", 1), b"a"], ids=repr)
def test_another_key_is_refused(key: Any) -> None:
    with opened() as cp, pytest.raises(TypeError, match="a key must be"):
        cp.once(key, Post())


def test_wrong_arguments_are_refused_before_anything_happens() -> None:
    with opened() as cp:
        with pytest.raises(TypeError, match="needs a function"):
            cp.once("mail", {"sent": 1})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="unknown must be"):
            cp.once("mail", Post(), unknown="ignore")  # type: ignore[arg-type]


# -- it has not happened ----------------------------------------------------------------------------------------------


def test_an_exception_means_that_it_has_not_happened() -> None:
    post = Post()
    with opened() as cp:
        with pytest.raises(ConnectionError, match="refused"):
            cp.once("mail", raises(ConnectionError("refused")))
        assert stored() == {}
        assert cp.once("mail", post) == {"sent": 1}


def test_a_policy_tries_again() -> None:
    post, failures = Post(), iter([ConnectionError(), ConnectionError()])

    def fn() -> Any:
        for failure in failures:
            raise failure
        return post()

    with opened() as cp:
        assert cp.retrying(wait=tenacity.wait_none())(lambda: cp.once("mail", fn)) == {"sent": 1}


def test_if_the_save_before_fails_nothing_is_called() -> None:
    post = Post()
    store = FaultyStore(MemoryStore())
    with suppress(StoreError), checkpointed("job", store=store) as cp:
        store.fail_next("commit", error=StoreError("disk full"))
        with pytest.raises(StoreError, match="disk full"):
            cp.once("mail", post)
        assert post.count == 0
        assert cp.once("mail", post) == {"sent": 1}


def test_if_the_save_after_fails_this_run_still_knows() -> None:
    store = FaultyStore(MemoryStore())

    def fn() -> str:
        store.fail_next("commit", error=StoreError("disk full"))
        return "sent"

    with checkpointed("job", store=store) as cp:
        with pytest.raises(StoreError, match="disk full"):
            cp.once("mail", fn)
        assert cp.once("mail", raises(AssertionError())) == "sent"
        cp.save()
        cp.keep()
    with checkpointed("job", store=store) as cp:
        assert cp.once("mail", raises(AssertionError())) == "sent"


def test_a_closed_checkpoint_and_a_forked_child_do_nothing() -> None:
    post = Post()
    with opened() as cp:
        if (pid := os.fork()) == 0:
            with suppress(StoreError):
                cp.once("mail", post)
            os._exit(post.count)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with pytest.raises(ValueError, match="closed"):
        cp.once("mail", post)
    assert post.count == 0


# -- nobody knows -----------------------------------------------------------------------------------------------------


def left_unknown() -> None:
    with suppress(Died), opened() as cp:
        cp.once("mail", raises(Died()))


def test_a_run_that_died_within_it_is_told_of() -> None:
    left_unknown()
    post = Post()
    with pytest.raises(UnknownOutcomeError, match="it is not known whether 'mail' happened") as caught, opened() as cp:
        cp.once("mail", post)
    assert post.count == 0
    assert len(caught.value.ways_out) == 2
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert list(stored()["mail"]) == ["at"]


def test_it_may_be_tried_again() -> None:
    left_unknown()
    with opened() as cp:
        assert cp.once("mail", Post(), unknown="retry") == {"sent": 1}


def test_a_try_that_fails_leaves_it_unknown_for_the_first_may_have_happened() -> None:
    left_unknown()
    with suppress(ConnectionError), opened() as cp:
        cp.once("mail", raises(ConnectionError()), unknown="retry")
    with opened() as cp, pytest.raises(UnknownOutcomeError):
        cp.once("mail", Post())


@pytest.mark.parametrize(("found", "result", "count"), [({"id": 7}, {"id": 7}, 0), (None, {"sent": 1}, 1)])
def test_a_function_can_look_whether_it_happened(found: Any, result: Any, count: int) -> None:
    left_unknown()
    post = Post()
    with opened() as cp:
        assert cp.once("mail", post, unknown=lambda: found) == result
        assert cp.once("mail", post) == result
    assert post.count == count


def test_what_looks_is_not_asked_where_all_is_known() -> None:
    with opened() as cp:
        assert cp.once("mail", Post(), unknown=raises(AssertionError())) == {"sent": 1}
        assert cp.once("mail", Post(), unknown=raises(AssertionError())) == {"sent": 1}


def test_a_function_may_say_that_it_cannot_tell() -> None:
    def fn() -> None:
        try:
            raise TimeoutError
        except TimeoutError as error:
            raise UnknownOutcomeError("the server did not answer") from error

    with suppress(UnknownOutcomeError), opened() as cp:
        with pytest.raises(UnknownOutcomeError, match="not known whether 'mail' happened: the server did not answer"):
            cp.once("mail", fn)
        cp.once("mail", Post())
    assert list(stored()["mail"]) == ["at"]


def test_a_result_that_json_cannot_hold_leaves_it_unknown() -> None:
    """It has happened, and a later run must not be given something else."""
    with suppress(StateEncodeError), opened() as cp:
        cp.once("mail", Post({1}))
    with opened() as cp, pytest.raises(UnknownOutcomeError):
        cp.once("mail", Post())


def test_a_block_that_ends_well_keeps_what_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    left_unknown()
    with opened():
        pass
    assert "it is not known whether these effects happened: mail" in caplog.text
    with opened() as cp:
        cp.finalize()
    assert CheckpointManager("ck").load_checkpoint("job") is None


# -- where it stands --------------------------------------------------------------------------------------------------


def test_within_loops_each_item_has_its_effect() -> None:
    sent: list[int] = []
    for dies_at in (0, 2, 3, None):
        with suppress(Died), opened() as cp:
            for item in cp.remaining(range(5)):
                cp.once(item, lambda item=item: sent.append(item))
                if item == dies_at:
                    raise Died
    assert sent == list(range(5))


def test_what_the_unfinished_item_wrote_does_not_count_though_its_effect_does() -> None:
    for dies in (True, False):
        with suppress(Died), opened() as cp:
            log = cp.log("log")
            for item in cp.remaining(range(3)):
                log.append(item)
                cp.once(item, lambda: None)
                if dies and item == 1:
                    raise Died
            assert log == [0, 1, 2]


def test_one_may_stand_within_another() -> None:
    posts = Post(), Post()
    with opened() as cp:
        assert cp.once("a", lambda: [cp.once("b", posts[0]), posts[1]()]) == [{"sent": 1}, {"sent": 1}]
        with pytest.raises(RuntimeError, match="within its own function"):
            cp.once("c", lambda: cp.once("c", posts[0]))


def test_threads_of_a_map_do_each_effect_once() -> None:
    lock, sent = threading.Lock(), []

    def send(item: int) -> Any:
        def fn() -> int:
            with lock:
                sent.append(item % 8)
            return item % 8

        return cp.once(item % 8, fn)

    with opened() as cp:
        results = dict(cp.map(send, range(40), executor=lambda: ThreadPoolExecutor(8)))
    assert sorted(sent) == list(range(8))
    assert results == {item: item % 8 for item in range(40)}


def test_async_tasks_do_each_effect_once() -> None:
    sent = []

    async def crawl() -> dict[int, int]:
        async with opened() as cp:

            async def send(item: int) -> int:
                async def fn() -> int:
                    await asyncio.sleep(0)
                    sent.append(item % 4)
                    return item % 4

                return await cp.once(item % 4, fn)

            return {item: result async for item, result in cp.amap(send, range(12))}

    assert asyncio.run(crawl()) == {item: item % 4 for item in range(12)}
    assert sorted(sent) == [0, 1, 2, 3]


def test_an_async_effect_that_is_cancelled_is_unknown() -> None:
    has_begun = asyncio.Event()

    async def stuck() -> None:
        has_begun.set()
        await asyncio.sleep(9)

    async def look() -> str:
        return "found"

    async def crawl(cp: AsyncCheckpoint) -> None:
        task = asyncio.create_task(cp.once("mail", stuck))
        await has_begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with pytest.raises(UnknownOutcomeError):
            await cp.once("mail", stuck)
        assert await cp.once("mail", stuck, unknown=look) == "found"

    async def job() -> None:
        async with opened() as cp:
            await crawl(cp)

    asyncio.run(job())


def test_an_async_function_needs_an_async_checkpoint() -> None:
    async def fn() -> None: ...

    with opened() as cp, pytest.raises(TypeError, match="async checkpoint"):
        assert cp.once("mail", fn) is None  # pyright: ignore[reportUnusedCoroutine]
    assert CheckpointManager("ck").load_checkpoint("job") is None


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_a_save_writes_only_what_is_new_and_all_comes_back() -> None:
    with opened(auto_cleanup=False) as cp:
        cp.state["padding"] = "x" * 50_000
        for number in range(300):
            cp.once(f"mail {number}", Post("x" * 50))
        with suppress(ConnectionError):
            cp.once("not sent", raises(ConnectionError()))
    lines = Path("ck/.checkpoint_job.journal").read_bytes().rstrip(b"\0").splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) < 1500
    assert stored().keys() == {f"mail {number}" for number in range(300)}
    with opened() as cp:
        assert cp.once("mail 299", raises(AssertionError())) == "x" * 50


def test_a_manager_keeps_what_is_known() -> None:
    run(lambda cp: cp.once("mail", Post()))
    CheckpointManager("ck").create_checkpoint("job", {"by": "hand"})
    with opened() as cp:
        assert cp.once("mail", raises(AssertionError())) == {"sent": 1}


@pytest.mark.slow
def test_show_tells_of_effects() -> None:
    with suppress(Died), opened() as cp:
        cp.once("mail 1", Post())
        cp.once("mail 2", raises(Died()))
    command = [sys.executable, "-m", "resumable", "show", "job", "--dir", "ck"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    found = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=environment).stdout

    assert re.search(r"effects +1 happened, 1 unknown: mail 2 *\n", told)
    assert json.loads(found)["once"] == {"happened": 1, "unknown": ["mail 2"]}


# -- keys for servers -------------------------------------------------------------------------------------------------


def test_an_idempotency_key_is_equal_in_every_run_and_another_for_each_item_and_operation() -> None:
    keys = []
    for operation_id in ("job", "job", "other"):
        with checkpointed(operation_id, store="ck") as cp:
            keys.append([cp.idempotency_key(item) for item in (1, "1", {"id": 1}, [1])])

    assert keys[0] == keys[1]
    assert keys[0][0] == "639c793b-1e5f-5562-bc74-662f735a4a66"
    assert len({*keys[0], *keys[2]}) == 8


def test_an_item_without_a_value_has_no_key() -> None:
    with opened() as cp, pytest.raises(TypeError, match="give its id"):
        cp.idempotency_key(object())
