"""The table of requests to running jobs; it is created when it is first needed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from resumable.stores import WishStore, open_store
from tests.support.stores import claimed


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.parametrize("key", ["job", "Job", "j\0b", "x" * 5000], ids=["plain", "case", "NUL", "long"])
def test_a_wish_stands_until_it_is_cleared(key: str, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/jobs.db")
    assert isinstance(store, WishStore)
    assert store.wish(key) is None

    store.put_wish(key, b"stop")
    store.put_wish(key, b"pause")
    store.clear_wish(key, b"stop")
    assert store.wish(key) == b"pause"
    store.clear_wish(key, b"pause")

    assert store.wish(key) is None
    store.close()


def test_a_database_of_an_older_release_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    store = open_store(f"sqlite:///{path}")
    with claimed(store, "job"):
        pass
    with closing(sqlite3.connect(path)) as database:
        (name,) = [name for name in tables(path) if "wish" in name]
        database.execute(f"DROP TABLE {name}")

    assert isinstance(store, WishStore)
    store.put_wish("job", b"stop")

    assert store.wish("job") == b"stop"
    assert name in tables(path)
    store.close()
