"""One value that cannot be saved costs little: what was good before it is saved, all of one moment."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from resumable import Checkpoint, CheckpointData, CheckpointManager, StateEncodeError, StoreError, checkpointed, every
from resumable._engine import guard
from resumable._engine.writer import Writer
from resumable.testing import FaultyStore, ManualClock
from tests.support.stores import DictStore

BAD_AT, ERROR_AT, ITEMS = 200, 350, 400
BADS = {
    "half a pair": "\ud83d",
    "not a number": float("nan"),
    "a set": {1},
    "an object": object(),
    "a number for a key": {1: 2},
    "too deep": functools.reduce(lambda inner, _: [inner], range(250), []),
}


def put_in_list(cp: Checkpoint[Any], value: Any) -> None:
    cp.state.setdefault("done", []).append(value)


def put_in_log(cp: Checkpoint[Any], value: Any) -> None:
    cp.log("done").append({"value": value})


def job(store: Any, keep: Callable[[Checkpoint[Any], Any], None], bad: Any, padding: int = 0) -> None:
    """A loop that counts in a mapping what it also keeps, writes rows, and is left by an error."""
    with checkpointed("job", every(minutes=5), store=store) as cp:
        cp.state["padding"] = "x" * padding
        rows = cp.sink("rows.txt")
        for number in cp.remaining(range(ITEMS)):
            counts = cp.mapping("counts")
            counts["all"] = counts.get("all", 0) + 1
            rows.write(f"{number}\n")
            keep(cp, bad if number == BAD_AT else number)
            if number == ERROR_AT:
                raise ConnectionError("reset by peer")


def loop(put: Callable[[Any, int], None], items: int = ITEMS, seconds: float = 0.001, **options: Any) -> None:
    with checkpointed("job", options.pop("strategy", every(minutes=5)), **({"store": "ck"} | options)) as cp:
        for number in cp.remaining(range(items)):
            put(cp.state, number)
            time.sleep(seconds)


def found() -> CheckpointData:
    data = CheckpointManager("ck").load_checkpoint("job")
    assert data is not None
    return data


def what_is_there(store: Any) -> tuple[int, int, int, int]:
    """Items, as the loop, the mapping, what was kept, and the rows have them."""
    with checkpointed("job", every(minutes=5), store=store) as cp:
        kept = cp.state.get("done", [])
        counts = dict(cp.mapping("counts"))
        items = cp.processed_items
        cp.sink("rows.txt")
        rows = len(Path("rows.txt").read_text().splitlines())
        cp.keep()
    return items, counts.get("all", 0), len(kept), rows


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("padding", [0, 50_000], ids=["a document", "a journal"])
@pytest.mark.parametrize("keep", [put_in_list, put_in_log])
@pytest.mark.parametrize("bad", BADS.values(), ids=BADS)
def test_what_was_good_before_a_bad_value_is_saved_all_of_one_moment(
    keep: Callable[[Checkpoint[Any], Any], None], bad: Any, padding: int
) -> None:
    """It is found soon, or at the end."""
    with pytest.raises((ConnectionError, StateEncodeError)) as raised:
        job("ck", keep, bad, padding)

    items, *others = what_is_there("ck")
    assert 16 <= items <= BAD_AT
    assert others == [items, items, items]
    assert any(f"is saved at item {items:,}" in note for note in raised.value.__notes__)


def test_items_that_take_their_time_are_looked_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_SHARE", 0)  # a look takes its time on a busy machine

    def put(state: Any, number: int) -> None:
        state.setdefault("done", []).append({1} if number == 3 else number)

    with pytest.raises(StateEncodeError, match=r"\$\.state\.done\[3\] cannot be saved: .* sorted") as raised:
        loop(put, 10, seconds=0.06)

    assert found().state == {"done": [0, 1, 2]}
    assert "resumable: 'job' is saved at item 3" in raised.value.__notes__
    assert [note for note in raised.value.__notes__ if "1 item is done again" in note]


@dataclass
class Total:
    values: list[int] = field(default_factory=list)


def test_a_state_that_is_too_large_to_be_kept_is_checked_and_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_KEEP_UP_TO", 2000)
    prepared: list[bool] = []
    prepare = Writer.prepare
    monkeypatch.setattr(
        Writer, "prepare", lambda self, *args, **options: prepared.append(True) or prepare(self, *args, **options)
    )
    reached = 0

    def put(state: dict[str, Any], number: int) -> None:
        nonlocal reached
        reached = number
        rows = state.setdefault("rows", {"of": [{"n": n} for n in range(500)]})["of"]
        if number == 100:
            prepared.clear()
            rows[499] = {1}

    with pytest.raises(StateEncodeError, match=r"\$\.state\.rows\.of\[499\]"):
        loop(put)
    assert 100 <= reached < ITEMS - 1
    assert not prepared


def test_so_in_a_typed_state() -> None:
    def put(state: Total, number: int) -> None:
        state.values.append("no int" if number == BAD_AT else number)  # type: ignore[arg-type]
        if number == ERROR_AT:
            raise ConnectionError("reset by peer")

    with pytest.raises((ConnectionError, StateEncodeError)):
        loop(put, state=Total)

    with checkpointed("job", every(minutes=5), store="ck", state=Total) as cp:
        assert cp.state.values == [*range(cp.processed_items)]
        assert 16 <= cp.processed_items <= BAD_AT


def test_a_bad_value_at_the_end_of_a_block_that_ends_well_is_told_with_what_was_good() -> None:
    def ticks() -> None:
        with checkpointed("job", every(items=2), store="ck", total=10) as cp:
            for number in range(6):
                cp.state["n"] = number
                cp.tick()
            cp.state["n"] = {1}

    with pytest.raises(StateEncodeError):
        ticks()

    assert (found().state["n"], found().metadata.processed_items) == (5, 6)
    assert found().metadata.last_save_reason == "Interrupted: StateEncodeError"


@pytest.mark.parametrize("bad_from", [2, 3], ids=["just saved", "an item later"])
def test_only_how_it_ended_is_added_where_nothing_good_is_left_to_save(bad_from: int) -> None:
    with pytest.raises(StateEncodeError):
        loop(lambda state, number: state.update(n={1} if number >= bad_from else number), 9, strategy=every(items=2))

    assert found().state == {"n": 1}
    assert found().metadata.processed_items == 2
    assert found().metadata.last_save_reason == "Interrupted: StateEncodeError"


def test_a_bad_value_in_the_first_item_leaves_no_checkpoint() -> None:
    with pytest.raises(StateEncodeError):
        loop(lambda state, number: state.update(n={1}))

    assert CheckpointManager("ck").load_checkpoint("job") is None


def test_a_store_of_bytes_takes_the_last_good_moment_too() -> None:
    store = DictStore()
    with pytest.raises((ConnectionError, StateEncodeError)):
        job(store, put_in_list, {1})

    items, *others = what_is_there(store)
    assert items >= 16
    assert others == [items, items, items]


def test_a_store_that_fails_too_is_told() -> None:
    store = FaultyStore("ck")

    def put(state: Any, number: int) -> None:
        if number >= 50:
            store.fails = StoreError("disk full")
            state["n"] = {1}

    with pytest.raises(StateEncodeError) as raised:
        loop(put, store=store)

    assert [note for note in raised.value.__notes__ if "could not be saved as it stopped" in note]


def test_who_repairs_the_value_goes_on() -> None:
    with checkpointed("job", every(minutes=5), store="ck") as cp:
        for number in cp.remaining(range(30)):
            cp.state["n"] = number
            if number == 20:
                cp.state["n"] = {1}
                with pytest.raises(StateEncodeError):
                    cp.save()
                cp.state["n"] = number
        cp.keep()

    assert found().state == {"n": 29}
    assert found().metadata.processed_items == 30


# -- what never gets into the state


@pytest.mark.parametrize("is_left_by_error", [False, True])
def test_a_list_that_is_not_in_the_state_is_told_at_the_end(
    is_left_by_error: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Too few saves for it to be told earlier."""

    def crawl() -> None:
        with checkpointed("job", every(minutes=5), store="ck") as cp:
            done = cp.state.get("done", [])
            for number in range(4):
                done.append(number)
                cp.tick()
            if is_left_by_error:
                raise ConnectionError("reset by peer")

    with contextlib.suppress(ConnectionError):
        crawl()

    (told,) = [text for text in caplog.messages if "cp.state is empty after 4 items" in text]
    assert 'setdefault("done", [])' in told
    assert "cp.remaining" in told


@dataclass
class Done:
    names: list[str] = field(default_factory=list)


def in_a_copy(cp: Any) -> None:
    done = list(cp.state.setdefault("done", []))
    for number in range(4):
        done.append(number)
        cp.tick()


def in_a_number(cp: Any) -> None:
    page = cp.state.setdefault("page", 0)
    for _ in range(4):
        page += 1
        cp.tick()


def in_another_object(cp: Any) -> None:
    done = Done()
    for number in range(4):
        done.names.append(str(number))
        cp.tick()


@pytest.mark.parametrize(("job", "kind"), [(in_a_copy, None), (in_a_number, None), (in_another_object, Done)])
@pytest.mark.parametrize("strategy", [every(items=1), every(minutes=5)])
def test_a_state_that_does_not_change_is_told_once(
    job: Callable[[Any], None], kind: Any, strategy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with checkpointed("job", strategy, store="ck", state=kind) as cp:
        job(cp)

    (told,) = [text for text in caplog.messages if "cp.state did not change while" in text]
    assert "cp.remaining(items)" in told


def in_the_state(cp: Any) -> None:
    for number in range(cp.state.get("page", 0), 4):
        cp.state["page"] = number + 1
        cp.tick()


def by_their_count(cp: Any) -> None:
    cp.state["name"] = "a job"
    for _ in range(cp.metadata.processed_items, 4):
        cp.tick()


def in_a_log(cp: Any) -> None:
    rows = cp.log("rows")
    cp.state["page"] = 0
    for number in range(len(rows), 4):
        rows.append(number)
        cp.tick()


@pytest.mark.parametrize("job", [in_the_state, by_their_count, in_a_log])
def test_a_program_that_goes_on_right_is_told_nothing(
    job: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    with checkpointed("job", every(items=1), store="ck") as cp:
        job(cp)

    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("seconds", "count"), [(2.0, 1), (0.5, 0)])
def test_a_block_that_ticks_nothing_is_told_of_both_ways(
    seconds: float, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    with checkpointed("job", manager=CheckpointManager("ck", clock=clock)):
        clock.advance(seconds)

    told = [text for text in caplog.messages if "cp.tick() was never called" in text]
    assert len(told) == count
    assert all("cp.remaining(items)" in text and 'setdefault("done", [])' in text for text in told)


@pytest.mark.parametrize("is_in_loop", [False, True], ids=["ticks", "remaining"])
def test_what_is_in_a_variable_only_is_told_beside_other_keys(
    is_in_loop: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"), checkpointed("job", every(items=2), store=tmp_path) as cp:
        done = cp.state.get("done", [])
        kept = cp.state["kept"] = cp.state.get("kept", [])
        for item in cp.remaining(range(9)) if is_in_loop else range(9):
            done.append(item)
            kept.append(item)
            if not is_in_loop:
                cp.tick()

    (told,) = caplog.messages
    assert "cp.state.setdefault('done', ...)" in told
