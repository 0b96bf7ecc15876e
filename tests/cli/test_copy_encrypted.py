"""``resumable copy`` of what is encrypted: as it is, with another key, decrypted, or encrypted on the way."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from resumable import checkpointed, every, open_store, read
from resumable.stores import ArtifactLease, ArtifactStore, CheckpointStore, EncryptedStore
from tests.support.command import resumable
from tests.support.stores import claimed

KEY, OTHER = EncryptedStore.new_key(), EncryptedStore.new_key()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys, and two operations in ``from``, of which one is encrypted."""
    monkeypatch.delenv("RESUMABLE_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "other").write_text(OTHER)
    keep("sealed", EncryptedStore("from", KEY))
    keep("plain", open_store("from"))
    return tmp_path


def keep(name: str, store: CheckpointStore) -> None:
    """A finished run with a journal and an artifact."""
    with checkpointed(name, every(items=1), store=store, auto_cleanup=False) as cp:
        sizes = cp.mapping("sizes")
        sizes.update({str(number): "secret" * 10 for number in range(200)})
        with cp.artifact("model").write() as path:
            path.write_text("secret" * 1000)
        for number in cp.remaining(range(3)):
            sizes[str(number)] = number


def check(name: str, store: CheckpointStore | str) -> None:
    """It is there, with its artifact."""
    assert [read(name, store).state["sizes"][str(number)] for number in range(3)] == [0, 1, 2]
    with checkpointed(name, store=store, when_done="skip", auto_cleanup=False) as cp:
        model = cp.artifact("model").path
        assert model is not None
        assert model.read_text() == "secret" * 1000


def copy(*arguments: str, code: int = 0) -> str:
    result = resumable("copy", *arguments)
    assert result.exit_code == code, result.output + result.stderr
    return result.output + result.stderr


def is_in_the_clear(directory: Path) -> bool:
    return any(b"secret" in path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_without_a_key_it_is_brought_along_as_it_is(place: Path) -> None:
    for number in range(2):
        copy("from", "to", "sealed", *["--force"] * number)
        check("sealed", EncryptedStore("to", KEY))
        assert not is_in_the_clear(place / "to")

    assert "nobody without the key (--key-file) can tell" in copy("from", "to", "sealed", code=1)


@pytest.mark.parametrize("goal", ["to", "sqlite:///to.db?compress=zstd"])
def test_the_key_is_changed_on_the_way(place: Path, goal: str) -> None:
    copy("from", goal, "--key-file", "key", "--new-key-file", "other")

    for name in ("sealed", "plain"):
        check(name, EncryptedStore(goal, OTHER))
    verified = resumable("verify", "--store", goal, "--key-file", "other")
    assert verified.exit_code == 0, verified.output


def test_with_its_key_it_stays_encrypted_and_a_newer_one_is_left_alone(place: Path) -> None:
    copy("from", "to", "--key-file", "key")
    check("sealed", EncryptedStore("to", KEY))
    check("plain", "to")
    keep("more", EncryptedStore("to", KEY))
    keep("more", EncryptedStore("from", KEY))

    assert "is newer" in copy("to", "from", "more", "--key-file", "key", code=1)
    copy("to", "from", "more", "--key-file", "key", "--force")


def test_it_is_decrypted_if_that_is_asked_for(place: Path) -> None:
    assert "'sealed' is encrypted; give its key with --key-file" in copy("from", "to", "--decrypt", code=1)
    copy("from", "to", "--key-file", "key", "--decrypt")

    for name in ("sealed", "plain"):
        check(name, "to")


def test_what_another_key_has_encrypted_is_replaced_by_force_only(place: Path) -> None:
    copy("from", "to", "sealed", "--key-file", "key", "--new-key-file", "other")

    assert "another key than this one" in copy("from", "to", "sealed", "--key-file", "key", code=1)
    copy("from", "to", "sealed", "--key-file", "key", "--force")
    check("sealed", EncryptedStore("to", KEY))


def test_a_move_takes_it_away(place: Path) -> None:
    copy("from", "to", "sealed", "--move", "--key-file", "key", "--new-key-file", "other")

    check("sealed", EncryptedStore("to", OTHER))
    assert [entry.key for entry in open_store("from").list()] == ["plain"]
    assert not any("sealed" in path.name for path in (place / "from").rglob("*"))


def test_a_key_that_is_none_is_told(place: Path) -> None:
    (place / "none").write_text("hunter2")

    told = copy("from", "to", "--new-key-file", "none", code=2)
    assert "none: the key must be 32 bytes" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("goal", ["from", "sqlite:///to.db"])
def test_an_encrypted_artifact_is_verified_with_the_key(place: Path, goal: str) -> None:
    if goal != "from":
        copy("from", goal, "sealed")
    assert resumable("verify", "--store", goal, "--key-file", "key").exit_code == 0
    with claimed(open_store(goal), "sealed") as lease:
        store = cast("ArtifactStore", open_store(goal))
        [(name, _)] = store.list_artifacts("sealed")
        raw = b"".join(store.read_artifact("sealed", name))
        cast("ArtifactLease", lease).keep_artifacts(())
        cast("ArtifactLease", lease).put_artifact(name, [raw[:-30] + b"x" + raw[-29:]])

    assert "sealed: unknown" in resumable("verify", "--store", goal).output
    told = resumable("verify", "--store", goal, "--key-file", "key")
    assert told.exit_code == 1
    assert "its artifact 'model' cannot be" in told.output
