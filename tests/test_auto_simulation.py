"""The automatic interval in simulated loops that are killed at random, against the closed-form optimum."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable._strategies import AutoStrategy
from tests.bench.bench_auto import (
    COSTS,
    FREE,
    MEANS,
    Loop,
    bounded_optimum,
    expected_total,
    optimal_interval,
    simulate,
)


def test_the_closed_form_has_its_minimum_where_the_simulation_says() -> None:
    """The yardstick itself: both the equation of its optimum, and no better interval beside it."""
    interval = optimal_interval(1, 60)

    assert 1 - interval / 60 == pytest.approx(exp(-(interval + 1) / 60))
    for other in (0.9 * interval, 1.1 * interval):
        assert expected_total(1, other, 1, 60) > expected_total(1, interval, 1, 60)


def cells(allowed: Callable[[float, float], bool] = lambda between, save: True) -> list[Any]:
    """Means between kills and costs of a save, in seconds, wherever *allowed*."""
    found = [(mean, cost) for mean in MEANS for cost in COSTS if allowed(MEANS[mean], COSTS[cost])]
    return [pytest.param(MEANS[mean], COSTS[cost], id=f"{mean}, {cost}") for mean, cost in found]


def is_within_reach(between: float, save: float) -> bool:
    """Else a save is allowed only once in several lives, and nothing can be done about it."""
    return bounded_optimum(AutoStrategy(), between, save) <= between


def are_many_lives_long(between: float, save: float) -> bool:
    """Else the hour that is assumed at first weighs too much in a job of a hundred minutes."""
    return save <= between / 50


def mean_time(strategy: AutoStrategy, between: float, save: float) -> float:
    """Simulated seconds for each second of work."""
    outcomes = simulate(strategy, between, save, jobs=3, saves=2000)
    return sum(outcome.total / outcome.work for outcome in outcomes) / len(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize(("between", "save"), cells(is_within_reach))
def test_the_total_time_is_within_5_percent_of_the_optimum_wherever_the_bounds_allow_it(
    between: float, save: float
) -> None:
    """Where they do not, it is so of the best that they allow."""
    best = bounded_optimum(AutoStrategy(), between, save)

    assert mean_time(AutoStrategy(), between, save) <= 1.05 * expected_total(1, best, save, between)


@pytest.mark.slow
@pytest.mark.parametrize(("between", "save"), cells(are_many_lives_long))
def test_without_bounds_the_formulas_alone_come_within_5_percent(between: float, save: float) -> None:
    best = optimal_interval(save, between)

    assert mean_time(FREE, between, save) <= 1.05 * expected_total(1, best, save, between)


@pytest.mark.parametrize(("between", "save"), cells())
def test_over_the_whole_range_saving_never_takes_more_than_its_share(between: float, save: float) -> None:
    loop = Loop(AutoStrategy(), between=between, save=save, item=0.5, seed=7)

    outcome = loop.run(work=2000 * save + 1000, give_up_after=100 * between)

    assert outcome.charged <= 0.01 * outcome.total + outcome.largest


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    between=st.floats(1.5, 6).map(lambda x: 10**x),
    save=st.floats(-3, 1).map(lambda x: 10**x),
    item=st.floats(-1, 2).map(lambda x: 10**x),
    eps=st.floats(-3, -0.3).map(lambda x: 10**x),
    longest=st.floats(0, 3).map(lambda x: 10**x),
    jitter=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_whatever_the_loop_is_like_saving_keeps_within_its_bound(
    between: float, save: float, item: float, eps: float, longest: float, jitter: float, seed: int
) -> None:
    """It may be over by the dearest saves: what they cost is known only when they are done."""
    loop = Loop(AutoStrategy(eps, longest), between=between, save=save, item=item, jitter=jitter, seed=seed)

    outcome = loop.run(work=500 * item + 10 * save / eps, give_up_after=20 * between)

    assert outcome.charged <= eps * outcome.total + 2 * outcome.largest


def test_a_loop_that_is_never_killed_uses_its_share_where_saving_is_dear() -> None:
    """The bound must not starve it either: 1% is 1%, not 0.1%."""
    outcome = Loop(AutoStrategy(), between=1e12, save=10, item=1).run(work=100_000)

    assert 0.009 <= outcome.charged / outcome.total <= 0.01
