"""What the library knows about the interpreter it runs on."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

from resumable import checkpointed
from resumable._runtime.interpreter import (
    ALONE,
    collect_young,
    collector_paused,
    has_gil,
    is_held_here,
    reference_counts,
    untracker,
)

only_with_gil = pytest.mark.skipif(not has_gil(), reason="other interpreters work otherwise")


def test_a_lock_is_held_here_only_in_the_thread_that_holds_it() -> None:
    lock, answers = threading.RLock(), list[bool]()
    assert not is_held_here(lock)
    with lock:
        assert is_held_here(lock)
        thread = threading.Thread(target=lambda: answers.append(is_held_here(lock)))
        thread.start()
        thread.join()
    assert answers == [False]
    assert not is_held_here(lock)


@only_with_gil
def test_a_held_object_has_more_references_than_one_alone() -> None:
    held = ["held"]
    values = [["alone"], held]

    assert [count - ALONE for count in reference_counts(values)] == [0, 1]


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_as_before_after_a_pause(was_enabled: bool) -> None:
    if not was_enabled:
        gc.disable()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is was_enabled
    finally:
        gc.enable()


@only_with_gil
def test_the_collector_does_not_see_what_is_hidden_from_it() -> None:
    entries = [["inner"]]
    untracker()(entries)

    assert not gc.is_tracked(entries)


def test_new_objects_are_collected_now_and_not_within_the_programs_loop() -> None:
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    try:
        collect_young()
        told = [*seen]
        gc.disable()
        seen.clear()
        collect_young()
    finally:
        gc.enable()
        gc.callbacks.remove(note)

    assert 1 in told
    assert seen == []


def test_a_warning_points_at_the_users_line(tmp_path: Path) -> None:
    """Not at the one of this library that warns."""
    with checkpointed("job", store=tmp_path) as cp:
        cp.state["pair"] = (1, 2)
        with pytest.warns(UserWarning, match="is a tuple and will come back as a list") as caught:
            cp.save()

    assert [one.filename for one in caught] == [__file__]
