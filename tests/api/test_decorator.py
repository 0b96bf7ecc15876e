"""``@resumable``: where the checkpoint goes, what the function looks like, and what becomes of its calls."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from resumable import (
    AsyncCheckpoint,
    Checkpoint,
    CheckpointManager,
    resumable,
)
from resumable.stores import MemoryStore
from tests.support.stores import delete

if TYPE_CHECKING:
    pass


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
    return tmp_path


# Where the checkpoint goes


def first(cp: Checkpoint, a: int, b: int = 2) -> Any:
    return cp, a, b


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


@pytest.mark.slow
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


@pytest.mark.slow
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


# Async


def test_an_async_function_takes_an_async_checkpoint() -> None:
    async def crawl(cp: Checkpoint) -> None: ...

    with pytest.raises(TypeError, match="takes an AsyncCheckpoint"):
        resumable(crawl)


# Generators
