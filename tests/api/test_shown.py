"""What a person sees who shows an object, or asks for its names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import resumable
from resumable import Checkpoint, CheckpointManager, checkpointed, every, open_store, wait_rate_limit
from resumable.stores import EncryptedStore
from resumable.testing import ManualClock


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_a_checkpoint_says_how_far_it_is_and_where_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clock = ManualClock()
    block = checkpointed("nb", every(items=20), manager=CheckpointManager(tmp_path, clock=clock))
    assert repr(block) == f"<checkpointed 'nb' in {tmp_path}>"

    with block as cp:
        assert repr(cp) == "<Checkpoint 'nb': 0 items, not saved yet>"
        for item in cp.remaining(range(60)):
            if item == 20:
                cp.save()
                clock.advance(3)
            if item == 21:
                break
        assert repr(cp) == "<Checkpoint 'nb': 21 of 60, saved 3 s ago in .checkpoint_nb.json>"
        cp.finalize()

    assert repr(cp) == "<Checkpoint 'nb': 21 of 60, closed>"


async def test_an_async_checkpoint_and_its_loop_say_the_same(tmp_path: Path) -> None:
    async with checkpointed("job", store=tmp_path) as cp:
        loop = cp.remaining(range(3), name="items")

        assert repr(cp) == "<AsyncCheckpoint 'job': 0 of 3, not saved yet>"
        assert repr(loop) == "<AsyncRemaining 'items': 0 of 3 done>"
        cp.finalize()


def test_loops_and_output_files_say_what_they_are(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        loop = cp.remaining(range(3))
        next(loop), next(loop)
        rows = cp.sink(tmp_path / "rows.csv")

        assert repr(loop) == "<Remaining 'loop-1': 1 of 3 done>"
        assert repr(cp.remaining(iter("ab"), name="open")) == "<Remaining 'open': 0 done>"
        assert repr(rows) == f"<Sink {os.path.realpath(tmp_path / 'rows.csv')!r}: open>"
        cp.finalize()

    assert repr(rows).endswith(": closed>")


def test_stores_managers_and_waits_say_what_they_are_and_never_a_key(tmp_path: Path) -> None:
    store: Any = open_store(tmp_path)
    pytest.importorskip("cryptography")
    key = EncryptedStore.new_key()

    assert repr(store) == f"FileStore({str(tmp_path)!r})"
    assert repr(open_store("memory://shown")) == "MemoryStore()"
    assert repr(CheckpointManager(tmp_path, every(items=3))) == (
        f"CheckpointManager(store={store!r}, save_strategy=ProgressBasedStrategy(items_interval=3))"
    )
    assert key not in repr(EncryptedStore(store, key))
    assert repr(wait_rate_limit(max_wait=60)) == "wait_rate_limit(wait_random_exponential, max_wait=60, jitter=1.0)"


def test_decorated_functions_say_what_they_are() -> None:
    class Crawler:
        @resumable.resumable(operation_id="crawl")
        def crawl(self, cp: Checkpoint) -> None: ...

    @resumable.resumable
    def fetch(cp: Checkpoint) -> None: ...

    assert repr(fetch).startswith("<resumable function ")
    assert repr(fetch).endswith("fetch>")
    assert repr(Crawler().crawl).endswith("Crawler.crawl>")
    assert "operation" in dir(fetch)
    assert "operation" in dir(Crawler().crawl)


def test_completion_offers_no_verbs_of_the_engine(tmp_path: Path) -> None:
    with checkpointed("job", store=tmp_path) as cp:
        assert public(cp.remaining(range(3))) == {"is_finished", "name", "position", "total"}
        assert public(cp.mapping("files")) == public({})
        assert public(cp.set("seen")) == public(set())
        assert public(cp.log("rows")) == public([])
        assert public(cp.sink(tmp_path / "rows")) == {
            *("close", "closed", "flush", "header", "mode", "path", "write", "writelines")
        }
        assert {"tick", "save", "state", "remaining", "map", "mapping", "sink"} <= public(cp)
        hidden = public(type(cp)) - public(cp)
        assert [name for name in public(cp) if (getattr(type(cp), name).__doc__ or "").startswith("For ")] == []
        assert {"register", "unregister", "boundary", "enter_block", "leave_block", "check_in"} <= hidden
        assert "ticked" not in dir(cp)
        cp.finalize()


def test_the_version_is_that_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert resumable.__version__ == project["project"]["version"]
