"""The lock of an operation says who holds it, and ends with its process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, CheckpointManager, StoreError, checkpointed
from resumable.stores import (
    CheckpointStore,
    FileStore,
    Holder,
)
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.kinds import STORES, on
from tests.support.stores import claimed


@pytest.fixture(params=on(*STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


HOLD = """
import sys
from resumable.stores import Holder, open_store
lease = open_store(sys.argv[1]).claim(sys.argv[2], Holder.me())
print("owned", flush=True)
sys.stdin.read()
lease.release()
"""


@contextlib.contextmanager
def other_process(directory: Path, operation_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that owns *operation_id* until the block ends."""
    command = [sys.executable, "-B", "-c", HOLD, str(directory), operation_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"owned\n"
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("operation_id", ["crawl", "long " * 2000, "\N{FOX FACE}" * 500])
def test_the_second_process_is_told_who_holds_it(tmp_path: Path, operation_id: str) -> None:
    with other_process(tmp_path, operation_id) as process:
        for _ in range(3):  # asking must not wipe the answer
            with pytest.raises(CheckpointBusyError) as caught:
                FileStore(tmp_path).claim(operation_id, Holder.me())
            assert (caught.value.pid, caught.value.host) == (process.pid, socket.gethostname())
            assert datetime.now(UTC) - datetime.fromisoformat(caught.value.since) < timedelta(minutes=5)
            assert str(process.pid) in str(caught.value)
        with pytest.raises(CheckpointBusyError):
            CheckpointManager(tmp_path).create_checkpoint(operation_id, {})
        assert isinstance(caught.value, StoreError)
    with claimed(FileStore(tmp_path), operation_id):
        assert os.path.isdir(tmp_path)


def test_a_killed_owner_owns_nothing(tmp_path: Path) -> None:
    with other_process(tmp_path, "crawl") as process:
        process.kill()
        process.wait()
        with claimed(FileStore(tmp_path), "crawl"):
            pass


async def test_a_busy_operation_says_which_line_of_async_code_opened_it(tmp_path: Path) -> None:
    async with checkpointed("job", store=tmp_path):
        with pytest.raises(CheckpointBusyError) as caught:
            async with checkpointed("job", store=tmp_path):
                pass

    assert caught.value.opened_at.rpartition(":")[0] == __file__
