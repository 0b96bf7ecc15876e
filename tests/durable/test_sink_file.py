"""Which file a sink writes to, and whether it is as the last run left it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, InputChangedError, StoreError, checkpointed
from resumable.stores import MemoryStore
from tests.faults.hostile import signed
from tests.support.stores import DictStore, put
from tests.support.stores import document as document_of

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from resumable import checkpointed

with checkpointed("job") as cp:
    rows = cp.sink("rows.txt")
    rows.write("lost\\n")
    rows.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Stop(Exception):
    """What leaves a block in these tests."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stop(row: str, path: str | Path = "rows.txt", store: Any = None) -> None:
    """A run that writes *row* and is left by an exception."""
    with pytest.raises(Stop), checkpointed("job", store=store) as cp:  # noqa: PT012
        cp.sink(path).write(row)
        raise Stop


def end(row: str, path: str | Path = "rows.txt", store: Any = None) -> None:
    """A run that writes *row* and comes to its end."""
    with checkpointed("job", store=store) as cp:
        cp.sink(path).write(row)


def killed() -> None:
    """A run that is killed after its row was written and before the first save that would count it."""
    job = subprocess.run([sys.executable, "-B", "-c", KILLED], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert job.returncode == -signal.SIGKILL


def refused(path: str | Path = "rows.txt") -> InputChangedError:
    """How a run's sink is refused. No file is touched."""
    before = {file: file.read_bytes() for file in Path.cwd().glob("rows*")}
    with pytest.raises(InputChangedError) as raised, checkpointed("job") as cp:
        cp.sink(path)
    assert {file: file.read_bytes() for file in Path.cwd().glob("rows*")} == before
    return raised.value


# -- others have been at it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        pytest.param(lambda path: path.write_text("other\n"), "was changed", id="other rows"),
        pytest.param(lambda path: path.write_text("other\n" * 100), "was changed", id="other rows, and more"),
        pytest.param(lambda path: os.truncate(path, 5), "held 6 bytes, now 5", id="shorter"),
    ],
)
def test_a_file_that_others_changed_is_refused(change: Callable[[Path], object], difference: str, here: Path) -> None:
    stop("first\n")
    change(here / "rows.txt")

    error = refused()

    assert f"{here / 'rows.txt'} {difference}" in error.differences[0]
    assert "start over:  move rows.txt away, then  resumable rm job" in error.ways_out
    assert "not as the last run left it" in str(error)


def test_a_file_that_is_gone_need_not_be_moved_away(here: Path) -> None:
    stop("first\n")
    (here / "rows.txt").unlink()

    error = refused()

    assert error.differences == [f"{here / 'rows.txt'} is gone"]
    assert error.ways_out == ["put back the rows.txt that the last run left", "start over:  resumable rm job"]


def test_rows_that_others_added_after_an_orderly_stop_are_refused(here: Path) -> None:
    stop("mine\n")
    with (here / "rows.txt").open("a") as file:
        file.write("theirs, one day of work\n")

    error = refused()

    assert "held 5 bytes when it was closed, now 29: 24 bytes have been added" in error.differences[0]
    refused()  # a run that was refused changes nothing in that
    assert "cut them off:  truncate -s 5 " in error.ways_out[1]
    os.truncate(here / "rows.txt", 5)
    end("more\n")
    assert (here / "rows.txt").read_text() == "mine\nmore\n"


def test_so_they_are_after_a_clean_exit_that_kept_the_checkpoint(here: Path) -> None:
    with checkpointed("job") as cp:
        cp.sink("rows.txt").write("mine\n")
        cp.keep()
    with (here / "rows.txt").open("a") as file:
        file.write("theirs\n")

    assert "7 bytes have been added" in refused().differences[0]


def test_and_after_a_run_between_that_did_not_open_the_file(here: Path) -> None:
    stop("mine\n")
    with checkpointed("job") as cp:
        cp.keep()
    with (here / "rows.txt").open("a") as file:
        file.write("theirs\n")

    assert "7 bytes have been added" in refused().differences[0]


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 2])
def test_rows_of_a_run_that_was_killed_are_no_others(runs: int, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Though the run before it had ended in order, and none of its own saves counted a row."""
    stop("first\n")
    for _ in range(runs):
        killed()
        assert (here / "rows.txt").read_text() == "first\nlost\n"
    with caplog.at_level(logging.WARNING, "resumable"):
        end("second\n")

    assert (here / "rows.txt").read_text() == "first\nsecond\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"job: cut 5 bytes off {here / 'rows.txt'} that no save counts"
    ]


def test_a_save_that_fails_at_the_opening_is_made_before_the_first_row(here: Path) -> None:
    """Else the rows of this run, should it be killed, were taken for those of others."""
    store = Full()
    stop("first\n", store=store)
    with pytest.raises(Stop), checkpointed("job", store=store) as cp:  # noqa: PT012
        store.is_full = True
        with pytest.raises(StoreError):
            cp.sink("rows.txt")
        store.is_full = False
        assert store.is_marked()
        cp.sink("rows.txt")
        assert not store.is_marked()
        raise Stop


class Full(DictStore):
    """Now and then."""

    is_full = False

    def put(self, key: str, blob: bytes) -> str:
        if self.is_full:
            raise StoreError("the disk is full")
        return super().put(key, blob)

    def is_marked(self) -> bool:
        """Whether the stored checkpoint says that no row follows."""
        return bool(json.loads(self.get("job") or b"")["resumable"]["sinks"]["rows.txt"].get("closed"))


# -- it was there before ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("existing", "kept"), [pytest.param("append", "old\n", id="append"), pytest.param("replace", "", id="replace")]
)
def test_what_is_there_before_the_operation_began(existing: Any, kept: str, here: Path) -> None:
    (here / "rows.txt").write_text("old\n")
    with checkpointed("job") as cp:
        cp.sink("rows.txt", existing=existing).write("new\n")

    assert (here / "rows.txt").read_text() == f"{kept}new\n"


def test_it_can_be_refused(here: Path) -> None:
    (here / "rows.txt").write_text("old\n")
    with pytest.raises(InputChangedError, match="exists already") as raised, checkpointed("job") as cp:
        cp.sink("rows.txt", existing="refuse")

    assert raised.value.ways_out == ["move it away", "give existing='append' or existing='replace'"]
    assert "other input" not in str(raised.value)
    assert (here / "rows.txt").read_text() == "old\n"


@pytest.mark.parametrize(("existing", "kept"), [("append", "row\n"), ("replace", "")])
def test_a_run_that_starts_over_adds_its_rows_unless_they_are_replaced(existing: Any, kept: str, here: Path) -> None:
    stop("row\n")
    with checkpointed("job", resume=False) as cp:
        cp.sink("rows.txt", existing=existing).write("row\n")

    assert (here / "rows.txt").read_text() == f"{kept}row\n"


# -- one file, however it is spelled ----------------------------------------------------------------------------------

SPELLINGS = ["rows.txt", "./rows.txt", "linked/rows.txt", "absolute"]


def spelled(spelling: str, here: Path) -> str:
    if not (here / "linked").exists():
        (here / "linked").symlink_to(here)
    return str(here / "rows.txt") if spelling == "absolute" else spelling


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_file_has_one_sink(spelling: str, here: Path) -> None:
    with checkpointed("job") as cp:
        first, second = cp.sink("rows.txt"), cp.sink(spelled(spelling, here))
        assert first is second
        first.write("first\n")
        second.write("second\n")
        with pytest.raises(TypeError, match="mode='t'"):
            cp.sink(spelled(spelling, here), "b")

    assert (here / "rows.txt").read_text() == "first\nsecond\n"


@pytest.mark.parametrize("before", SPELLINGS)
@pytest.mark.parametrize("now", SPELLINGS)
def test_another_run_may_spell_it_differently(before: str, now: str, here: Path) -> None:
    """It knows the file again, or it would not know that others have added to it."""
    stop("first\n", spelled(before, here))
    rows = here / "rows.txt"
    rows.write_text("first\ntheirs\n")
    assert "7 bytes have been added" in refused(spelled(now, here)).differences[0]
    os.truncate(rows, len("first\n"))
    end("second\n", spelled(now, here))

    assert rows.read_text() == "first\nsecond\n"


@pytest.mark.slow
@pytest.mark.parametrize("now", SPELLINGS[1:])
def test_so_it_may_after_a_kill(now: str, here: Path) -> None:
    killed()
    end("row\n", spelled(now, here))

    assert (here / "rows.txt").read_text() == "row\n"


def test_the_absolute_path_is_found_from_another_directory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop("first\n", store=here)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    end("second\n", here / "rows.txt", store=here)

    assert (here / "rows.txt").read_text() == "first\nsecond\n"


@pytest.mark.slow
def test_a_directory_may_be_moved_together_with_its_checkpoint(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "old").mkdir()
    monkeypatch.chdir(here / "old")
    stop("first\n")
    killed()
    (here / "old").rename(here / "new")
    monkeypatch.chdir(here / "new")
    end("second\n")

    assert (here / "new" / "rows.txt").read_text() == "first\nsecond\n"


def test_a_relative_path_from_another_directory_is_told_where_it_starts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop("first\n", store=here)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    with pytest.raises(InputChangedError, match="is gone") as raised, checkpointed("job", store=here) as cp:
        cp.sink("rows.txt")

    told = (
        f"start it where it ran before: rows.txt is relative to {here / 'elsewhere'}; the last run wrote "
        f"{here / 'rows.txt'}"
    )
    assert told in raised.value.ways_out


def test_one_name_in_two_directories_is_two_files(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever a run opens first."""
    places = [here / "a", here / "b"]
    for order in (places, places[::-1], places):
        with pytest.raises(Stop), checkpointed("job", store=here) as cp:  # noqa: PT012
            for place in order:
                place.mkdir(exist_ok=True)
                monkeypatch.chdir(place)
                cp.sink("rows.txt").write(f"{place.name}\n")
            raise Stop

    assert [(place / "rows.txt").read_text() for place in places] == ["a\n" * 3, "b\n" * 3]


def test_a_checkpoint_of_an_earlier_release_is_gone_on_with(here: Path) -> None:
    """It holds the path as it was given, and nothing of how the run ended: what follows is cut off."""
    store = MemoryStore()
    stop("first\n", store=store)
    document = json.loads(document_of(store, "job") or b"")
    saved = document["resumable"]["sinks"]["rows.txt"]
    document["resumable"]["sinks"] = {"rows.txt": {"offset": saved["offset"], "sample": saved["sample"]}}
    put(store, "job", signed(document))
    with (here / "rows.txt").open("a") as file:
        file.write("lost\n")
    end("second\n", here / "rows.txt", store=store)

    assert (here / "rows.txt").read_text() == "first\nsecond\n"


def test_a_file_is_saved_under_one_name(here: Path) -> None:
    """Earlier releases had one for each spelling; one that is no longer kept up to date would cut off rows."""
    stop("first\n")
    stop("second\n", "./rows.txt")

    found = CheckpointManager(here).load_checkpoint("job")
    assert found is not None
    assert list(found.internal["sinks"]) == ["./rows.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_directory_whose_name_is_no_utf8_can_hold_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = here / os.fsdecode(b"r\xfcckw\xe4rts")
    strange.mkdir()
    monkeypatch.chdir(strange)
    stop("first\n")
    end("second\n")

    assert (strange / "rows.txt").read_text() == "first\nsecond\n"
