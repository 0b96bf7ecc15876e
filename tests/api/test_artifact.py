"""Artifacts: files that count with the next save, as position and state do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    Checkpoint,
    StoreError,
    checkpointed,
    every,
    open_store,
)
from resumable.stores import CheckpointStore
from resumable.testing import FaultyStore
from tests.support.artifacts import NEVER, STORES, lying, lying_in, put, text_of
from tests.support.stores import DictStore


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    return STORES[request.param](tmp_path)


class StopError(Exception):
    """Leaves a block."""


@contextmanager
def leaving(error: type[Exception]) -> Iterator[None]:
    """The block is left by *error*, wherever in it."""
    with pytest.raises(error):
        yield


# -- what a run finds -------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_has_the_version_of_its_position(store: CheckpointStore) -> None:
    with leaving(StopError), checkpointed("job", NEVER, store=store) as cp:
        assert not cp.artifact("model").exists
        for number in cp.remaining(range(5)):
            put(cp, "model", f"{number}")
            if number == 3:
                raise StopError  # within the item: what it wrote does not count
    with checkpointed("job", NEVER, store=store) as cp:
        assert text_of(cp, "model") == "2"
        assert next(iter(cp.remaining(range(5)))) == 3
        cp.keep()


def test_what_was_written_is_there_at_once_and_the_version_before_stays_until_the_save(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        for number in cp.remaining(range(4)):
            put(cp, "model", f"{number}")
            assert text_of(cp, "model") == f"{number}"
        cp.save()
        assert lying(tmp_path) == ["3"]
        put(cp, "model", "new")
        assert lying(tmp_path) == ["3", "new"]
        cp.save()
        cp.save()
        assert lying(tmp_path) == ["new"]


def test_errors_leave_the_version_before(store: CheckpointStore) -> None:
    with checkpointed("job", NEVER, store=store) as cp:
        model = cp.artifact("model")
        put(cp, "model", "good")
        with leaving(StopError), model.write() as path:
            path.write_text("half")
            raise StopError
        with leaving(StopError), model.open("w") as file:
            file.write("half")
            raise StopError
        with pytest.raises(ValueError, match="nothing was written"), model.write():
            pass
        with pytest.raises(ValueError, match="neither a file nor a directory"), model.write() as path:
            path.symlink_to("/etc/passwd")
        assert text_of(cp, "model") == "good"
        assert lying_in(store) == 1


def test_any_library_may_write_a_file_a_directory_or_several(store: CheckpointStore) -> None:
    def write(cp: Checkpoint[Any]) -> None:
        with cp.artifact("with a suffix").write() as path:
            path.with_name(path.name + ".npz").write_bytes(b"numpy adds it")
        with cp.artifact("a directory").write() as path:
            (path / "inner").mkdir(parents=True)
            (path / "inner" / "part").write_bytes(b"1" * 100_000)
            (path / "empty").mkdir()
        with cp.artifact("several").write() as path:
            path.with_name(path.name + ".index").write_bytes(b"i")
            path.with_name(path.name + ".data").write_bytes(b"d")
        with cp.artifact("opened.txt").open("w", encoding="utf-8", newline="") as file:
            file.write("ä\r\n")
        with cp.artifact("empty").open() as file:
            pass

    with checkpointed("job", NEVER, store=store) as cp:
        write(cp)
        cp.keep()
    with checkpointed("job", NEVER, store=store) as cp:
        assert cp.artifact("with a suffix").path.name.endswith(".npz")
        assert cp.artifact("with a suffix").path.read_bytes() == b"numpy adds it"
        assert (cp.artifact("a directory").path / "inner" / "part").read_bytes() == b"1" * 100_000
        assert (cp.artifact("a directory").path / "empty").is_dir()
        beginning = cp.artifact("several").path
        assert beginning.with_name(beginning.name + ".data").read_bytes() == b"d"
        with cp.artifact("opened.txt").open("r", encoding="utf-8", newline="") as file:
            assert file.read() == "ä\r\n"
        with cp.artifact("empty").open("rb") as file:
            assert file.read() == b""


def test_the_mode_is_checked_and_what_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        model = cp.artifact("model")
        assert repr(model) == "<Artifact 'model': no version yet>"
        with pytest.raises(ValueError, match="anew"):
            model.open("r+b")
        with pytest.raises(FileNotFoundError, match="model"):
            _ = model.path
        with pytest.raises(FileNotFoundError), model.open("rb"):
            pass
        with pytest.raises(FileNotFoundError):
            model.publish(tmp_path / "out")


def test_a_store_without_artifacts_says_so(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=open_store(DictStore())) as cp, pytest.raises(StoreError, match="not keep"):
        cp.artifact("model")


# -- saves ------------------------------------------------------------------------------------------------------------


def test_a_store_that_refuses_a_version_leaves_the_one_before(store: CheckpointStore) -> None:
    faulty = FaultyStore(store)
    with checkpointed("job", NEVER, store=faulty) as cp:
        put(cp, "model", "good")
        faulty.fail_next("put_artifact")
        with pytest.raises(StoreError):
            put(cp, "model", "bad")
        assert text_of(cp, "model") == "good"


def test_a_state_that_cannot_be_saved_goes_back_to_the_version_of_the_last_good_item(tmp_path: Path) -> None:
    with leaving(Exception), checkpointed("job", every(items=50), store=tmp_path) as cp:
        for number in cp.remaining(range(6)):
            put(cp, "model", f"{number}")
            cp.state["n"] = number if number < 4 else object()
        raise StopError
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        assert text_of(cp, "model") == (f"{cp.state['n']}" if "n" in cp.state else None)
        cp.keep()


def test_it_goes_with_the_checkpoint(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        put(cp, "model", "1")
    assert [*tmp_path.iterdir()] == []
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        put(cp, "model", "1")
    assert lying(tmp_path) == ["1"]


def test_a_run_that_does_not_touch_it_keeps_it(store: CheckpointStore) -> None:
    with checkpointed("job", NEVER, store=store) as cp:
        put(cp, "model", "1")
        cp.keep()
    for _ in range(3):
        with checkpointed("job", NEVER, store=store) as cp:
            cp.state["n"] = cp.state.get("n", 0) + 1
            cp.keep()
    with checkpointed("job", NEVER, store=store) as cp:
        assert text_of(cp, "model") == "1"


# -- who writes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_worker_of_a_map_writes_belongs_to_its_item(store: CheckpointStore) -> None:
    with leaving(StopError), checkpointed("job", NEVER, store=store) as cp:

        def work(number: int) -> int:
            put(cp, f"part {number}", f"{number}")
            return number

        for done, (_, result) in enumerate(cp.map(work, range(6), executor=ThreadPoolExecutor(2))):
            cp.state[f"{result}"] = True
            if done == 3:
                raise StopError
    with checkpointed("job", NEVER, store=store) as cp:
        counted = {number for number in range(6) if cp.artifact(f"part {number}").exists}
        assert len(counted) == 3
        assert all(text_of(cp, f"part {number}") == f"{number}" for number in counted)


@pytest.mark.slow
def test_threads_may_write_at_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": tmp_path, "auto_cleanup": False}
    with checkpointed("job", every(items=3), **options) as cp, ThreadPoolExecutor(4) as pool:
        for number in cp.remaining(range(12)):
            list(pool.map(lambda name, n=number: put(cp, f"{name}", f"{name} {n}"), range(8)))  # type: ignore[misc]
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        assert [text_of(cp, f"{name}") for name in range(8)] == [f"{name} 11" for name in range(8)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_none(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        model = cp.artifact("model")
        put(cp, "model", "parent")
        pid = os.fork()
        if not pid:
            try:
                with model.write() as path:
                    path.write_text("child")
            except StoreError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert lying(tmp_path) == ["parent"]


def test_it_is_not_sent_to_another_process(tmp_path: Path) -> None:
    import pickle

    with checkpointed("job", NEVER, store=tmp_path) as cp, pytest.raises(TypeError, match="its path"):
        pickle.dumps(cp.artifact("model"))


def test_after_the_block_none_is_written(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        model = cp.artifact("model")
    with pytest.raises(ValueError, match="closed"), model.write():
        pass
    assert [*tmp_path.iterdir()] == []


# -- publish ----------------------------------------------------------------------------------------------------------


def test_publish_gives_it_a_name_of_its_own(store: CheckpointStore, tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.txt"
    with checkpointed("job", NEVER, store=store) as cp:
        put(cp, "model", "weights")
        assert cp.artifact("model").publish(target) == target
        assert target.read_text() == "weights"
        assert text_of(cp, "model") == "weights"  # a run that is killed now publishes again
    assert target.read_text() == "weights"
    assert lying_in(store) == 0


def test_what_stays_with_the_checkpoint_is_copied(tmp_path: Path) -> None:
    with checkpointed("job", NEVER, store=tmp_path / "store", auto_cleanup=False) as cp:
        put(cp, "model", "weights")
        cp.artifact("model").publish(tmp_path / "out")
    with open(tmp_path / "out", "a") as file:
        file.write(" changed in place")
    with checkpointed("job", NEVER, store=tmp_path / "store") as cp:
        assert text_of(cp, "model") == "weights"


# -- async ------------------------------------------------------------------------------------------------------------


def test_async_code_has_the_same(store: CheckpointStore, tmp_path: Path) -> None:
    async def first() -> None:
        async with checkpointed("job", NEVER, store=store) as cp:
            model = await cp.artifact("model")
            async for number in cp.remaining(range(4)):
                async with model.write() as path:
                    path.write_text(f"{number}")
                if number == 2:
                    raise StopError

    async def second() -> None:
        async with checkpointed("job", NEVER, store=store) as cp:
            model = await cp.artifact("model")
            assert model.path.read_text() == "1"
            with pytest.raises(StopError):
                async with model.open("w") as file:
                    raise StopError
            async with model.open("w") as file:
                file.write("last")
            async with model.open("r") as file:
                assert file.read() == "last"
            await model.publish(tmp_path / "out")
            cp.finalize()

    with pytest.raises(StopError):
        asyncio.run(first())
    asyncio.run(second())
    assert (tmp_path / "out").read_text() == "last"
    assert lying_in(store) == 0


KILLED = """
import os, sys
from resumable import checkpointed, every
with checkpointed("job", every(items=1), store=sys.argv[1]) as cp:
    model = cp.artifact("model")
    for number in cp.remaining(range(10)):
        assert (model.path.read_text() if model.exists else "") == "x" * number, number
        with model.write() as path:
            path.write_text("x" * (number + 1))
            if number == int(sys.argv[2]):
                os._exit(9)
"""


@pytest.mark.slow
def test_a_kill_while_it_is_written_leaves_the_version_of_the_checkpoint(tmp_path: Path) -> None:
    for number in (0, 4, 9):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), f"{number}"], check=False)
        assert done.returncode == 9
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "99"], check=True)
    assert [*tmp_path.iterdir()] == []
