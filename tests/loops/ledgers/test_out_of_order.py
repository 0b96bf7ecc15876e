"""Done in any order: a head, and what is missing below it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from resumable import InputChangedError
from resumable._loops.ledgers.out_of_order import OutOfOrderLedger


def saved(ledger: OutOfOrderLedger) -> dict[str, Any]:
    form: dict[str, Any] = json.loads(json.dumps(ledger.as_now(0)()))
    return form


@pytest.mark.parametrize("seed", range(20))
def test_each_item_is_done_once_whatever_the_order_and_wherever_it_stops(seed: int) -> None:
    chance, items = random.Random(seed), list(range(100, 160))
    done: list[int] = []
    form = None
    while len(done) < len(items):
        ledger = OutOfOrderLedger("job", items, form)
        assert ledger.done == len(done)
        handed = [entry for entry, _ in zip(ledger.entries(items), range(chance.randint(1, 30)), strict=False)]
        for position, item in chance.sample(handed, chance.randint(1, len(handed))):
            ledger.add(position)
            done.append(item)
        form = saved(ledger)

    assert sorted(done) == items
    assert form is not None
    assert (form["head"], form["missing"]) == (60, [])


def test_what_is_missing_at_the_end_lowers_the_head() -> None:
    ledger = OutOfOrderLedger("job", list("abcd"))
    positions = [position for position, _ in ledger.entries("abcd")]
    ledger.add(positions[0])
    ledger.add(positions[2])

    form = saved(ledger)

    assert (form["head"], form["handed"], form["missing"]) == (3, 4, [[1, 1]])


def test_an_input_that_is_gone_through_skips_what_is_done() -> None:
    form = {"by": "scattered", "head": 3, "handed": 3, "missing": [[1, 1]], "samples": []}
    ledger = OutOfOrderLedger("job", None, form)

    assert [ledger.hand_out(item) for item in "abcd"] == [None, 1, None, 3]
    ledger.check_end()


@pytest.mark.parametrize("items", ["xbcd", "ab"], ids=["another item", "too few"])
def test_another_input_is_refused(items: str) -> None:
    ledger = OutOfOrderLedger("job", list("abcd"))
    for position, _ in list(ledger.entries("abcd")):
        ledger.add(position)

    with pytest.raises(InputChangedError):
        OutOfOrderLedger("job", list(items), saved(ledger))


@pytest.mark.parametrize(
    "form",
    [
        {"head": -1, "handed": 0},
        {"head": 2, "handed": 1},
        {"head": 2, "handed": 2, "missing": [[2, 2]]},
        {"head": 1 << 30, "handed": 1 << 30, "missing": [[0, 1 << 29]]},
        {"head": "2", "handed": 2},
    ],
)
def test_what_no_ledger_can_have_saved_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot be|must be"):
        OutOfOrderLedger("job", None, {"by": "scattered"} | form)
