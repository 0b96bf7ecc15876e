"""``@resumable``: where the checkpoint goes, what the function looks like, and what becomes of its calls."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import cloudpickle
import pytest

import resumable as package
from resumable import (
    AsyncCheckpoint,
    Checkpoint,
    CheckpointBusyError,
    CheckpointManager,
    InputChangedError,
    checkpointed,
    current_checkpoint,
    resumable,
)
from resumable._runtime.current import current_checkpoint_or_none
from resumable.stores import MemoryStore
from tests.support.stores import delete

if TYPE_CHECKING:
    from nowhere import Unknown


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
    return tmp_path


def is_stored(operation_id: str) -> bool:
    return CheckpointManager().load_checkpoint(operation_id) is not None


# Where the checkpoint goes


def first(cp: Checkpoint, a: int, b: int = 2) -> Any:
    return cp, a, b


def middle(a: int, checkpoint: Checkpoint, b: int = 2) -> Any:
    return checkpoint, a, b


def last_after_a_default(a: int, b: int = 2, cp: Any = None) -> Any:
    return cp, a, b


def by_keyword(a: int, b: int = 2, *, where: Checkpoint) -> Any:
    return where, a, b


def by_position(a: int, b: int = 2, cp: Checkpoint | None = None, /) -> Any:
    return cp, a, b


def optional(a: int, b: int = 2, it: Optional[Checkpoint] = None) -> Any:  # noqa: UP045
    return it, a, b


def quoted(a: int, it: "Checkpoint[dict[str, Any]]", b: int = 2) -> Any:  # noqa: UP037
    return it, a, b


def annotated(a: int, it: Annotated[Checkpoint, "restored"], b: int = 2) -> Any:
    return it, a, b


def beside_one_that_cannot_be_resolved(a: int, it: Checkpoint, b: Unknown = 2) -> Any:
    return it, a, b


def unresolvable(a: int, it: package.Checkpoint[Unknown] | None, b: int = 2) -> Any:
    return it, a, b


SHAPES = [
    first,
    middle,
    last_after_a_default,
    by_keyword,
    by_position,
    optional,
    quoted,
    annotated,
    beside_one_that_cannot_be_resolved,
    unresolvable,
]


@pytest.mark.parametrize("function", SHAPES)
def test_the_checkpoint_may_stand_anywhere(function: Callable[..., Any]) -> None:
    decorated = resumable(operation_id="{a}")(function)

    for found, a, b in (decorated(1), decorated(1, 2)):
        assert isinstance(found, Checkpoint)
        assert (a, b) == (1, 2)
    assert list(inspect.signature(decorated).parameters) == ["a", "b"]


def test_variable_arguments_go_around_it() -> None:
    @resumable(operation_id="x")
    def collect(a: int, cp: Checkpoint, *rest: int, **more: int) -> Any:
        return a, rest, more

    assert collect(1, 2, 3, k=4) == (1, (2, 3), {"k": 4})


def test_an_annotation_goes_before_the_name() -> None:
    @resumable(operation_id="x")
    def both(cp: str, mine: Checkpoint) -> Any:
        return cp, mine.operation_id

    assert both("a") == ("a", "x")


def test_a_function_without_a_parameter_for_it_asks() -> None:
    @resumable(operation_id="crawl_{a}")
    def ask(a: int) -> str:
        return str(current_checkpoint().operation_id)

    assert ask(7) == "crawl_7"


def test_two_checkpoints_are_one_too_many() -> None:
    def two(a: Checkpoint, b: Checkpoint) -> None: ...

    with pytest.raises(TypeError, match="several checkpoint parameters"):
        resumable(two)


@pytest.mark.parametrize("given", ["keyword", "position"])
def test_whoever_gives_the_checkpoint_is_told(given: str) -> None:
    def fetch(cp: Checkpoint, a: int, b: int = 2, **more: Any) -> None: ...

    decorated: Any = resumable(operation_id="x")(fetch)
    with checkpointed("other") as mine, pytest.raises(TypeError, match="'cp' is put in by @resumable"):
        decorated(mine, 1) if given == "position" else decorated(1, cp=mine)


def test_arguments_that_do_not_fit_are_refused_before_anything_is_opened(directory: Path) -> None:
    decorated: Any = resumable(operation_id="x")(first)

    with pytest.raises(TypeError, match=r"first\(\): missing a required argument: 'a'"):
        decorated()
    assert list(directory.iterdir()) == []


# What it looks like


@resumable
def documented(cp: Checkpoint, a: int) -> int:
    """Double it."""
    return 2 * a


def test_it_keeps_its_name_and_loses_its_checkpoint() -> None:
    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Double it."
    assert documented.__module__ == __name__
    assert str(inspect.signature(documented)) == "(a: 'int') -> 'int'"
    assert documented.__wrapped__.__code__.co_varnames[0] == "cp"  # type: ignore[attr-defined]


def test_nothing_is_hung_on_the_users_function() -> None:
    def plain(cp: Checkpoint) -> None: ...

    before = dict(vars(plain))
    resumable(plain)()

    assert vars(plain) == before


def test_it_knows_whether_it_is_async() -> None:
    async def fetch(cp: AsyncCheckpoint) -> None: ...

    assert inspect.iscoroutinefunction(resumable(fetch))
    assert not inspect.iscoroutinefunction(documented)


# Methods


class Client:
    def __init__(self, name: str = "c") -> None:
        self.name = name

    @resumable(operation_id="{self.name}_{a}")
    def method(self, cp: Checkpoint, a: int) -> Any:
        return self.name, cp.operation_id, a

    @classmethod
    @resumable
    def inner_class(cls, cp: Checkpoint, a: int) -> Any:
        return cls.__name__, cp.operation_id, a

    @staticmethod
    @resumable
    def inner_static(cp: Checkpoint, a: int) -> Any:
        return None, cp.operation_id, a

    @resumable  # type: ignore[arg-type]
    @classmethod
    def outer_class(cls, cp: Checkpoint, a: int) -> Any:
        return cls.__name__, cp.operation_id, a

    @resumable
    @staticmethod
    def outer_static(cp: Checkpoint, a: int) -> Any:
        return None, cp.operation_id, a

    @resumable
    async def coroutine(self, cp: AsyncCheckpoint, a: int) -> Any:
        await cp.tick()
        return self.name, cp.operation_id, a

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Client) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("name", ["inner_class", "inner_static", "outer_class", "outer_static"])
@pytest.mark.parametrize("owner", [Client, Client()], ids=["class", "instance"])
def test_class_and_static_methods_work_in_both_orders(owner: Any, name: str) -> None:
    receiver, operation_id, a = getattr(owner, name)(1)

    assert receiver == ("Client" if "class" in name else None)
    assert operation_id.startswith(f"{__name__}.Client.{name}-")
    assert a == 1
    assert str(inspect.signature(getattr(owner, name))) == "(a: 'int') -> 'Any'"


def test_a_method_is_bound_and_its_template_may_ask_the_instance() -> None:
    client = Client("mine")

    assert client.method(1) == Client.method(client, 1) == ("mine", "mine_1", 1)
    assert str(inspect.signature(client.method)) == "(a: 'int') -> 'Any'"
    assert str(inspect.signature(Client.method)) == "(self, a: 'int') -> 'Any'"


def test_a_subclass_is_the_class_that_a_classmethod_gets() -> None:
    class Sub(Client): ...

    assert Sub.inner_class(1)[0] == Sub.outer_class(1)[0] == "Sub"


async def test_an_async_method_is_awaited() -> None:
    assert (await Client("c").coroutine(1))[::2] == ("c", 1)


def test_objects_with_call_and_partials_need_a_name() -> None:
    class Fetch:
        def __call__(self, cp: Checkpoint, a: int) -> Any:
            return cp.operation_id, a

    partial = functools.partial(first, b=5)
    for nameless in (Fetch(), partial):
        with pytest.raises(TypeError, match="no name to make an operation_id from"):
            resumable(nameless)
    assert resumable(operation_id="f_{a}")(Fetch())(1) == ("f_1", 1)
    assert resumable(operation_id="p_{a}")(partial)(1)[1:] == (1, 5)


def test_a_bound_method_may_be_decorated_later() -> None:
    def name(self: Any, cp: Checkpoint, a: int) -> Any:
        return self.name, a

    bound = name.__get__(Client("late"))

    assert resumable(operation_id="x{a}")(bound)(1) == ("late", 1)


# Pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_by_name(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(documented, protocol)) is documented


@pytest.mark.parametrize("name", ["method", "inner_class", "inner_static", "outer_class", "outer_static"])
@pytest.mark.parametrize("owner", [Client, Client("p")], ids=["class", "instance"])
def test_methods_pickle(owner: Any, name: str) -> None:
    again = pickle.loads(pickle.dumps(getattr(owner, name)))

    arguments = (Client("p"), 1) if (owner, name) == (Client, "method") else (1,)
    assert again(*arguments) == getattr(owner, name)(*arguments)


def test_it_runs_in_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(documented, 21).result() == 42


def test_copies_are_itself_as_with_functions() -> None:
    assert copy.copy(documented) is copy.deepcopy(documented) is documented


def test_cloudpickle_ships_an_importable_one_by_name() -> None:
    assert cloudpickle.loads(cloudpickle.dumps(documented)) is documented


def test_cloudpickle_ships_a_local_one_decorated() -> None:
    """It would silently ship the undecorated one, which then misses its checkpoint."""

    @resumable(operation_id="local_{n}")
    def local(cp: Checkpoint, n: int) -> list[str]:
        return [cp.operation_id, *(local(n - 1) if n else [])]

    again = cloudpickle.loads(cloudpickle.dumps(local))

    assert again(2) == ["local_2", "local_1", "local_0"]


def test_cloudpickle_ships_those_of_main_decorated(tmp_path: Path) -> None:
    script = """
        import sys, cloudpickle
        from resumable import Checkpoint, resumable
        @resumable(operation_id="main_{a}")
        def fetch(cp: Checkpoint, a): return cp.operation_id
        class Client:
            @resumable(operation_id="method_{a}")
            def fetch(self, cp: Checkpoint, a): return cp.operation_id
        sys.stdout.buffer.write(cloudpickle.dumps([fetch, Client().fetch]))
    """
    made = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True)

    function, method = cloudpickle.loads(made.stdout)

    assert (function(1), method(2)) == ("main_1", "method_2")


# What becomes of a call


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


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        pytest.param({"operation_id": "{b}"}, ValueError, "parameters are: a", id="field"),
        pytest.param({"ignore_arguments": ["b"]}, ValueError, "parameters are: a", id="ignored"),
        pytest.param({"operation_id": "{cp}"}, ValueError, "parameters are: a", id="checkpoint"),
        pytest.param({"retry": 3}, TypeError, "retry must be", id="retry"),
        pytest.param({"on_exhausted": "never"}, ValueError, "on_exhausted", id="on_exhausted"),
        pytest.param({"operation_ids": "x"}, TypeError, "operation_ids", id="misspelled option"),
    ],
)
def test_options_that_cannot_be_are_refused_when_decorating(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    def crawl(cp: Checkpoint, a: int) -> None: ...

    with pytest.raises(error, match=says):
        resumable(**options)(crawl)


def test_the_manager_and_the_store_are_used(directory: Path) -> None:
    store = MemoryStore()

    def fail(cp: Checkpoint) -> None:
        raise ConnectionError

    for options in ({"store": store}, {"manager": CheckpointManager(store=store)}):
        with pytest.raises(ConnectionError):
            resumable(operation_id="x", **options)(fail)()  # type: ignore[call-overload]
        assert delete(store, "x") is True
    assert list(directory.iterdir()) == []


def test_a_call_inside_the_same_call_is_refused() -> None:
    @resumable(operation_id="crawl")
    def crawl(cp: Checkpoint, depth: int) -> None:
        crawl(depth - 1)

    with pytest.raises(CheckpointBusyError):
        crawl(2)


# Async


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


def test_an_async_function_takes_an_async_checkpoint() -> None:
    async def crawl(cp: Checkpoint) -> None: ...

    with pytest.raises(TypeError, match="takes an AsyncCheckpoint"):
        resumable(crawl)


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


# Generators


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


# -- the operation of a call


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
