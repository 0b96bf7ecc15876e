"""The commands know of artifacts: they show, check, go back, copy and remove them."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from resumable import CheckpointCorruptError, checkpointed, every, open_store, read
from resumable.cli._commands import commands
from resumable.stores import EncryptedStore


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(commands, [*arguments])


def answer(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


def train(*texts: str, store: Any = ".") -> None:
    """Saves one version after the other."""
    with checkpointed("train", every(hours=9), store=store) as cp:
        for text in texts:
            with cp.artifact("model").write() as path:
                path.write_text(text)
            cp.state["text"] = text
            if text != texts[-1]:  # that is saved at the end
                cp.save()
        cp.keep()


def newest(place: Path) -> Path:
    return max(place.glob(".checkpoint_train.files/*/model"), key=lambda path: path.stat().st_mtime_ns)


def test_show_tells_them() -> None:
    train("weights")

    assert [one["name"] for one in answer("show", "train")["artifacts"]] == ["model"]
    assert answer("show", "train")["artifacts"][0]["bytes"] == 7
    assert "ARTIFACT" in call("show", "train").stdout


def publish(name: str, target: Path) -> None:
    with checkpointed("train", every(hours=9), store=".") as cp:
        cp.artifact(name).publish(target)
        cp.keep()


def test_show_list_and_read_tell_when_each_was_written_and_where_it_was_published(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    train("weights")
    before = answer("show", "train")["artifacts"][0]
    publish("model", place / "out" / "model.bin")
    after = answer("show", "train")["artifacts"][0]

    assert before["published"] is None
    assert after == before | {"published": str(place / "out" / "model.bin")}
    assert datetime.fromisoformat(after["written_at"]).tzinfo is not None
    kept = read("train", store=".").artifacts["model"]
    assert (kept.bytes, kept.sha256) == (7, after["sha256"])
    assert (kept.written_at, kept.published) == (after["written_at"], after["published"])
    assert "model.bin" in call("show", "train").stdout
    listed = answer("list")["checkpoints"][0]
    assert (listed["artifact_count"], listed["artifact_bytes"]) == (1, 7)
    assert "1, 7 B" in call("list").stdout


def test_a_new_version_is_not_published_yet(place: Path) -> None:
    train("1")
    publish("model", place / "model.bin")
    train("2")

    assert read("train", store=".").artifacts["model"].published is None


def test_a_list_without_artifacts_has_no_column_for_them() -> None:
    with checkpointed("plain", store=".") as cp:
        cp.keep()

    assert "ARTIFACTS" not in call("list").stdout
    assert answer("list")["checkpoints"][0]["artifact_count"] == 0


def test_an_artifact_of_an_earlier_release_has_no_time(place: Path) -> None:
    train("weights")
    document = place / ".checkpoint_train.json"
    stored = json.loads(document.read_bytes())
    del stored["resumable"]["artifacts"]["model"]["at"]
    del stored["resumable"]["digest"]
    unsigned = json.dumps(stored, separators=(",", ":"), ensure_ascii=False).encode()
    stored["resumable"]["digest"] = hashlib.sha256(unsigned).hexdigest()
    document.write_text(json.dumps(stored))

    assert read("train", store=".").artifacts["model"].written_at is None
    assert "weights" not in call("show", "train").stdout
    assert call("show", "train").exit_code == 0


def test_rm_removes_them(place: Path) -> None:
    train("1", "2")

    assert call("rm", "train", "--yes").exit_code == 0
    assert [*place.iterdir()] == []


def test_verify_finds_what_is_damaged_and_repair_goes_back(place: Path) -> None:
    train("first", "second")
    assert call("verify").exit_code == 0
    newest(place).write_text("secxnd")

    done = call("verify")
    assert done.exit_code == 1
    assert "SHA-256" in done.stdout
    assert "  can be restored: item 0" in done.stdout
    with pytest.raises(CheckpointCorruptError, match="resumable repair"), checkpointed("train", store=".") as cp:
        cp.artifact("model")
    assert call("repair", "train").exit_code == 0
    with checkpointed("train", store=".") as cp:
        assert (cp.artifact("model").path.read_text(), cp.state["text"]) == ("first", "first")


def test_what_is_missing_everywhere_cannot_be_had_back(place: Path) -> None:
    train("only")
    for path in place.glob(".checkpoint_train.files/*/model"):
        path.unlink()

    assert answer("verify")["checkpoints"][0]["recoverable"] is None
    assert "is missing" in call("verify").stdout


def test_of_encrypted_ones_only_that_they_are_there_can_be_told(place: Path) -> None:
    key = EncryptedStore.new_key()
    (place / "key").write_text(key)
    train("secret", store=EncryptedStore(".", key))
    assert call("verify", "--key-file", "key").exit_code == 0
    for path in place.glob(".checkpoint_train.files/*"):
        assert b"secret" not in path.read_bytes()
        path.unlink()

    assert call("verify", "--key-file", "key").exit_code == 1


@pytest.mark.parametrize("url", ["sqlite:///there.db", "other"])
def test_copy_takes_them_along_and_back(url: str, place: Path) -> None:
    train("1", "weights")

    assert call("copy", ".", url).exit_code == 0
    with checkpointed("train", store=open_store(url)) as cp:
        assert cp.artifact("model").path.read_text() == "weights"
        cp.keep()
    assert answer("verify", "--store", url)["checkpoints"][0]["verdict"] == "good" if "://" in url else True
    assert call("rm", "train", "--yes").exit_code == 0
    assert call("copy", url, ".").exit_code == 0
    with checkpointed("train", store=".") as cp:
        assert cp.artifact("model").path.read_text() == "weights"
        with cp.artifact("model").write() as path:
            path.write_text("and on")
        cp.save()
        assert cp.artifact("model").path.read_text() == "and on"
