"""A proof finds what is wrong in a user's loop, says where, and lets right loops pass."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from resumable import CheckpointManager, checkpointed, resumable
from resumable.testing import Proof, ProofFailed, prove_resumable
from resumable.testing._findings import judge_effects

ITEMS = ["a", "bb", "ccc", "dddd", "eeeee"]
sent: list[Any] = []
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def kinds(failure: ProofFailed) -> set[str]:
    return {finding.kind for finding in failure.proof.findings}


# -- ten loops that are wrong -----------------------------------------------------------------------------------------


def total_in_a_local() -> int:
    total = 0
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            total += len(item)
    return total


def tick_before_the_work() -> list[str]:
    with checkpointed("job") as cp:
        done = cp.state.setdefault("done", [])
        for item in ITEMS[cp.processed_items :]:
            cp.tick()
            done.append(item)
            sent.append(item)
        return list(done)


def effect_without_a_key() -> None:
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            sent.append(item)


_listings = itertools.count()


def unordered_input() -> list[str]:
    with checkpointed("job") as cp:
        listing = random.SystemRandom().sample(ITEMS, len(ITEMS))
        for item in cp.remaining(listing, fingerprint=None):
            sent.append(item)
        return sorted(sent)


def result_of_the_time() -> float:
    with checkpointed("job") as cp:
        for _ in cp.remaining(ITEMS):
            cp.state["at"] = time.monotonic_ns()
        return float(cp.state["at"])


def state_replaced_by_an_alias() -> dict[str, int]:
    with checkpointed("job") as cp:
        lengths = cp.state.get("lengths", {})
        for item in cp.remaining(ITEMS):
            lengths = lengths | {item: len(item)}  # cp.state never hears of it
        return lengths


def result_of_this_run_only() -> list[str]:
    with checkpointed("job") as cp:
        return [item.upper() for item in cp.remaining(ITEMS)]


_counts = {"seen": 0}


def counter_outside_of_the_state() -> int:
    with checkpointed("job") as cp:
        for _ in cp.remaining(ITEMS):
            _counts["seen"] += 1
        return _counts["seen"]


def random_without_its_state() -> list[int]:
    chance = random.Random(7)
    with checkpointed("job") as cp:
        drawn = cp.state.setdefault("drawn", [])
        for _ in cp.remaining(ITEMS):
            drawn.append(chance.randrange(1_000_000))
        return list(drawn)


def item_changed_after_its_key() -> list[str]:
    rows = [{"id": item, "text": item} for item in ITEMS]
    with checkpointed("job") as cp:
        done = cp.state.setdefault("done", [])
        for row in rows:
            if row["id"] in done:
                continue
            row["id"] = row["id"].upper()
            sent.append(row["text"])
            done.append(row["id"])
            cp.tick()
        return list(done)


def begins_anew_each_time() -> int:
    with checkpointed(f"job {time.monotonic_ns()}") as cp:
        for item in cp.remaining(ITEMS):
            sent.append(item)
        return cp.processed_items


def rows_appended_by_hand(directory: Path) -> None:
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            with open(directory / "rows.txt", "a") as rows:
                rows.write(f"{item}\n")


WRONG: dict[Callable[..., Any], tuple[str, dict[str, Any]]] = {
    total_in_a_local: ("result diverged", {}),
    tick_before_the_work: ("effect missing", {}),
    effect_without_a_key: ("effect repeated", {"exactly_once": True}),
    unordered_input: ("effect missing", {}),
    result_of_the_time: ("differs between two runs", {}),
    state_replaced_by_an_alias: ("result diverged", {}),
    result_of_this_run_only: ("result diverged", {}),
    counter_outside_of_the_state: (
        "result diverged",
        {"reset": lambda: _counts.update(seen=0), "hard": True, "max_cases": 24},
    ),
    random_without_its_state: ("result diverged", {}),
    item_changed_after_its_key: ("effect repeated", {}),
    begins_anew_each_time: ("effect repeated", {}),
    rows_appended_by_hand: ("effect repeated", {}),
}


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("job", WRONG, ids=lambda job: job.__name__)
def test_each_planted_bug_is_found(job: Callable[..., Any]) -> None:
    kind, options = WRONG[job]
    with pytest.raises(ProofFailed) as failure:
        prove_resumable(job, effects=sent, **options)
    assert kind in kinds(failure.value)


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("job", WRONG, ids=lambda job: job.__name__)
def test_each_planted_bug_is_found_by_real_kills(job: Callable[..., Any]) -> None:
    kind, options = WRONG[job]
    with pytest.raises(ProofFailed) as failure:
        prove_resumable(job, effects=sent, **{**options, "hard": True, "max_cases": 24})
    assert kind in kinds(failure.value)


# -- ten that are right -----------------------------------------------------------------------------------------------


def total_in_the_state() -> int:
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            sent.append(item)
            cp.state["total"] = cp.state.get("total", 0) + len(item)
        return int(cp.state["total"])


def position_from_the_state() -> list[str]:
    with checkpointed("job") as cp:
        done = cp.state.setdefault("done", [])
        for item in ITEMS[len(done) :]:
            sent.append(item)
            done.append(item.upper())
            cp.tick()
        return list(done)


def results_in_a_mapping() -> dict[str, int]:
    with checkpointed("job") as cp:
        lengths = cp.mapping("lengths")
        for item in cp.remaining(ITEMS):
            lengths[item] = len(item)
            sent.append(item)
        return dict(lengths)


def unordered_input_with_a_key() -> list[str]:
    with checkpointed("job") as cp:
        listing = ITEMS[::-1] if next(_listings) % 2 else ITEMS
        log = cp.log("log")
        for item in cp.remaining(listing, key=str):
            log.append(item)
            sent.append(item)
        return sorted(log)


def rows_in_a_sink(directory: Path) -> None:
    with checkpointed("job") as cp:
        sink = cp.sink(directory / "rows.txt")
        for item in cp.remaining(ITEMS):
            sink.write(f"{item}\n")


@resumable(operation_id="job", retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(3), sleep=lambda _: None))
def _fetch(cp: Any) -> list[str]:
    for item in cp.remaining(ITEMS):
        if item == "ccc" and not cp.state.get("failed"):
            cp.state["failed"] = True
            raise ConnectionError
        cp.state.setdefault("done", []).append(item)
    return list(cp.state["done"])


def decorated_with_a_retry() -> list[str]:
    return _fetch()


def asynchronous() -> int:
    async def crawl() -> int:
        async with checkpointed("job") as cp:
            async for item in cp.remaining(ITEMS):
                sent.append(item)
                cp.state["total"] = cp.state.get("total", 0) + len(item)
            return int(cp.state["total"])

    return asyncio.run(crawl())


async def a_coroutine_function() -> int:
    async with checkpointed("job") as cp:
        async for item in cp.remaining(ITEMS):
            await asyncio.sleep(0)
            sent.append(item)
            cp.state["total"] = cp.state.get("total", 0) + len(item)
        return int(cp.state["total"])


def nested_loops() -> list[str]:
    with checkpointed("job") as cp:
        pairs = cp.state.setdefault("pairs", [])
        for left in cp.remaining(["x", "y"]):
            for right in cp.remaining(ITEMS[:3]):
                pairs.append(left + right)
        return list(pairs)


def random_that_is_kept() -> list[int]:
    with checkpointed("job") as cp:
        drawn = cp.state.setdefault("drawn", [])
        for _ in cp.remaining(ITEMS):
            drawn.append(random.Random(len(drawn)).randrange(1_000_000))
        return list(drawn)


def sent_with_a_key() -> None:
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            if item not in sent:  # as a server does that knows the key
                sent.append(item)


def manager_by_hand() -> list[str]:
    manager = CheckpointManager()
    found = manager.load_checkpoint("job")
    state = found.state if found is not None else {"done": []}
    for item in ITEMS[len(state["done"]) :]:
        state["done"].append(item)
        sent.append(item)
        manager.create_checkpoint("job", state)
    manager.finalize("job")
    return list(state["done"])


RIGHT: dict[Callable[..., Any], dict[str, Any]] = {
    total_in_the_state: {},
    position_from_the_state: {},
    results_in_a_mapping: {},
    unordered_input_with_a_key: {},
    rows_in_a_sink: {},
    decorated_with_a_retry: {},
    asynchronous: {},
    a_coroutine_function: {},
    nested_loops: {},
    random_that_is_kept: {},
    sent_with_a_key: {"exactly_once": True, "mid_item_errors": True},
    manager_by_hand: {},
}


@pytest.mark.slow
@pytest.mark.parametrize("job", RIGHT, ids=lambda job: job.__name__)
def test_a_right_loop_passes(job: Callable[..., Any]) -> None:
    proof = prove_resumable(job, effects=sent, **RIGHT[job])
    assert proof
    assert proof.cases >= 20


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("job", RIGHT, ids=lambda job: job.__name__)
def test_a_right_loop_passes_when_killed_by_the_system(job: Callable[..., Any]) -> None:
    assert prove_resumable(job, effects=sent, hard=True, max_cases=12, **RIGHT[job])


# -- what is told -----------------------------------------------------------------------------------------------------


def failure_of(job: Callable[..., Any], **options: Any) -> ProofFailed:
    with pytest.raises(ProofFailed) as caught:
        prove_resumable(job, effects=sent, **options)
    return caught.value


@pytest.mark.slow
def test_the_failure_says_where_it_was_stopped_and_what_differs() -> None:
    text = str(failure_of(total_in_a_local))
    assert "the job is not resumable" in text
    assert "result diverged: " in text
    assert "test_prove.py:" in text
    assert "for item in cp.remaining(ITEMS):" in text
    assert "'job' resumed after item 1" in text
    assert "- 15" in text
    assert "+ 14" in text
    assert "why: what is not in cp.state is lost" in text


@pytest.mark.slow
def test_the_failure_names_the_effect_that_is_missing() -> None:
    finding = next(f for f in failure_of(tick_before_the_work).proof.findings if f.kind == "effect missing")
    assert finding.details == "- 'a'"
    assert finding.place is not None
    assert finding.place.items == 1


# -- the budget -------------------------------------------------------------------------------------------------------


def long_job() -> int:
    with checkpointed("job") as cp:
        for number in cp.remaining(range(300)):
            cp.state["total"] = cp.state.get("total", 0) + number
        return int(cp.state["total"])


@pytest.mark.slow
def test_a_budget_bounds_the_cases() -> None:
    proof = prove_resumable(long_job, max_cases=5, seed=3)
    assert proof.cases == 5
    assert proof.places > 1000
    assert "after each of 5 stops (chosen of " in str(proof)
    assert "(seed 3)" in str(proof)


@pytest.mark.slow
def test_the_whole_is_tried_without_a_budget() -> None:
    proof = prove_resumable(total_in_the_state, effects=sent, max_cases=None)
    assert (proof.items, proof.saves) == (5, 4)  # the end of the last item finalizes
    assert proof.cases == proof.places


# -- effects ----------------------------------------------------------------------------------------------------------


def judged(expected: list[Any], found: list[Any], allowed: list[Any], **options: bool) -> set[str]:
    return {kind for kind, _ in judge_effects(expected, found, allowed, **{"exactly_once": False, **options})}


def test_only_what_no_save_knows_of_may_come_again() -> None:
    assert judged(["a", "b"], ["a", "b", "b"], ["b"]) == set()
    assert judged(["a", "b"], ["a", "b", "b"], ["a"]) == {"effect repeated"}
    assert judged(["a", "b"], ["a", "b", "b"], ["b"], exactly_once=True) == {"effect repeated"}
    assert judged(["a", "b"], ["a"], []) == {"effect missing"}
    assert judged(["a"], ["a", "z"], []) == {"effect unexpected"}
    assert judged([{"a": 1}], [{"a": 1}, {"a": 1}], [{"a": 1}]) == set()


@pytest.mark.slow
def test_effects_may_be_told_by_a_function(tmp_path: Path) -> None:
    table: dict[str, int] = {}

    def job() -> None:
        with checkpointed("job") as cp:
            for item in cp.remaining(ITEMS):
                table[item] = len(item)

    assert prove_resumable(job, effects=lambda: dict(table), reset=table.clear)


@pytest.mark.slow
def test_the_library_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from resumable._runtime import disk, observer

    before = ([*observer.INSTALLED], disk.sync)
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path))
    proof: Proof = prove_resumable(total_in_the_state, effects=sent)
    assert proof
    assert ([*observer.INSTALLED], disk.sync) == before
    assert os.environ["CHECKPOINT_DIR"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- ordinary errors in the middle of items ---------------------------------------------------------------------------


def counted_before_the_work() -> dict[str, Any]:
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            cp.state["total"] = cp.state.get("total", 0) + len(item)
            sent.append(item)
        return dict(cp.state)


def counted_in_a_mapping_before_the_work() -> dict[str, Any]:
    with checkpointed("job") as cp:
        counts, seen, log = cp.mapping("counts"), cp.set("seen"), cp.log("log")
        for item in cp.remaining(ITEMS):
            counts["total"] = counts.get("total", 0) + len(item)
            seen.add(item)
            log.append(item)
            sent.append(item)
        return {"total": counts["total"], "seen": sorted(seen), "log": list(log)}


def error_that_is_caught() -> None:
    with checkpointed("job") as cp:
        for item in cp.remaining(ITEMS):
            try:
                cp.state["total"] = cp.state.get("total", 0) + len(item)
                cp.state["last"] = item
            except Exception:
                cp.error()


@pytest.mark.slow
def test_an_error_within_an_item_is_found_where_plain_state_changes_before_the_work() -> None:
    failure = failure_of(counted_before_the_work, max_cases=None)

    assert kinds(failure) == {"result diverged"}
    assert {finding.how for finding in failure.proof.findings} == {"failed"}
    assert "one assignment" in str(failure)


@pytest.mark.slow
@pytest.mark.parametrize("job", [total_in_the_state, counted_in_a_mapping_before_the_work])
def test_what_changes_at_the_end_or_in_collections_stands_such_an_error(job: Callable[[], Any]) -> None:
    assert prove_resumable(job, effects=sent, max_cases=None)


@pytest.mark.slow
def test_a_job_that_catches_the_error_is_not_judged_by_it() -> None:
    assert prove_resumable(error_that_is_caught, max_cases=None)


@pytest.mark.slow
def test_without_such_errors_the_wrong_job_passes() -> None:
    assert prove_resumable(counted_before_the_work, effects=sent, mid_item_errors=False)
