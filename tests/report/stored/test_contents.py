"""What one checkpoint holds: loops, failed items, effects, and the values of its state by size."""

from __future__ import annotations

from typing import Any

import pytest

from resumable import CheckpointData, checkpointed, every
from resumable._format.restore import Restored, restore
from resumable._format.sections import Run, Sections
from resumable._json import decode
from resumable._report.stored.contents import (
    StateKey,
    effects_in,
    failed_by_key,
    failed_in,
    history_in,
    loops_in,
    plain_document,
    state_keys_in,
)
from resumable.testing import ManualClock, MemoryStore
from tests.support.blocks import Stop, stopped


@pytest.mark.parametrize(
    ("form", "by", "done"),
    [
        pytest.param({"by": "position", "position": 7}, "position", 7, id="in order"),
        pytest.param({"by": "key", "keys": ["a", "b"], "ranges": [[3, 5]]}, "key", 5, id="by key"),
        pytest.param({"by": "scattered", "head": 10, "missing": [[2, 2], [7, 8]]}, "scattered", 7, id="out of order"),
        pytest.param({"by": "pages", "position": 4, "pages": 1, "cursor": "p2"}, "pages", 4, id="pages"),
    ],
)
def test_each_kind_of_loop_says_how_many_items_are_done(form: dict[str, Any], by: str, done: int) -> None:
    (loop,) = loops_in(Sections(loops={"loop-1": form | {"total": 20}}))

    assert (loop.name, loop.by, loop.processed_items, loop.total_items) == ("loop-1", by, done, 20)


@pytest.mark.parametrize("form", [{}, {"by": "colour"}, {"by": "position"}, {"by": "key", "ranges": "x"}], ids=str)
def test_a_loop_that_nobody_has_saved_so_is_damage(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^its loops are damaged"):
        loops_in(Sections(loops={"loop-1": form}))


def test_an_effect_without_a_result_may_have_happened() -> None:
    once: Any = {"mail 1": {"at": "x", "result": None}, "mail 2": {"at": "x"}}

    assert effects_in(Sections(once=once)) == (1, ["mail 2"])


def test_a_key_that_failed_in_two_loops_has_the_loops_name() -> None:
    sections = Sections(
        failed={"a": [("x", "ValueError: token=ghp_0123456789abcdefghij")], "b": [("x", "no"), (3, "no")]}
    )

    assert set(failed_by_key(sections)) == {"a/x", "b/x", 3}
    assert "ghp_" not in failed_in(sections)[0].error


def test_secrets_that_an_earlier_release_wrote_down_are_not_shown() -> None:
    (run,) = history_in(
        Sections(history=[Run(began="x", items_before=0, command="job.py --token ghp_0123456789abcdefghij")])
    )

    assert run.command is not None
    assert "ghp_" not in run.command


@pytest.fixture
def restored() -> Restored:
    store = MemoryStore()
    with stopped(), checkpointed("job", every(items=1), store=store, nan="allow") as cp:
        cp.state.update(page=7, name="x", ratio=float("inf"), nothing=None, rows=[1, 2])
        cp.mapping("files")["a"] = 1
        for _ in cp.remaining(range(3)):
            raise Stop
    found = restore(store, "job", now=ManualClock().utc())
    assert found is not None
    return found


def test_values_are_told_with_their_kind_and_size(restored: Restored) -> None:
    state = {name: value for name, value in restored.data.state.items() if name != "ratio"}

    assert state_keys_in(state, restored.sections) == [
        StateKey("page", "number", None, 1),
        StateKey("name", "text", None, 3),
        StateKey("nothing", "null", None, 4),
        StateKey("rows", "list", 2, 5),
        StateKey("files", "mapping", 1, 7),
    ]


def test_a_plain_document_is_read_by_anybody_and_says_how_infinities_are_spelled(restored: Restored) -> None:
    data: CheckpointData = restored.data
    document = decode(plain_document(data))
    assert document["resumable"]["nonfinite"] == "$float"
    assert document["state"]["ratio"] == {"$float": "inf"}

    del data.state["ratio"]

    assert "resumable" not in decode(plain_document(data))
