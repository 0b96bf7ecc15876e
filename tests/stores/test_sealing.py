"""The bytes of what is encrypted: what each piece is bound to, what a crash leaves, and what version 2.0 wrote."""

from __future__ import annotations

import base64
import os
import shutil
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from resumable import CheckpointCorruptError, StoreError, checkpointed, every, open_store, read
from resumable._format import journal as journal_format
from resumable._format.repair import repair
from resumable._format.verify import verify
from resumable.stores import EncryptedStore, FileStore, MemoryStore
from resumable.stores._sealing import NO_CHAIN, Sealer
from tests.support.stores import claimed, document

KEY, OTHER = EncryptedStore.new_key(), EncryptedStore.new_key()
NAME = ".checkpoint_job.json"
JOURNAL = ".checkpoint_job.journal"
ENTRIES, SAVES = 200, 4


def files(directory: Path, compress: str = "") -> EncryptedStore:
    return EncryptedStore(FileStore(directory), KEY, compress="zstd" if compress else "")


def run(store: EncryptedStore, begin: int = 0) -> None:
    """A run of SAVES saves in its journal; each sets one entry to its number."""
    with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        sizes = cp.mapping("sizes")
        if not sizes:
            sizes.update({f"secret-{number}": "x" * 80 for number in range(ENTRIES)})
            cp.save()
        for number in range(begin, begin + SAVES):
            sizes[f"secret-{number}"] = f"save {number}"
            cp.save()
        cp.keep()


def state(store: EncryptedStore) -> int | str:
    """How many saves of the journal count, from the first one on; why it is refused, if it is."""
    try:
        sizes = read("job", store).state["sizes"]
    except CheckpointCorruptError as error:
        return str(error)
    told = [number for number in range(ENTRIES) if sizes[f"secret-{number}"] == f"save {number}"]
    assert told == [*range(len(told))]
    return len(told)


def saves(store: EncryptedStore, journal: bytes) -> tuple[int, str]:
    """How many saves a journal holds, and what is wrong with it."""
    content = journal_format.read(store.unseal("job", journal))
    return (len(content.records), content.damage) if content is not None else (0, "")


@pytest.fixture(scope="module", params=["", "zstd"], ids=["plain", "zstd"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where a checkpoint lies that has a journal of SAVES lines and that of the end, and how it is compressed."""
    directory = tmp_path_factory.mktemp("made")
    run(files(directory, request.param))
    return directory, request.param


@pytest.fixture
def journal(made: tuple[Path, str], tmp_path: Path) -> tuple[EncryptedStore, Path, list[bytes]]:
    """A copy of it that a test may change: its store, and its journal as file and as lines."""
    directory = tmp_path / "made"
    shutil.copytree(made[0], directory)
    path = directory / JOURNAL
    return files(directory, made[1]), path, path.read_bytes().splitlines(keepends=True)


Journal = tuple[EncryptedStore, Path, list[bytes]]


def test_a_save_in_a_directory_costs_what_has_changed(journal: Journal) -> None:
    store, path, lines = journal

    assert len(lines) == SAVES + 1
    assert max(map(len, lines[:-1])) < ENTRIES * 80 / 10  # on a slow moment, a save notes more of its own time
    assert b"secret" not in path.read_bytes() + path.with_name(NAME).read_bytes()
    assert state(store) == SAVES


@pytest.mark.slow
def test_a_journal_cut_off_anywhere_is_as_good_as_its_whole_lines(journal: Journal) -> None:
    store, path, lines = journal
    raw = b"".join(lines)
    for cut in range(len(raw) + 1):
        assert saves(store, raw[:cut]) == (raw[:cut].count(b"\n"), "")
    path.write_bytes(raw[:-5])
    assert state(store) == SAVES


@pytest.mark.slow
def test_blocks_of_the_last_line_that_were_never_written_are_a_crash(journal: Journal) -> None:
    store, _, lines = journal
    raw, last = b"".join(lines[:-1]), lines[-1]
    for at in range(0, len(last) - 16, 3):
        for torn in (last[:at] + bytes(len(last) - at), bytes(at) + last[at:], last[:at] + bytes(16) + last[at + 16 :]):
            assert saves(store, raw + torn) == (SAVES + (torn == last), "")
            assert saves(store, raw + torn + last)[1]


@pytest.mark.slow
def test_no_changed_bit_of_a_journal_changes_what_comes_out(journal: Journal) -> None:
    """All are refused, but for the few bits of base64 that mean nothing."""
    store, _, lines = journal
    raw = bytearray(b"".join(lines))
    good, meaningless = store.unseal("job", bytes(raw)), 0
    for index in range(0, len(raw), 2):
        for bit in (1, 2, 64):
            raw[index] ^= bit
            found = store.unseal("job", bytes(raw))
            raw[index] ^= bit
            content = journal_format.read(found)
            assert found == good or (content is not None and content.damage) or found == b"!\n"
            meaningless += found == good
    assert meaningless < 10


@pytest.mark.parametrize("change", ["swapped", "left out", "repeated", "of another operation", "in the clear"])
def test_a_line_counts_in_its_own_place_only(journal: Journal, change: str, tmp_path: Path) -> None:
    store, path, lines = journal
    if change == "swapped":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "left out":
        del lines[1]
    elif change == "repeated":
        lines.insert(1, lines[1])
    elif change == "in the clear":
        lines[1] = store.unseal("job", lines[1])
    else:
        sealer = Sealer([KEY])
        chain, number = (part.decode() for part in lines[1].split()[1:3])
        lines[1] = sealer.segment("other", chain, int(number), store.unseal("job", lines[1]))
    path.write_bytes(b"".join(lines))

    assert "damaged" in str(state(store))
    found = verify(path.with_name(NAME), now=datetime.now(UTC), unseal=store.unseal)
    assert found.verdict == "damaged"
    assert found.best is not None
    assert found.best.saves == (2 if change == "repeated" else 1)


def test_saves_of_an_operation_that_was_deleted_do_not_count(tmp_path: Path) -> None:
    """One that begins anew has another chain, whatever lies in its place."""
    store = files(tmp_path)
    run(store)
    older = (tmp_path / JOURNAL).read_bytes()
    with claimed(store, "job") as lease:
        stored = lease.read()
        assert stored is not None
        assert lease.delete()
        lease.stage(lease.next, [stored.snapshot])(b"")
    (tmp_path / JOURNAL).write_bytes(older)

    assert state(store) == 0


def test_a_repair_keeps_the_good_part_encrypted(journal: Journal) -> None:
    store, path, lines = journal
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))

    assert repair(path.with_name(NAME), now=datetime.now(UTC), unseal=store.unseal).best.saves == 2
    assert path.read_bytes() == b"".join(lines[:2])
    assert state(store) == 2


def test_a_journal_is_unknown_without_its_key_and_no_loss_with_another(journal: Journal) -> None:
    _, path, _ = journal
    for unseal in (None, EncryptedStore(MemoryStore(), OTHER).unseal):
        found = verify(path.with_name(NAME), now=datetime.now(UTC), unseal=unseal)
        assert found.best is None
        with pytest.raises(CheckpointCorruptError):
            repair(path.with_name(NAME), now=datetime.now(UTC), unseal=unseal)


def test_a_torn_end_is_followed_by_a_whole_snapshot(tmp_path: Path) -> None:
    store = files(tmp_path)
    run(store)
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[:-9])
    run(store, begin=SAVES)

    assert state(store) == 2 * SAVES


def test_a_new_key_before_the_old_one_takes_over(tmp_path: Path) -> None:
    run(files(tmp_path))
    both = EncryptedStore(FileStore(tmp_path), [OTHER, KEY])
    run(both, begin=SAVES)
    assert state(both) == 2 * SAVES
    with claimed(both, "job") as lease:
        stored = lease.read()
        assert stored is not None
        lease.stage(lease.next, [stored.snapshot])(b"")

    assert state(EncryptedStore(FileStore(tmp_path), OTHER)) == 0


@pytest.mark.slow
def test_pieces_of_a_snapshot_open_in_their_own_place_only(tmp_path: Path) -> None:
    store, pieces = files(tmp_path), [bytes([number]) * (1 << 20) for number in range(4)]
    for turn in range(2):
        with claimed(store, "job") as lease:
            lease.stage(lease.next, pieces)(b"")
        (tmp_path / NAME).rename(tmp_path / str(turn))
    parts = [(tmp_path / str(turn)).read_bytes().split(b'",\n"') for turn in range(2)]
    whole, other = parts[0], parts[1]
    changed = [
        [whole[0], whole[2], whole[1], whole[3]],
        [whole[0], whole[1], whole[3]],
        whole[:3],
        [whole[0], other[1], *whole[2:]],
    ]
    (tmp_path / NAME).write_bytes(b'",\n"'.join(whole))
    assert document(store, "job") == b"".join(pieces)
    for parts in changed:
        end = b"" if parts[-1].endswith(b'"]}\n') else b'"]}\n'
        (tmp_path / NAME).write_bytes(b'",\n"'.join(parts) + end)
        with pytest.raises(CheckpointCorruptError):
            document(store, "job")


def test_compressed_ones_are_small_and_are_read_without_saying_so(tmp_path: Path) -> None:
    run(files(tmp_path / "small", "zstd"))
    run(files(tmp_path / "large"))
    sizes = [(tmp_path / name / NAME).stat().st_size for name in ("small", "large")]

    assert sizes[0] * 5 < sizes[1]
    assert state(files(tmp_path / "small")) == SAVES


@pytest.mark.slow
def test_a_store_that_compresses_does_so_before_it_is_encrypted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db?compress=zstd"
    run(EncryptedStore(url, KEY))
    bare = open_store(url.partition("?")[0]).read("job")

    assert bare is not None
    assert bare.snapshot.startswith(b'{"version":"2.1 encrypted"')
    assert len(bare.snapshot) < ENTRIES * 20
    assert state(EncryptedStore(url, KEY)) == SAVES


def test_what_is_no_way_to_compress_is_refused() -> None:
    with pytest.raises(ValueError, match="compress must be 'zstd', not 'gzip'"):
        EncryptedStore(MemoryStore(), KEY, compress="gzip")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("packs", [False, True], ids=["plain", "zstd"])
def test_an_artifact_streams_in_pieces(packs: bool) -> None:
    """48 MiB, in less memory than 8."""
    sealer = Sealer([KEY], packs=packs)
    piece = os.urandom(1 << 10) * 1536
    tracemalloc.start()
    try:
        stored = sealer.artifact("job", "a", (piece for _ in range(32)))
        size = sum(map(len, sealer.opened_artifact("job", "a", stored)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size == 32 * len(piece)
    assert peak < 16 << 20


def test_pieces_of_an_artifact_open_in_their_own_place_only() -> None:
    sealer = Sealer([KEY])
    head, *pieces = sealer.artifact("job", "a", [bytes([number]) * (1 << 20) for number in range(3)])
    assert b"".join(sealer.opened_artifact("job", "a", [head, *pieces]))[-1:] == b"\2"
    for stored in ([pieces[1], pieces[0], pieces[2]], pieces[:2], [pieces[0], pieces[2]], [], [pieces[0][:100]]):
        with pytest.raises(StoreError, match="damaged"):
            _ = b"".join(sealer.opened_artifact("job", "a", [head, *stored])) or pytest.fail("it is empty")
    with pytest.raises(StoreError, match="damaged"):
        list(sealer.opened_artifact("job", "b", [head, *pieces]))
    with pytest.raises(StoreError, match="not encrypted"):
        list(sealer.opened_artifact("job", "a", pieces))


# -- what version 2.0 wrote -------------------------------------------------------------------------------------------


def old_snapshot(key: str, raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = msgspec.json.encode({"version": "2.0 encrypted", "operation_id": key})[:-1]
    sealed = AESGCM(base64.urlsafe_b64decode(KEY)).encrypt(b"0" * 12, raw, head)
    return head + b',"aes-256-gcm":"' + base64.b64encode(b"0" * 12 + sealed) + b'"}\n'


def old_segment(key: str, sequence: int, raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    place = msgspec.json.encode([key, "segment", sequence])
    sealed = AESGCM(base64.urlsafe_b64decode(KEY)).encrypt(b"1" * 12, raw, place)
    return b"aes-256-gcm %d %b\n" % (sequence, base64.b64encode(b"1" * 12 + sealed))


def test_a_checkpoint_of_version_2_0_is_read_and_goes_on(tmp_path: Path) -> None:
    plain = MemoryStore()
    with checkpointed("job", every(items=1), store=plain, auto_cleanup=False) as cp:
        cp.mapping("sizes").update({f"secret-{number}": "x" * 80 for number in range(ENTRIES)})
        cp.save()
        cp.mapping("sizes")["secret-0"] = "save 0"
        cp.save()
        cp.keep()
    stored = plain.read("job")
    assert stored is not None
    (tmp_path / NAME).write_bytes(old_snapshot("job", stored.snapshot))
    number = msgspec.json.decode(stored.journal.splitlines()[0].split(b" ", 2)[2])["seq"]
    (tmp_path / JOURNAL).write_bytes(old_segment("job", number, stored.journal))
    store = files(tmp_path)

    assert state(store) == 1
    run(store, begin=1)
    assert state(store) == 1 + SAVES
    assert (tmp_path / JOURNAL).read_bytes().splitlines()[1].split()[1] == NO_CHAIN.encode()


def test_an_artifact_of_version_2_0_is_read() -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher, raw = AESGCM(base64.urlsafe_b64decode(KEY)), [bytes(1 << 20), b"end"]
    pieces = [
        b"0" * 12 + cipher.encrypt(b"0" * 12, piece, msgspec.json.encode(["job", "a", number, number == 1]))
        for number, piece in enumerate(raw)
    ]
    stored = [b"resumable encrypted artifact 1\n", *pieces]

    assert b"".join(Sealer([KEY]).opened_artifact("job", "a", stored)) == b"".join(raw)


def test_where_encryption_began_or_ended_both_are_verified_with_the_key(tmp_path: Path) -> None:
    sealed, plain = files(tmp_path), FileStore(tmp_path)
    run(sealed)
    for store in (plain, sealed, plain):
        with claimed(store, "job") as lease:
            stored = sealed.read("job") if store is plain else plain.read("job")
            assert stored is not None
            lease.stage(lease.next, [stored.snapshot])(b"")
            lease.append(lease.next, stored.journal)
        for unseal in (sealed.unseal, None):
            found = verify(tmp_path / NAME, now=datetime.now(UTC), unseal=unseal)
            assert found.verdict == ("unknown" if unseal is None and store is sealed else "good"), found
        assert found.best is None or found.best.saves == SAVES + 1
