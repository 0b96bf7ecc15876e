"""Leases are renewed while nothing is saved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from resumable import open_store
from tests.support.stores import claimed
from tests.support.watched import until


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where what cannot be saved is kept
    return f"sqlite:///{tmp_path}/store.db"


@pytest.mark.slow
def test_a_lease_is_renewed_while_nothing_is_saved(url: str) -> None:
    def renewals() -> int:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            ((count,),) = database.execute("SELECT renewals FROM resumable_operations")
        return int(count)

    with claimed(open_store(url + "?lease=0.3"), "job"):
        until(lambda: renewals() >= 3)
