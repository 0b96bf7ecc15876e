"""What type checkers say of decorated functions. Checked by both, never run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, assert_type

import tenacity

from resumable import AsyncCheckpoint, Checkpoint, every, resumable


@resumable
def bare(cp: Checkpoint, a: int, b: str = "") -> list[int]:
    assert_type(cp.state, dict[str, Any])
    return [a]


@resumable(operation_id="{a}", strategy=every(items=5), retry=tenacity.Retrying(), ignore_arguments=["b"])
def given(cp: Checkpoint, a: int, b: str = "") -> list[int]:
    return [a]


@resumable
async def bare_async(cp: AsyncCheckpoint, a: int) -> list[int]:
    await cp.tick()
    return [a]


@resumable(operation_id="x")
async def given_async(cp: AsyncCheckpoint, a: int) -> list[int]:
    return [a]


@resumable
def without(a: int) -> str:
    return str(a)


@resumable(operation_id="x")
async def without_options(a: str) -> str:
    return a


@resumable
def vague(cp: Checkpoint, config: dict, more: list[Any], last: Any = None) -> dict:  # type: ignore[type-arg]
    return {}


@dataclass
class State:
    n: int = 0


@resumable(state=State)
def typed(cp: Checkpoint[State], a: int) -> int:
    return cp.state.n + a


class Client:
    @resumable
    def nothing(self, cp: Checkpoint) -> None:
        cp.tick()

    @resumable
    def bare(self, cp: Checkpoint, a: int) -> str:
        return str(a)

    @resumable(operation_id="{self}")
    def given(self, cp: Checkpoint, a: int) -> str:
        return str(a)

    @resumable(operation_id="x")
    async def given_async(self, cp: AsyncCheckpoint, a: int) -> str:
        return str(a)

    @resumable
    async def bare_async(self, cp: AsyncCheckpoint, a: int) -> str:
        return str(a)

    @classmethod
    @resumable(operation_id="x")
    def of_class(cls, cp: Checkpoint, a: int) -> str:
        return str(a)

    @staticmethod
    @resumable(operation_id="x")
    def static(cp: Checkpoint, a: int) -> str:
        return str(a)


class Special(Client):
    pass


def fits() -> None:
    client = Client()
    assert_type(bare(1), list[int])
    assert_type(bare(a=1, b=""), list[int])
    assert_type(given(1, "x"), list[int])
    _ = assert_type(bare_async(1), Coroutine[Any, Any, list[int]])
    _ = assert_type(given_async(1), Coroutine[Any, Any, list[int]])
    assert_type(without(a=1), str)
    _ = without_options(a="")
    vague({}, [], last=1)
    assert_type(typed(1), int)
    assert_type(client.bare(1), str)
    assert_type(client.given(a=1), str)
    _ = assert_type(client.given_async(1), Coroutine[Any, Any, str])
    _ = assert_type(client.bare_async(1), Coroutine[Any, Any, str])
    assert_type(Client.of_class(1), str)
    assert_type(client.of_class(1), str)
    assert_type(Client.static(1), str)
    assert_type(client.static(1), str)
    assert_type(Client.given(client, 1), str)
    assert_type(Special().given(1), str)
    assert_type(Special.of_class(1), str)
    client.nothing()
    plain: Callable[[int], str] = client.given
    assert_type(plain(1), str)


def operations() -> None:
    client = Client()
    bare.operation(1, b="").forget()
    given.operation(1).status()
    given_async.operation(1).forget()
    typed.operation(1).forget()
    without.operation(1).forget()
    without_options.operation(a="").forget()
    assert_type(without.operation(1).operation_id, str)
    client.bare.operation(1).forget()
    client.given_async.operation(a=1).forget()
    assert_type(bare.operation(1).operation_id, str)
    assert_type(bare.__name__, str)
