"""Leases are renewed while nothing is saved."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from resumable import (
    CheckpointBusyError,
    open_store,
)
from resumable.stores import Holder
from tests.support.stores import claimed


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # where what cannot be saved is kept
    return f"sqlite:///{tmp_path}/store.db"


@pytest.mark.slow
def test_a_lease_is_renewed_while_nothing_is_saved(url: str) -> None:
    with claimed(open_store(url + "?lease=0.3"), "job"):
        time.sleep(1)
        (row,) = sqlite3.connect(url.removeprefix("sqlite:///")).execute("SELECT renewals FROM resumable_operations")
        assert row[0] >= 3
        with pytest.raises(CheckpointBusyError):
            open_store(url).claim("job", Holder.me())
