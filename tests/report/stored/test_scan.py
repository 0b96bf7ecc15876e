"""Facts of a checkpoint for lists, read without its state."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from resumable import checkpointed, every
from resumable._format.sections import ListedSections
from resumable._report.stored.scan import _SCAN_FROM, read_all, read_facts
from resumable.stores import FileStore
from tests.support.command import document, resumable, run

pytestmark = pytest.mark.usefixtures("place")


def test_a_checkpoint_under_a_wrong_name_is_not_passed_over() -> None:
    run("stars", OSError())
    Path(".checkpoint_stars.json").rename(".checkpoint_backup.json")

    listed, removed = resumable("list").stdout, resumable("rm", "stars")

    assert "! damaged" in listed
    assert removed.exit_code == 1
    assert ".checkpoint_stars.json" in removed.stderr
    assert Path(".checkpoint_backup.json").exists()


def test_a_changed_byte_in_a_large_checkpoint_is_seen_without_decoding_it() -> None:
    with checkpointed("big", auto_cleanup=False) as cp:
        cp.state["text"] = "x" * (2 * _SCAN_FROM)
    path = FileStore(".").locate("big")
    path.write_bytes(path.read_bytes().replace(b"xxx", b"xyx", 1))

    assert document("list")["checkpoints"][0]["state"] == "damaged"


def test_a_scan_finds_what_a_full_read_does_and_leaves_the_state_out() -> None:
    """The last save is in the journal; the snapshot alone would tell of an earlier one."""
    with contextlib.suppress(KeyboardInterrupt), checkpointed("big", every(items=500)) as cp:
        files = cp.mapping("files")
        for item in cp.remaining(range(10_000)):
            if item == 3500:
                raise KeyboardInterrupt
            files[str(item)] = "x" * 100
    store = FileStore(".")
    whole, facts = read_all(store, "big"), read_facts(store, "big")

    assert whole is not None
    assert facts is not None
    assert whole.size > _SCAN_FROM
    assert whole.journal_bytes
    assert facts.metadata == whole.data.metadata
    assert (facts.created_at, facts.last_updated) == (whole.data.created_at, whole.data.last_updated)
    for name in ListedSections.__struct_fields__:
        assert getattr(facts.sections, name) == getattr(whole.sections, name)
    assert document("list")["checkpoints"][0]["processed_items"] == 3500
