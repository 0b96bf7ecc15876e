"""``verify`` and ``repair``: their arguments, and what they print."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, CheckpointManager, checkpointed, open_store
from resumable._format.journal import read
from resumable.stores import EncryptedStore, FileStore
from tests.support.damaged import KEY, kept, loaded, run, spoil
from tests.support.stores import claimed


def test_the_message_of_a_damaged_checkpoint_can_be_pasted(two: Path) -> None:
    damaged = spoil(two, 200)
    with pytest.raises(CheckpointCorruptError) as caught:
        CheckpointManager(two.parent).load_checkpoint("job")
    command = next(line for line in str(caught.value).splitlines() if "resumable repair" in line)
    result = run("repair", *shlex.split(command.partition(" repair ")[2]))
    assert result.exit_code == 0, result.output
    assert loaded(two) == 0
    assert [(two.parent / name).read_bytes() for name in kept(two)] == [damaged]


@pytest.mark.parametrize("target", ["{path}", "{path}.prev", "{directory}", "job"])
def test_each_way_to_name_it_works(two: Path, target: str) -> None:
    spoil(two, 200)
    result = run("repair", target.format(path=two, directory=two.parent), "--dir", str(two.parent))
    assert result.exit_code == 0, result.output
    assert "repaired; the next run goes on from" in result.output
    assert loaded(two) == 0


def test_a_key_that_is_none_is_told_and_not_shown(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESUMABLE_KEY", "hunter2")
    result = run("verify", str(sealed))
    assert result.exit_code == 2
    assert "$RESUMABLE_KEY: the key must be 32 bytes" in result.output
    assert "hunter2" not in result.output
    missing = run("verify", str(sealed), "--key-file", "nowhere")
    assert (missing.exit_code, "cannot read the key from nowhere" in missing.output) == (2, True)


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        pytest.param(["job-*"], ["job-0", "job-1"], id="a pattern"),
        pytest.param(["a/job-?"], ["a/job-0"], id="with a slash"),
        pytest.param(["job-1", "job-*"], ["job-1", "job-0"], id="each once"),
        pytest.param(["odd[0]"], ["odd[0]"], id="an id that looks like one"),
        pytest.param(["*-0", "odd*"], ["a/job-0", "job-0", "odd[0]"], id="two patterns"),
    ],
)
def test_patterns_mean_ids_as_they_do_for_list(targets: list[str], found: list[str], tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    for operation_id in ("job-0", "job-1", "a/job-0", "odd[0]", "odd0"):
        if operation_id != "odd0" or "odd*" not in targets:
            manager.create_checkpoint(operation_id, {})

    verified = run("verify", *targets, "--dir", str(tmp_path))
    repaired = run("repair", *targets, "--dir", str(tmp_path))

    assert [line.removesuffix(": good") for line in verified.output.splitlines() if line.endswith(": good")] == found
    assert repaired.output.splitlines() == [f"{one}: good; nothing to repair" for one in found]


def test_a_pattern_also_means_what_is_damaged(two: Path) -> None:
    spoil(two, 100)

    result = run("verify", "j*b", "--dir", str(two.parent))

    assert (result.exit_code, result.output.splitlines()[0]) == (1, "job: damaged")


def test_a_pattern_that_nothing_matches_is_told(two: Path) -> None:
    result = run("verify", "none-*", "--dir", str(two.parent))

    assert result.exit_code == 1
    assert "'none-*' is neither a checkpoint file, nor a directory, nor an operation in " in result.output


def test_verify_prints_each_file_and_the_way_out(two: Path) -> None:
    spoil(two, 200)
    result = run("verify", str(two))
    assert result.exit_code == 1
    assert "job: damaged" in result.output
    assert "current  checkpoint damaged" in result.output
    assert "previous checkpoint good" in result.output
    assert f"resumable repair {two}" in result.output


def test_each_save_of_a_journal_is_named_when_asked_for(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    content = read(journal.read_bytes())
    assert content is not None
    spoil(journal, content.ends[2] + 30)
    output = run("verify", "-v", str(journaled)).output
    assert len([line for line in output.splitlines() if ": good, save " in line]) == 3
    assert f"bytes {content.ends[2]:,} to {journal.stat().st_size:,}: damaged" in output
    assert "bytes of its journal after it are lost" in output
    assert "good, save" not in run("verify", str(journaled)).output


def test_one_that_cannot_be_repaired_keeps_no_other_from_it(two: Path) -> None:
    manager = CheckpointManager(two.parent)
    spoil(Path(manager.create_checkpoint("a lost one", {"n": 1})), 200)
    spoil(two, 200)
    result = run("repair", str(two.parent))
    assert result.exit_code == 1
    assert "job: repaired" in result.output
    assert "the checkpoint of 'a lost one'" in result.output
    assert loaded(two) == 0
    told = json.loads(run("repair", "--json", str(two.parent)).output)
    assert ([one["operation_id"] for one in told["repaired"]], len(told["failed"])) == (["job"], 1)


def test_the_json_of_both_is_complete(two: Path) -> None:
    good = json.loads(run("verify", str(two), "--json").output)["checkpoints"][0]
    assert (good["operation_id"], good["problem"]) == ("job", None)
    spoil(two, 200)
    bad = json.loads(run("verify", str(two), "--json").output)["checkpoints"][0]
    assert bad["recoverable"]["from"] == [f"{two}.prev"]
    assert [file["role"] for file in bad["files"]] == ["current", "previous"]
    done = json.loads(run("repair", str(two), "--json").output)["repaired"][0]
    assert done["problem"] == bad["problem"]
    assert len(done["kept"]) == 1


@pytest.mark.parametrize(("content", "reason"), [(b"\n", "the file is empty"), (b"\xff\xfe\0", "the file is not text")])
def test_a_key_file_without_a_key_is_refused(sealed: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "key").write_bytes(content)
    result = run("verify", str(sealed), "--key-file", str(tmp_path / "key"))
    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())


def test_the_message_of_a_damaged_encrypted_one_can_be_pasted(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(sealed, -100)
    store = EncryptedStore(FileStore(sealed.parent), KEY)
    with pytest.raises(CheckpointCorruptError, match="--key-file") as caught:
        CheckpointManager(store=store).load_checkpoint("job")
    command = next(line for line in str(caught.value).splitlines() if "go on from" in line)
    monkeypatch.setenv("RESUMABLE_KEY", KEY)
    result = run("repair", *shlex.split(command.partition(" repair ")[2]))
    assert result.exit_code == 0, result.output
    found = CheckpointManager(store=store).load_checkpoint("job")
    assert found is not None
    assert found.state == {"n": 0}


def test_no_file_is_named_in_a_store_that_has_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/saved.db"
    CheckpointManager(store=open_store(url)).create_checkpoint("job", {"page": 7})

    shown = run("verify", "--store", url).output

    assert shown.startswith("job: good\n  current  checkpoint good     saved 20"), shown
    assert ".json" not in shown


def test_the_way_out_of_a_store_names_it(tmp_path: Path) -> None:
    store = open_store(url := f"sqlite:///{tmp_path}/saved.db")
    with checkpointed("job", store=store, auto_cleanup=False) as cp, cp.artifact("model").open("w") as file:
        file.write("abc")
    with claimed(store, "job") as lease:
        lease.keep_artifacts([])  # type: ignore[attr-defined]

    shown = run("verify", "--store", url)

    assert "job: damaged: its artifact 'model' is missing" in shown.output
    command = shlex.split(shown.output.partition("to start over:")[2])
    assert run(*command[command.index("rm") :]).exit_code == 0
    assert store.read("job") is None
