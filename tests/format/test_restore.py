"""Whatever becomes of the bytes: what loads is what was saved, all else is a ResumableError that changed nothing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumable import CheckpointCorruptError, CheckpointManager, ResumableError, StoreError, checkpointed
from resumable._format import journal as _journal
from resumable._format.document import sign
from resumable._format.restore import Restored, restore
from resumable._format.verify import verify
from resumable._json import encode
from resumable._models import CheckpointData
from resumable.stores import EncryptedStore, FileStore
from tests.conftest import Figure
from tests.faults.hostile import Files
from tests.support import format1, stores

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = os.environ.get("RESUMABLE_FAULTS") == "all"


Image = partial(Files, key="crawl")


def content_of(snapshot: bytes, journal: bytes | None = None) -> CheckpointData | None:
    """The loaded checkpoint; None if it is reported as damaged."""
    try:
        restored = restore(Image(snapshot, journal), "crawl", now=NOW)
    except CheckpointCorruptError:
        return None
    assert restored is not None
    return restored.data


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A snapshot that is small enough to be indented."""
    directory = tmp_path_factory.mktemp("small")
    with checkpointed("crawl", store=directory, auto_cleanup=False) as cp:
        cp.state.update(done=[1, 2.5, -3e300], text="Größe \\ \n 🦊", none=None, deep={"a": [{"b": True}]})
        for _ in cp.remaining(range(3)):
            cp.save()
    return (directory / ".checkpoint_crawl.json").read_bytes()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[CheckpointData]]:
    """A snapshot, a journal, and the contents after each save."""
    directory = tmp_path_factory.mktemp("large")
    saves: list[CheckpointData] = []
    with checkpointed("crawl", store=directory, auto_cleanup=False) as cp:
        files, log, seen = cp.mapping("files"), cp.log("log"), cp.set("seen")
        files.update({f"{number}": "x" * 90 for number in range(100)})
        for number in cp.remaining(range(5)):
            files[f"new {number}"] = {"n": number}
            log.append(number)
            seen.add(f"{number}")
            cp.save()
            restored = restore(FileStore(directory), "crawl", now=NOW)
            assert restored is not None
            saves.append(restored.data)
        snapshot = (directory / ".checkpoint_crawl.json").read_bytes()
        journal = stores.journal(FileStore(directory), "crawl")
    return snapshot, journal, saves


def flipped(raw: bytes, positions: Iterator[int] | range) -> Iterator[tuple[int, int, bytes]]:
    image = bytearray(raw)
    for position in positions:
        for bit in range(8):
            image[position] ^= 1 << bit
            yield position, bit, bytes(image)
            image[position] ^= 1 << bit


# -- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_bit_of_a_small_snapshot(small: bytes, figure: Figure) -> None:
    good = content_of(small)
    assert good is not None
    for position, bit, image in flipped(small, range(len(small))):
        found = content_of(image)
        assert found is None or repr(found) == repr(good), (position, bit, small[position - 20 : position + 20])
    figure("every bit of a small checkpoint", 8 * len(small), "0 wrong states accepted")


@pytest.mark.slow
def test_every_bit_of_a_journal(large: tuple[bytes, bytes, list[CheckpointData]], figure: Figure) -> None:
    snapshot, journal, _ = large
    for position, bit, image in flipped(journal, range(len(journal))):
        assert content_of(snapshot, image) is None, (position, bit)
    figure("every bit of a journal", 8 * len(journal), "0 accepted")


@pytest.mark.slow
def test_every_bit_of_a_snapshot_with_a_journal(
    large: tuple[bytes, bytes, list[CheckpointData]], figure: Figure
) -> None:
    snapshot, journal, saves = large
    size = len(snapshot)
    ends = [*range(300), *range(300, size - 700, 1 if WHOLE else 23), *range(size - 700, size)]
    for position, bit, image in flipped(snapshot, iter(ends)):
        found = content_of(image, journal)
        assert found is None or repr(found) == repr(saves[-1]), (position, bit)
    figure("bits of a snapshot with a journal", 8 * len(ends), "0 wrong states accepted")


# -- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_snapshot_cut_at_any_byte(small: bytes, figure: Figure) -> None:
    good = content_of(small)
    for size in range(len(small)):
        found = content_of(small[:size])
        assert found is None or repr(found) == repr(good)
        assert found is None or small[size:].isspace()
    figure("a snapshot cut at any byte", len(small), "0 wrong states accepted")


@pytest.mark.slow
def test_a_journal_cut_at_any_byte_is_the_saves_that_it_holds_wholly(
    large: tuple[bytes, bytes, list[CheckpointData]], figure: Figure
) -> None:
    snapshot, journal, saves = large
    content, first = _journal.read(journal), content_of(snapshot)
    assert content is not None
    assert len(content.records) == len(saves)
    for size in range(len(journal) + 1):
        whole = sum(end <= size for end in content.ends)
        assert content_of(snapshot, journal[:size]) == ([first, *saves])[whole], size
    figure("a journal cut at any byte", len(journal) + 1, "each is the saves that it holds wholly")


def test_a_snapshot_put_back_from_an_older_save_does_not_mix_with_a_newer_journal(
    large: tuple[bytes, bytes, list[CheckpointData]], small: bytes
) -> None:
    _, journal, _ = large
    assert content_of(small, journal) == content_of(small)


# -- lies: the digests are right, the content is not ------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats(allow_nan=False) | st.text(max_size=3)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "by", "new", "set"]), inner, max_size=3)
    ),
    max_leaves=6,
)
GOOD = {"version": "2.0", "operation_id": "crawl", "state": {"f": {}}, "created_at": "2026", "last_updated": "2026"}
GOOD |= {"created_at": "2026-01-01", "last_updated": "2026-01-01"}
METADATA = ["total_items", "processed_items", "rate_limit_remaining", "save_count", "last_save_reason", "mine"]
SECTIONS = ["history", "costs", "elapsed", "loops", "collections", "arguments", "budget", "sinks", "generation", "new"]
SECTIONS += ["failed", "pace"]


def section(names: list[str], values: st.SearchStrategy[Any] = junk) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(names), values, max_size=4) | junk


loop = section(["by", "keys", "ranges", "position", "samples", "within", "new", "since", "total"])
loops = st.dictionaries(st.sampled_from(["loop 1", "1", "loop"]), loop, max_size=2)
internal = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(SECTIONS, junk)
    | {
        "loops": loops | junk,
        "collections": st.dictionaries(st.sampled_from("fls"), st.sampled_from(["mapping", "log", "set"]) | junk)
        | junk,
        "history": st.lists(section(["run", "began", "items"]), max_size=2) | junk,
    },
)
state = st.dictionaries(st.sampled_from("fls"), junk, max_size=3)
documents = st.fixed_dictionaries(
    {"version": st.just("2.0"), "operation_id": st.just("crawl"), "state": state | junk},
    optional={
        "metadata": section(METADATA),
        "created_at": st.just("2026-01-01T00:00:00+00:00") | junk,
        "last_updated": st.just("2026-01-01T00:00:00+00:00") | junk,
    },
)
records = st.fixed_dictionaries(
    {},
    optional={
        "at": st.just("2026-01-01T00:00:00+00:00") | junk,
        "metadata": section(METADATA),
        "set": section(["f", "l"]),
        "del": junk,
        "collections": section(["f", "l", "s"], section(["set", "del", "clear", "add", "append", "put"])),
        "loops": loops | junk,
        "resumable": internal | junk,
        "fold": junk,
    },
)


def use(store: Image) -> None:
    """All that a program does with a checkpoint."""
    with contextlib.suppress(ResumableError), checkpointed("crawl", store=store) as cp:
        cp.tick()
        cp.save()


@pytest.mark.slow
@settings(deadline=None, max_examples=2000 if WHOLE else 300)
@given(documents, internal)
@example(GOOD, {"history": [5]})
@example(GOOD, {"history": [{"run": "x"}]})
@example(GOOD, {"history": 5})
@example(GOOD, {"history": [{"run": 1, "reason": [[]]}]})
@example(GOOD, {"costs": {"active_seconds": 1, "work_seconds": 1}, "elapsed": 10**400})
@example(GOOD, {"loops": 5})
@example(GOOD, {"loops": {"loop-1": 5}})
@example(GOOD, {"loops": {"loop-1": {"by": "position"}}})
@example(GOOD, {"loops": {"loop-1": {"by": "key", "keys": 5}}})
@example(GOOD, {"collections": {"f": 5}})
@example(GOOD, {"collections": {"f": "set"}})
@example(GOOD, {"collections": 5})
@example(GOOD, {"budget": 5})
@example(GOOD, {"failed": {"loop-1": [["3"]]}})
@example(GOOD, {"failed": {"loop-1": 3}})
@example(GOOD, {"failed": {"loop-1": [[None, "x"]]}})
@example(GOOD, {"failed": []})
@example(GOOD, {"pace": 5})
@example(GOOD, {"sinks": {"rows": {"offset": -1, "sample": ""}}})
@example(GOOD, {"budget": {"buckets": 5}})
@example(GOOD, {"arguments": 5, "elapsed": "x", "costs": 5})
def test_a_signed_document_with_any_content(document: dict[str, Any], internal: dict[str, Any]) -> None:
    head = {name: document[name] for name in ("version", "operation_id")}
    tail = {name: document[name] for name in ("metadata", "created_at", "last_updated") if name in document}
    tail["resumable"] = {"generation": 1} | internal
    use(Image(b"".join(sign(head, [encode(document["state"])], tail))))


@pytest.mark.slow
@settings(deadline=None, max_examples=2000 if WHOLE else 300)
@given(documents | junk | st.dictionaries(st.sampled_from(["files_data", "processed_files", "version"]), junk))
def test_a_document_without_digest_with_any_content(document: Any) -> None:
    use(Image(json.dumps(document).encode()))


@pytest.mark.slow
@settings(deadline=None, max_examples=2000 if WHOLE else 300)
@given(st.lists(records, min_size=1, max_size=3), st.booleans())
@example([{"del": 5}], True)
@example([{"del": [[]]}], True)
@example([{"loops": {"1": {"new": True}}}], True)
@example([{"resumable": {"costs": 5}}], True)
def test_a_journal_with_right_checksums_and_any_content(lies: list[dict[str, Any]], is_old: bool) -> None:
    own: dict[str, Any] = {"generation": 1} if is_old else {"generation": 1, "journal": _journal.note_for(7)}
    snapshot = signed(own, state=b'{"f":{},"l":[]}')
    saves = [{"at": "2026-01-01", **lie} for lie in lies]
    if is_old:
        digest = snapshot[-67:-3].decode()
        use(Image(snapshot, b"".join(format1.lines_of(saves, generation=1, digest=digest, key="crawl"))))
    else:
        use(Image(snapshot, chained(saves, _journal.Position(1, 7))))


def signed(own: dict[str, Any], *, state: bytes = b"{}") -> bytes:
    """A document whose digest is right; *own* stands under ``resumable``."""
    tail = {"metadata": {}, "created_at": "2026-01-01", "last_updated": "2026-01-01", "resumable": own}
    return b"".join(sign({"version": "2.0", "operation_id": "crawl"}, [state], tail))


def chained(saves: list[dict[str, Any]], begin: _journal.Position) -> bytes:
    """A journal of format 2."""
    raw, position = b"", begin
    for save in saves:
        line, position = _journal.line(encode(save), position.sequence + 1, position.crc)
        raw += line
    return raw


@pytest.mark.slow
@settings(deadline=None, max_examples=2000 if WHOLE else 300)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes(snapshot: bytes, journal: bytes) -> None:
    use(Image(snapshot, journal))


@pytest.mark.parametrize("failed", [{"map": [["3"]]}, {"map": 3}, [], {"map": [[None, "x"]]}])
def test_failures_that_nobody_saved_so_are_damage(failed: Any) -> None:
    store = Image(signed({"generation": 1, "failed": failed}))
    with pytest.raises(CheckpointCorruptError, match="failed"), checkpointed("crawl", store=store):
        pytest.fail("it was accepted")


# -- what the next save goes on from ----------------------------------------------------------------------------------

OLD, NEW = {"generation": 5}, {"generation": 5, "journal": _journal.note_for(7)}


def save(n: int) -> dict[str, Any]:
    return {"at": "2026-01-01", "metadata": {}, "set": {"n": n}}


def restored_from(snapshot: bytes, journal: bytes = b"") -> Restored:
    restored = restore(Image(snapshot, journal), "crawl", now=NOW)
    assert restored is not None
    return restored


def test_saves_of_format_2_go_on_from_the_last_one() -> None:
    journal = chained([save(1), save(2)], _journal.Position(5, 7))
    content = _journal.read(journal)
    assert content is not None
    restored = restored_from(signed(NEW), journal)

    assert restored.data.state == {"n": 2}
    assert restored.position == _journal.Position(7, content.crc)
    assert (restored.newest, restored.journal_bytes, restored.snapshot.generation) == (7, len(journal), 5)


def test_without_a_journal_saves_go_on_from_what_the_snapshot_notes() -> None:
    restored = restored_from(signed(NEW))

    assert (restored.position, restored.newest, restored.journal_bytes) == (_journal.Position(5, 7), 5, 0)
    assert "journal" not in restored.data.internal
    assert restored.sections.others == {}


def test_a_journal_that_goes_on_from_an_older_snapshot_gives_only_what_the_newer_one_has_not() -> None:
    journal = chained([save(1), save(2), save(3)], _journal.Position(5, 7))
    middle = _journal.read(chained([save(1), save(2)], _journal.Position(5, 7)))
    assert middle is not None
    fold = signed({"generation": 7, "journal": _journal.note_for(middle.crc)}, state=b'{"n":2,"of":"the fold"}')

    assert restored_from(fold, journal).data.state == {"n": 3, "of": "the fold"}
    assert restored_from(fold, journal).position == restored_from(signed(NEW), journal).position
    begun = restored_from(fold, journal[: middle.good_bytes])
    assert (begun.data.state["n"], begun.position) == (2, _journal.Position(7, middle.crc))


@pytest.mark.parametrize(
    ("own", "journal", "n"),
    [
        pytest.param(OLD, b"", 0, id="a snapshot of format 1"),
        pytest.param({"generation": 0}, b"", 0, id="of another tool"),
        pytest.param(NEW, chained([save(1), save(2)], _journal.Position(5, 7))[:-3], 1, id="a torn tail"),
        pytest.param(NEW, chained([save(1)], _journal.Position(5, 7))[:-3], 0, id="a torn first line"),
        pytest.param(NEW, chained([save(1)], _journal.Position(5, 8)), 0, id="left over from an earlier life"),
        pytest.param(NEW, chained([save(1)], _journal.Position(2, 8)), 0, id="left over and older"),
        pytest.param(
            NEW, b"".join(format1.lines_of([save(1)], generation=3, key="crawl")), 0, id="left over, format 1"
        ),
    ],
)
def test_the_next_save_is_a_whole_snapshot_where_no_line_can_follow(
    own: dict[str, Any], journal: bytes, n: int
) -> None:
    restored = restored_from(signed(own, state=b'{"n":0}'), journal)

    assert restored.position is None
    assert restored.data.state == {"n": n}


def test_a_journal_of_format_1_is_read_to_its_end() -> None:
    snapshot = signed(OLD)
    digest = snapshot[-67:-3].decode()
    lines = format1.lines_of([save(1), {**save(2), "fold": 9}, save(3)], generation=5, digest=digest, key="crawl")
    restored = restored_from(snapshot, b"".join(lines))

    assert restored.data.state == {"n": 3}
    assert (restored.position, restored.newest) == (None, 9)
    assert restored.journal_bytes == sum(map(len, lines))
    folded = signed({"generation": 9}, state=b'{"n":2}')
    assert restored_from(folded, b"".join(lines)).data.state == {"n": 3}


@pytest.mark.parametrize("note", [5, {"format": 2}, {"format": 1, "crc": 7}])
def test_a_malformed_note_of_the_journal_is_damage(note: Any) -> None:
    with pytest.raises(CheckpointCorruptError, match="its 'journal' entry is malformed"):
        restored_from(signed({"generation": 5, "journal": note}))


def test_a_snapshot_whose_journal_is_of_a_newer_release_is_not_read_without_it() -> None:
    with pytest.raises(CheckpointCorruptError, match="a newer release wrote it, with format 3") as caught:
        restored_from(signed({"generation": 5, "journal": {"format": 3}}))
    assert caught.value.previous is None


def test_a_lease_is_read_by_its_owner(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    stores.put(store, "crawl", signed(NEW, state=b'{"n":4}'))
    with stores.claimed(store, "crawl") as lease:
        restored = restore(store, "crawl", now=NOW, lease=lease)

    assert restored is not None
    assert (restored.data.state, restored.location) == ({"n": 4}, tmp_path / ".checkpoint_crawl.json")
    assert restore(store, "other", now=NOW) is None


# -- more than there is memory for ------------------------------------------------------------------------------------


def test_nothing_that_is_far_too_large_is_read(tmp_path: Path) -> None:
    """A sparse file of four terabytes costs nobody anything but its reader."""
    path = tmp_path / ".checkpoint_job.json"
    for name in (path, path.with_name(f"{path.name}.prev"), path.with_suffix(".journal")):
        name.touch()
        os.truncate(name, 4 << 40)
    with pytest.raises(StoreError, match="larger than 6 GiB"):
        CheckpointManager(tmp_path).load_checkpoint("job")
    with pytest.raises(StoreError, match="larger than 6 GiB"), checkpointed("job", store=tmp_path):
        pass
    assert all("larger than 6 GiB" in file.problem for file in verify(path, now=NOW).files)


def test_a_small_file_that_would_fill_the_memory_is_not_parsed() -> None:
    """An empty array takes thirty times as much of it as of the file."""
    image = b'{"version":"2.0","operation_id":"crawl","state":{"a":[' + b"[]," * (9 << 20) + b"0]}}"
    with pytest.raises(CheckpointCorruptError, match="more than 8,388,608 arrays and objects"):
        restore(Image(image), "crawl", now=NOW)


# -- in a directory ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("operation_id", ["job", "Job", "a/b", "a_b", "a b", "ß"])
@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
def test_no_bit_makes_a_checkpoint_another_operations(
    operation_id: str, is_encrypted: bool, tmp_path: Path, figure: Figure
) -> None:
    """``job`` is one bit from ``Job``, whose file name is the same where case does not count."""
    files = FileStore(tmp_path)
    store = EncryptedStore(files, EncryptedStore.new_key()) if is_encrypted else files
    manager = CheckpointManager(store=store)
    path = Path(manager.create_checkpoint(operation_id, {"n": 7}))
    size = path.stat().st_size if WHOLE or operation_id == "job" else 100  # the id stands at the beginning
    for position, bit, image in flipped(path.read_bytes(), range(size)):
        path.write_bytes(image)
        assert files.locate(operation_id) == path, (position, bit)
        try:
            found = manager.load_checkpoint(operation_id)
        except CheckpointCorruptError:
            continue
        assert found is not None, (position, bit)
        assert found.state == {"n": 7}, (position, bit)
    kind = "an encrypted file" if is_encrypted else "a file"
    figure(f"every bit of {kind}, {operation_id!r}", 8 * size, "0 taken for none, 0 wrong states accepted")


def test_a_damaged_checkpoint_is_not_begun_beside(tmp_path: Path) -> None:
    path = Path(CheckpointManager(tmp_path).create_checkpoint("job", {"n": 7}))
    path.write_bytes(path.read_bytes().replace(b'"job"', b'"Job"'))
    with pytest.raises(CheckpointCorruptError, match="damaged"), checkpointed("job", store=tmp_path):
        pass
    assert not [file for file in tmp_path.iterdir() if file.suffix == ".json" and file != path]


def test_a_good_file_of_a_rival_stays_its_own(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    one, other = Path(manager.create_checkpoint("a/b", {"n": 1})), Path(manager.create_checkpoint("a_b", {"n": 2}))
    assert one != other
    found = manager.load_checkpoint("a/b"), manager.load_checkpoint("a_b")
    assert [one and one.state for one in found] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_journal_that_has_lost_its_first_save_is_told(
    tmp_path: Path, is_encrypted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What is behind cannot be used, but it is work that somebody has done."""
    store = EncryptedStore(tmp_path, EncryptedStore.new_key()) if is_encrypted else FileStore(tmp_path)
    with checkpointed("crawl", store=store, auto_cleanup=False) as cp:
        cp.mapping("large").update({str(number): "x" * 100 for number in range(300)})
        cp.save()
        for number in range(5):
            cp.state["number"] = number
            cp.save()
    (path,) = tmp_path.glob("*.journal")
    _, *others = path.read_bytes().rstrip(b"\0").splitlines(keepends=True)
    path.write_bytes(b"".join(others))
    with checkpointed("crawl", store=store) as cp:
        assert "number" not in cp.state

    (told,) = [record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()]
    assert f"holds {len(others)} saves" in told
