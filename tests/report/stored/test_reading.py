"""``resumable.read``: one whole save of any checkpoint, whoever is writing it meanwhile."""

from __future__ import annotations

import contextlib
import pickle
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import resumable
from resumable import (
    CheckpointCorruptError,
    CheckpointManager,
    CheckpointNotFoundError,
    CheckpointView,
    checkpointed,
    every,
)
from resumable._format.document import sign
from resumable.stores import EncryptedStore, FileStore, MemoryStore
from tests.support import stores
from tests.support.running import REPOSITORY, running_job


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leave(operation_id: str = "job", **options: Any) -> None:
    """A run that is left by an exception at its fourth item."""
    with contextlib.suppress(OSError), checkpointed(operation_id, every(items=1), **options) as cp:
        files, rows, seen = cp.mapping("files"), cp.log("rows"), cp.set("seen")
        for number in cp.remaining(range(10), name="main"):
            if number == 3:
                raise OSError("reset, password=hunter2secret")
            files[f"f{number}"] = {"number": number}
            rows.append(number / 2)
            seen.add(f"s{number}")
            cp.state["done"] = number + 1


def test_it_holds_what_the_program_held() -> None:
    leave()

    view = resumable.read("job")

    assert isinstance(view, CheckpointView)
    files = {"f0": {"number": 0}, "f1": {"number": 1}, "f2": {"number": 2}}
    assert view.collections == {"files": files, "rows": [0.0, 0.5, 1.0], "seen": {"s0", "s1", "s2"}}
    assert view.state == {**view.collections, "done": 3}
    assert (view.operation_id, view.processed_items, view.total_items) == ("job", 3, 10)
    assert view.metadata.last_save_reason == "Interrupted: OSError"
    assert [(name, loop.by, loop.processed_items, loop.total_items) for name, loop in view.loops.items()] == [
        ("main", "position", 3, 10)
    ]
    assert [(run.run, run.items, run.error) for run in view.history] == [(1, 3, "OSError: reset, password=***")]
    assert view.created_at <= view.last_updated <= datetime.now(UTC)
    assert view.location == Path(".checkpoint_job.json").absolute()
    assert view.failed == {}


def test_its_repr_tells_what_there_is() -> None:
    leave("two words\n")

    told = repr(resumable.read("two words\n"))

    assert told.startswith("<checkpoint of 'two words\\n': 3 of 10 items, saved 20")
    assert told.endswith(" UTC; files (mapping of 3), rows (log of 3), seen (set of 3)>")


def test_what_failed_is_told_as_the_program_is_told_it() -> None:
    with checkpointed("job", auto_cleanup=False) as cp:
        for name in ("one", "two"):
            for number in cp.remaining(range(4), name=name):
                if number in (1, 2 if name == "two" else 1):
                    cp.fail(number, ValueError(f"no {number}"))
        failed = cp.failed

    assert resumable.read("job").failed == failed
    assert set(failed) == {"one/1", "two/1", 2}


def test_it_cannot_be_set_and_what_is_changed_in_it_is_not_stored() -> None:
    leave()
    view = resumable.read("job")

    with pytest.raises(AttributeError):
        view.state = {}  # type: ignore[misc]
    view.state["done"] = 99
    view.collections["files"].clear()

    assert resumable.read("job").state["done"] == 3
    assert len(resumable.read("job").collections["files"]) == 3


def test_a_typed_collection_is_read_as_plain_json() -> None:
    with contextlib.suppress(OSError), checkpointed("job") as cp:
        days, seen = cp.mapping("days", date), cp.set("seen", date)
        for number in cp.remaining(range(1, 4)):
            days[str(number)] = date(2026, 1, number)
            seen.add(date(2026, 1, number))
            if number == 2:
                raise OSError

    assert resumable.read("job").collections == {"days": {"1": "2026-01-01"}, "seen": {"2026-01-01"}}


# -- while others write


@pytest.mark.slow
def test_while_the_job_runs_each_reading_is_one_whole_save(place: Path) -> None:
    steps = []
    with running_job(place, fold_after=3000) as job:
        while len(set(steps)) <= 10:
            view = resumable.read("job")
            done = view.processed_items
            numbers = range(done)
            assert view.state["done"] == view.loops["main"].processed_items == done
            assert list(view.collections["files"]) == [f"f{number}" for number in numbers]
            assert view.collections["rows"] == [{"number": number} for number in numbers]
            assert view.collections["seen"] == set(numbers)
            steps.append(done)
        assert job.poll() is None

    assert steps == sorted(steps)


def test_to_read_claims_nothing_and_changes_no_file(place: Path) -> None:
    with running_job(place):
        pass
    assert (place / ".checkpoint_job.journal").stat().st_size > 0
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.iterdir()}

    killed = resumable.read("job")

    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.iterdir()} == before
    assert killed.processed_items == len(killed.collections["files"]) == killed.state["done"] >= 20
    with stores.claimed(FileStore(place), "job"):
        assert resumable.read("job").state == killed.state


def test_a_torn_tail_of_the_journal_is_the_save_before(place: Path) -> None:
    with running_job(place):
        pass
    whole, journal = resumable.read("job"), place / ".checkpoint_job.journal"
    found = FileStore(place).read("job")
    assert found is not None

    journal.write_bytes(found.journal[: found.journal.rindex(b"\n") - 5])
    torn = resumable.read("job")

    assert torn.processed_items == whole.processed_items - 1
    assert torn.collections["seen"] == set(range(torn.processed_items))


# -- what there is not


def test_an_operation_that_is_not_there_is_an_error_that_names_close_ones(place: Path) -> None:
    leave("github-stars")

    with pytest.raises(CheckpointNotFoundError) as caught:
        resumable.read("github-star")

    error = caught.value
    assert str(error) == (
        f"no checkpoint of 'github-star' in {place}: it never began, has not saved yet, or has finished. "
        "Did you mean: 'github-stars'?"
    )
    assert (error.operation_id, error.location, error.similar) == ("github-star", str(place), ["github-stars"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, LookupError)


def test_a_directory_that_is_not_there_is_not_made(place: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"or has finished\.$"):
        resumable.read("job", store=place / "missing")

    assert list(place.iterdir()) == []


@pytest.mark.parametrize("operation_id", [3, None, b"job"])
def test_an_id_that_is_no_text_is_refused(operation_id: Any) -> None:
    with pytest.raises(TypeError, match="operation_id must be a str"):
        resumable.read(operation_id)


def test_a_damaged_one_is_an_error_that_offers_the_save_before(place: Path) -> None:
    leave()
    leave()
    path = place / ".checkpoint_job.json"
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(CheckpointCorruptError, match="resumable repair") as caught:
        resumable.read("job")

    assert caught.value.previous == str(path.with_name(".checkpoint_job.json.prev"))


def test_loops_that_are_damaged_are_an_error_of_the_checkpoint() -> None:
    now = "2026-01-01T00:00:00+00:00"
    tail = {"metadata": {}, "created_at": now, "last_updated": now}
    own = {"resumable": {"generation": 1, "loops": {"main": {"by": "magic"}}}}
    stores.put(FileStore("."), "job", b"".join(sign({"version": "2.0", "operation_id": "job"}, [b"{}"], tail | own)))

    with pytest.raises(
        CheckpointCorruptError, match="its loops are damaged: one is counted by 'magic', which is unknown"
    ):
        resumable.read("job")


# -- where


def test_it_looks_where_the_program_saves(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = MemoryStore()
    for where in (place / "given", memory, "memory://reading"):
        leave(store=where)
        assert resumable.read("job", where).processed_items == 3
    monkeypatch.setenv("CHECKPOINT_DIR", str(place / "given"))
    assert resumable.read("job").location == place / "given" / ".checkpoint_job.json"


def test_an_encrypted_one_is_read_with_its_key(place: Path) -> None:
    sealed = EncryptedStore(FileStore(place), EncryptedStore.new_key())
    leave(store=sealed)

    assert resumable.read("job", sealed).state["done"] == 3
    with pytest.raises(CheckpointCorruptError, match="it is encrypted; open it with EncryptedStore and its key"):
        resumable.read("job")


def test_one_of_version_1_is_read_as_it_is_migrated() -> None:
    Path(".checkpoint_old.json").write_text('{"files_data": [{"path": "a", "sha": "1"}], "processed_files": ["a"]}')

    view = resumable.read("old")

    assert view.state["files_data"] == {"a": {"path": "a", "sha": "1"}}
    assert (view.collections, view.loops, view.history) == ({}, {}, [])


# -- frames


def test_frames_are_made_of_what_is_named() -> None:
    pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    leave()
    view = resumable.read("job")

    files = view.to_polars("files")

    assert files.to_dict(as_series=False) == {"key": ["f0", "f1", "f2"], "number": [0, 1, 2]}
    assert dict(files.schema) == {"key": pl.String, "number": pl.Int64}
    assert view.to_pandas("files", key_column="path").to_dict("list") == {
        "path": ["f0", "f1", "f2"],
        "number": [0, 1, 2],
    }
    assert view.to_pandas("files", key_column=None).columns.tolist() == ["number"]
    assert view.to_pandas("rows")["value"].tolist() == [0.0, 0.5, 1.0]
    assert view.to_polars("seen")["value"].to_list() == ["s0", "s1", "s2"]


def test_the_only_one_need_not_be_named() -> None:
    pytest.importorskip("polars")
    CheckpointManager().create_checkpoint("plain", {"page": 3, "rows": [{"a": 1}]})
    with checkpointed("durable", auto_cleanup=False) as cp:
        cp.state["plain"] = [1, 2]
        cp.mapping("files")["a"] = 1

    assert resumable.read("plain").to_polars().columns == ["a"]
    assert resumable.read("durable").to_polars().columns == ["key", "value"]
    assert resumable.read("durable").to_polars("plain").columns == ["value"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (None, "the checkpoint of 'job' has several collections; say which one: files, rows, seen"),
        ("file", "the checkpoint of 'job' has nothing named 'file'. Did you mean: files?"),
        ("zzz", "the checkpoint of 'job' has nothing named 'zzz'. Did you mean: files, rows, seen?"),
        ("done", "'done' in the checkpoint of 'job' is not a mapping, log or set: 3"),
    ],
)
def test_a_name_that_names_no_table_is_refused(name: str | None, told: str) -> None:
    leave()

    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        resumable.read("job").to_polars(name)


def test_where_there_is_no_table_it_says_so() -> None:
    CheckpointManager().create_checkpoint("job", {"page": 3})

    with pytest.raises(ValueError, match="'job' has no mapping, log or set"):
        resumable.read("job").to_pandas()


def test_to_read_loads_nothing_that_takes_long() -> None:
    leave()
    code = "import sys, resumable; resumable.read('job'); print(*sys.modules)"

    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY), "RESUMABLE_INDEX": "off"},
    )

    late = {"asyncio", "csv", "filelock", "numpy", "pandas", "polars", "pyarrow", "tenacity", "wrapt"}
    assert late & set(found.stdout.split()) == set()
