"""The lock of an operation says who holds it, and ends with its process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, CheckpointManager, StoreError, open_store
from resumable.stores import (
    CheckpointStore,
    EncryptedStore,
    FileStore,
    Holder,
    MemoryStore,
)
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.media import place_in
from tests.support.stores import DictStore, claimed

KEY = EncryptedStore.new_key()


STORES: dict[str, Callable[[Path], CheckpointStore]] = {
    "files": lambda directory: FileStore(directory / "store"),
    "memory": lambda directory: MemoryStore(),
    "a simple one": lambda directory: open_store(DictStore()),
    "sqlite": lambda directory: open_store(f"sqlite:///{directory}/store.db"),
    "compressed": lambda directory: open_store(f"sqlite:///{directory}/store.db?compress=zstd"),
    "encrypted files": lambda directory: EncryptedStore(FileStore(directory / "store"), KEY),
    "encrypted memory": lambda directory: EncryptedStore(MemoryStore(), KEY),
    "encrypted simple one": lambda directory: EncryptedStore(DictStore(), KEY),
}


SERVED = ("postgresql", "mariadb", "redis", "valkey", "moto", "seaweed", "azurite")


STORES |= {name: lambda directory, name=name: open_store(place_in(name, directory)) for name in SERVED}  # type: ignore[misc]


STORES["encrypted redis"] = lambda directory: EncryptedStore(place_in("redis", directory), KEY)


SLOW = {*SERVED, "compressed", "encrypted redis", "encrypted memory"} - {"redis"}


def on(*names: str) -> list[object]:
    """The stores of these names, as parameters."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


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
