"""``resumable export``: files that other programs read, out of any checkpoint, whoever is writing it meanwhile."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, checkpointed, every
from resumable.stores import EncryptedStore, FileStore
from tests.support.command import document, resumable, run
from tests.support.running import REPOSITORY, running_job

pytestmark = pytest.mark.usefixtures("place")
KEY = EncryptedStore.new_key()
FILES = {"a.py": {"size": 1, "ok": True, "tags": ["x"]}, "b.py": {"size": 2}}


def keep(**options: Any) -> None:
    """A checkpoint with a mapping, a log, a set and a number."""
    with checkpointed("job", auto_cleanup=False, **options) as cp:
        cp.mapping("files").update(FILES)
        cp.log("rows").extend([1, 2.5])
        cp.set("seen").update(["b", "a"])
        cp.state["page"] = 3


def exported(*arguments: str) -> str:
    result = resumable("export", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def lines(*arguments: str) -> list[Any]:
    return [json.loads(line) for line in exported(*arguments).splitlines()]


def test_each_format_has_a_row_for_each_entry() -> None:
    keep()

    assert exported("job", "--of", "files", "--format", "csv") == (
        'key,size,ok,tags\na.py,1,true,"[""x""]"\nb.py,2,,\n'
    )
    assert lines("job", "--of", "files", "--format", "jsonl") == [{"key": key, **one} for key, one in FILES.items()]
    assert lines("job", "--of", "rows", "--format", "jsonl") == [{"value": 1}, {"value": 2.5}]
    assert exported("job", "--of", "seen", "--format", "csv") == "value\na\nb\n"


@pytest.mark.slow
def test_parquet_is_read_by_polars() -> None:
    pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    keep()

    result = resumable("export", "job", "--of", "files", "-o", "files.parquet")

    assert (result.exit_code, result.stdout) == (0, "")
    assert pl.read_parquet("files.parquet").to_dicts() == [
        {"key": "a.py", "size": 1, "ok": True, "tags": ["x"]},
        {"key": "b.py", "size": 2, "ok": None, "tags": None},
    ]


def test_json_of_one_is_that_one_alone() -> None:
    keep()

    assert json.loads(exported("job", "--of", "files")) == FILES
    assert json.loads(exported("job", "--of", "seen", "--format", "json")) == ["a", "b"]
    assert json.loads(exported("job"))["state"]["files"] == FILES


@pytest.mark.parametrize("output", ["x.csv", "x.CSV", "x.jsonl", "x.ndjson", "x.json", "x"])
def test_the_ending_of_the_file_tells_the_format(output: str) -> None:
    CheckpointManager().create_checkpoint("job", {"rows": [{"a": 1}]})

    result = resumable("export", "job", "-o", output)

    assert (result.exit_code, result.stdout) == (0, "")
    written = Path(output).read_text()
    starts = {"x.csv": "a\n1\n", "x.CSV": "a\n1\n", "x.jsonl": '{"a":1}\n', "x.ndjson": '{"a":1}\n'}
    assert written.startswith(starts.get(output, '{\n  "version": "2.0"'))
    assert f"wrote {output} ({len(written)} B)" in result.stderr


def test_a_format_that_is_asked_for_beats_the_ending() -> None:
    keep()

    assert resumable("export", "job", "--of", "rows", "--format", "jsonl", "-o", "x.csv").exit_code == 0
    assert Path("x.csv").read_text() == '{"value":1}\n{"value":2.5}\n'


def test_the_only_one_need_not_be_named() -> None:
    CheckpointManager().create_checkpoint("job", {"page": 3, "rows": [{"a": 1}]})

    assert exported("job", "--format", "csv") == "a\n1\n"


def test_the_column_of_keys_is_named_or_left_out() -> None:
    with checkpointed("job", auto_cleanup=False) as cp:
        cp.mapping("files")["a"] = {"key": 1}

    assert exported("job", "--format", "csv", "--key-column", "path") == "path,key\na,1\n"
    assert exported("job", "--format", "csv", "--key-column", "") == "key\n1\n"
    result = resumable("export", "job", "--format", "csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--key-column" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["job", "--format", "csv"], 2, "say which one, with --of: files, rows, seen"),
        (["job", "--format", "csv", "--of", "file"], 1, "has nothing named 'file'. Did you mean: files?"),
        (
            ["job", "--format", "jsonl", "--of", "page"],
            1,
            "'page' in the checkpoint of 'job' is not a mapping, log or set",
        ),
        (["job", "--of", "page"], 1, "is not a mapping, log or set: 3"),
        (["jbo", "--format", "csv"], 1, "Did you mean: job?"),
        (["job", "--format", "csv", "--of", "rows", "--json"], 2, "--json with --format csv needs --output FILE"),
        (["job", "--format", "xml"], 2, "'xml' is not one of"),
        (["job", "--of", "rows", "-o", "missing/x.csv"], 1, "cannot write missing/x.csv"),
    ],
)
def test_what_cannot_be_exported_is_told(arguments: list[str], code: int, told: str) -> None:
    keep()

    result = resumable("export", *arguments)

    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_one_without_any_table_says_so() -> None:
    CheckpointManager().create_checkpoint("job", {"page": 3})

    result = resumable("export", "job", "--format", "csv")

    assert (result.exit_code, result.stderr) == (1, "Error: the checkpoint of 'job' has no mapping, log or set\n")


def test_without_pyarrow_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keep()
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # type: ignore[arg-type]

    result = resumable("export", "job", "--of", "files", "-o", "files.parquet")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("pip install pyarrow\n")
    assert not Path("files.parquet").exists()


def test_a_file_that_is_there_stays_if_the_export_fails() -> None:
    keep()
    Path("x.csv").write_text("mine")

    assert resumable("export", "job", "--of", "page", "-o", "x.csv").exit_code == 1
    assert Path("x.csv").read_text() == "mine"
    assert resumable("export", "job", "--of", "rows", "-o", "x.csv", "--json").stdout == (
        '{\n  "operation_id": "job",\n  "output": "x.csv",\n  "bytes": 12\n}\n'
    )


def test_an_encrypted_one_is_exported_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store=EncryptedStore(FileStore("."), KEY))
    result = resumable("export", "job", "--of", "rows", "--format", "csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "give its key with --key-file" in result.stderr
    monkeypatch.setenv("RESUMABLE_KEY", KEY)

    assert exported("job", "--of", "rows", "--format", "csv") == "value\n1\n2.5\n"


# -- in processes of their own


def export_in_a_shell(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resumable", "export", "job", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def numbers_in_csv(text: str) -> list[int]:
    return [int(row["number"]) for row in csv.DictReader(io.StringIO(text))]


def numbers_in_jsonl(text: str) -> list[int]:
    return [json.loads(line)["number"] for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("format_", "numbers"), [("csv", numbers_in_csv), ("jsonl", numbers_in_jsonl)])
def test_while_the_job_runs_an_export_is_one_whole_save(
    format_: str,
    numbers: Callable[[str], list[int]],
    place: Path,
) -> None:
    counts = []
    with running_job(place, fold_after=3000) as job:
        while len(set(counts)) <= 3:
            found = export_in_a_shell(place, "--of", "files", "--format", format_)
            assert (found.returncode, found.stderr) == (0, "")
            assert numbers(found.stdout) == list(range(len(numbers(found.stdout))))
            counts.append(len(numbers(found.stdout)))
        assert job.poll() is None

    killed = numbers(export_in_a_shell(place, "--of", "rows", "--format", format_).stdout)
    assert killed == list(range(len(killed)))
    assert [*counts, len(killed)] == sorted([*counts, len(killed)])


def test_a_reader_that_ends_early_ends_the_export(place: Path) -> None:
    CheckpointManager().create_checkpoint("job", {"rows": [{"number": number} for number in range(100_000)]})
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    command = f"{sys.executable} -m resumable export job --format csv | head -2"
    found = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True, timeout=300)

    assert (found.stdout, found.stderr) == ("number\n0\n", "")


def test_an_export_holds_the_journal_and_can_be_loaded_again(tmp_path: Path) -> None:
    with contextlib.suppress(OSError), checkpointed("stars", every(hours=9)) as cp:
        files = cp.mapping("files")
        for item in cp.remaining(range(3000)):
            if item == 2400:
                cp.save()
            if item == 2500:
                raise OSError
            files[str(item)] = {"é": "x" * 20}
    assert Path(".checkpoint_stars.journal").stat().st_size > 0
    original = CheckpointManager().load_checkpoint("stars")
    other = tmp_path / "other"
    other.mkdir()

    result = resumable("export", "stars", "-o", "other/.checkpoint_stars.json")
    exported = json.loads(Path("other/.checkpoint_stars.json").read_text())
    loaded = CheckpointManager(other).load_checkpoint("stars")

    assert result.exit_code == 0
    assert list(exported) == ["version", "operation_id", "state", "metadata", "created_at", "last_updated"]
    assert exported["version"] == "2.0"
    assert len(exported["state"]["files"]) == 2500
    assert original is not None
    assert loaded is not None
    assert (loaded.state, loaded.metadata) == (original.state, original.metadata)
    assert (loaded.created_at, loaded.last_updated) == (original.created_at, original.last_updated)


def test_an_export_to_the_standard_output_is_the_document_alone() -> None:
    run("stars", OSError())

    result = resumable("export", "stars")

    assert result.stderr == ""
    assert result.stdout == resumable("export", "stars", "-o", "-").stdout
    assert json.loads(result.stdout)["state"] == {"item-0": 0, "item-1": 1, "item-2": 2}
    assert result.stdout.startswith('{\n  "version"')


def test_an_export_that_cannot_be_written_says_so() -> None:
    run("stars", OSError())

    result = resumable("export", "stars", "-o", "missing/x.json")

    assert result.exit_code == 1
    assert "cannot write missing/x.json" in result.stderr


def test_an_export_migrates_what_is_old() -> None:
    Path(".checkpoint_old.json").write_text('{"files_data": [{"path": "a", "sha": "1"}], "processed_files": ["a"]}')

    assert document("export", "old")["state"]["files_data"] == {"a": {"path": "a", "sha": "1"}}
