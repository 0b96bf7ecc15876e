"""Artifacts of an open operation: checked on resume, swept, kept for the save before."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointCorruptError,
    StoreError,
    checkpointed,
    open_store,
)
from resumable._engine import artifacts
from resumable.stores import CheckpointStore
from resumable.testing import FaultyStore
from tests.support.artifacts import NEVER, STORES, kept, lying, lying_in, put, text_of


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    return STORES[request.param](tmp_path)


def test_a_version_that_no_save_can_name_goes_at_once(store: CheckpointStore) -> None:
    with checkpointed("job", NEVER, store=store) as cp:
        for number in cp.remaining(range(20)):
            put(cp, "model", f"{number}")
            assert lying_in(store) <= 4


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(lambda path: path.write_text("weighty"), "SHA-256", id="changed"),
        pytest.param(lambda path: path.write_text("w"), "has 1 bytes, not 7", id="shorter"),
        pytest.param(lambda path: path.unlink(), "is missing", id="no file"),
        pytest.param(lambda path: (path.unlink(), path.parent.rmdir()), "is missing", id="no directory"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "cannot be read", id="a link"),
    ],
)
def test_size_and_sha256_are_checked_when_a_run_goes_on(
    tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(kept(tmp_path))
    with pytest.raises(CheckpointCorruptError, match=told), checkpointed("job", NEVER, store=tmp_path) as cp:
        cp.artifact("model")
    assert json.loads((tmp_path / ".checkpoint_job.json").read_text())["resumable"]["artifacts"]


def test_left_overs_are_swept_at_the_next_opening(tmp_path: Path) -> None:
    path = kept(tmp_path)
    (path.parent.parent / "0123").mkdir()
    (path.parent.parent / "0123" / "model").write_text("left over")
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        assert lying(tmp_path) == ["weights"]
        cp.keep()


def test_left_overs_of_a_run_that_never_saved_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint_job.files" / "0123").mkdir(parents=True)
    (tmp_path / ".checkpoint_job.files" / "0123" / "model").write_text("left over")
    with checkpointed("job", NEVER, store=tmp_path):
        assert lying(tmp_path) == []


@pytest.mark.parametrize("options", [{"resume": False}, {"when_done": "restart"}])
def test_a_run_that_starts_over_leaves_the_old_version_until_its_first_save(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with checkpointed("job", NEVER, store=tmp_path, when_done="skip" if "when_done" in options else "restart") as cp:
        put(cp, "model", "old")
        if "resume" in options:
            cp.keep()
    with checkpointed("job", NEVER, store=tmp_path, **options) as cp:
        assert not cp.artifact("model").exists
        put(cp, "model", "new")
        assert lying(tmp_path) == ["new", "old"]
        cp.save()
        cp.save()
        cp.save()
        assert lying(tmp_path) == ["new"]


def test_the_checkpoint_before_can_be_gone_back_to(tmp_path: Path) -> None:
    """A save replaces the one before, which is kept; its artifact is kept with it."""
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        for text in ("1", "2", "3"):
            put(cp, "model", text)
            cp.state["text"] = text
            cp.save()
        cp.keep()
        assert lying(tmp_path) == ["2", "3"]
    (tmp_path / ".checkpoint_job.json.prev").replace(tmp_path / ".checkpoint_job.json")
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        assert text_of(cp, "model") == cp.state["text"]


def test_a_save_that_failed_leaves_both_versions(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path)
    with checkpointed("job", NEVER, store=store) as cp:
        put(cp, "model", "saved")
        cp.save()
        put(cp, "model", "tried")
        store.fail_next("write")
        with pytest.raises(StoreError):
            cp.save()
        put(cp, "model", "newest")  # nobody knows which of the two is stored
        assert {"saved", "tried", "newest"} <= {*lying(tmp_path)}
        cp.save()
        cp.save()
        assert lying(tmp_path) == ["newest"]


def test_an_operation_under_an_older_name_brings_its_artifacts_home(tmp_path: Path) -> None:
    with checkpointed("a b", NEVER, store=tmp_path) as cp:
        put(cp, "model", "1")
        cp.keep()
    for path in tmp_path.iterdir():
        if path.suffix != ".lock":
            path.rename(tmp_path / f".checkpoint_a_b{path.suffix}")
    (tmp_path / ".checkpoint_a_b.lock").unlink(missing_ok=True)
    with checkpointed("a b", NEVER, store=tmp_path) as cp:
        assert cp.resumed
        assert text_of(cp, "model") == "1"
        cp.save()
        cp.keep()
    assert not (tmp_path / ".checkpoint_a_b.files").exists() or not [*(tmp_path / ".checkpoint_a_b.files").iterdir()]
    with checkpointed("a b", NEVER, store=tmp_path) as cp:
        assert text_of(cp, "model") == "1"


def test_a_digest_that_could_not_be_taken_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken beside the loop: an error there is that of the save, and the next save may stand."""
    real = artifacts.digest_of

    def fails(directory: Path) -> tuple[int, str]:
        raise OSError("as the test wishes")

    with checkpointed("job", NEVER, store=tmp_path) as cp:
        monkeypatch.setattr(artifacts, "digest_of", fails)
        put(cp, "model", "weights")
        with pytest.raises(StoreError, match="cannot read the artifact"):
            cp.save()
        monkeypatch.setattr(artifacts, "digest_of", real)
        cp.keep()
    with checkpointed("job", NEVER, store=tmp_path) as cp:
        assert text_of(cp, "model") == "weights"


def test_only_what_ended_processes_left_in_private_directories_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, other = (open_store(f"sqlite:///{tmp_path}/{name}.db") for name in ("one", "other"))
    for each in (one, other):  # buckets of one name, in two services
        monkeypatch.setattr(each, "describe", lambda key=None: "s3://bucket/job")
    with checkpointed("job", NEVER, store=one) as cp:
        put(cp, "model", "weights")
        mine = cp.artifact("model").path.parents[1]
        prefix = mine.name.rpartition("-")[0]
        left = [tmp_path / f"{prefix[:-3]}xyz-killed", tmp_path / f"{prefix.rpartition('-')[0]}-of_an_older_release"]
        for directory in left:
            directory.mkdir()
        with checkpointed("job", NEVER, store=other) as second:
            put(second, "model", "others")
        assert text_of(cp, "model") == "weights"
        assert not any(directory.exists() for directory in left)
    assert not mine.exists()
