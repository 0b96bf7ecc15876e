"""The specification, block by block and statement by statement; only its import line is another one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from resumable import (
    CheckpointContext,
    CheckpointManager,
    CompositeStrategy,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    TimeBasedStrategy,
)
from resumable.testing import ManualClock

VERBATIM = {
    "version": "2.0",
    "operation_id": "fetch_prebid_master_modules",
    "state": {"files_data": {"a.js": {"sha": "1"}}, "processed_files": ["a.js"]},
    "metadata": {
        "total_items": 1000,
        "processed_items": 750,
        "rate_limit_remaining": 800,
        "rate_limit_total": 5000,
        "save_count": 3,
        "last_save_reason": "Rate-limit: 800/5000 (16.0% remaining <= 20.0% threshold)",
    },
    "created_at": "2024-01-15T10:30:00",
    "last_updated": "2024-01-15T10:45:30",
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    monkeypatch.delenv("CHECKPOINT_AUTO_CLEANUP", raising=False)


def document(name: str = "job", directory: str = ".") -> dict[str, Any]:
    return json.loads((Path(directory) / f".checkpoint_{name}.json").read_text())


# -- the code blocks --------------------------------------------------------------------------------------------------


def test_the_basic_example() -> None:
    processed_list = ["a", "b"]

    # Create a checkpoint manager
    manager = CheckpointManager(
        checkpoint_dir=Path(".checkpoints"),
        save_strategy=TimeBasedStrategy(300),  # Save every 5 minutes
        auto_cleanup=True,  # Delete checkpoint on success
    )

    # Save checkpoint
    manager.create_checkpoint(
        operation_id="my_operation",
        state={"processed_items": processed_list},
        metadata={"total_items": 1000, "processed_items": len(processed_list)},
    )

    # Load checkpoint
    checkpoint = manager.load_checkpoint("my_operation")
    if checkpoint:
        processed_list = checkpoint.state["processed_items"]

    assert checkpoint is not None
    assert processed_list == ["a", "b"]
    assert checkpoint.metadata.total_items == 1000
    assert checkpoint.metadata.processed_items == 2


def test_the_strategy_examples() -> None:
    TimeBasedStrategy(interval_seconds=300)
    ProgressBasedStrategy(items_interval=1000)
    RateLimitAwareStrategy(threshold_percentage=0.2)
    strategy = CompositeStrategy(
        [TimeBasedStrategy(300), ProgressBasedStrategy(1000), RateLimitAwareStrategy(0.2)], operator="OR"
    )

    assert strategy.should_save(CheckpointContext(elapsed_time=301)) == (True, "Time-based: 301s >= 300s")


def test_the_advanced_example() -> None:
    manager = CheckpointManager(
        save_strategy=CompositeStrategy([TimeBasedStrategy(300), RateLimitAwareStrategy(0.2)], operator="OR")
    )

    # Create context with current operation state
    context = CheckpointContext(
        processed_items=750,
        total_items=1000,
        rate_limit_remaining=800,
        rate_limit_total=5000,
        elapsed_time=180.5,
    )

    # Check if checkpoint should be saved
    should_save, reason = manager.should_save(context)

    assert should_save is True
    assert reason == "Rate-limit: 800/5000 (16.0% remaining <= 20.0% threshold)"
    manager.create_checkpoint("fetch", state={})
    assert document("fetch")["metadata"] == {
        "total_items": 1000,
        "processed_items": 750,
        "rate_limit_remaining": 800,
        "rate_limit_total": 5000,
        "error_count": 0,
        "save_count": 1,
        "last_save_reason": reason,
    }


def fetch_large_repository_data(repo_name: str, files_to_process: list[str], get_rate_limit: Any) -> dict[str, Any]:
    """The specification's function; what it takes from elsewhere comes as arguments."""
    manager = CheckpointManager(
        save_strategy=CompositeStrategy(
            [
                TimeBasedStrategy(300),
                RateLimitAwareStrategy(0.2),  # Critical for API operations
            ]
        )
    )

    operation_id = f"fetch_{repo_name}".replace("/", "_")

    # Try to resume
    checkpoint = manager.load_checkpoint(operation_id)
    if checkpoint:  # noqa: SIM108
        processed_files = checkpoint.state.get("files", {})
    else:
        processed_files = {}

    # Process with periodic checkpoint saves
    for file in files_to_process:
        if file not in processed_files:
            processed_files[file] = file.upper()

        context = CheckpointContext(
            processed_items=len(processed_files),
            rate_limit_remaining=get_rate_limit().remaining,
            rate_limit_total=get_rate_limit().limit,
        )

        if manager.should_save(context)[0]:
            manager.create_checkpoint(operation_id, state={"files": processed_files})

    # Cleanup on success
    manager.finalize(operation_id)
    return processed_files


class Limit:
    """A quota of 10, one used at each look at ``remaining``; an error in place of the look number *fails_at*."""

    limit = 10

    def __init__(self, fails_at: int = 99) -> None:
        self.looks = 0
        self.fails_at = fails_at

    def __call__(self) -> Limit:
        return self

    @property
    def remaining(self) -> int:
        self.looks += 1
        if self.looks == self.fails_at:
            raise ConnectionError("the API is away")
        return self.limit - self.looks


def test_the_integration_example_saves_at_a_low_quota_resumes_and_cleans_up() -> None:
    files = [f"{n}.js" for n in range(9)]

    with pytest.raises(ConnectionError):
        fetch_large_repository_data("prebid/Prebid.js", files, Limit(fails_at=9))

    kept = document("fetch_prebid_Prebid.js")
    assert list(kept["state"]["files"]) == files[:8]
    assert kept["metadata"]["last_save_reason"] == "Rate-limit: 2/10 (20.0% remaining <= 20.0% threshold)"

    # What comes from the checkpoint is not done again: it would come out in upper case.
    path = Path(".checkpoint_fetch_prebid_Prebid.js.json")
    edited = document("fetch_prebid_Prebid.js")
    edited["state"]["files"]["0.js"] = "kept"
    del edited["resumable"]
    path.write_text(json.dumps(edited))
    done = fetch_large_repository_data("prebid/Prebid.js", files, Limit())

    assert done == {"0.js": "kept"} | {file: file.upper() for file in files[1:]}
    assert not path.exists()


def test_the_example_of_a_careful_load() -> None:
    manager = CheckpointManager()
    operation_id = "job"

    def state_of() -> dict[str, Any]:
        checkpoint = manager.load_checkpoint(operation_id)
        if checkpoint and checkpoint.state:  # noqa: SIM108
            # Resume from checkpoint
            state = checkpoint.state
        else:
            # Start fresh
            state = {}
        return state

    assert state_of() == {}
    manager.create_checkpoint(operation_id, {"done": 1})
    assert state_of() == {"done": 1}


# -- the format -------------------------------------------------------------------------------------------------------


def test_the_example_document_loads_as_it_is() -> None:
    Path(".checkpoint_fetch_prebid_master_modules.json").write_text(json.dumps(VERBATIM))

    checkpoint = CheckpointManager().load_checkpoint("fetch_prebid_master_modules")

    assert checkpoint is not None
    assert checkpoint.version == "2.0"
    assert checkpoint.state == VERBATIM["state"]
    assert checkpoint.metadata.to_dict() == VERBATIM["metadata"] | {"error_count": 0}
    assert checkpoint.created_at.isoformat() == "2024-01-15T10:30:00+00:00"
    assert checkpoint.last_updated.isoformat() == "2024-01-15T10:45:30+00:00"


def test_a_saved_document_has_the_specified_keys_and_one_of_ours() -> None:
    CheckpointManager().create_checkpoint("job", {"files": {}}, {"total_items": 5})

    saved = document()

    assert list(saved) == [*VERBATIM, "resumable"]
    assert saved["version"] == "2.0"
    assert saved["operation_id"] == "job"


def test_saving_over_the_example_document_keeps_what_it_says() -> None:
    name = VERBATIM["operation_id"]
    Path(f".checkpoint_{name}.json").write_text(json.dumps(VERBATIM))

    CheckpointManager().create_checkpoint(str(name), {"new": 1}, {"processed_items": 800})

    saved = document(str(name))
    assert saved["created_at"] == "2024-01-15T10:30:00+00:00"
    assert saved["last_updated"] > "2026"
    assert saved["metadata"]["save_count"] == 4
    assert saved["metadata"]["processed_items"] == 800
    assert saved["metadata"]["total_items"] == 1000
    assert saved["metadata"]["rate_limit_remaining"] == 800


def test_save_count_goes_on_over_runs() -> None:
    for _ in range(3):
        CheckpointManager().create_checkpoint("job", {})

    assert document()["metadata"]["save_count"] == 3


def test_the_reason_of_the_last_save_is_written() -> None:
    clock = ManualClock()
    manager = CheckpointManager(clock=clock)
    clock.advance(400)

    assert manager.should_save(CheckpointContext(processed_items=7))
    manager.create_checkpoint("job", {})

    assert document()["metadata"]["last_save_reason"] == "Time-based: 400s >= 300s"


def test_metadata_that_this_version_does_not_know_is_kept() -> None:
    CheckpointManager().create_checkpoint("job", {}, {"reviewer": "kim", "nested": {"a": [1]}})
    CheckpointManager().create_checkpoint("job", {}, {"total_items": 3})

    loaded = CheckpointManager().load_checkpoint("job")

    assert loaded is not None
    assert loaded.metadata.extra == {"reviewer": "kim", "nested": {"a": [1]}}
    assert document()["metadata"]["reviewer"] == "kim"


# -- configuration ----------------------------------------------------------------------------------------------------


def test_the_default_place_is_a_hidden_file_in_the_current_directory() -> None:
    where = CheckpointManager().create_checkpoint("fetch_prebid_Prebid.js_master", {})

    assert Path(where).resolve() == Path.cwd() / ".checkpoint_fetch_prebid_Prebid.js_master.json"
    assert Path(where).is_file()


def test_slashes_and_spaces_in_an_id_become_underscores_and_a_hash_tells_such_ids_apart() -> None:
    where = CheckpointManager().create_checkpoint("fetch_prebid/Prebid.js my branch", {})

    assert re.fullmatch(r"\.checkpoint_fetch_prebid_Prebid\.js_my_branch-[0-9a-f]{12}\.json", Path(where).name)


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_DIR", "from_environment")

    CheckpointManager().create_checkpoint("job", {})

    assert Path("from_environment/.checkpoint_job.json").is_file()


def test_an_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_DIR", "from_environment")
    monkeypatch.setenv("CHECKPOINT_AUTO_CLEANUP", "true")
    manager = CheckpointManager("from_argument", auto_cleanup=False)

    manager.create_checkpoint("job", {})
    manager.finalize("job")

    assert Path("from_argument/.checkpoint_job.json").is_file()
    assert not Path("from_environment").exists()


def test_an_empty_directory_in_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_DIR", "")

    CheckpointManager().create_checkpoint("job", {})

    assert Path(".checkpoint_job.json").is_file()


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        pytest.param(None, False, id="not set"),
        pytest.param("", False, id="empty"),
        pytest.param("true", False, id="true"),
        pytest.param("Yes", False, id="Yes"),
        pytest.param(" 1 ", False, id="1 with spaces"),
        pytest.param("on", False, id="on"),
        pytest.param("false", True, id="false"),
        pytest.param("NO", True, id="NO"),
        pytest.param("0", True, id="0"),
        pytest.param("off", True, id="off"),
    ],
)
def test_the_environment_says_whether_success_deletes(
    text: str | None, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        monkeypatch.setenv("CHECKPOINT_AUTO_CLEANUP", text)
    manager = CheckpointManager()

    manager.create_checkpoint("job", {})
    manager.finalize("job")

    assert Path(".checkpoint_job.json").exists() is is_kept


def test_nonsense_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting what was to be kept, because of a typing error, cannot be made good."""
    monkeypatch.setenv("CHECKPOINT_AUTO_CLEANUP", "flase")

    with pytest.raises(ValueError, match=r"CHECKPOINT_AUTO_CLEANUP.*flase"):
        CheckpointManager()


def test_nonsense_in_the_environment_does_no_harm_where_an_argument_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_AUTO_CLEANUP", "flase")

    assert CheckpointManager(auto_cleanup=True).auto_cleanup is True


# -- migration --------------------------------------------------------------------------------------------------------


def test_a_legacy_document_is_migrated_on_load_and_left_alone_until_the_next_save() -> None:
    legacy = {
        "timestamp": "2024-01-15T10:30:00",
        "files_data": [{"path": "a.js", "sha": "1"}, {"path": "b.js", "sha": "2"}],
        "processed_files": ["a.js", "b.js"],
    }
    path = Path(".checkpoint_job.json")
    path.write_text(json.dumps(legacy))
    manager = CheckpointManager()

    loaded = manager.load_checkpoint("job")

    assert loaded is not None
    assert {name: entry["sha"] for name, entry in loaded.state["files_data"].items()} == {"a.js": "1", "b.js": "2"}
    assert loaded.state["processed_files"] == ["a.js", "b.js"]
    assert loaded.created_at.isoformat() == "2024-01-15T10:30:00+00:00"
    assert json.loads(path.read_text()) == legacy

    manager.create_checkpoint("job", loaded.state)
    assert document()["version"] == "2.0"
    assert document()["created_at"] == "2024-01-15T10:30:00+00:00"


# -- best practices ---------------------------------------------------------------------------------------------------


def test_finalize_removes_the_checkpoint_and_is_harmless_without_one() -> None:
    manager = CheckpointManager()
    manager.create_checkpoint("job", {})

    manager.finalize("job")
    manager.finalize("job")

    assert manager.load_checkpoint("job") is None


def test_metadata_for_debugging_comes_back() -> None:
    manager = CheckpointManager()

    manager.create_checkpoint("job", {}, {"error_count": 2, "tool_name": "fetcher", "operation_type": "fetch"})

    loaded = manager.load_checkpoint("job")
    assert loaded is not None
    assert loaded.metadata.error_count == 2
    assert loaded.metadata.tool_name == "fetcher"
    assert loaded.metadata.operation_type == "fetch"
