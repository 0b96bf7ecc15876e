"""Checkpoints to be damaged, verified and repaired."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from resumable import CheckpointManager, checkpointed, every
from resumable.cli._commands import commands
from resumable.stores import EncryptedStore, FileStore

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
NEVER = every(hours=1000)
PADDING = {f"{number}": "x" * 90 for number in range(120)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, list(arguments))


def saved(directory: Path, saves: int, operation_id: str = "job") -> Path:
    """A snapshot, and *saves* saves in its journal."""
    with checkpointed(operation_id, NEVER, store=directory, auto_cleanup=False) as cp:
        cp.mapping("files").update(PADDING)
        cp.state["n"] = 0
        cp.save()
        for number in range(1, saves + 1):
            cp.state["n"] = number
            cp.save()
    return FileStore(directory).locate(operation_id)


def spoil(path: Path, at: int = 300) -> bytes:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    return bytes(raw)


def loaded(path: Path, operation_id: str = "job") -> int:
    found = CheckpointManager(path.parent).load_checkpoint(operation_id)
    assert found is not None
    return int(found.state["n"])


@pytest.fixture
def journaled(tmp_path: Path) -> Path:
    """A snapshot of an earlier generation, one with a journal of five saves and that of the exit."""
    return saved(tmp_path, 5)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two small snapshots and no journal: n is 1, before it was 0."""
    manager = CheckpointManager(tmp_path)
    manager.create_checkpoint("job", {"n": 0})
    return Path(manager.create_checkpoint("job", {"n": 1}))


def kept(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if ".corrupt-" in file.name)


KEY = EncryptedStore.new_key()


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Two encrypted checkpoints, n is 1, before it was 0."""
    manager = CheckpointManager(store=EncryptedStore(FileStore(tmp_path), KEY))
    manager.create_checkpoint("job", {"n": 0})
    return Path(manager.create_checkpoint("job", {"n": 1}))
