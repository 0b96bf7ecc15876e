"""What the command line tells of encrypted checkpoints, with their key and without it."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import pytest

from resumable import CheckpointManager, checkpointed, every
from resumable.stores import EncryptedStore, FileStore
from tests.support import stores
from tests.support.command import document, resumable, run

pytestmark = pytest.mark.usefixtures("place")


KEY, ANOTHER = EncryptedStore.new_key(), EncryptedStore.new_key()
HOW = "it is encrypted; give its key with --key-file FILE or in $RESUMABLE_KEY"
NOT_THIS_ONE = "this key does not open it: it was encrypted with another key, or its bytes are damaged"


def test_a_driver_that_is_missing_is_told_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_objects", "_buckets"):
        monkeypatch.delitem(sys.modules, f"resumable.stores.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    for words in (["list", "--store"], ["show", "job", "--store"], ["copy", "."]):
        done = resumable(*words, "s3://bucket")
        assert (done.exit_code, done.stdout) == (1, "")
        needs = "s3:// needs obstore, which is not installed:  pip install 'resumable-loops[s3]'"
        assert done.stderr == f"Error: {needs}\n"


def run_sealed(operation_id: str, key: str = KEY) -> None:
    store = EncryptedStore(FileStore("."), key)
    with contextlib.suppress(OSError), checkpointed(operation_id, every(items=1), store=store) as cp:
        for item in cp.remaining(range(10)):
            if item == 3:
                raise OSError


@pytest.fixture(params=["--key-file", "environment"])
def with_key(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The options that give the key."""
    if request.param == "environment":
        monkeypatch.setenv("RESUMABLE_KEY", KEY)
        return []
    key_file = tmp_path_factory.mktemp("secret") / "key"
    key_file.write_text(f"{KEY}\n")
    return ["--key-file", str(key_file)]


def test_without_a_key_it_is_encrypted_not_damaged_and_the_way_is_told() -> None:
    run_sealed("job")

    listed, shown = resumable("list").stdout, resumable("show", "job").stdout

    assert "job        ? encrypted" in listed
    assert listed.endswith(f"\n\njob: {HOW}\n")
    assert HOW in shown
    for output in (listed, shown):
        assert "damaged" not in output
        assert "resumable rm" not in output
    row = document("list")["checkpoints"][0]
    assert (row["state"], row["problem"], row["processed_items"]) == ("encrypted", HOW, None)
    assert (document("show", "job")["state"], document("show", "job")["loops"]) == ("encrypted", [])


def test_with_its_key_it_is_shown_as_any_other(with_key: list[str]) -> None:
    run_sealed("job")

    listed, shown = resumable("list", *with_key).stdout, resumable("show", "job", *with_key).stdout

    assert "job        ✗ failed  3/10  30%" in listed
    assert "encrypted" not in listed
    assert "3 of 10 (30%)" in shown
    assert "loop-1  3/10  by position" in shown
    assert document("show", "job", *with_key)["loops"][0]["processed_items"] == 3
    assert '"processed_items": 3' in resumable("export", "job", *with_key).stdout


def test_a_directory_may_hold_both_kinds(with_key: list[str]) -> None:
    run_sealed("sealed")
    run("plain", OSError())

    rows = document("list", *with_key)["checkpoints"]

    assert {row["operation_id"]: row["processed_items"] for row in rows} == {"sealed": 3, "plain": 3}


def test_sums_need_the_key_too(with_key: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in range(5):
        run_sealed(f"job-{shard}")

    assert "5: 5 failed  15/50  30%" in resumable("list", "--sum", *with_key).stdout

    monkeypatch.delenv("RESUMABLE_KEY", raising=False)
    without = resumable("list", "--sum").stdout
    assert re.search(r"^job-\* +5: 5 encrypted +\? +\? +\?$", without, re.MULTILINE)
    assert f"job-0, job-1, job-2 and 2 more: {HOW}\n" in without


def test_a_wrong_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run_sealed("job")
    monkeypatch.setenv("RESUMABLE_KEY", ANOTHER)

    listed, shown, exported = resumable("list").stdout, resumable("show", "job").stdout, resumable("export", "job")

    assert f"job: {NOT_THIS_ONE}\n" in listed
    assert NOT_THIS_ONE in shown
    assert "resumable rm" not in shown
    assert exported.exit_code == 1
    assert NOT_THIS_ONE in exported.stderr
    assert document("list")["checkpoints"][0]["state"] == "encrypted"


def test_what_is_no_key_is_a_wrong_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESUMABLE_KEY", "hunter2")

    for command in (["list"], ["show", "job"], ["export", "job"]):
        result = resumable(*command)
        assert result.exit_code == 2
        assert "$RESUMABLE_KEY: the key must be 32 bytes" in result.stderr
        assert "hunter2" not in result.stderr


def test_a_damaged_one_is_told_from_a_wrong_key_by_the_save_before_it(with_key: list[str]) -> None:
    run_sealed("job")
    path = FileStore(".").locate("job")
    sealed = path.read_bytes()
    path.write_bytes(sealed[:-100] + (b"A" if sealed[-100:-99] != b"A" else b"B") + sealed[-99:])

    row = document("list", *with_key)["checkpoints"][0]

    assert (row["state"], row["previous"]) == ("damaged", str(path.with_name(".checkpoint_job.json.prev")))
    assert "is good" in resumable("show", "job", *with_key).stdout


def test_one_that_was_in_the_clear_before_says_nothing_about_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    CheckpointManager().create_checkpoint("job", {})
    path = FileStore(".").locate("job")
    stores.put(EncryptedStore(FileStore("."), KEY), "job", path.read_bytes())
    monkeypatch.setenv("RESUMABLE_KEY", ANOTHER)

    assert document("list")["checkpoints"][0]["state"] == "encrypted"


def test_bytes_that_no_key_could_open_are_damage(with_key: list[str]) -> None:
    run_sealed("job")
    path = FileStore(".").locate("job")
    Path(".checkpoint_job.json.prev").unlink()
    path.write_bytes(path.read_bytes()[:-50])

    assert document("list", *with_key)["checkpoints"][0]["state"] == "damaged"


def test_it_can_be_removed_without_the_key() -> None:
    run_sealed("job")

    assert resumable("rm", "job").stdout == "removed job\n"
    assert not FileStore(".").locate("job").exists()
