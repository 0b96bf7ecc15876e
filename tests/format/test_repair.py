"""``repair`` returns to the last good save, and keeps what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, CheckpointCorruptError, CheckpointManager, StoreError, checkpointed
from resumable._format.document import sign
from resumable._format.journal import note_for, read
from resumable._format.repair import repair
from resumable._format.verify import verify
from resumable._json import encode
from resumable.stores import EncryptedStore, FileStore
from tests.support import format1, stores
from tests.support.damaged import KEY, NEVER, NOW, kept, loaded, run, spoil


def test_what_is_good_is_left_as_it_is(journaled: Path) -> None:
    before = {file.name: file.read_bytes() for file in journaled.parent.iterdir()}
    assert "nothing to repair" in run("repair", str(journaled)).output
    assert {file.name: file.read_bytes() for file in journaled.parent.iterdir() if file.suffix != ".lock"} == {
        name: raw for name, raw in before.items() if not name.endswith(".lock")
    }


def test_a_damaged_journal_is_cut_back_and_kept(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    content = read(journal.read_bytes())
    assert content is not None
    damaged = spoil(journal, content.ends[2] + 30)
    repaired = repair(journaled, now=NOW)
    assert loaded(journaled) == 3
    assert [path.read_bytes() for path in repaired.kept] == [damaged]
    with checkpointed("job", NEVER, store=journaled.parent, auto_cleanup=False) as cp:
        assert cp.resumed
        cp.state["n"] = 10
    assert loaded(journaled) == 10


def test_a_journal_damaged_at_its_head_leaves_the_snapshot(journaled: Path) -> None:
    spoil(journaled.with_suffix(".journal"), 12)
    repair(journaled, now=NOW)
    assert loaded(journaled) == 0


def test_a_missing_checkpoint_is_made_of_the_one_before(two: Path) -> None:
    two.unlink()
    repair(two, now=NOW)
    assert loaded(two) == 0


def test_a_second_repair_keeps_the_copies_of_the_first(two: Path) -> None:
    spoil(two, 200)
    repair(two, now=NOW)
    spoil(two, 150)
    repair(two, now=NOW)
    assert len(kept(two)) == 2


def test_without_a_good_save_nothing_is_done(two: Path) -> None:
    spoil(two, 200)
    spoil(two.with_name(two.name + ".prev"), 200)
    before = two.read_bytes()
    with pytest.raises(CheckpointCorruptError, match="no other save is good"):
        repair(two, now=NOW)
    assert (two.read_bytes(), kept(two)) == (before, [])
    assert run("repair", str(two)).exit_code == 1


def test_one_that_is_running_is_left_alone(two: Path) -> None:
    with stores.claimed(FileStore(two.parent), "job"):
        spoil(two, 200)
        with pytest.raises(CheckpointBusyError):
            repair(two, now=NOW)
    assert kept(two) == []


def test_a_repair_that_fails_midway_can_be_done_again(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(two, 200)
    with monkeypatch.context() as patch:
        patch.setattr("resumable._format.repair.disk.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(StoreError, match="full"):
            repair(two, now=NOW)
    with pytest.raises(CheckpointCorruptError):
        CheckpointManager(two.parent).load_checkpoint("job")
    repair(two, now=NOW)
    assert loaded(two) == 0


def test_every_bit_of_a_small_checkpoint_can_be_repaired(two: Path) -> None:
    whole = two.read_bytes()
    for position in range(0, len(whole), 11):
        spoil(two, position)
        repair(two, now=NOW)
        assert loaded(two) in (0, 1)
        two.write_bytes(whole)
        for name in kept(two):
            (two.parent / name).unlink()


def document(generation: int, crc: int | None, n: int) -> bytes:
    """A snapshot; one of format 1 if *crc* is None."""
    own: dict[str, object] = {"generation": generation}
    if crc is not None:
        own["journal"] = note_for(crc)
    at = f"2026-11-24T00:00:{n:02}+00:00"
    tail = {"metadata": {"save_count": n}, "created_at": at, "last_updated": at, "resumable": own}
    return b"".join(sign({"version": "2.0", "operation_id": "job"}, [encode({"n": n})], tail))


def of_a_newer_release(path: Path, version: str = "3.0") -> bytes:
    """Signed as this release would, so that nothing about it is wrong."""
    document = json.loads(path.read_bytes())
    head = {"version": version, "operation_id": document.pop("operation_id")}
    del document["version"], document["resumable"]["digest"]
    state = encode(document.pop("state"))
    path.write_bytes(b"".join(sign(head, [state], document)))
    return path.read_bytes()


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.suffix != ".lock"}


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("version", ["2.1", "3.0", "10"])
def test_a_newer_releases_file_is_not_touched(two: Path, version: str, is_cut: bool) -> None:
    """To go back to the save before it would throw away what a newer release can read."""
    raw = of_a_newer_release(two, version)
    if is_cut:
        two.write_bytes(raw[:-60])
    before = contents(two.parent)
    found = verify(two, now=NOW)
    assert (found.verdict, [file.verdict for file in found.files]) == ("unknown", ["unknown", "good"])
    result = run("repair", str(two))
    assert result.exit_code == 1
    assert f"a newer release wrote it, with version '{version}'" in result.output
    assert contents(two.parent) == before
    with pytest.raises(CheckpointCorruptError, match="newer release") as caught:
        CheckpointManager(two.parent).load_checkpoint("job")
    assert caught.value.previous is None


def test_a_version_that_a_bit_has_made_newer_is_damage(two: Path) -> None:
    for version in (b"3.0", b"6.0", b"2.1", b"2.8"):
        two.write_bytes(two.read_bytes().replace(b'"2.0"', b'"%b"' % version))
        assert verify(two, now=NOW).verdict == "damaged"
        repair(two, now=NOW)
        assert loaded(two) == 0


def test_a_newer_releases_journal_is_not_touched(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    journal.write_bytes(format1.frame(encode({"journal": 3, "operation_id": "job"}), 0)[0])
    before = contents(journaled.parent)
    with pytest.raises(CheckpointCorruptError, match="its journal: a newer release wrote it, with format 3"):
        CheckpointManager(journaled.parent).load_checkpoint("job")
    assert verify(journaled, now=NOW).verdict == "unknown"
    with pytest.raises(CheckpointCorruptError, match="newer release"):
        repair(journaled, now=NOW)
    assert contents(journaled.parent) == before


def test_not_even_if_the_save_before_it_can_be_read(two: Path) -> None:
    """Somebody has begun to encrypt."""
    stores.put(EncryptedStore(FileStore(two.parent), KEY), "job", two.read_bytes())
    assert verify(two, now=NOW).best is not None
    with pytest.raises(CheckpointCorruptError, match="encrypted"):
        repair(two, now=NOW)
    assert kept(two) == []
