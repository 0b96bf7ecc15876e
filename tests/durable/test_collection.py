"""What all durable collections share: a save begins, then commits or rolls back."""

from __future__ import annotations

import logging
import os
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resumable import checkpointed
from resumable._durable import DurableDict, DurableLog, DurableSet, make
from resumable._durable.changes import Replay
from resumable._durable.frozen import FrozenDict
from tests.support.durable import grow, replayed, saved, text_of


@pytest.mark.parametrize("kind", [DurableDict, DurableSet, DurableLog])
def test_a_second_save_before_the_first_is_committed_raises(kind: Any) -> None:
    collection = kind()
    grow(collection, "a")
    collection.begin()
    grow(collection, "b")

    with pytest.raises(RuntimeError):
        collection.begin()


@pytest.mark.parametrize("kind", [DurableDict, DurableSet, DurableLog])
def test_a_snapshot_that_is_begun_counts_as_a_save(kind: Any) -> None:
    collection = kind()
    grow(collection, "a")
    snapshot = collection.begin_snapshot()
    grow(collection, "b")
    collection.commit()

    after = Replay(msgspec.json.decode(b"".join(snapshot)))
    after.apply(saved(collection))

    assert sorted(after.result()) == sorted(collection)


@pytest.mark.parametrize("kind", [DurableDict, DurableSet, DurableLog])
def test_a_snapshot_that_is_rolled_back_is_in_the_next_save(kind: Any) -> None:
    collection = kind()
    grow(collection, "a")
    collection.begin_snapshot()

    collection.rollback()

    assert replayed(None, saved(collection)) == text_of(collection)


@pytest.mark.parametrize(("kind", "wrong"), [(DurableDict, []), (DurableSet, {}), (DurableLog, {})])
def test_a_name_that_holds_another_kind_is_refused(kind: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"\$\.state\.files holds a"):
        kind(wrong, path="$.state.files")


@pytest.mark.parametrize("kind", ["mapping", "set", "log"])
def test_a_kind_is_made_by_its_name(kind: str) -> None:
    assert make(kind, None, "$.state.files").kind == kind


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\$\.state\.files is a collection of unknown kind 'heap'"):
        make("heap", None, "$.state.files")


# -- loaded values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", [DurableDict({f"k{n}": {"n": n} for n in range(500)}),
                                        DurableLog([{"n": n} for n in range(500)])], ids=["dict", "log"])  # fmt: skip
def test_saves_freeze_loaded_values_bit_by_bit_until_reading_is_a_builtins_own(collection: Any) -> None:
    kind = DurableDict if isinstance(collection, dict) else DurableLog
    for _ in range(5):
        assert saved(collection) is None

    assert type(collection) is kind
    assert "__getitem__" not in kind.__dict__  # A builtin's own, in C.


@pytest.mark.parametrize("kind", [DurableDict, DurableLog])
def test_a_save_freezes_some_loaded_values_however_often_it_commits(kind: Any) -> None:
    is_dict = kind is DurableDict
    collection = kind({str(n): {"n": n} for n in range(500)} if is_dict else [{"n": n} for n in range(500)])
    for saves in (1, 2):
        collection.begin()
        for _ in range(3):
            collection.commit(has_time=True)
        values = dict.values(collection) if is_dict else map(list.__getitem__, repeat(collection), range(500))
        assert sum(type(value) is FrozenDict for value in values) == 100 * saves


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["mapping", "set", "log", "made in the child"])
def test_what_a_forked_child_writes_is_told_of_as_it_is_not_saved(kind: str, tmp_path: Path) -> None:
    """A worker of a pool fills a collection instead of returning its result."""
    told = tmp_path / "told.txt"
    with checkpointed("job", store=tmp_path) as cp:
        values, seen, log = cp.mapping("values"), cp.set("seen"), cp.log("log")
        child = os.fork()
        if child == 0:
            logging.getLogger("resumable").addHandler(logging.FileHandler(told))
            for number in range(2):
                if kind == "mapping":
                    values["number"] = number
                elif kind == "set":
                    seen.add(number)
                elif kind == "log":
                    log.append(number)
                else:
                    cp.log("other").append(number)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        values["number"] = 7
        assert (dict(values), set(seen), list(log)) == ({"number": 7}, set(), [])

    (line,) = told.read_text().splitlines()
    assert line.startswith("job: this process was forked from the one that opened the checkpoint")
