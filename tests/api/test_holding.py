"""Durable collections in the state of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable import (
    CheckpointManager,
    StateEncodeError,
    checkpointed,
)
from tests.support.blocks import Stop, saved, stopped


@pytest.mark.parametrize("kind", ["mapping", "set", "log"])
def test_the_name_of_a_collection_is_a_string(kind: str, manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        with pytest.raises(TypeError, match="must be a str"):
            getattr(cp, kind)(3)
        cp.state[3] = getattr(cp, kind)("good")  # type: ignore[index]
        with pytest.raises(StateEncodeError, match="the key 3 is not a string"):
            cp.save()


@pytest.mark.parametrize("kind", ["mapping", "set", "log"])
def test_a_collection_under_two_names_is_refused_with_both(kind: str, manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.state["copy"] = getattr(cp, kind)("pages")
        with pytest.raises(StateEncodeError, match=r"\$\.state\.copy .* \$\.state\.pages itself"):
            cp.save()
        del cp.state["copy"]
        cp.save()

        assert saved(manager).state.keys() == {"pages"}


def test_durable_collections_come_back_as_what_they_were(tmp_path: Path) -> None:
    with stopped(), checkpointed("job", store=tmp_path) as cp:
        cp.mapping("files").update(a=1, b=[2])
        cp.set("seen").update({"x", "y"})
        cp.log("rows").extend([1, {"two": 2}])
        raise Stop

    with checkpointed("job", store=tmp_path) as cp:
        assert cp.mapping("files") == {"a": 1, "b": [2]}
        assert cp.set("seen") == {"x", "y"}
        assert cp.log("rows") == [1, {"two": 2}]
        assert cp.mapping("files") is cp.state["files"]


def test_a_name_holds_one_kind_of_collection(manager: CheckpointManager) -> None:
    with checkpointed("job", manager=manager) as cp:
        cp.mapping("files")
        with pytest.raises(TypeError, match=r"\$\.state\.files is a durable mapping, not a set"):
            cp.set("files")
