"""The type of ``cp.state``: a dict, unless ``state=`` asks for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type
from uuid import UUID

from resumable import AsyncCheckpoint, Checkpoint, CheckpointView, checkpointed, every, read
from resumable._durable import DurableDict, DurableSet


@dataclass
class Mine:
    done: int = 0


def a_dict_by_default() -> None:
    with checkpointed("x", every(items=1), progress=True) as cp:
        assert_type(cp, Checkpoint[dict[str, Any]])
        cp.state["done"] = 1
    block = checkpointed("x", state=None)
    assert_type(block, checkpointed[dict[str, Any]])


def a_type_of_its_own() -> None:
    with checkpointed("x", state=Mine) as cp:
        assert_type(cp, Checkpoint[Mine])
        cp.state.done += 1
        cp.state["done"] = 1  # mistake


def collections_of_a_class() -> None:
    with checkpointed("x") as cp:
        assert_type(cp.mapping("files", Mine), DurableDict[Mine])
        assert_type(cp.mapping("files", Mine)["a"].done, int)
        assert_type(cp.log("rows", Mine)[0], Mine)
        assert_type(cp.set("seen", UUID), DurableSet[UUID])
        assert_type(cp.mapping("plain"), DurableDict[Any])
        cp.mapping("plain")["a"] = {"any": "thing"}
        cp.mapping("files", Mine)["a"] = 3  # mistake
        cp.log("rows", Mine).append("row")  # mistake
        cp.set("seen", UUID).add("id")  # mistake
        cp.mapping("files", 3)  # mistake


async def also_in_async_code() -> None:
    async with checkpointed("x") as cp:
        assert_type(cp, AsyncCheckpoint[dict[str, Any]])
    async with checkpointed("x", state=Mine) as typed:
        assert_type(typed.state, Mine)


def what_is_read() -> None:
    view = read("x", store="checkpoints")
    assert_type(view, CheckpointView)
    assert_type(view.state, dict[str, Any])
    assert_type(view.loops["main"].total_items, int | None)
    assert_type(view.history[0].run, int)
    view.state = {}  # mistake
    read(3)  # mistake


def options_are_checked() -> None:
    checkpointed("x", resum=True)  # mistake
    checkpointed("x", total="3")  # mistake
    checkpointed("x", state=3)  # mistake
