"""What loops and the engine ask of a checkpoint is not offered to users, who get the same object."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest

from resumable import AsyncCheckpoint, Checkpoint, checkpointed
from resumable._api.async_checkpoint import InnerAsyncCheckpoint
from resumable._api.checkpoint import InnerCheckpoint
from resumable._api.inner import Inner


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_an_editor_completes_what_is_for_users_and_so_does_a_shell(tmp_path: Path) -> None:
    """An editor goes by the class that is declared, a shell asks the object."""
    with checkpointed("job", store=tmp_path) as cp:
        offered = public(dir(cp))

    assert public(dir(Checkpoint)) == offered
    assert {"state", "tick", "remaining", "mapping"} <= offered
    assert public([*vars(Inner), *vars(InnerCheckpoint)]) & offered == set()


async def test_an_editor_completes_what_is_for_users_of_async_ones(tmp_path: Path) -> None:
    async with checkpointed("job", store=tmp_path) as cp:
        offered = public(dir(cp))

    assert public(dir(AsyncCheckpoint)) == offered


@pytest.mark.parametrize(("method", "kind"), [("__enter__", Checkpoint), ("__aenter__", AsyncCheckpoint)])
def test_a_block_declares_the_class_for_users(method: str, kind: type) -> None:
    names = {"AsyncCheckpoint": AsyncCheckpoint}
    told = get_type_hints(getattr(checkpointed, method), None, names)["return"]

    assert told.__origin__ is kind


def test_the_object_is_called_by_the_name_that_users_know(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        assert repr(cp).startswith("<Checkpoint 'job': ")
        assert isinstance(cp, Checkpoint)


async def test_only_a_cancellation_for_a_stop_is_taken_back(tmp_path: Path) -> None:
    async with checkpointed("job", store=tmp_path) as cp:
        assert repr(cp).startswith("<AsyncCheckpoint 'job': ")
        assert isinstance(cp, InnerAsyncCheckpoint)
        assert not cp.take_cancellation()
