"""Every kind of store, by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resumable import open_store
from resumable.stores import CheckpointStore, EncryptedStore, FileStore, MemoryStore
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.media import place_in
from tests.support.stores import DictStore

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
