"""The notes of an error that leaves a block: the item, the items around it, and that all is saved."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, StoreError, checkpointed, every, read
from resumable._report import places
from resumable._report.stored.summary import summaries, summary_of
from resumable.stores import MemoryStore, open_store
from resumable.testing import FaultyStore


def notes(block: Callable[[Checkpoint], object]) -> list[str]:
    with pytest.raises(ZeroDivisionError) as caught, checkpointed("job", store=MemoryStore()) as cp:
        block(cp)
    return caught.value.__notes__


def test_an_error_says_at_which_item_it_came() -> None:
    def block(cp: Checkpoint) -> None:
        for url in cp.remaining(["a", "b", "c"]):
            1 // (url != "b")

    assert notes(block) == ["resumable: at url 2 of 3 ('b')", "resumable: 'job' is saved at item 1; run again to go on"]


def test_an_error_within_nested_loops_names_the_item_of_each() -> None:
    def block(cp: Checkpoint) -> None:
        for epoch in cp.remaining(range(4)):
            for step in cp.remaining(iter("xyz"), name="step"):
                1 // (epoch != 1 or step != "y")

    assert notes(block)[0] == "resumable: at step 2, in epoch 2 of 4 (1)"


def test_an_item_that_holds_a_secret_is_not_told() -> None:
    def block(cp: Checkpoint) -> None:
        for _ in cp.remaining(["https://user:hunter2@host/"]):
            raise ZeroDivisionError

    assert "hunter2" not in notes(block)[0]
    assert "1 of 1" in notes(block)[0]


def test_items_that_are_known_by_key_are_told_by_their_number() -> None:
    def block(cp: Checkpoint) -> None:
        for _ in cp.remaining([{"id": 3}], key="id"):
            raise ZeroDivisionError

    assert notes(block)[0].endswith(" 1 of 1")


def test_a_map_names_its_item_once() -> None:
    def block(cp: Checkpoint) -> None:
        list(cp.map(lambda number: 1 // number, [1, 0]))

    assert [note for note in notes(block) if note.startswith("resumable: at ")] == ["resumable: at item 0"]


def test_an_error_after_the_loop_names_no_item() -> None:
    def block(cp: Checkpoint) -> None:
        for _ in cp.remaining([1]):
            pass
        raise ZeroDivisionError

    assert [note for note in notes(block) if note.startswith("resumable: at ")] == []


def stop() -> int:
    raise ConnectionError


def all_of_three(store: MemoryStore, *, error_at: int | None = None, **options: Any) -> list[int]:
    """The items that a run hands out, which ends with an error at an item or, at 3, behind the loop."""
    got = []
    with contextlib.suppress(ConnectionError), checkpointed("job", every(items=1), store=store, **options) as cp:
        got += [item if item != error_at else stop() for item in cp.remaining(range(3))]
        if error_at == 3:
            raise ConnectionError
    return got


def test_a_run_for_which_nothing_was_left_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """`[pool.submit(work, item) for item in cp.remaining(items)]`, stopped while the pool works."""
    store = MemoryStore()
    assert all_of_three(store, error_at=3) == [0, 1, 2]
    with caplog.at_level(logging.WARNING, logger="resumable"):
        assert all_of_three(store) == []

    assert "all items have counted as done since the last run, so this run did none" in caplog.text
    assert "use cp.map" in caplog.text


def test_an_error_behind_a_loop_that_did_the_work_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    for fails in (True, False):
        with contextlib.suppress(ConnectionError), checkpointed("job", every(items=1), store=store) as cp:
            rows = cp.log("rows")
            for item in cp.remaining(range(3)):
                rows.append(item)
            if fails:
                raise ConnectionError

    assert caplog.messages == []


@pytest.mark.parametrize(("error_at", "left"), [(2, [2]), (None, [])], ids=["one is left", "kept"])
def test_other_runs_say_nothing(error_at: int | None, left: list[int], caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    with caplog.at_level(logging.WARNING, logger="resumable"):
        all_of_three(store, error_at=error_at, auto_cleanup=False)
        assert all_of_three(store, auto_cleanup=False) == left

    assert [one for one in caplog.messages if "count as done" in one] == []


def test_a_loop_that_nobody_went_through_has_not_come_to_its_end() -> None:
    def block(cp: Checkpoint) -> None:
        cp.remaining(range(3))
        raise ZeroDivisionError

    assert notes(block) == ["resumable: 'job' is saved at item 0; run again to go on"]


# -- runs whose last save was refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, None])
@pytest.mark.parametrize("url", ["ck", "sqlite:///{}/ck.db"])
def test_a_run_whose_last_save_was_refused_is_not_called_killed(
    url: str,
    error: type[BaseException] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "resumable")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "index"))
    pytest.importorskip("sqlalchemy")
    url = url.format(tmp_path)
    store = FaultyStore(open_store(url))
    with pytest.raises(error or StoreError), checkpointed("job", every(items=1), store=store) as cp:  # noqa: PT012
        for item in cp.remaining(range(9)):
            if item == 3:
                store.fails_on["write"] = StoreError("the disk is full")
                if error is not None:
                    raise error("the reason")
                break
    store.fails_on.clear()
    places._unsaved_here.clear()  # as in another process

    state = "stopped" if error is KeyboardInterrupt else "failed"
    summary = summary_of(open_store(url), "job")
    assert summary is not None
    assert summary.state == state
    assert [one.state for one in summaries(open_store(url))] == [state]
    assert "the disk is full" in str(summary.history[-1].error)
    with checkpointed("job", store=store) as cp:
        for _ in cp.remaining(range(9)):
            pass
        cp.keep()
    assert "cut off" not in caplog.text
    assert f"by {'Ctrl-C' if error is KeyboardInterrupt else (error or StoreError).__name__}" in caplog.text
    assert "the disk is full" in str(read("job", url).history[0].error)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
@pytest.mark.parametrize(
    ("setup", "item", "says"),
    [
        pytest.param("", 'cp.state["x"] = {1}', "$.state.x cannot be saved: {1} is of type set", id="state"),
        pytest.param("", "raise KeyError(item)", "KeyError: 1", id="the user's own"),
        pytest.param(
            "import resource, signal\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))",
            'cp.state[str(item)] = "x" * 1000',
            ": File too large. What was saved before still stands.",
            id="full disk",
        ),
    ],
)
def test_an_error_that_ends_the_program_shows_the_users_frames_and_says_each_thing_once(
    setup: str, item: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "job.py").write_text(
        f"from resumable import checkpointed, every\n{setup}\n"
        'with checkpointed("job", every(items=1)) as cp:\n'
        f"    for item in cp.remaining(range(1, 1000)):\n        {item}\n"
    )

    done = subprocess.run(
        [sys.executable, "job.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.count("  File ") == 1
    assert done.stderr.count(says) == 1, done.stderr


LEFT_OUT = "what was written since the last cp.tick() is left out, because its item is done again."


def ticking(error: BaseException, *, writes: bool = True, counts: bool = True, at: int = 2) -> list[str]:
    """The notes of *error* in the item *at*, in a loop that ticks."""
    with contextlib.suppress(type(error)), checkpointed("job", every(items=1), store=MemoryStore()) as cp:
        log = cp.log("log")
        for number in range(4):
            if counts:
                cp.state["next"] = number + 1
            if number != at or writes:
                log.append(number)
            if number == at:
                raise error
            cp.tick()
    return getattr(error, "__notes__", [])


@pytest.mark.parametrize("at", [0, 2], ids=["first item", "later"])
def test_rows_between_two_ticks_that_the_state_may_count_already_are_told_of(at: int) -> None:
    """The row of that item was missing in the end, and nothing was said."""
    (told,) = [note for note in ticking(ZeroDivisionError(), at=at) if LEFT_OUT in note]
    assert "change cp.state as the last step before cp.tick()" in told


def test_an_exit_between_two_ticks_tells_it_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    ticking(SystemExit(3))
    assert [message for message in caplog.messages if LEFT_OUT in message]


def test_between_two_ticks_nothing_is_told_if_no_row_can_be_lost() -> None:
    for notes in (ticking(ZeroDivisionError(), writes=False), ticking(ZeroDivisionError(), counts=False)):
        assert not any(LEFT_OUT in note for note in notes)
