"""How an operation is opened: claimed, read, restored; or left as it was."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, CheckpointCorruptError, checkpointed, every
from resumable.stores import FileStore
from tests.support.blocks import Stop, stopped


def left(directory: Path) -> None:
    """A run that was left at its third item."""
    with stopped(), checkpointed("job", every(items=1), store=directory) as cp:
        for number in cp.remaining(range(5)):
            cp.state["last"] = number
            if number == 2:
                raise Stop


def test_what_cannot_be_read_is_not_touched_and_not_owned(tmp_path: Path) -> None:
    path = FileStore(tmp_path).locate("job")
    path.write_bytes(b'{"version": "2.0", "operation_id": ')

    for _ in range(2):
        with pytest.raises(CheckpointCorruptError), checkpointed("job", store=tmp_path):
            pytest.fail("the block began")

    assert path.read_bytes() == b'{"version": "2.0", "operation_id": '


def test_a_second_block_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    left(tmp_path)

    with checkpointed("job", store=tmp_path) as cp:
        with pytest.raises(CheckpointBusyError), checkpointed("job", store=tmp_path):
            pytest.fail("the block began")
        assert cp.resumed
        assert list(cp.remaining(range(5))) == [2, 3, 4]


def test_a_run_that_begins_anew_beside_an_older_checkpoint_says_where_that_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left(tmp_path)
    left(tmp_path)
    FileStore(tmp_path).locate("job").unlink()
    caplog.set_level(logging.INFO, "resumable")

    with checkpointed("job", store=tmp_path) as cp:
        assert not cp.resumed

    (told,) = [record.getMessage() for record in caplog.records if "begins anew" in record.getMessage()]
    assert ".checkpoint_job.json.prev" in told
    assert "resumable repair" in told


def test_a_run_that_starts_over_keeps_the_old_one_until_its_first_save(tmp_path: Path) -> None:
    left(tmp_path)
    path = FileStore(tmp_path).locate("job")
    before = path.read_bytes()

    with stopped(), checkpointed("job", every(hours=1), store=tmp_path, resume=False) as cp:
        assert (cp.state, cp.resumed) == ({}, False)
        assert path.read_bytes() == before
        raise Stop
