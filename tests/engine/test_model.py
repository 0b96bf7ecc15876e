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

from resumable import Checkpoint, CheckpointManager, SaveStrategy, StateEncodeError, StoreError, checkpointed, every
from resumable._runtime import disk
from resumable.stores import FileStore
from resumable.testing import FaultyStore, ManualClock
from tests.faults.operations import defer_threads
from tests.support.loops import end_item

WHOLE = os.environ.get("RESUMABLE_FAULTS") == "all"
NEVER = every(hours=1000)
STRATEGIES: dict[str, tuple[SaveStrategy, float, float]] = {
    "never": (NEVER, float("inf"), float("inf")),
    "each item": (every(items=1), 1, float("inf")),
    "each third": (every(items=3), 3, float("inf")),
    "each ten seconds": (every(seconds=10), float("inf"), 10),
    "either": (every(items=4) | every(seconds=7), 4, 7),
}
names = st.sampled_from(["a", "ß", "with 'quotes'"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


CHANGES = (
    ["set_plain", "delete_plain", "change_plain_in_place", "set_entry", "delete_entry", "set_an_entry_that_is_held"]
    + ["change what is held"] * 2
    + ["save"] * 3
)


class Model(RuleBasedStateMachine):
    """What the state is, what is saved of it, and how far the loop has come."""

    @initialize(padded=st.sampled_from([True, True, False]), strategy=st.sampled_from(sorted(STRATEGIES)))
    def begin(self, padded: bool, strategy: str) -> None:
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.clock = ManualClock()
        self.saved: dict[str, Any] | None = None
        self.saved_items = 0
        self.is_open = False
        self.start(strategy)
        if padded:  # large enough for a journal
            self.files.update(padding := {f"{number}": "x" * 90 for number in range(80)})
            self.live["files"].update(padding)
            self.save()

    # -- runs

    @precondition(lambda self: not self.is_open)
    @rule(strategy=st.sampled_from(sorted(STRATEGIES)))
    def start(self, strategy: str) -> None:
        chosen, self.items_between, self.seconds_between = STRATEGIES[strategy]
        self.store = FaultyStore(FileStore(self.directory))
        manager = CheckpointManager(None, chosen, auto_cleanup=False, store=self.store, clock=self.clock)
        self.block = checkpointed("job", manager=manager)
        self.cp: Checkpoint[dict[str, Any]] = self.block.__enter__()
        self.is_open = True
        self.check_restored()
        self.files, self.seen, self.log = self.cp.mapping("files"), self.cp.set("seen"), self.cp.log("log")
        self.live = copy.deepcopy(self.saved) or {}
        self.live = {"files": {}, "seen": set(), "log": []} | self.live
        self.held: dict[str, list[Any]] = {}
        self.unsaved: set[str] = set()
        self.items = self.saved_items
        self.items_at_save, self.time_at_save = self.items, self.clock.now()

    def check_restored(self) -> None:
        # Where the run before has done nothing, there may be nothing to go on from.
        assert self.cp.resumed is (self.saved is not None) or not self.saved_items
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
        """End as a kill does: the lock is free, and nothing is saved."""
        self.cp._operation.release()
        self.is_open = False

    @precondition(lambda self: self.is_open)
    @rule(error=st.sampled_from([None, ValueError, KeyboardInterrupt]))
    def leave(self, error: type[BaseException] | None) -> None:
        end_item(self.cp)
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
    def change_plain_in_place(self, name: str, value: Any) -> None:
        self.cp.state.setdefault(name, [])
        self.live.setdefault(name, [])
        if isinstance(self.live[name], list):
            self.cp.state[name].append(value)
            self.live[name].append(copy.deepcopy(value))

    @precondition(lambda self: self.is_open)
    @rule(name=names, value=plain)
    def set_entry(self, name: str, value: Any) -> None:
        self.held.pop(name, None)
        self.files[name] = value
        self.live["files"][name] = copy.deepcopy(value)

    @precondition(lambda self: self.is_open)
    @rule(name=names)
    def delete_entry(self, name: str) -> None:
        self.held.pop(name, None)
        self.files.pop(name, None)
        self.live["files"].pop(name, None)

    @precondition(lambda self: self.is_open)
    @rule(name=names, value=plain)
    def set_an_entry_that_is_held(self, name: str, value: Any) -> None:
        self.files[name] = self.held[name] = [value]
        self.live["files"][name] = copy.deepcopy([value])
        self.unsaved.add(name)

    @precondition(lambda self: self.is_open and self.held)
    @rule(data=st.data(), value=plain)
    def change_what_is_held(self, data: st.DataObject, value: Any) -> None:
        """Until it is saved the mapping shows it; afterwards, the next save finds it."""
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.held[name].append(value)
        if name in self.unsaved:
            self.live["files"][name].append(copy.deepcopy(value))

    def has_changed_what_is_held(self) -> bool:
        """Whether the next save will find a change that the mapping does not show yet."""
        return any(self.live["files"][name] != value for name, value in self.held.items())

    @precondition(lambda self: self.is_open)
    @rule(name=names, value=plain)
    def add_to_an_entry(self, name: str, value: Any) -> None:
        self.files.setdefault(name, [])
        self.live["files"].setdefault(name, [])
        if isinstance(self.live["files"][name], list):
            self.held.pop(name, None)
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

    @precondition(lambda self: self.is_open)
    @rule(data=st.data(), is_saved=st.booleans())
    def work(self, data: st.DataObject, is_saved: bool) -> None:
        """Several changes to the same few things, and saves between them: what one save tells, the next must know."""
        for _ in range(data.draw(st.integers(2, 8))):
            change = data.draw(st.sampled_from(CHANGES))
            if change == "save":
                self.save()
            elif change == "change what is held":
                if self.held:
                    self.change_what_is_held(data, 1)
            elif change.startswith("delete"):
                getattr(self, change)(name="a")
            else:
                getattr(self, change)(name="a", value=data.draw(st.integers(0, 3)))
        if is_saved:
            self.save()

    work_again = work_still = work_on = work  # to be chosen as often

    @precondition(lambda self: self.is_open)
    @rule(name=st.sampled_from(["files", "log"]), is_saved_between=st.booleans())
    def begin_a_collection_anew(self, name: str, is_saved_between: bool) -> None:
        if name == "files":
            self.held.clear()
        del self.cp.state[name]
        if is_saved_between:
            del self.live[name]
            self.save()
        self.files, self.log = self.cp.mapping("files"), self.cp.log("log")
        self.live[name] = {} if name == "files" else []

    @precondition(lambda self: self.is_open)
    @rule(number=st.integers(0, 9))
    def append_much(self, number: int) -> None:
        """Saves that make the journal outgrow the snapshot, so that it is folded while some of them are made."""
        for turn in range(9):
            rows = [f"{number}{turn}" * 30] * 25
            self.log.extend(rows)
            self.live["log"].extend(rows)
            self.save()

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
        before, looks = self.cp.metadata.save_count, self.cp._operation.guard.looks
        self.cp.tick(items)
        self.items += items
        waited = self.clock.now() - self.time_at_save
        due = self.items - self.items_at_save >= self.items_between or waited >= self.seconds_between
        # It follows what a thread is at, or waits for its end, and counts when it stands.
        while self.cp._operation.writer.is_saving or self.cp._operation._is_postponed:
            self.cp.check_in()
        assert self.cp.metadata.save_count == before + due
        if due:
            self.note_saved()
        elif self.cp._operation.guard.looks > looks:
            # A look whether all can be saved freezes them as they are now, or leaves them alone.
            for name, value in self.held.items():
                if self.files.get(name) == value:
                    self.live["files"][name] = copy.deepcopy(value)
            self.unsaved = {name for name in self.unsaved if self.files.get(name) is self.held.get(name)}

    @precondition(lambda self: self.is_open)
    @rule()
    def save(self) -> None:
        end_item(self.cp)
        self.cp.save()
        self.note_saved()

    @precondition(lambda self: self.is_open and not self.has_changed_what_is_held())
    @rule(where=st.sampled_from(["state", "mapping"]))
    def fail_to_encode(self, where: str) -> None:
        if where == "mapping":
            bad = self.files["bad"] = [0]
            bad[0] = {1, 2}  # type: ignore[call-overload]
        else:
            self.cp.state["bad"] = {1, 2}
        end_item(self.cp)
        with pytest.raises(StateEncodeError):
            self.cp.save()
        self.held.clear()  # whether a save that failed has frozen them, is nobody's business
        if where == "mapping":
            del self.files["bad"]
        else:
            del self.cp.state["bad"]

    @precondition(lambda self: self.is_open and not self.held)
    @rule(times=st.integers(1, 2))
    def fail_on_the_disk(self, times: int) -> None:
        self.cp.state["tried"] = self.live["tried"] = self.live.get("tried", 0) + 1
        self.store.fails_on = {"write": StoreError("disk full")}
        end_item(self.cp)
        for _ in range(times):
            with pytest.raises(StoreError):
                self.cp.save()
        self.store.fails_on = {}
        self.check_stored()

    @precondition(lambda self: self.is_open)
    @rule(strategy=st.sampled_from(sorted(STRATEGIES)))
    def save_die_and_begin_again(self, strategy: str) -> None:
        self.save()
        self.crash()
        self.start(strategy)

    def note_saved(self) -> None:
        for name, value in self.held.items():
            self.live["files"][name] = copy.deepcopy(value)
        self.unsaved.clear()
        self.saved, self.saved_items = copy.deepcopy(self.live), self.items
        self.items_at_save, self.time_at_save = self.items, self.clock.now()
        self.check_stored()

    # -- always

    @invariant()
    def what_is_stored_is_the_last_save(self) -> None:
        if hasattr(self, "directory"):
            self.check_stored()

    def check_stored(self) -> None:
        found = CheckpointManager(self.directory).load_checkpoint("job")
        assert (found is None) == (self.saved is None)
        if found is not None:
            assert self.saved is not None
            assert found.state == self.saved | {"seen": found.state["seen"]}
            assert set(found.state["seen"]) == self.saved["seen"]
            assert found.metadata.processed_items == self.saved_items

    @invariant()
    def what_is_in_memory_is_what_was_done(self) -> None:
        if getattr(self, "is_open", False):
            assert self.as_it_is() == self.live
            assert self.cp.processed_items == self.items

    def teardown(self) -> None:
        if getattr(self, "is_open", False):
            self.cp._operation.release()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


@pytest.mark.slow
def test_the_real_thing_does_as_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sync", "sync_data", "sync_directory"):
        monkeypatch.setattr(disk, name, lambda where: None)
    defer_threads(monkeypatch.setattr)  # what a crash interrupts does not go on
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
