"""Encrypted checkpoints: what cannot be read, what cannot be changed unseen, and what is said about it."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, CheckpointManager, checkpointed, every, open_store
from resumable._format.anywhere import repair_in, verify_in
from resumable.stores import EncryptedStore, FileStore, Holder, MemoryStore
from tests.support.stores import claimed, document, put

KEY = EncryptedStore.new_key()
NAME = ".checkpoint_job.json"


def files(directory: Path, key: str = KEY) -> EncryptedStore:
    return EncryptedStore(FileStore(directory), key)


def test_a_loop_goes_on_and_its_state_is_nowhere_in_the_clear(tmp_path: Path) -> None:
    store = files(tmp_path)
    for expected in ([], ["secret-0", "secret-1", "secret-2"]):
        with pytest.raises(ZeroDivisionError), checkpointed("job", every(items=1), store=store) as cp:  # noqa: PT012
            assert cp.state.get("done", []) == expected
            for number in range(3):
                cp.state.setdefault("done", []).append(f"secret-{number}")
                cp.mapping("big").update({f"{number} {index}": "secret" * 9 for index in range(400)})
                cp.tick()
            raise ZeroDivisionError
    assert store.traits.takes_journal
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    with checkpointed("job", store=store):
        pass
    assert list(tmp_path.iterdir()) == []


def test_large_ones_are_written_in_pieces(tmp_path: Path) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate((0, 1, 2, 3_000_000, 1_000_001, 5))]
    store = files(tmp_path)
    with claimed(store, "job") as lease:
        lease.stage(lease.next, chunks)(b"")

    assert document(store, "job") == b"".join(chunks)


@pytest.mark.parametrize("inner", [MemoryStore, None], ids=["memory", "files"])
def test_a_wrong_key_is_told_and_nothing_is_touched(inner: type[MemoryStore] | None, tmp_path: Path) -> None:
    store = inner() if inner is not None else FileStore(tmp_path)
    CheckpointManager(store=EncryptedStore(store, KEY)).create_checkpoint("job", {"n": 1})
    before = document(store, "job")
    wrong = EncryptedStore(store, EncryptedStore.new_key())
    with pytest.raises(CheckpointCorruptError, match="another key"), checkpointed("job", store=wrong):
        pass

    assert document(store, "job") == before
    assert CheckpointManager(store=EncryptedStore(store, KEY)).load_checkpoint("job") is not None


@pytest.mark.slow
def test_no_changed_bit_changes_what_comes_out(tmp_path: Path) -> None:
    """All are refused, but for the few bits of base64 that mean nothing."""
    store = files(tmp_path)
    put(store, "job", b'{"n": 1}')
    good, meaningless = (tmp_path / NAME).read_bytes(), 0
    for index in range(len(good)):
        for bit in (1, 2, 64):
            damaged = bytearray(good)
            damaged[index] ^= bit
            (tmp_path / NAME).write_bytes(damaged)
            try:
                assert document(store, "job") == b'{"n": 1}'
                meaningless += 1
            except CheckpointCorruptError:
                pass
        (tmp_path / NAME).write_bytes(good[:index])
        with pytest.raises(CheckpointCorruptError):
            document(store, "job")
    assert meaningless <= 4


def test_one_of_another_operation_is_not_taken(tmp_path: Path) -> None:
    store = files(tmp_path)
    put(store, "job", b"1")
    put(store, "other", b"2")
    other = (tmp_path / ".checkpoint_other.json").read_bytes()
    for planted in (other, other.replace(b'"other"', b'"job"')):
        (tmp_path / NAME).write_bytes(planted)
        with pytest.raises(CheckpointCorruptError):
            document(store, "job")


def test_what_is_not_encrypted_is_not_taken(tmp_path: Path) -> None:
    """Else who can write there could make one."""
    CheckpointManager(tmp_path).create_checkpoint("job", {"n": 1})
    with pytest.raises(CheckpointCorruptError, match="not encrypted"):
        CheckpointManager(store=files(tmp_path)).load_checkpoint("job")


def test_a_program_without_the_key_is_refused(tmp_path: Path) -> None:
    CheckpointManager(store=files(tmp_path)).create_checkpoint("job", {"n": 1})
    with pytest.raises(CheckpointCorruptError, match="encrypted"):
        CheckpointManager(tmp_path).load_checkpoint("job")
    assert CheckpointManager(tmp_path).list_checkpoints() == ["job"]


def test_the_save_before_a_damaged_one_is_named(tmp_path: Path) -> None:
    store = files(tmp_path)
    manager = CheckpointManager(store=store)
    manager.create_checkpoint("job", {"n": 1})
    manager.create_checkpoint("job", {"n": 2})
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointCorruptError, match=r"(?s)This key opens.*resumable repair \S+\.json\n"):
        document(store, "job")
    path.write_bytes((tmp_path / f"{NAME}.prev").read_bytes())

    found = CheckpointManager(store=store).load_checkpoint("job")
    assert found is not None
    assert found.state == {"n": 1}


@pytest.mark.parametrize(
    "key", ["", "abc", "ä" * 44, KEY[:-4], b"\0" * 32, None], ids=["empty", "short", "umlauts", "cut", "bytes", "none"]
)
def test_what_is_no_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="new_key") as caught:
        EncryptedStore(MemoryStore(), key)
    assert not key or str(key) not in str(caught.value)


def test_keys_differ_and_are_not_in_the_repr() -> None:
    assert EncryptedStore.new_key() != KEY
    assert KEY not in repr(EncryptedStore(MemoryStore(), KEY.encode()))


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError, match=r"pip install 'resumable-loops\[crypto\]'"):
        EncryptedStore(MemoryStore(), KEY)


# -- a journal, on a server -------------------------------------------------------------------------------------------


class Server(MemoryStore):
    """Memory that says it is behind a network."""

    traits = replace(MemoryStore.traits, is_remote=True)


def job() -> Server:
    """A loop whose saves are segments; returns what lies there, encrypted."""
    inner = Server()
    sealed = EncryptedStore(inner, KEY)
    with checkpointed("job", every(items=1), store=sealed, auto_cleanup=False) as cp:
        sizes = cp.mapping("sizes")
        sizes.update({f"secret-{number}": "x" * 100 for number in range(500)})
        cp.save()
        for number in range(5):
            sizes[f"secret-{number}"] = "y"
            cp.save()
    return inner


def test_a_save_on_a_server_costs_what_has_changed_and_nothing_is_in_the_clear() -> None:
    inner = job()
    found = inner.read("job")

    assert found is not None
    assert found.journal.count(b"\n") == 6
    assert len(found.journal) < len(found.snapshot) // 10
    assert b"secret" not in found.snapshot + found.journal
    with checkpointed("job", store=EncryptedStore(inner, KEY), when_done="skip") as cp:
        assert [cp.mapping("sizes")[f"secret-{number}"] for number in (0, 4, 5)] == ["y", "y", "x" * 100]


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 0, 2), (0, 2)], ids=["swapped", "repeated", "left out"])
def test_a_save_does_not_open_in_the_place_of_another(order: tuple[int, ...]) -> None:
    inner = job()
    lease = inner.claim("job", Holder.me(), take_over=True)
    found = lease.read()
    assert found is not None
    lines = found.journal.splitlines(keepends=True)
    lease.stage(lease.next, [found.snapshot])(b"")
    for place in (*order, *range(3, len(lines))):
        lease.append(lease.next, lines[place])
    lease.release()
    with (
        pytest.raises(CheckpointCorruptError),
        checkpointed("job", store=EncryptedStore(inner, KEY), when_done="skip") as cp,
    ):
        pytest.fail(f"it was opened with {len(cp.mapping('sizes'))} entries")


def test_an_append_that_is_repeated_has_the_same_bytes() -> None:
    inner = Server()
    with claimed(EncryptedStore(inner, KEY), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        number = lease.next
        for _ in range(2):
            lease.append(number, b"1\n")
    found = inner.read("job")

    assert found is not None
    assert found.journal.count(b"\n") == 1


def test_the_command_line_verifies_and_mends_it_with_the_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    inner = job()
    found = inner.read("job")
    assert found is not None
    lines = found.journal.splitlines(keepends=True)
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [found.snapshot])(b"")
        for line in (*lines[:3], lines[4]):
            lease.append(lease.next, line)
    unseal = EncryptedStore(MemoryStore(), KEY).unseal
    now = datetime.now(UTC)

    assert verify_in(open_store(url), "job", now=now, unseal=unseal).verdict == "damaged"
    assert repair_in(open_store(url), "job", now=now, unseal=unseal).best.saves == 3
    assert verify_in(open_store(url), "job", now=now, unseal=unseal).verdict == "good"
    stored = open_store(url).read("job")
    assert stored is not None
    assert stored.journal == b"".join(lines[:3])
