"""``resumable verify`` says what the files still hold, ``resumable repair`` goes back to the last good save."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, CheckpointManager, StoreError, checkpointed
from resumable._format.document import sign
from resumable._format.journal import Position, line, note_for, read
from resumable._format.repair import repair
from resumable._format.verify import verify
from resumable._json import encode
from resumable.stores import EncryptedStore, FileStore
from tests.conftest import Figure
from tests.support import format1
from tests.support.damaged import KEY, NEVER, NOW, PADDING, kept, loaded, run, saved, spoil

WHOLE = os.environ.get("RESUMABLE_FAULTS") == "all"


# -- verify -----------------------------------------------------------------------------------------------------------


def test_a_good_checkpoint_is_called_good(journaled: Path) -> None:
    found = verify(journaled, now=NOW)
    assert found.problem == ""
    assert found.operation_id == "job"
    assert {(file.role, file.kind) for file in found.files} >= {("current", "checkpoint"), ("current", "journal")}
    assert not any(file.problem for file in found.files)
    assert found.best is not None
    assert found.best.restored.data.state["n"] == 5


def test_a_damaged_checkpoint_is_told_with_what_can_be_had_back(two: Path) -> None:
    spoil(two, 200)
    found = verify(two, now=NOW)
    assert found.problem
    assert found.best is not None
    assert found.best.restored.data.state == {"n": 0}
    assert [bool(file.problem) for file in found.files] == [True, False]


def test_the_saves_before_the_damage_of_a_journal_can_be_had_back(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    content = read(journal.read_bytes())
    assert content is not None
    spoil(journal, content.ends[2] + 30)
    found = verify(journaled, now=NOW)
    assert "damaged" in found.problem
    assert found.best is not None
    assert (found.best.saves, found.best.restored.data.state["n"]) == (3, 3)
    assert found.best.lost_bytes > 0


def test_a_torn_tail_is_no_damage(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    journal.write_bytes(journal.read_bytes()[:-5])
    found = verify(journaled, now=NOW)
    assert found.problem == ""
    assert "cut off" in next(file.notes for file in found.files if file.kind == "journal" and file.role == "current")


def test_a_save_that_cannot_be_replayed_ends_what_can_be_had_back(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    raw = journal.read_bytes()
    content = read(raw)
    assert content is not None
    bad, _ = line(b'{"set":7}', content.newest + 1, content.crc)
    journal.write_bytes(raw + bad)
    found = verify(journaled, now=NOW)
    assert found.problem
    assert found.best is not None
    assert found.best.restored.data.state["n"] == 5


def test_a_snapshot_before_the_last_has_its_journal_back(tmp_path: Path) -> None:
    path = saved(tmp_path, 3)
    manager_journal = path.with_suffix(".journal").read_bytes()
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        cp.state["files"].update(dict.fromkeys(PADDING, "y" * 200))  # too much for the journal
        cp.state["n"] = 9
        cp.save()
    assert path.with_name(path.stem + ".journal.prev").read_bytes().startswith(manager_journal[:200])
    spoil(path)
    found = verify(path, now=NOW)
    assert found.best is not None
    assert found.best.snapshot.role == "previous"
    assert found.best.restored.data.state["n"] == 3
    repair(path, now=NOW)
    assert loaded(path) == 3


def test_verifying_changes_nothing(two: Path) -> None:
    spoil(two)
    before = {file.name: file.read_bytes() for file in two.parent.iterdir()}
    run("verify", str(two.parent))
    assert {file.name: file.read_bytes() for file in two.parent.iterdir()} == before


# -- journals that go on over a fold ----------------------------------------------------------------------------------


def document(generation: int, crc: int | None, n: int) -> bytes:
    """A snapshot; one of format 1 if *crc* is None."""
    own: dict[str, object] = {"generation": generation}
    if crc is not None:
        own["journal"] = note_for(crc)
    at = f"2026-11-24T00:00:{n:02}+00:00"
    tail = {"metadata": {"save_count": n}, "created_at": at, "last_updated": at, "resumable": own}
    return b"".join(sign({"version": "2.0", "operation_id": "job"}, [encode({"n": n})], tail))


def record(n: int) -> dict[str, object]:
    return {"at": f"2026-11-24T00:00:{n:02}+00:00", "metadata": {"save_count": n}, "set": {"n": n}}


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    """n was 0 in the snapshot before, 1 to 5 in its journal; a fold at 3 goes on with 4 to 7, of which 4 and 5 stand in
    both journals."""
    lines, positions = [], [Position(10, 99)]
    for n in range(1, 8):
        text, position = line(encode(record(n)), 10 + n, positions[-1].crc)
        lines.append(text)
        positions.append(position)
    path = tmp_path / ".checkpoint_job.json"
    path.with_name(f"{path.name}.prev").write_bytes(document(10, 99, 0))
    path.with_name(".checkpoint_job.journal.prev").write_bytes(b"".join(lines[:5]))
    path.write_bytes(document(13, positions[3].crc, 3))
    path.with_suffix(".journal").write_bytes(b"".join(lines[3:]))
    return path


def test_the_newest_save_comes_back_when_the_snapshot_of_a_fold_is_damaged(folded: Path) -> None:
    assert loaded(folded) == 7
    spoil(folded, 100)
    found = verify(folded, now=NOW)
    assert found.best is not None
    assert [file.path.name for file in found.best.journals] == [
        ".checkpoint_job.journal.prev",
        ".checkpoint_job.journal",
    ]
    assert (found.best.saves, found.best.lost_bytes) == (7, 0)
    assert "is lost" not in run("verify", str(folded)).output
    repair(folded, now=NOW)
    assert loaded(folded) == 7
    assert verify(folded, now=NOW).verdict == "good"


def test_also_where_the_journal_of_the_fold_ends_in_damage(folded: Path) -> None:
    journal = folded.with_suffix(".journal")
    content = read(journal.read_bytes())
    assert content is not None
    spoil(folded, 100)
    spoil(journal, content.ends[2] + 40)  # n is 6 before that
    found = verify(folded, now=NOW)
    assert found.best is not None
    assert found.best.lost_bytes == journal.stat().st_size - content.ends[2]
    repair(folded, now=NOW)
    assert loaded(folded) == 6


def test_a_fold_that_stopped_before_its_journal_was_in_place_loses_nothing(folded: Path) -> None:
    """The old journal still stands, and the new snapshot skips what it holds already."""
    folded.with_name(".checkpoint_job.journal.prev").replace(folded.with_suffix(".journal"))
    assert loaded(folded) == 5
    assert verify(folded, now=NOW).verdict == "good"
    spoil(folded, 100)
    repair(folded, now=NOW)
    assert loaded(folded) == 5


def test_the_journal_before_stands_in_for_a_damaged_one(folded: Path) -> None:
    spoil(folded.with_suffix(".journal"), 40)
    repair(folded, now=NOW)
    assert loaded(folded) == 5


def test_a_journal_of_format_1_is_verified_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / ".checkpoint_job.json"
    snapshot = document(5, None, 0)
    path.write_bytes(snapshot)
    records = [record(1), {**record(2), "fold": 9}, record(3)]
    lines = format1.lines_of(records, generation=5, digest=snapshot[-67:-3].decode())
    journal = path.with_suffix(".journal")
    journal.write_bytes(b"".join(lines))
    assert verify(path, now=NOW).verdict == "good"
    assert loaded(path) == 3
    output = run("verify", "-v", str(path)).output
    assert output.count(": good, save ") == 3
    assert "a new snapshot was begun with it" in output
    spoil(journal, len(b"".join(lines)) - 9)
    repair(path, now=NOW)
    assert loaded(path) == 2
    path.unlink()
    assert verify(path, now=NOW).operation_id == "job"  # the header of its journal tells


# -- any byte of any file ---------------------------------------------------------------------------------------------


@pytest.fixture
def generations(tmp_path: Path) -> Path:
    """Two snapshots, each with its journal. The older one's saves end at 3, the newer one's at 13."""
    path = saved(tmp_path, 3)
    with checkpointed("job", NEVER, store=tmp_path, auto_cleanup=False) as cp:
        cp.state["files"].update(dict.fromkeys(PADDING, "y" * 90))  # too much for the journal
        cp.state["n"] = 10
        cp.save()
        for number in (11, 12, 13):
            cp.state["n"] = number
            cp.save()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".json", ".journal", ".json.prev", ".journal.prev"])
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_any_byte_of_any_file_may_be_damaged(
    generations: Path, suffix: str, damage: str, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """Verify tells exactly what a program would meet; after a repair it loads a state that once was saved."""
    for name in ("sync", "sync_data", "sync_directory"):
        monkeypatch.setattr(f"resumable._runtime.disk.{name}", lambda where: None)
    spoilt = generations.with_suffix(suffix)
    before = contents(generations.parent)
    size, step = len(before[spoilt.name]), 1 if WHOLE else 61
    positions = sorted({*range(0, size, step), *range(min(60, size)), *range(max(0, size - 60), size)})
    for position in positions:
        raw = bytearray(before[spoilt.name])
        if damage == "cut":
            del raw[position:]
        else:
            raw[position] ^= 1 << position % 8
        spoilt.write_bytes(raw)
        found = verify(generations, now=NOW)
        assert (found.verdict == "good") is loads(generations), position
        repaired = repair(generations, now=NOW)
        assert loaded(generations) in ((13,) if "prev" in suffix else (0, 1, 2, 3, 10, 11, 12, 13)), position
        assert verify(generations, now=NOW).verdict == "good", position
        if repaired.problem:
            assert bytes(raw) in [path.read_bytes() for path in repaired.kept], position
        for file in generations.parent.iterdir():
            file.unlink()
        for name, content in before.items():
            (generations.parent / name).write_bytes(content)
    figure(f"a byte of {suffix} {damage}, repaired", len(positions), "a good save each time, the damaged file kept")


def loads(path: Path) -> bool:
    try:
        return CheckpointManager(path.parent).load_checkpoint("job") is not None
    except CheckpointCorruptError:
        return False


# -- what nobody can judge here ---------------------------------------------------------------------------------------


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.suffix != ".lock"}


def test_without_its_key_an_encrypted_one_is_not_touched(sealed: Path) -> None:
    spoil(sealed, -100)
    before = contents(sealed.parent)
    result = run("verify", str(sealed))
    assert result.exit_code == 1
    assert "job: unknown\n" in result.output
    assert "unknown  .checkpoint_job.json: it is encrypted" in result.output
    assert "--key-file" in result.output
    assert "--key-file" in run("repair", str(sealed)).output
    assert contents(sealed.parent) == before


@pytest.mark.parametrize("way", ["--key-file", "environment"])
def test_with_its_key_an_encrypted_one_is_repaired(
    sealed: Path, way: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[str] = []
    if way == "environment":
        monkeypatch.setenv("RESUMABLE_KEY", KEY)
    else:
        key_file = tmp_path_factory.mktemp("secret") / "key"
        key_file.write_text(f"{KEY}\n")
        options = ["--key-file", str(key_file)]
    assert "job: good" in run("verify", str(sealed), *options).output
    damaged = spoil(sealed, -100)
    assert "job: damaged" in run("verify", str(sealed), *options).output
    result = run("repair", str(sealed), *options)
    assert result.exit_code == 0, result.output
    found = CheckpointManager(store=EncryptedStore(FileStore(sealed.parent), KEY)).load_checkpoint("job")
    assert found is not None
    assert found.state == {"n": 0}
    assert [(sealed.parent / name).read_bytes() for name in kept(sealed)] == [damaged]


def test_with_another_key_nothing_is_repaired(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESUMABLE_KEY", EncryptedStore.new_key())
    before = contents(sealed.parent)
    assert run("repair", str(sealed)).exit_code == 1
    assert contents(sealed.parent) == before


# -- the verdict is what a run meets ----------------------------------------------------------------------------------


def put_in_place_of(path: Path, what: str) -> None:
    path.unlink(missing_ok=True)
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.skipif(os.name == "nt", reason="no pipes with names, and links need a privilege")
@pytest.mark.parametrize("what", ["directory", "pipe", "link"])
@pytest.mark.parametrize("suffix", [".json", ".journal"])
def test_what_is_no_file_is_told_by_its_name_and_repaired(generations: Path, suffix: str, what: str) -> None:
    path = generations.with_suffix(suffix)
    put_in_place_of(path, what)
    with pytest.raises(StoreError, match=f"cannot read .*{path.name}: "):
        CheckpointManager(generations.parent).load_checkpoint("job")
    assert run("verify", str(generations)).exit_code == 1
    result = run("repair", str(generations))
    assert result.exit_code == 0, result.output
    assert loaded(generations) == (3 if suffix == ".json" else 10)
    assert verify(generations, now=NOW).verdict == "good"
    assert len(kept(generations)) >= 1


def test_a_directory_in_place_of_the_checkpoint_before_lets_nobody_save(two: Path) -> None:
    put_in_place_of(two.with_name(f"{two.name}.prev"), "directory")
    with pytest.raises(StoreError):
        CheckpointManager(two.parent).create_checkpoint("job", {"n": 2})
    assert ".checkpoint_job.json.prev" in verify(two, now=NOW).problem
    repair(two, now=NOW)
    assert loaded(two) == 1
    CheckpointManager(two.parent).create_checkpoint("job", {"n": 2})
    assert loaded(two) == 2


def test_zeros_at_the_end_of_a_journal_are_told(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    journal.write_bytes(journal.read_bytes() + b"\0" * 5000)
    result = run("verify", str(journaled))
    assert result.exit_code == 0
    assert "its last 5,000 bytes are zeros" in result.output
    journal.write_bytes(b"\0" * 700)
    assert "its last 700 bytes are zeros" in run("verify", str(journaled)).output


def test_room_that_a_killed_run_left_at_the_end_of_a_journal_is_told_and_is_no_loss(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    journal.write_bytes(journal.read_bytes() + b"\xff" * 5000)
    result = run("verify", str(journaled))
    assert result.exit_code == 0
    assert "and 5,000 bytes of room for more" in result.output
    assert "cut off" not in result.output


def test_each_save_that_is_counted_is_listed(journaled: Path) -> None:
    content = read(journaled.with_suffix(".journal").read_bytes())
    assert content is not None
    output = run("verify", "-v", str(journaled)).output
    count = len(content.records)
    assert f"{count} good saves" in output
    assert output.count(": good, save ") == count


def test_a_journal_that_is_lost_with_its_snapshot_is_told(generations: Path) -> None:
    spoil(generations)
    size = generations.with_suffix(".journal").stat().st_size
    assert f"the present journal, {size:,} bytes with" in run("verify", str(generations)).output


def test_a_damaged_journal_names_the_file_that_repair_goes_on_from(journaled: Path) -> None:
    journal = journaled.with_suffix(".journal")
    content = read(journal.read_bytes())
    assert content is not None
    spoil(journal, content.ends[2] + 30)
    with pytest.raises(CheckpointCorruptError) as caught:
        CheckpointManager(journaled.parent).load_checkpoint("job")
    assert f"go on from the last good save in it:  resumable repair {journaled}\n" in str(caught.value)


def test_a_run_that_begins_anew_beside_an_older_checkpoint_says_so(two: Path, caplog: pytest.LogCaptureFixture) -> None:
    two.unlink()
    assert "the operation was finished, or its checkpoint was removed" in run("verify", str(two)).output
    with checkpointed("job", NEVER, store=two.parent, auto_cleanup=False) as cp:
        assert not cp.resumed
        (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
        assert record.name == "resumable"
        assert f"resumable repair {two}.prev" in record.getMessage()
        assert two.with_name(f"{two.name}.prev").exists()


def test_a_first_run_has_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with checkpointed("job", NEVER, store=tmp_path):
        pass
    assert [one for one in caplog.records if one.levelname == "WARNING"] == []


def test_a_wrong_key_is_not_called_a_loss(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESUMABLE_KEY", EncryptedStore.new_key())
    output = run("verify", str(sealed)).output
    assert "the key is wrong, or" in output
    assert "move" not in output
