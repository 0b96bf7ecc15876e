"""A call of a decorated function: begun, resumed, looked at, forgotten."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resumable import (
    AsyncCheckpoint,
    Checkpoint,
    CheckpointBusyError,
    CheckpointManager,
    InputChangedError,
    resumable,
)
from resumable._runtime.current import current_checkpoint_or_none

if TYPE_CHECKING:
    pass


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
    return tmp_path


def is_stored(operation_id: str) -> bool:
    return CheckpointManager().load_checkpoint(operation_id) is not None


def test_a_call_that_fails_is_resumed_and_one_that_returns_is_over() -> None:
    fetched: list[int] = []

    @resumable(operation_id="crawl")
    def crawl(cp: Checkpoint, urls: list[int], fails_at: int | None = None) -> int:
        done = cp.state.setdefault("done", [])
        for url in urls[len(done) :]:
            if url == fails_at:
                raise ConnectionError
            fetched.append(url)
            done.append(url)
            cp.tick()
        return len(done)

    again = resumable(operation_id="crawl", ignore_arguments=["fails_at"])(crawl.__wrapped__)  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        again([1, 2, 3, 4], fails_at=3)
    assert is_stored("crawl")
    assert again([1, 2, 3, 4]) == 4
    assert fetched == [1, 2, 3, 4]
    assert not is_stored("crawl")


def test_a_resume_with_other_arguments_names_them() -> None:
    @resumable(operation_id="crawl_{site}")
    def crawl(cp: Checkpoint, site: str, depth: int = 1) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        crawl("a")
    with pytest.raises(InputChangedError, match="depth was 1, is 2"):
        crawl("a", depth=2)
    with pytest.raises(ConnectionError):
        crawl("b", depth=2)


def test_a_call_inside_the_same_call_is_refused() -> None:
    @resumable(operation_id="crawl")
    def crawl(cp: Checkpoint, depth: int) -> None:
        crawl(depth - 1)

    with pytest.raises(CheckpointBusyError):
        crawl(2)


async def test_an_async_call_is_resumed() -> None:
    attempts: list[bool] = []

    @resumable(operation_id="crawl_{site}")
    async def crawl(site: str, cp: AsyncCheckpoint) -> str:
        attempts.append(cp.resumed)
        await cp.tick()
        if not cp.resumed:
            raise ConnectionError
        return site

    with pytest.raises(ConnectionError):
        await crawl("a")
    assert await crawl("a") == "a"
    assert attempts == [False, True]
    assert not is_stored("crawl_a")


async def test_a_cancelled_call_is_saved() -> None:
    waiting = asyncio.Event()

    @resumable(operation_id="crawl")
    async def crawl(cp: AsyncCheckpoint) -> None:
        cp.state["n"] = 1
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(crawl())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    found = CheckpointManager().load_checkpoint("crawl")
    assert found is not None
    assert found.state == {"n": 1}


def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain decorator, which hands on what an async def gives."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def hiding_well(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a: function(a)


@pytest.mark.parametrize("hide", [hiding, hiding_well])
async def test_an_awaitable_behind_a_plain_decorator_is_awaited_before_the_end(
    hide: Callable[[Any], Callable[..., Any]],
) -> None:
    stored: list[bool] = []

    async def crawl(a: int) -> int:
        await asyncio.sleep(0)
        stored.append(current_checkpoint_or_none()._operation.is_owner())
        if a < 0:
            raise ConnectionError
        return a

    decorated = resumable(operation_id="crawl")(hide(crawl))

    assert await decorated(1) == 1
    assert stored == [True]
    assert not is_stored("crawl")
    with pytest.raises(ConnectionError):
        await decorated(-1)
    assert is_stored("crawl")


def numbers() -> Iterator[int]:
    yield 1


async def async_numbers() -> Any:
    yield 1


@pytest.mark.parametrize("function", [numbers, async_numbers])
def test_a_generator_function_is_refused_when_decorating(function: Any) -> None:
    """Its body would run after the end of the call, that is, after its checkpoint is gone."""
    with pytest.raises(TypeError, match="is a generator function"):
        resumable(function)


def test_a_generator_that_a_decorator_hid_is_refused_and_the_checkpoint_kept() -> None:
    decorated = resumable(operation_id="n")(hiding(numbers))

    with pytest.raises(TypeError, match="returned a generator"):
        decorated()
    assert is_stored("n")


def test_a_decorator_that_drives_a_generator_is_welcome() -> None:
    @functools.wraps(numbers)
    def listed() -> list[int]:
        return list(numbers())

    assert resumable(operation_id="n")(listed)() == [1]


def test_a_call_has_an_operation_that_can_be_looked_at_and_forgotten(tmp_path: Path) -> None:
    @resumable(operation_id="fetch_{name}", store=tmp_path)
    def fetch(cp: Checkpoint, name: str, count: int = 10) -> None:
        for item in cp.remaining(range(count)):
            if item == 5:
                raise ValueError(item)

    operation: Any = fetch.operation("a")  # type: ignore[attr-defined]
    assert (operation.operation_id, operation.status(), operation.forget()) == ("fetch_a", None, False)
    with pytest.raises(ValueError, match="5"):
        fetch("a")

    status = operation.status()
    assert (status.state, status.processed_items, status.total_items) == ("failed", 5, 10)
    assert operation.forget()
    assert operation.status() is None
    assert repr(operation) == f"<operation 'fetch_a' in {tmp_path}>"


def test_a_call_under_way_is_not_forgotten(tmp_path: Path) -> None:
    found = []

    @resumable(operation_id="fetch", store=tmp_path)
    def fetch(cp: Checkpoint) -> None:
        cp.save()
        operation: Any = fetch.operation()  # type: ignore[attr-defined]
        found.append(operation.status().state)
        with pytest.raises(CheckpointBusyError):
            operation.forget()

    fetch()

    assert found == ["running"]


def test_methods_have_operations_too(tmp_path: Path) -> None:
    class Crawler:
        name = "zed"

        @resumable(operation_id="m_{self.name}_{page}", store=tmp_path)
        def method(self, cp: Checkpoint, page: int) -> None: ...

        @classmethod
        @resumable(operation_id="c_{page}", store=tmp_path)
        def of_class(cls, cp: Checkpoint, page: int) -> None: ...

        @staticmethod
        @resumable(operation_id="s_{page}", store=tmp_path)
        def static(cp: Checkpoint, page: int) -> None: ...

    crawler: Any = Crawler()

    assert crawler.method.operation(1).operation_id == "m_zed_1"
    assert crawler.of_class.operation(2).operation_id == "c_2"
    assert Crawler.of_class.operation(page=2).operation_id == "c_2"  # type: ignore[attr-defined]
    assert crawler.static.operation(page=3).operation_id == "s_3"


def test_a_class_method_is_asked_with_its_class_where_the_id_names_it(tmp_path: Path) -> None:
    """From 3.13 on, @classmethod does not bind what it wraps: any class would be a guess."""

    class Crawler:
        name = "zed"

        @classmethod
        @resumable(operation_id="{cls.name}_{page}", store=tmp_path)
        def crawl(cls, cp: Checkpoint, page: int = 1) -> None: ...

    crawl: Any = Crawler.crawl

    if sys.version_info < (3, 13):
        assert crawl.operation(2).operation_id == "zed_2"
    else:
        with pytest.raises(TypeError, match=r"__func__\.operation"):
            crawl.operation(2)
        assert crawl.__func__.operation(Crawler, 2).operation_id == "zed_2"
