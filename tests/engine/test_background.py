"""Saves that threads bring to the disk while the loop goes on: each is complete and in order, or its error is reported.

The threads here do their work when the test lets them: in any order with what the loop does, and with errors before
and after it.
"""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from resumable import Checkpoint, CheckpointManager, StoreError, auto, checkpointed, every, open_store
from resumable._engine import background, writer
from resumable._engine.capture import Save
from resumable._engine.operation import Operation
from resumable._runtime import disk
from resumable.stores import FileStore, Holder, MemoryStore
from resumable.stores._memory import MemoryLease
from tests.support.loops import end_item
from tests.support.media import place_in
from tests.support.proxy import Proxy
from tests.support.stores import claimed

PADDING = {f"{number}": "x" * 90 for number in range(120)}
FATES = ("well", "before it", "after it")


class Held:
    """What a thread does, done when it is let go or waited for."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work: Callable[[], Any] | None = work
        self.fate = "well"
        self._value: Any = None
        self._error: StoreError | None = None

    def done(self) -> bool:
        return self._work is None

    def exception(self) -> StoreError | None:
        work, self._work = self._work, None
        if work is not None:
            try:
                if self.fate == "before it":
                    raise StoreError("as if the disk failed")
                self._value = work()
                if self.fate == "after it":
                    raise StoreError("as if the answer was lost")
            except StoreError as error:
                self._error = error
        return self._error

    def result(self) -> tuple[Any, float]:
        assert self.exception() is None
        return self._value, 0.0


held: list[Held] = []
landed: list[int] = []


@pytest.fixture(autouse=True)
def threads_by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def start(threads: background.Threads, work: Callable[[], Any]) -> Held:
        held.append(Held(work))
        return held[-1]

    note_stored = Operation._note_stored

    def note(operation: Operation, save: Save) -> None:
        landed.append(save.decision.at.processed_items)
        note_stored(operation, save)

    monkeypatch.setattr(background.Threads, "start", start)
    monkeypatch.setattr(Operation, "_note_stored", note)
    monkeypatch.setattr(background, "_MOST_SECONDS_PUT_OFF", 1000)  # who waits lets the threads go on
    monkeypatch.setattr(writer, "_APPEND_BESIDE_FROM", 0)
    monkeypatch.setattr(writer, "_SHARE", 1)  # two large saves begin a fold
    monkeypatch.setattr(writer, "_WRITE_BESIDE_FROM", writer._WRITE_BESIDE_FROM)  # the loop below sets it
    with disk.without_syncs():
        yield
    held.clear()
    landed.clear()


class Loop(RuleBasedStateMachine):
    """A loop that ticks, its threads, and kills at any time."""

    @initialize(writes_beside=st.booleans(), appends_beside=st.booleans())
    def begin(self, writes_beside: bool, appends_beside: bool) -> None:
        writer._WRITE_BESIDE_FROM = 0 if writes_beside else 1 << 18
        writer._APPEND_BESIDE_FROM = 0 if appends_beside else 2000
        self.root = Path(tempfile.mkdtemp())
        self.number = 0
        self.is_failing = False
        self.files: dict[str, Any] = dict(PADDING)
        self.open(self.root / "0")
        self.cp.mapping("files").update(PADDING)
        self.cp.save()
        self.states = {0: [copy.deepcopy(self.files)]}  # by item, what its saves may have written
        self.safe = 0

    def open(self, directory: Path) -> None:
        self.directory = directory
        self.block = checkpointed("job", every(items=1), store=directory, auto_cleanup=False)
        self.cp: Checkpoint[dict[str, Any]] = self.block.__enter__()

    @rule(name=st.sampled_from("abcd"), size=st.sampled_from([1, 1500, 9000]), text=st.sampled_from("xyz"))
    def assign(self, name: str, size: int, text: str) -> None:
        value = {"after": self.number, "x": text * size}
        self.cp.mapping("files")[name] = value
        self.files[name] = copy.deepcopy(value)

    @rule(name=st.sampled_from("abcd"))
    def delete(self, name: str) -> None:
        self.cp.mapping("files").pop(name, None)
        self.files.pop(name, None)

    @rule(times=st.integers(1, 3), size=st.sampled_from([0, 1500, 9000]))
    def tick(self, times: int, size: int) -> None:
        for _ in range(times):
            if size:
                self.assign("e", size, "z")
            self.number += 1
            self.states[self.number] = [copy.deepcopy(self.files)]
            with self.errors_of_the_disk():
                self.cp.tick()

    @rule()
    def save(self) -> None:
        self.states[self.number].append(copy.deepcopy(self.files))
        end_item(self.cp)
        with self.errors_of_the_disk():
            self.cp.save()
            self.check_saved()

    def check_saved(self) -> None:
        self.states[self.number] = [copy.deepcopy(self.files)]
        assert self.stored(self.directory) == self.number

    @contextmanager
    def errors_of_the_disk(self) -> Iterator[None]:
        """A StoreError is reported where it happened, and nowhere else."""
        try:
            yield
        except StoreError:
            assert self.is_failing
            self.is_failing = False

    @rule(count=st.integers(1, 3), fate=st.sampled_from(FATES))
    def let_go(self, count: int, fate: str) -> None:
        """The oldest ones end, the last of them so."""
        for one in [one for one in held if not one.done()][:count]:
            one.fate = "well"
            one.exception()
        following = next((one for one in held if not one.done()), None)
        if following is not None and fate != "well":
            following.fate, self.is_failing = fate, True
            following.exception()

    @rule(goes_on=st.booleans())
    def be_killed(self, goes_on: bool) -> None:
        """The files as they are now are what the next run finds."""
        copied = self.root / f"killed {len(list(self.root.iterdir()))}"
        shutil.copytree(self.directory, copied, ignore=shutil.ignore_patterns("*.lock"))
        found = self.stored(copied)
        if not goes_on:
            return
        self.cp._operation.release()
        held.clear()
        landed.clear()
        self.is_failing = False
        self.open(copied)
        self.number, self.files = found, copy.deepcopy(dict(self.cp.mapping("files")))
        self.states = {found: [copy.deepcopy(self.files)]}
        self.safe = found
        assert self.cp.processed_items == found

    @rule()
    def leave(self) -> None:
        end_item(self.cp)
        self.block.__exit__(ValueError, ValueError(), None)
        self.check_saved()
        self.open(self.directory)
        assert self.cp.processed_items == self.number

    @invariant()
    def what_is_stored_is_a_save_whole_and_no_older_than_reported(self) -> None:
        if hasattr(self, "safe"):
            self.safe = max([self.safe, *landed])
            self.stored(self.directory)

    def stored(self, directory: Path) -> int:
        found = CheckpointManager(directory).load_checkpoint("job")
        assert found is not None
        number = found.metadata.processed_items
        assert self.safe <= number <= self.number
        assert found.state["files"] in self.states[number]
        return number

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.cp._operation.release()
            shutil.rmtree(self.root)
        held.clear()
        landed.clear()


@pytest.mark.slow
def test_saves_beside_the_loop_stand_in_their_order() -> None:
    run_state_machine_as_test(
        Loop,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            phases=[phase for phase in Phase if phase is not Phase.shrink],  # it takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- by example -------------------------------------------------------------------------------------------------------


def begin(directory: Path, cp: Checkpoint) -> None:
    cp.mapping("files").update(PADDING)
    cp.save()


def stored(directory: Path) -> int:
    found = CheckpointManager(directory).load_checkpoint("job")
    assert found is not None
    return found.metadata.processed_items


def test_a_tick_does_not_wait_for_the_disk_and_its_save_counts_once_it_is_there(tmp_path: Path) -> None:
    with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False) as cp:
        begin(tmp_path, cp)
        for _ in range(3):
            cp.mapping("files")["new"] = cp.processed_items
            cp.tick()
        assert (stored(tmp_path), cp.metadata.save_count) == (0, 1)
        held[0].exception()
        assert (stored(tmp_path), cp.metadata.save_count) == (1, 1)
        cp.tick()
        assert cp.metadata.save_count == 2
    assert stored(tmp_path) == 4


def test_a_save_that_failed_is_told_at_a_later_tick_and_the_next_one_says_everything(tmp_path: Path) -> None:
    with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False) as cp:
        begin(tmp_path, cp)
        cp.mapping("files")["a"] = 1
        cp.tick()
        cp.mapping("files")["b"] = 2
        cp.tick()
        held[0].fate = "before it"
        held[0].exception()
        with pytest.raises(StoreError, match="as if the disk failed"):
            cp.tick()
        assert cp.metadata.save_count == 1
        cp.tick()
        assert stored(tmp_path) == 4
        assert cp.metadata.save_count == 2
    found = CheckpointManager(tmp_path).load_checkpoint("job")
    assert found is not None
    assert found.state["files"] == PADDING | {"a": 1, "b": 2}


def test_a_disk_that_does_not_keep_up_holds_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_MOST_BYTES", 2000)
    with checkpointed("job", every(items=1), store=tmp_path) as cp:
        begin(tmp_path, cp)
        for number in range(10):
            cp.mapping("files")["new"] = f"{number}" * 900
            cp.tick()
            assert cp._operation.writer.in_flight.bytes < 2000 + 2 * 1500


def test_what_a_fold_prepared_is_gone_with_the_checkpoint(tmp_path: Path) -> None:
    with claimed(FileStore(tmp_path), "job") as lease:
        lease.stage(lease.next, [b"{}"])(b"")
        lease.stage(lease.next, [b"{}"])
        assert len(list(tmp_path.glob("*.tmp"))) == 1
        lease.delete()
        assert list(tmp_path.glob("*.tmp")) == []


def test_what_lands_while_a_fold_ends_is_in_the_new_journal(tmp_path: Path) -> None:
    with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False) as cp:
        begin(tmp_path, cp)
        generations = set()
        for number in range(1, 30):
            cp.mapping("files")[f"new {number}"] = "y" * 5000
            cp.tick()
            for one in held:
                one.exception()
            generations.add((tmp_path / ".checkpoint_job.json").stat().st_ino)
            found = CheckpointManager(tmp_path).load_checkpoint("job")
            assert found is not None
            assert number - 2 <= found.metadata.processed_items
            assert len(found.state["files"]) == len(PADDING) + found.metadata.processed_items
        assert len(generations) > 2


def test_what_an_interruption_left_to_be_sent_is_not_put_over_what_is_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second Ctrl-C may come between any two steps."""

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with checkpointed("job", every(items=1), store=tmp_path, auto_cleanup=False) as cp:
        begin(tmp_path, cp)
        for value in ("first", "second"):
            cp.mapping("files")["new"] = value
            cp.tick()
        held[0].exception()
        with monkeypatch.context() as patch:
            patch.setattr(writer.Writer, "_start_batch", interrupt)
            with pytest.raises(KeyboardInterrupt):
                cp.tick()
        cp.mapping("files")["new"] = "third"
        cp.save()
        cp.tick()
    found = CheckpointManager(tmp_path).load_checkpoint("job")
    assert found is not None
    assert found.state["files"]["new"] == "third"


@pytest.mark.slow
def test_a_loop_does_not_wait_for_a_store_that_answers_late(tmp_path: Path) -> None:
    """No answer comes before the loop is done: an item that waited for one would wait for ever."""
    place = place_in("redis", tmp_path)
    found = re.search(r"127\.0\.0\.1:(\d+)", place)
    assert found is not None
    with Proxy(int(found[1])) as proxy:
        store = open_store(proxy.url(place))
        with checkpointed("far away", auto(max_loss_seconds=0.01), store=store) as cp:
            sizes, seen, lines = cp.mapping("sizes"), cp.set("seen"), cp.log("lines")
            proxy.may_answer.clear()
            for number in cp.remaining(range(200)):
                sizes[str(number)] = number
                seen.add(number)
                lines.append([number, "x" * 100])
                time.sleep(0.001)
            asked = proxy.answers
            proxy.may_answer.set()
        store.close()

    assert proxy.answers > asked


class Appends(MemoryStore):
    """A store in memory that counts as remote, and records each append."""

    traits = replace(MemoryStore.traits, is_remote=True)

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[bytes] = []
        self.gate = threading.Event()

    def claim(self, key: str, me: Holder, *, ttl: float | None = None, take_over: bool = False) -> MemoryLease:
        lease = super().claim(key, me, ttl=ttl, take_over=take_over)
        append = lease.append

        def noted(sequence: int, data: bytes, summary: bytes = b"", meanwhile: Any = None) -> None:
            self.gate.wait(30)
            self.appends.append(data)
            append(sequence, data, summary, meanwhile)

        lease.append = noted  # type: ignore[method-assign]
        return lease


def test_saves_that_wait_for_a_network_go_together() -> None:
    store = Appends()
    with checkpointed("crawl", every(items=1), store=store, auto_cleanup=False) as cp:
        sizes = cp.mapping("sizes")
        sizes.update({f"{number}": "x" * 100 for number in range(500)})
        cp.save()
        for number in range(10):
            sizes[str(number)] = "y"
            cp.tick()
        store.gate.set()
    with checkpointed("crawl", store=store) as cp:
        assert [cp.mapping("sizes")[str(number)] for number in range(12)] == ["y"] * 10 + ["x" * 100] * 2

    assert max(data.count(b"\n") for data in store.appends) > 1
