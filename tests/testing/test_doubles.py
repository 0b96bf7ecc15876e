"""The helpers for users' own tests."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resumable import CheckpointManager, StoreError, checkpointed, every
from resumable.stores import CheckpointStore, FileStore, open_store
from resumable.testing import FaultyStore, ManualClock, MemoryStore
from tests.support.stores import DictStore, claimed, delete, document, keys, put

# -- ManualClock ------------------------------------------------------------------------------------------------------


def test_time_stands_still_until_it_is_told_to_pass() -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    began, wall = clock.now(), clock.utc()

    clock.advance(90)

    assert wall == datetime(2026, 5, 1, tzinfo=UTC)
    assert clock.now() - began == 90
    assert clock.utc() - wall == timedelta(seconds=90)


def test_sleeping_lets_the_time_pass_at_once() -> None:
    clock = ManualClock()
    began = clock.now()

    clock.sleep(3600)

    assert clock.now() - began == 3600


def test_a_jump_moves_the_wall_clock_only() -> None:
    clock = ManualClock()
    began, wall, rang = clock.now(), clock.utc(), []
    clock.call_at(began + 5, lambda: rang.append(1))

    clock.jump(-3600)

    assert clock.now() == began
    assert clock.utc() - wall == timedelta(hours=-1)
    assert not rang


def test_time_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="jump"):
        ManualClock().advance(-1)


def test_alarms_go_off_in_their_order_each_at_its_own_time() -> None:
    clock, rang = ManualClock(), []
    began = clock.now()
    for after in (30, 10, 20, 10):
        clock.call_at(began + after, lambda after=after: rang.append((after, clock.now() - began)))  # type: ignore[misc]

    clock.advance(25)
    assert rang == [(10, 10), (10, 10), (20, 20)]
    clock.advance(5)
    assert rang[3:] == [(30, 30)]


def test_a_cancelled_alarm_does_not_go_off() -> None:
    clock, rang = ManualClock(), []
    cancel = clock.call_at(clock.now() + 1, lambda: rang.append(1))

    cancel()
    cancel()
    clock.advance(2)

    assert not rang


def test_an_alarm_may_set_the_next_one() -> None:
    clock, rang = ManualClock(), []
    began = clock.now()

    def ring() -> None:
        rang.append(clock.now() - began)
        clock.call_at(clock.now() + 10, ring)

    clock.call_at(began + 10, ring)
    clock.advance(35)

    assert rang == [10, 20, 30]


def test_an_alarm_in_the_past_goes_off_with_the_next_advance() -> None:
    clock, rang = ManualClock(), []

    clock.call_at(clock.now() - 1, lambda: rang.append(1))

    assert not rang
    clock.advance(0)
    assert rang == [1]


def test_many_threads_may_let_time_pass() -> None:
    clock, rang = ManualClock(), []
    began = clock.now()
    for after in range(800):
        clock.call_at(began + after, lambda: rang.append(1))

    threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert clock.now() - began == 800
    assert len(rang) == 800


# -- FaultyStore ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "files", "a simple one"])
def test_a_faulty_store_can_what_the_store_inside_can(kind: str, tmp_path: Path) -> None:
    inner = MemoryStore() if kind == "memory" else FileStore(tmp_path) if kind == "files" else open_store(DictStore())
    store = FaultyStore(inner)

    assert isinstance(store, CheckpointStore)
    assert store.traits == inner.traits
    with claimed(store, "a") as lease:
        lease.stage(lease.next, [b"1"])(b"")
        assert lease.read() == store.read("a") == inner.read("a")
        assert store.describe("a") == inner.describe("a")
        assert [entry.key for entry in store.list()] == ["a"]
        lease.renew()
        assert lease.where() == lease.next
        assert lease.term > 0
        assert lease.delete() is True
    assert store.read("a", previous=True) is None
    store.close()


def test_a_verb_in_fails_on_fails_until_it_is_taken_out() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, {"stage": StoreError("disk full")})

    for _ in range(2):
        with pytest.raises(StoreError, match="disk full"):
            put(store, "a", b"1")
    assert inner.read("a") is None

    del store.fails_on["stage"]
    put(store, "a", b"1")
    assert document(store, "a") == b"1"
    assert keys(store) == ["a"]
    assert delete(store, "a") is True


def test_while_it_fails_nothing_is_changed_and_everything_is_read() -> None:
    store = FaultyStore(MemoryStore())
    put(store, "a", b"1")
    with claimed(store, "a") as lease:
        commit = lease.stage(lease.next, [b"2"])
        store.fails = StoreError("disk full")
        for change in (lambda: commit(b""), lambda: lease.append(lease.next, b"3"), lease.delete):
            with pytest.raises(StoreError, match="disk full"):
                change()
        assert document(store, "a") == b"1"
        store.fails = None
        commit(b"")
    assert document(store, "a") == b"2"


def test_fail_next_fails_so_often() -> None:
    store = FaultyStore(MemoryStore())
    store.fail_next("read", times=2)
    store.fail_next("read", error=StoreError("and once more"))

    for text in ("as the test requested", "as the test requested", "and once more"):
        with pytest.raises(StoreError, match=text):
            store.read("a")
    assert store.read("a") is None


@pytest.mark.parametrize("verb", ["append", "write"])
def test_journal_verbs_fail_too(tmp_path: Path, verb: str) -> None:
    store = FaultyStore(FileStore(tmp_path))
    manager = CheckpointManager(store=store, save_strategy=every(items=1))

    with checkpointed("job", manager=manager, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        files.update({str(n): "x" * 100 for n in range(1000)})
        cp.save()
        files["new"] = 1
        store.fail_next(verb)
        with pytest.raises(StoreError, match=f"{verb} failed"):
            cp.save()

    loaded = CheckpointManager(tmp_path).load_checkpoint("job")
    assert loaded is not None
    assert loaded.state["files"]["new"] == 1


@pytest.mark.parametrize("verb", ["putt", "put"], ids=["a typing error", "a verb of simple stores"])
def test_a_verb_that_no_store_has_is_refused(verb: str) -> None:
    """A fault that never comes makes a test that proves nothing."""
    with pytest.raises(ValueError, match=verb):
        FaultyStore(MemoryStore()).fail_next(verb)
    with pytest.raises(ValueError, match=verb):
        FaultyStore(MemoryStore(), {verb: StoreError("")})
