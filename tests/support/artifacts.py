"""Artifacts written, read and found in their store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from resumable import (
    Checkpoint,
    checkpointed,
    every,
    open_store,
)
from resumable.stores import CheckpointStore, EncryptedStore, FileStore, MemoryStore

KEY = EncryptedStore.new_key()
NEVER = every(hours=9)
STORES: dict[str, Callable[[Path], CheckpointStore]] = {
    "files": lambda directory: FileStore(directory / "store"),
    "memory": lambda directory: MemoryStore(),
    "encrypted files": lambda directory: EncryptedStore(FileStore(directory / "store"), KEY),
    "SQLite": lambda directory: open_store(f"sqlite:///{directory}/store.db"),
}


def put(cp: Checkpoint[Any], name: str, text: str) -> None:
    with cp.artifact(name).write() as path:
        path.write_text(text)


def text_of(cp: Checkpoint[Any], name: str) -> str | None:
    artifact = cp.artifact(name)
    return artifact.path.read_text() if artifact.exists else None


def lying(directory: Path) -> list[str]:
    """What versions hold that lie in the store."""
    return sorted(path.read_text() for path in directory.glob(".checkpoint_*.files/*/*"))


def lying_in(store: CheckpointStore, key: str = "job") -> int:
    keeper: Any = store
    return len(list(keeper.list_artifacts(key)))


def kept(tmp_path: Path) -> Path:
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        put(cp, "model", "weights")
        cp.keep()
    (path,) = tmp_path.glob(".checkpoint_job.files/*/*")
    return path
