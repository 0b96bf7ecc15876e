"""The command line: what it shows, what it refuses, and that nothing in a checkpoint can make it fail."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from resumable import CheckpointManager, CheckpointMetadata, __version__, checkpointed, every
from resumable._format.document import sign
from resumable._format.sections import ListedSections, Run, summary_of
from resumable._report.scan import _SCAN_FROM, Facts, read_all, read_facts
from resumable._report.summary import _with_current_run, ending_of, summaries, summary_from
from resumable._report.wording import size
from resumable.cli import _removal, main
from resumable.cli._commands import commands
from resumable.stores import Entry, FileStore, Holder, MemoryStore, Stored
from resumable.stores.defaults import configured_place
from tests.support import stores

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, and an environment that says nothing."""
    for name in ("CHECKPOINT_DIR", "CHECKPOINT_AUTO_CLEANUP", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resumable(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(commands, list(arguments), input=answer, catch_exceptions=False)


def document(*arguments: str) -> Any:
    result = resumable(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run(operation_id: str, error: BaseException | None = None, items: int = 3, of: int = 10, **options: Any) -> None:
    """One run that is left by *error* after *items* of *of*."""
    with contextlib.suppress(BaseException), checkpointed(operation_id, auto_cleanup=False, **options) as cp:
        for item in cp.remaining(range(of)):
            if item == items and error is not None:
                raise error
            cp.state[f"item-{item}"] = item


def run_and_die(operation_id: str) -> None:
    """One run that saves, and is gone before it could say why."""
    code = f"""
import os
from resumable import checkpointed
with checkpointed({operation_id!r}) as cp:
    for item in cp.remaining(range(10)):
        if item == 3:
            cp.save()
            os._exit(9)
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 9


def run_and_keep(operation_id: str, reason: str = "") -> None:
    with checkpointed(operation_id) as cp:
        cp.keep(reason)


# -- list


@pytest.mark.parametrize(
    ("leave", "state"),
    [
        pytest.param(lambda: run("stars", KeyboardInterrupt()), "■ stopped", id="Ctrl-C"),
        pytest.param(lambda: run("stars", SystemExit(143)), "■ stopped", id="SIGTERM"),
        pytest.param(lambda: run("stars", OSError()), "✗ failed", id="an exception"),
        pytest.param(lambda: run_and_die("stars"), "✗ killed", id="kill -9"),
        pytest.param(lambda: run("stars"), "✓ finished", id="the end"),
        pytest.param(lambda: run_and_keep("stars"), "✓ kept", id="kept"),
        pytest.param(lambda: run_and_keep("stars", "for tonight"), "✓ kept", id="kept, with a reason"),
        pytest.param(lambda: CheckpointManager().create_checkpoint("stars", {}), "• saved", id="the manager"),
        pytest.param(lambda: Path(".checkpoint_stars.json").write_text("{"), "! damaged", id="a torn file"),
    ],
)
def test_the_list_tells_how_each_operation_ended(leave: Callable[[], None], state: str) -> None:
    leave()

    lines = resumable("list").stdout.splitlines()

    assert lines[0].split() == ["OPERATION", "STATE", "DONE", "LEFT", "LAST", "SAVE", "RUNS"]
    assert lines[1].startswith(f"stars      {state}")
    assert len(lines) == 2


def test_who_holds_the_lock_is_running() -> None:
    run("stars", OSError())

    with stores.claimed(FileStore("."), "stars"):
        assert document("list")["checkpoints"][0]["state"] == "running"


def test_show_tells_the_exception_that_ended_the_last_run_and_its_place_in_the_program() -> None:
    code = """
from resumable import checkpointed
def fetch(item, token):
    if item == 3:
        raise ConnectionError("reset by peer, password=hunter2secret")
with checkpointed("stars") as cp:
    for item in cp.remaining(range(10)):
        fetch(item, None)
"""
    Path("job.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "job.py"], env=environment, timeout=60, capture_output=True).returncode == 1

    shown = resumable("show", "stars").stdout

    assert "failed" in shown.splitlines()[0]
    assert re.search(r"ended by +ConnectionError: reset by peer, password=\*\*\*, at item 3, in \S*job\.py:5\n", shown)
    history = document("show", "stars")["history"]
    assert history[-1]["error"] == "ConnectionError: reset by peer, password=***"
    assert history[-1]["place"].endswith("job.py:5")


def test_show_tells_how_much_a_kill_of_a_running_one_loses() -> None:
    with checkpointed("stars", every(seconds=60), store=".") as cp:
        cp.tick()
        cp.save()
        assert "at risk" in (text := resumable("show", "stars").stdout)
        assert "at most 1 min of work" in text
        cp.keep()

    assert "at risk" not in resumable("show", "stars").stdout


@pytest.mark.parametrize(
    ("pid", "began", "runs"),
    [
        pytest.param(7, "2026-03-01T12:00:01+00:00", [1], id="it has saved"),
        pytest.param(7, "2026-03-01T11:59:59+00:00", [1, 2], id="the same process, another run"),
        pytest.param(8, "2026-03-01T12:00:01+00:00", [1, 2], id="another process"),
    ],
)
def test_a_run_that_has_not_saved_yet_counts_too(pid: int, began: str, runs: list[int]) -> None:
    holder = Holder("here", 7, "2026-03-01T12:00:00+00:00")

    history = _with_current_run([Run(run=1, began=began, pid=pid)], holder)

    assert [one.run for one in history] == runs


def test_a_row_tells_how_far_it_is_and_when_it_was_saved() -> None:
    run("stars", OSError(), items=3412, of=10000)
    run("stars", OSError(), items=3500, of=10000)

    cells = resumable("list").stdout.splitlines()[1].split()

    assert cells[:5] == ["stars", "✗", "failed", "3,500/10,000", "35%"]
    assert cells[-1] == "2"
    assert "just now" in " ".join(cells) or "s ago" in " ".join(cells)


def test_the_last_saved_comes_first_and_damaged_ones_at_the_end() -> None:
    Path(".checkpoint_a.json").write_text("no")
    for name in ("b", "c"):
        run(name, OSError())

    assert [row["operation_id"] for row in document("list")["checkpoints"]] == ["c", "b", "a"]


def test_a_list_of_nothing_says_where_it_looked(place: Path) -> None:
    assert resumable("list").stdout == f"no checkpoints in {place}\n"
    assert document("list") == {"store": str(place), "checkpoints": [], "sums": []}


def test_a_directory_that_is_not_there_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, bare: Callable[..., tuple[int, str, str]]
) -> None:
    """A misspelled --dir looked as if all jobs had ended."""
    missing = place / "missing"
    for arguments in (["list"], ["list", "--json"], ["list", "a"]):
        result = resumable(*arguments, "--dir", str(missing))
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"there is no directory {missing}" in result.stderr
    assert bare("list", "--dir", str(missing)) == (1, "", f"Error: there is no directory {missing}\n")
    (a_file := place / "file").touch()
    assert f"there is no directory {a_file}" in resumable("list", "--dir", str(a_file)).stderr
    monkeypatch.setenv("CHECKPOINT_DIR", str(missing))  # the first job will make it
    result = resumable("list")
    assert (result.exit_code, result.stdout) == (0, f"no checkpoints in {missing}, which is not there\n")


@pytest.mark.parametrize("verb", ["show", "rm", "export", "verify", "repair", "pause"])
def test_each_command_tells_of_a_directory_that_is_not_there(verb: str, place: Path) -> None:
    result = resumable(verb, "a", "--dir", str(place / "missing"))

    assert (result.exit_code, result.stderr) == (1, f"Error: there is no directory {place / 'missing'}\n")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00[", id="no text"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"version": "9.0", "operation_id": "bad"}', id="too new"),
        pytest.param(b'{"version": "2.0", "operation_id": "bad", "state": {}, "resumable": 3}', id="not ours"),
    ],
)
def test_a_damaged_checkpoint_is_a_row_and_can_be_removed(content: bytes) -> None:
    Path(".checkpoint_bad.json").write_bytes(content)

    listed = resumable("list")
    row = document("list")["checkpoints"][0]
    shown = resumable("show", row["operation_id"])

    assert listed.exit_code == shown.exit_code == 0
    assert "! damaged" in listed.stdout
    assert row["problem"] in shown.stdout
    exported = resumable("export", row["operation_id"])
    assert (exported.exit_code, exported.stdout) == (1, "")
    assert resumable("rm", row["operation_id"]).exit_code == 0
    assert not Path(".checkpoint_bad.json").exists()


def test_a_checkpoint_under_a_wrong_name_is_not_passed_over() -> None:
    run("stars", OSError())
    Path(".checkpoint_stars.json").rename(".checkpoint_backup.json")

    listed, removed = resumable("list").stdout, resumable("rm", "stars")

    assert "! damaged" in listed
    assert removed.exit_code == 1
    assert ".checkpoint_stars.json" in removed.stderr
    assert Path(".checkpoint_backup.json").exists()


def test_a_changed_byte_in_a_large_checkpoint_is_seen_without_decoding_it() -> None:
    with checkpointed("big", auto_cleanup=False) as cp:
        cp.state["text"] = "x" * (2 * _SCAN_FROM)
    path = FileStore(".").locate("big")
    path.write_bytes(path.read_bytes().replace(b"xxx", b"xyx", 1))

    assert document("list")["checkpoints"][0]["state"] == "damaged"


def test_a_scan_finds_what_a_full_read_does_and_leaves_the_state_out() -> None:
    """The last save is in the journal; the snapshot alone would tell of an earlier one."""
    with contextlib.suppress(KeyboardInterrupt), checkpointed("big", every(items=500)) as cp:
        files = cp.mapping("files")
        for item in cp.remaining(range(10_000)):
            if item == 3500:
                raise KeyboardInterrupt
            files[str(item)] = "x" * 100
    store = FileStore(".")
    whole, facts = read_all(store, "big"), read_facts(store, "big")

    assert whole is not None
    assert facts is not None
    assert whole.size > _SCAN_FROM
    assert whole.journal_bytes
    assert facts.metadata == whole.data.metadata
    assert (facts.created_at, facts.last_updated) == (whole.data.created_at, whole.data.last_updated)
    for name in ListedSections.__struct_fields__:
        assert getattr(facts.sections, name) == getattr(whole.sections, name)
    assert document("list")["checkpoints"][0]["processed_items"] == 3500


ENTRY = Entry("stars", "nowhere", b"", 0, 0, None, None)


def facts_with(processed: int, total: int | None, elapsed: float, history: list[Run]) -> Facts:
    now = datetime.now(UTC)
    metadata = CheckpointMetadata(processed_items=processed, total_items=total)
    return Facts(metadata, ListedSections(history, elapsed), now - timedelta(hours=1), now)


@pytest.mark.parametrize(
    ("processed", "total", "elapsed", "left"),
    [
        pytest.param(3412, 10000, 3412.0, 6588.0, id="a second an item"),
        pytest.param(0, 10000, 60.0, None, id="nothing done yet"),
        pytest.param(100, None, 60.0, None, id="no total"),
        pytest.param(100, 50, 60.0, None, id="more than there are"),
        pytest.param(100, 100, 60.0, 0.0, id="all done"),
        pytest.param(50, 100, 0.0, None, id="no time"),
    ],
)
def test_time_left_follows_from_what_all_runs_took(
    processed: int, total: int | None, elapsed: float, left: float | None
) -> None:
    summary = summary_from(facts_with(processed, total, elapsed, [Run(run=3, reason="x")]), ENTRY)

    assert summary.left_seconds == left
    assert summary.runs == 3


def test_a_history_that_makes_no_sense_is_damage() -> None:
    head = {"version": "2.0", "operation_id": "odd"}
    tail = {"metadata": {}, "created_at": "2026-01-01", "last_updated": "2026-01-01"}
    stores.put(FileStore("."), "odd", json.dumps(head | {"state": {}} | tail).encode())
    assert document("list")["checkpoints"][0]["state"] == "saved"

    own = {"resumable": {"generation": 1, "history": [{"run": "first"}]}}
    stores.put(FileStore("."), "odd", b"".join(sign(head, [b"{}"], tail | own)))
    row = document("list")["checkpoints"][0]
    assert row["state"] == "damaged"
    assert "history" in row["problem"]


@pytest.mark.parametrize(
    ("reason", "is_by_hand", "holder", "state"),
    [
        ("Interrupted: OSError", False, None, "failed"),
        ("Time-based: 61s >= 60s", False, None, "killed"),
        ("Time-based: 61s >= 60s", False, Holder("here", 1, "2026-01-01"), "running"),
        ("Requested", True, None, "saved"),
    ],
)
def test_a_store_that_keeps_summaries_is_listed_without_reading_its_documents(
    reason: str, is_by_hand: bool, holder: Holder | None, state: str
) -> None:
    metadata = CheckpointMetadata(processed_items=25, total_items=100, save_count=7, last_save_reason=reason)
    at = datetime(2026, 1, 1, tzinfo=UTC)

    class Summarizing(MemoryStore):
        def list(self, pattern: str = "*") -> Iterator[Entry]:
            yield Entry("stars", "db:stars", summary_of(metadata, at=at, is_by_hand=is_by_hand), 9, 1, holder, None)

        def read(self, key: str, *, previous: bool = False) -> Stored | None:
            raise AssertionError("it was read")

    (found,) = summaries(Summarizing())
    assert (found.state, found.processed_items, found.percent, found.save_count) == (state, 25, 25, 7)
    assert (found.last_updated, found.location) == (at, "db:stars")


def test_a_summary_is_small_whatever_the_reason() -> None:
    for reason in ("\x01" * 5000, "🦊" * 5000, None):
        assert len(summary_of(CheckpointMetadata(last_save_reason=reason), at=datetime.now(UTC))) <= 1024


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("Interrupted: RateLimitExhausted", "stopped"),
        ("Interrupted: CancelledError", "stopped"),
        ("Interrupted: ConnectError", "failed"),
        ("Time-based: 61s >= 60s | Interrupted: ValueError", "failed"),
        ("Stopped: a loop was left with items to go", "stopped"),
        ("Failed items: 4; retry_failed=True tries again", "incomplete"),
        ("Kept", "kept"),
        ("Kept: retries exhausted", "failed"),
        ("Kept: for tonight", "kept"),
        ("Retry: ConnectError (attempt 2)", "killed"),
        (None, "killed"),
    ],
)
def test_the_reason_of_the_last_save_tells_how_a_run_ended(reason: str | None, state: str) -> None:
    assert ending_of(Run(reason=reason)) == state


# -- what is printed


def test_an_id_cannot_steer_the_terminal_nor_the_layout() -> None:
    run("\x1b[31mred [bold]\n\u202eevil", OSError())

    output = resumable("list").stdout

    assert "\\x1b[31mred [bold]\\n\\u202eevil" in output
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_a_narrow_terminal_folds_ids_and_leaves_columns_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    name = "abcdefghij" * 5
    run(name, OSError())

    lines = resumable("list").stdout.splitlines()

    assert max(map(len, lines)) <= 44
    assert "LEFT" not in lines[0]
    assert "".join(line.split(" ")[0] for line in lines[1:]) == name


@pytest.mark.parametrize("command", [["list"], ["show", "stars"]])
def test_no_escape_codes_but_on_a_terminal_that_wants_them(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("stars", OSError())
    assert "\x1b" not in resumable(*command).stdout

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in resumable(*command).stdout

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in resumable(*command).stdout


def test_python_m_resumable_is_the_command_line_even_where_only_ascii_can_be_shown(place: Path) -> None:
    run("stars-é", OSError())
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(
        [sys.executable, "-m", "resumable", "list"], cwd=place, env=environment, capture_output=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[1].split()[:3] == [b"stars-\\xe9", b"x", b"failed"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line without click."""
    monkeypatch.delitem(sys.modules, "resumable.cli._commands", raising=False)
    monkeypatch.setitem(sys.modules, "click", None)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["resumable", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return int(str(exit_.value.code)), output.out, output.err

    return call


def test_without_its_extra_it_lists_shows_and_removes(bare: Callable[..., tuple[int, str, str]]) -> None:
    run("stars", OSError())
    run("shard-1", OSError())
    run("shard-2", OSError())

    code, listed, told = bare("list", "stars")
    assert (code, told) == (0, "")
    assert re.fullmatch(r"stars  failed  3 of 10 \(30%\)(, \d+ s left)?  (just now|\d+ s ago)\n", listed)
    code, shown, _ = bare("show", "stars")
    assert code == 0
    assert "resumable rm stars" in shown
    assert re.search(r"  ended by +OSError, at item 3, in \S+test_cli.py:\d+\n", shown)
    assert bare("rm", "shard-*", "-y")[:2] == (0, "removed shard-2\nremoved shard-1\n")
    assert bare("rm", "nope", "stars")[0] == 1
    assert bare("rm", "stars", "--yes")[:2] == (0, "removed stars\n")
    assert bare("list")[1].startswith("no checkpoints in ")


def test_without_its_extra_it_says_what_to_install(bare: Callable[..., tuple[int, str, str]]) -> None:
    assert "pip install 'resumable-loops[cli]'" in bare("--help")[1]
    code, _, said = bare("export", "stars")
    assert code == 2
    assert "export, verify, repair, completion:  pip install 'resumable-loops[cli]'" in said
    assert bare("--version")[:2] == (0, f"resumable, version {__version__}\n")


# -- show


def test_show_tells_position_file_runs_loops_and_state() -> None:
    run("stars", KeyboardInterrupt(), items=2)
    run("stars", OSError(), items=5)

    output = resumable("show", "stars").stdout

    for text in (
        "stars  ✗ failed",
        "5 of 10 (50%)",
        str(Path(".checkpoint_stars.json")),
        "resumable rm stars",
        "Interrupted: KeyboardInterrupt",
        "Interrupted: OSError",
        "loop-1  5/10",
        "item-4       number",
    ):
        assert text in output


def test_show_as_json_has_the_keys_that_its_help_names() -> None:
    run("stars", OSError())
    shown = document("show", "stars")
    told = resumable("show", "--help").stdout + resumable("list", "--help").stdout

    assert [key for key in shown if key not in told] == []
    assert shown["loops"] == [{"name": "loop-1", "by": "position", "processed_items": 3, "total_items": 10}]
    assert shown["state_keys"][0] == {"name": "item-0", "kind": "number", "entries": None, "bytes": 1}
    assert [entry["reason"] for entry in shown["history"]] == ["Interrupted: OSError"]
    assert shown["bytes"] == Path(".checkpoint_stars.json").stat().st_size


def test_show_counts_what_is_done_by_key() -> None:
    with contextlib.suppress(OSError), checkpointed("keys") as cp:
        for item in cp.remaining([1, 2, 3, 9, 20], key=int):
            if item == 20:
                raise OSError

    assert document("show", "keys")["loops"] == [
        {"name": "loop-1", "by": "key", "processed_items": 4, "total_items": None}
    ]


def test_the_way_out_can_be_pasted_into_a_shell() -> None:
    run("two words", OSError())

    assert "resumable rm --dir . 'two words'" in resumable("show", "two words", "--dir", ".").stdout


@pytest.mark.parametrize("command", ["show", "rm", "export"])
def test_an_unknown_id_is_answered_with_close_ones(command: str) -> None:
    run("github-stars", OSError())

    result = resumable(command, "github-star")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "no checkpoint of github-star " in result.stderr
    assert "Did you mean: github-stars?" in result.stderr


def test_a_run_that_has_not_saved_yet_is_not_unknown() -> None:
    with stores.claimed(FileStore("."), "stars"):
        result = resumable("show", "stars")

    assert (result.exit_code, result.stderr) == (1, "Error: stars is running, and has not saved yet\n")


# -- rm


def test_rm_removes_each_and_leaves_nothing_behind(place: Path) -> None:
    for name in ("a", "b/c", "kept"):
        run(name, OSError())

    result = resumable("rm", "a", "b/c")

    assert (result.exit_code, result.stdout) == (0, "removed a\nremoved b/c\n")
    assert {path.name.partition(".json")[0] for path in place.iterdir()} <= {
        ".checkpoint_kept",
        ".checkpoint_kept.lock",
    }


def test_rm_leaves_a_running_one_alone() -> None:
    run("busy", OSError())
    run("idle", OSError())

    with stores.claimed(FileStore("."), "busy"):
        result = resumable("rm", "busy", "idle", "--json")

    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["removed"] == ["idle"]
    assert [failure["operation_id"] for failure in answer["failed"]] == ["busy"]
    assert "'busy' is open in this very process already" in result.stderr
    assert Path(".checkpoint_busy.json").exists()


def test_rm_with_an_unknown_id_removes_nothing() -> None:
    run("a", OSError())

    assert resumable("rm", "a", "b").exit_code == 1
    assert Path(".checkpoint_a.json").exists()


@pytest.mark.parametrize(
    ("arguments", "answer", "removed"),
    [
        pytest.param([], "n\n", False, id="no"),
        pytest.param([], "", False, id="no answer"),
        pytest.param([], "y\n", True, id="yes"),
        pytest.param(["--yes"], None, True, id="not asked"),
    ],
)
def test_rm_asks_on_a_terminal(
    arguments: list[str], answer: str | None, removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_removal, "_can_ask", lambda: True)
    run("stars", OSError())

    result = resumable("rm", "stars", *arguments, answer=answer)

    assert ("stars: failed, 3 of 10 (30%)" in result.stderr) is (arguments == [])
    assert result.exit_code == (0 if removed else 1)
    assert Path(".checkpoint_stars.json").exists() is not removed


def test_rm_takes_patterns() -> None:
    for name in ("shard-1", "shard-2", "other"):
        run(name, OSError())

    result = resumable("rm", "shard-*")

    assert sorted(result.stdout.split()) == ["removed", "removed", "shard-1", "shard-2"]
    assert resumable("rm", "shard-*").exit_code == 1
    assert [one["operation_id"] for one in document("list")["checkpoints"]] == ["other"]


def test_rm_chooses_by_state_and_age() -> None:
    run("failed", OSError())
    run("done", items=99)

    assert resumable("rm").exit_code == 2
    assert resumable("rm", "--older-than", "soon").exit_code == 2
    assert resumable("rm", "--older-than", "1h").stderr == "nothing to remove\n"
    assert resumable("rm", "--finished", "--older-than", "0s").stdout == "removed done\n"
    assert resumable("rm", "*", "--older-than", "0s").stdout == "removed failed\n"


def test_show_needs_no_id_where_there_is_one() -> None:
    assert "no checkpoints in" in resumable("show").stderr
    run("stars", OSError())
    assert resumable("show").stdout.startswith("stars")
    assert document("show")["operation_id"] == "stars"
    run("more", OSError())
    assert resumable("show").stderr.endswith("Error: say which: more, stars\n")


def test_the_shell_completes_ids(place: Path) -> None:
    run("stars", OSError())
    run("shard 1", OSError())
    words = {"_RESUMABLE_COMPLETE": "bash_complete", "COMP_WORDS": "resumable show s", "COMP_CWORD": "2"}

    done = subprocess.run(
        [sys.executable, "-m", "resumable"],
        cwd=place,
        env=os.environ | words | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.split("\n")[:2] == ["plain,shard 1", "plain,stars"]
    for shell in ("bash", "zsh", "fish"):
        assert "_RESUMABLE_COMPLETE" in resumable("completion", shell).stdout


def test_it_tells_its_version() -> None:
    assert resumable("--version").stdout == f"resumable, version {version('resumable-loops')}\n"


# -- export


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


# -- where


def test_argument_beats_environment_beats_pyproject_beats_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = place / "project" / "src"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert document("list")["store"] == str(inner)

    (place / "project" / "pyproject.toml").write_text('[tool.resumable]\ndir = "saved"\n')
    (inner / "pyproject.toml").write_text("[tool.other]\n")
    assert document("list")["store"] == str(place / "project" / "saved")

    monkeypatch.setenv("CHECKPOINT_DIR", str(place / "environment"))
    assert document("list")["store"] == str(place / "environment")

    for option in ("--dir", "--store"):
        assert document("list", option, str(place))["store"] == str(place)


@pytest.mark.parametrize("content", ["[tool.resumable]\ndir = 3\n", "[tool.resumable\n"])
def test_a_pyproject_that_makes_no_sense_is_named(content: str, place: Path) -> None:
    Path("pyproject.toml").write_text(content)

    result = resumable("list")

    assert result.exit_code == 2
    assert str(place / "pyproject.toml") in result.stderr
    with pytest.raises(ValueError, match="pyproject"):
        configured_place(place)


def test_a_store_that_this_version_lacks_is_a_wrong_call() -> None:
    result = resumable("list", "--store", "gopher://x")

    assert result.exit_code == 2
    assert "gopher://" in result.stderr


# -- sizes


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1200, "1.2 KB"), (999_700, "1.0 MB"), (35e6, "35 MB"), (2e15, "2,000 TB")],
)
def test_a_size_is_short(count: float, text: str) -> None:
    assert size(int(count)) == text
