"""A model in plain Python against the real thing, under random work, saves, crashes and restarts."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resumable import Checkpoint, CheckpointManager, SaveStrategy, StateEncodeError, checkpointed, every
from resumable.stores import _disk
from resumable.testing import ManualClock

WHOLE = os.environ.get("RESUMABLE_FAULTS") == "all"
NEVER = every(hours=1000)
STRATEGIES: dict[str, tuple[SaveStrategy, float, float]] = {
    "never": (NEVER, float("inf"), float("inf")),
    "each item": (every(items=1), 1, float("inf")),
    "each third": (every(items=3), 3, float("inf")),
    "each ten seconds": (every(seconds=10), float("inf"), 10),
    "either": (every(items=4) | every(seconds=7), 4, 7),
}
names = st.sampled_from(["a", "b", "ß", "with 'quotes'"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


class Model(RuleBasedStateMachine):
    """What the state is, what is saved of it, and how far the loop has come."""

    @initialize(padded=st.booleans(), strategy=st.sampled_from(sorted(STRATEGIES)))
    def begin(self, padded: bool, strategy: str) -> None:
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.clock = ManualClock()
        self.saved: dict[str, Any] | None = None
        self.saved_items = 0
        self.is_open = False
        self.start(strategy)
        if padded:  # large enough for a journal
            self.files.update(padding := {f"{number}": "x" * 90 for number in range(120)})
            self.live["files"].update(padding)
            self.save()

    # -- runs

    @precondition(lambda self: not self.is_open)
    @rule(strategy=st.sampled_from(sorted(STRATEGIES)))
    def start(self, strategy: str) -> None:
        chosen, self.items_between, self.seconds_between = STRATEGIES[strategy]
        manager = CheckpointManager(self.directory, chosen, auto_cleanup=False, clock=self.clock)
        self.block = checkpointed("job", manager=manager)
        self.cp: Checkpoint[dict[str, Any]] = self.block.__enter__()
        self.is_open = True
        self.check_restored()
        self.files, self.seen, self.log = self.cp.mapping("files"), self.cp.set("seen"), self.cp.log("log")
        self.live = copy.deepcopy(self.saved) or {}
        self.live = {"files": {}, "seen": set(), "log": []} | self.live
        self.items = self.saved_items
        self.items_at_save, self.time_at_save = self.items, self.clock.now()

    def check_restored(self) -> None:
        assert self.cp.resumed == (self.saved is not None)
        assert self.cp.processed_items == self.saved_items
        if self.saved is not None:
            assert self.as_it_is() == self.saved

    def as_it_is(self) -> dict[str, Any]:
        state = dict(self.cp.state)
        kinds = {"files": dict, "seen": set, "log": list}
        return {name: kinds[name](value) if name in kinds else value for name, value in state.items()}

    @precondition(lambda self: self.is_open)
    @rule()
    def crash(self) -> None:
        """As a kill does: the lock is free, and nothing was saved on the way out."""
        self.cp._core.release()
        self.is_open = False

    @precondition(lambda self: self.is_open)
    @rule(error=st.sampled_from([None, ValueError, KeyboardInterrupt]))
    def leave(self, error: type[BaseException] | None) -> None:
        self.block.__exit__(error, error() if error is not None else None, None)
        self.is_open = False
        self.note_saved()

    # -- work

    @precondition(lambda self: self.is_open)
    @rule(name=names, value=plain)
    def set_plain(self, name: str, value: Any) -> None:
        self.cp.state[name] = value
        self.live[name] = copy.deepcopy(value)

    @precondition(lambda self: self.is_open)
    @rule(name=names)
    def delete_plain(self, name: str) -> None:
        self.cp.state.pop(name, None)
        self.live.pop(name, None)

    @precondition(lambda self: self.is_open)
    @rule(name=names, value=plain)
    def set_entry(self, name: str, value: Any) -> None:
        self.files[name] = value
        self.live["files"][name] = copy.deepcopy(value)

    @precondition(lambda self: self.is_open)
    @rule(name=names)
    def delete_entry(self, name: str) -> None:
        self.files.pop(name, None)
        self.live["files"].pop(name, None)

    @precondition(lambda self: self.is_open)
    @rule(name=names, value=plain)
    def add_to_an_entry(self, name: str, value: Any) -> None:
        self.files.setdefault(name, [])
        self.live["files"].setdefault(name, [])
        if isinstance(self.live["files"][name], list):
            self.files[name] = [*self.files[name], value]  # what is saved is frozen
            self.live["files"][name].append(copy.deepcopy(value))

    @precondition(lambda self: self.is_open)
    @rule(member=names, adds=st.booleans())
    def change_the_set(self, member: str, adds: bool) -> None:
        for members in (self.seen, self.live["seen"]):
            members.add(member) if adds else members.discard(member)

    @precondition(lambda self: self.is_open)
    @rule(value=plain)
    def append(self, value: Any) -> None:
        self.log.append(value)
        self.live["log"].append(copy.deepcopy(value))

    @rule(seconds=st.sampled_from([0.5, 3, 11]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600, 3600]))
    def set_the_wall_clock(self, seconds: float) -> None:
        self.clock.jump(seconds)

    # -- saves

    @precondition(lambda self: self.is_open)
    @rule(items=st.integers(1, 3))
    def tick(self, items: int) -> None:
        before = self.cp.metadata.save_count
        self.cp.tick(items)
        self.items += items
        waited = self.clock.now() - self.time_at_save
        due = self.items - self.items_at_save >= self.items_between or waited >= self.seconds_between
        assert self.cp.metadata.save_count == before + due
        if due:
            self.note_saved()

    @precondition(lambda self: self.is_open)
    @rule()
    def save(self) -> None:
        self.cp.save()
        self.note_saved()

    @precondition(lambda self: self.is_open)
    @rule()
    def fail_to_save(self) -> None:
        self.cp.state["bad"] = {1, 2}
        with pytest.raises(StateEncodeError):
            self.cp.save()
        del self.cp.state["bad"]

    def note_saved(self) -> None:
        self.saved, self.saved_items = copy.deepcopy(self.live), self.items
        self.items_at_save, self.time_at_save = self.items, self.clock.now()

    # -- always

    @invariant()
    def what_is_stored_is_the_last_save(self) -> None:
        if not hasattr(self, "directory") or self.is_open:
            return
        found = CheckpointManager(self.directory).load_checkpoint("job")
        assert (found is None) == (self.saved is None)
        if found is not None:
            assert self.saved is not None
            assert found.state == self.saved | {"seen": found.state["seen"]}
            assert set(found.state["seen"]) == self.saved["seen"]

    @invariant()
    def what_is_in_memory_is_what_was_done(self) -> None:
        if getattr(self, "is_open", False):
            assert self.as_it_is() == self.live
            assert self.cp.processed_items == self.items

    def teardown(self) -> None:
        if getattr(self, "is_open", False):
            self.cp._core.release()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


def test_the_real_thing_does_as_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sync", "sync_data", "sync_directory"):
        monkeypatch.setattr(_disk, name, lambda where: None)
    examples, steps = (5000, 80) if WHOLE else (150, 40)
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=not WHOLE,
            suppress_health_check=list(HealthCheck),
        ),
    )
