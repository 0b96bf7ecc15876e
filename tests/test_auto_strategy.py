"""The automatic interval: its formulas, its bounds, its plan, and what it measures."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import ceil, inf, nan, sqrt
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resumable._models import CheckpointContext, SaveCosts, after_save, after_work, as_stored
from resumable._strategies import (
    ASK_NOW,
    NOT_DUE,
    AutoStrategy,
    SaveStrategy,
    TimeBasedStrategy,
    auto,
    best_interval,
    every,
    rate_limit_below,
)
from tests.bench.bench_auto import COSTS, FREE, MEANS, expected_total, optimal_interval

HOUR = 3600.0
KNOWN = SaveCosts(active_seconds=1e6, item_seconds=0.1, save_seconds=0.5, average_seconds=0.4)
"""Measured, with credit for many saves."""


def at(costs: SaveCosts | None, **fields: Any) -> CheckpointContext:
    return CheckpointContext(save_costs=costs, **fields)


# -- Daly's interval --------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_dalys_paper() -> None:
    """His figure 3: M = 24 h, a save of 5 min: 117 min between two."""
    assert best_interval(5 * 60, 24 * HOUR) / 60 == pytest.approx(117, abs=0.5)


@pytest.mark.parametrize("between", MEANS.values(), ids=MEANS)
@pytest.mark.parametrize("save", COSTS.values(), ids=COSTS)
def test_the_interval_costs_hardly_more_than_the_exact_optimum(save: float, between: float) -> None:
    exact = expected_total(1, optimal_interval(save, between), save, between)

    assert expected_total(1, best_interval(save, between), save, between) <= 1.001 * exact


def test_a_save_that_costs_more_than_two_lives_is_made_once_in_one() -> None:
    assert best_interval(121, 60) == 60
    assert best_interval(119.99, 60) == pytest.approx(60 * (2 + 2 / 3 + 2 / 9) - 120, rel=1e-3)


# -- when -------------------------------------------------------------------------------------------------------------


def test_the_first_save_is_due_at_once_because_it_measures_the_cost() -> None:
    context = at(after_work(SaveCosts(), 0.001, 1))

    assert auto().should_save(context) == (True, "Auto: first save (measures its cost)")
    assert auto().plan(context) == ASK_NOW


@pytest.mark.parametrize(
    ("work", "due"),
    [
        pytest.param(29.8, False, id="too early"),
        pytest.param(29.96, True, id="nearer to the interval now than an item later"),
        pytest.param(30, True, id="on the second"),
        pytest.param(0, False, id="nothing done since the last save"),
    ],
)
def test_it_saves_at_the_end_of_the_item_that_is_nearest_to_the_best_interval(work: float, due: bool) -> None:
    strategy = AutoStrategy(max_interval_seconds=30)

    assert strategy.should_save(at(replace(KNOWN, work_seconds=work))).should_save is due


def test_long_items_are_saved_one_by_one_but_never_twice() -> None:
    """Half an item may be more than the whole interval: that alone is nothing to save."""
    strategy, costs = AutoStrategy(max_interval_seconds=3), replace(KNOWN, item_seconds=10)

    assert strategy.should_save(at(costs)) == NOT_DUE
    assert strategy.should_save(at(replace(costs, work_seconds=10)))


def test_the_reason_says_how_much_work_was_at_risk() -> None:
    reason = AutoStrategy(max_interval_seconds=30).should_save(at(replace(KNOWN, work_seconds=31.2))).reason

    assert reason == "Auto: 31s of work (best interval 30s)"


@pytest.mark.parametrize(
    ("active", "restores", "between"),
    [
        pytest.param(0, 0, HOUR, id="before anything is known: an hour"),
        pytest.param(9 * HOUR, 0, 10 * HOUR, id="the longer it runs, the safer"),
        pytest.param(9 * HOUR, 4, 2 * HOUR, id="each restore speaks for more saves"),
    ],
)
def test_the_interval_follows_the_interruptions_that_were_seen(active: float, restores: int, between: float) -> None:
    costs = SaveCosts(active_seconds=active, restores=restores, save_seconds=0.01)

    assert FREE.interval_seconds(costs) == best_interval(0.01, between)


@pytest.mark.parametrize(
    ("save", "interval"),
    [
        pytest.param(0.001, 1.0, id="each second, where that is nearly free"),
        pytest.param(0.01, 2.0, id="within half of the overhead that is allowed"),
        pytest.param(2.0, best_interval(2.0, HOUR), id="dear saves as often as pays"),
    ],
)
def test_cheap_saves_are_made_each_second(save: float, interval: float) -> None:
    """A program is tried out for seconds first, and killed: it should not have lost all of them."""
    assert auto().interval_seconds(SaveCosts(save_seconds=save, charged_seconds=save)) == pytest.approx(interval)


def test_the_second_save_comes_after_a_second_if_the_bound_on_the_overhead_allows_it() -> None:
    """The first one makes the directory and the files, so it says little of what others cost."""
    first = SaveCosts(active_seconds=0.05, item_seconds=0.05, save_seconds=0.009, average_seconds=0.009)

    assert auto().plan(at(first)).seconds == pytest.approx(0.975)
    assert auto().plan(at(replace(first, save_seconds=0.5, average_seconds=0.5))).seconds == pytest.approx(
        0.99 * 0.125 / 0.01 - 0.05
    )


@pytest.mark.parametrize("seconds", [0.2, 5.0, 60.0])
def test_the_bound_on_what_a_kill_loses_may_be_stated(seconds: float) -> None:
    cheap = replace(KNOWN, save_seconds=0.001)

    assert auto(max_loss_seconds=seconds).interval_seconds(cheap) == min(seconds, best_interval(0.001, 1e6 + HOUR))


def test_a_stated_bound_still_keeps_to_the_share_that_saving_may_take() -> None:
    dear = SaveCosts(active_seconds=1, item_seconds=0.01, save_seconds=0.5, charged_seconds=0.01)

    assert auto(max_loss_seconds=1).plan(at(dear)).seconds == pytest.approx(0.99 * 0.51 / 0.01 - 1)


@pytest.mark.parametrize(
    ("strategy", "seconds"),
    [
        pytest.param(auto(), 1.0, id="each second, where that is cheap"),
        pytest.param(every(seconds=60), 60.0, id="time"),
        pytest.param(every(items=10), None, id="items: how long they take is not known"),
        pytest.param(every(seconds=60) | every(items=10), 60.0, id="the first of both"),
        pytest.param(every(seconds=60) & every(items=10), None, id="both"),
        pytest.param(every(seconds=60) & every(seconds=5), 60.0, id="the later one"),
        pytest.param(rate_limit_below(0.2), None, id="a quota"),
    ],
)
def test_a_strategy_knows_how_much_work_is_at_risk(strategy: SaveStrategy, seconds: float | None) -> None:
    costs = SaveCosts(active_seconds=1e5, item_seconds=0.05, save_seconds=0.001, charged_seconds=0.01)

    at_risk = strategy.at_risk(costs)

    assert at_risk == (seconds if seconds is None else pytest.approx(seconds, abs=0.06))


def test_before_the_first_save_nobody_knows_how_much_work_is_at_risk() -> None:
    assert auto().at_risk(SaveCosts()) is None


@given(save=st.floats(-4, 1).map(lambda x: 10**x), item=st.floats(-3, 1).map(lambda x: 10**x))
def test_no_more_is_at_risk_than_was_told(save: float, item: float) -> None:
    """From a save on, in equal items, until the next one stands; but for the life that the best interval learns of."""
    costs = SaveCosts(active_seconds=1e6, item_seconds=item, save_seconds=save, charged_seconds=9e3)
    told = auto().at_risk(costs)
    assert told is not None

    done = costs
    while not auto().should_save(at(done)):
        items = max(1, ceil(auto().plan(at(done)).seconds / item))
        done = after_work(done, items * item, items)

    assert done.work_seconds + save <= 1.01 * told


def test_a_save_that_no_clock_could_see_is_not_taken_to_be_free() -> None:
    """On a coarse clock every save would take 0 s, and each item would be saved."""
    costs = replace(KNOWN, save_seconds=0.0, average_seconds=0.0, active_seconds=0.0)

    assert auto().interval_seconds(costs) == pytest.approx(sqrt(2 * 1e-4 * HOUR), rel=0.01)


@given(
    eps=st.floats(0.001, 0.9),
    active=st.floats(0, 1e6),
    charged=st.floats(0, 1e4),
    save=st.floats(0.001, 100),
    work=st.floats(0.001, 1e5),
)
def test_no_save_is_due_that_would_break_the_bound_on_the_overhead(
    eps: float, active: float, charged: float, save: float, work: float
) -> None:
    """The ledger of the simulated rule, kept apart: credit += eps * x at work, credit -= (1 - eps) * c at a save."""
    costs = SaveCosts(active_seconds=active, charged_seconds=charged, save_seconds=save, work_seconds=work)
    credit = eps * active - (1 - eps) * charged
    margin = credit - (1 - eps) * save
    assume(abs(margin) > 1e-6)

    due = AutoStrategy(max_overhead=eps, max_interval_seconds=0).should_save(at(costs))

    assert bool(due) is (margin > 0)
    if due:
        assert charged + save <= eps * (active + charged + save) * (1 + 1e-9)


@pytest.mark.parametrize("elapsed", [0, 299, 300, 4000])
def test_asked_without_measurements_it_is_time_based(elapsed: float) -> None:
    context = at(None, elapsed_time=elapsed + 5, last_save_time=5)

    assert auto().should_save(context) == TimeBasedStrategy(300).should_save(context)
    assert auto().plan(context) == TimeBasedStrategy(300).plan(context)


def test_it_joins_with_other_strategies() -> None:
    strategy = auto() | rate_limit_below(0.2)

    context = at(KNOWN, rate_limit_remaining=100, rate_limit_total=1000)

    assert strategy.should_save(context).reason.startswith("Rate-limit: 100/1000")


# -- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(
    eps=st.floats(0.001, 0.9),
    longest=st.floats(0, 1000),
    costs=st.builds(
        SaveCosts,
        active_seconds=st.floats(0, 1e6),
        work_seconds=st.floats(0, 1000),
        item_seconds=st.floats(0.001, 50),
        save_seconds=st.floats(0, 20),
        charged_seconds=st.floats(0, 1000),
        restores=st.integers(0, 50),
    ),
    share=st.floats(0, 0.999),
)
def test_within_its_plan_it_stays_not_due_while_items_take_as_long_as_before(
    eps: float, longest: float, costs: SaveCosts, share: float
) -> None:
    strategy = AutoStrategy(eps, longest)
    seconds = strategy.plan(at(costs)).seconds * share
    later = replace(costs, active_seconds=costs.active_seconds + seconds, work_seconds=costs.work_seconds + seconds)

    if seconds > 0:
        assert not strategy.should_save(at(later))


@settings(deadline=None)
@given(
    save=st.floats(0.001, 10),
    item=st.floats(0.001, 10),
    restores=st.integers(0, 20),
    eps=st.floats(0.001, 0.9),
)
def test_a_loop_that_asks_by_the_plan_saves_where_one_that_always_asks_does(
    save: float, item: float, restores: int, eps: float
) -> None:
    strategy = AutoStrategy(eps, max_interval_seconds=200 * item)
    costs = SaveCosts(save_seconds=save, item_seconds=item, restores=restores, active_seconds=save / eps)

    planned = _items_to_save(strategy, costs, item, by_plan=True)

    assert planned == pytest.approx(_items_to_save(strategy, costs, item, by_plan=False), abs=1)


def _items_to_save(strategy: AutoStrategy, costs: SaveCosts, item: float, *, by_plan: bool) -> int:
    done = 0
    for _ in range(1000):
        items = max(1, ceil(strategy.plan(at(costs)).seconds / item)) if by_plan else 1
        costs, done = after_work(costs, items * item, items), done + items
        if strategy.should_save(at(costs)):
            return done
    raise AssertionError("never due")


def test_the_plan_of_a_save_that_is_not_yet_earned_ends_when_it_is() -> None:
    """100 s of saving are 10,000 s of the loop's time; 5,000 and the saves themselves are there."""
    strategy = AutoStrategy(max_interval_seconds=0)
    costs = SaveCosts(active_seconds=5000, work_seconds=50, charged_seconds=95, save_seconds=5)

    assert strategy.plan(at(costs)).seconds == pytest.approx(10_000 - 100 - 5000)


# -- the measurements -------------------------------------------------------------------------------------------------


def test_work_is_counted_as_active_as_at_risk_and_by_the_item() -> None:
    costs = after_work(after_work(SaveCosts(), 2, 1), 4, 1)

    assert (costs.active_seconds, costs.work_seconds) == (6, 6)
    assert costs.item_seconds == pytest.approx(0.8 * 2 + 0.2 * 4)


@pytest.mark.slow
@given(st.floats(0.001, 100), st.floats(0.001, 100), st.integers(1, 50))
def test_many_items_at_once_weigh_as_much_as_one_by_one(known: float, each: float, items: int) -> None:
    """The loop asks only now and then."""
    one_by_one = SaveCosts(item_seconds=known)
    for _ in range(items):
        one_by_one = after_work(one_by_one, each, 1)

    at_once = after_work(SaveCosts(item_seconds=known), each * items, items)

    assert at_once.item_seconds == pytest.approx(one_by_one.item_seconds)
    assert at_once.work_seconds == pytest.approx(one_by_one.work_seconds)


def test_time_without_an_item_is_work_too() -> None:
    assert after_work(SaveCosts(item_seconds=3), 5, 0) == SaveCosts(item_seconds=3, active_seconds=5, work_seconds=5)


def test_a_save_ends_the_risk_and_is_charged() -> None:
    costs = after_save(replace(KNOWN, work_seconds=9), 0.2, charged=True)

    assert costs.work_seconds == 0
    assert costs.charged_seconds == 0.2
    assert costs.average_seconds == pytest.approx(0.7 * 0.4 + 0.3 * 0.2)
    assert costs.save_seconds == costs.average_seconds, "one cheap save does not make the next one cheap"


def test_one_dear_save_is_expected_to_be_followed_by_another() -> None:
    assert after_save(KNOWN, 8, charged=True).save_seconds == 8


def test_a_save_that_is_not_charged_is_measured_all_the_same() -> None:
    charged, free = (after_save(KNOWN, 8, charged=is_charged) for is_charged in (True, False))

    assert free == replace(charged, charged_seconds=0.0)


def test_the_probe_is_never_charged() -> None:
    costs = after_save(SaveCosts(), 8, charged=True)

    assert (costs.charged_seconds, costs.save_seconds, costs.average_seconds) == (0, 8, 8)


def test_a_stored_save_counts_itself() -> None:
    """Its real cost is known too late: a loop killed after each save would never be charged for one."""
    working = replace(KNOWN, work_seconds=9)

    assert as_stored(working, charged=True) == replace(KNOWN, work_seconds=0, charged_seconds=0.5)
    assert as_stored(working, charged=False) == KNOWN
    assert as_stored(SaveCosts(work_seconds=1), charged=True) == SaveCosts()


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overhead", [0, 1, -0.1, 5, nan])
def test_an_overhead_that_is_no_fraction_is_refused(overhead: float) -> None:
    with pytest.raises(ValueError, match="max_overhead must be"):
        AutoStrategy(max_overhead=overhead)


@pytest.mark.parametrize("seconds", [-1, inf, nan])
def test_an_interval_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="max_interval_seconds must be 0 or more"):
        auto(max_interval_seconds=seconds)


@pytest.mark.parametrize("arguments", [{"max_overhead": True}, {"max_interval_seconds": "300"}], ids=repr)
def test_what_is_no_number_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be a number"):
        AutoStrategy(**arguments)


def test_it_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(auto(0.02, 60))) == AutoStrategy(max_overhead=0.02, max_interval_seconds=60)
    assert repr(auto(least_interval_seconds=9)) == (
        "AutoStrategy(max_overhead=0.01, max_interval_seconds=300, max_loss_seconds=None, least_interval_seconds=9)"
    )


def test_auto_keeps_the_distance_that_a_store_asks_for_unless_it_was_told_another() -> None:
    """In an object store each save is a request that is paid for."""
    cheap = SaveCosts(active_seconds=1000, save_seconds=0.01, average_seconds=0.01, charged_seconds=0.1)

    assert auto().interval_seconds(cheap) < 30
    assert auto().spaced(30).interval_seconds(cheap) == 30  # type: ignore[attr-defined]
    assert auto(max_interval_seconds=10).spaced(30).interval_seconds(cheap) == 10  # type: ignore[attr-defined]
    for told in (auto(least_interval_seconds=0), auto(max_loss_seconds=2)):
        assert told.spaced(30).interval_seconds(cheap) == told.interval_seconds(cheap)  # type: ignore[attr-defined]


def test_what_is_said_in_so_many_words_is_obeyed_in_any_store() -> None:
    assert every(seconds=5).spaced(30) == every(seconds=5)
    assert (every(seconds=5) | auto()).spaced(30) == every(seconds=5) | auto(least_interval_seconds=30)
