"""Strategies joined by "or" and "and", the short forms, and the law of plans."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._models import CheckpointContext
from resumable._strategies import (
    NEVER,
    NOT_DUE,
    CompositeStrategy,
    Plan,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    SaveDecision,
    SaveStrategy,
    TimeBasedStrategy,
    every,
    rate_limit_below,
)
from tests.test_strategies import ITEMS, RATE, TIME, Answers, after

# -- together ---------------------------------------------------------------------------------------------------------


def test_or_is_due_if_any_is_and_joins_the_reasons() -> None:
    strategy = CompositeStrategy([TIME, ITEMS, RATE], operator="OR")

    assert strategy.should_save(after(seconds=61, items=3, remaining=800)) == (
        True,
        "Time-based: 61s >= 60s | Rate-limit: 800/5000 (16.0% remaining <= 20.0% threshold)",
    )
    assert strategy.should_save(after(seconds=59, items=9, remaining=4000)) == NOT_DUE


def test_and_is_due_if_all_are() -> None:
    strategy = CompositeStrategy([TIME, ITEMS], operator="AND")

    assert strategy.should_save(after(seconds=61, items=9)) == NOT_DUE
    assert strategy.should_save(after(seconds=59, items=10)) == NOT_DUE
    assert strategy.should_save(after(seconds=60, items=10)).reason == (
        "Time-based: 60s >= 60s | Progress-based: 10 items processed"
    )


@pytest.mark.parametrize("history", [pytest.param(0, id="with a history"), pytest.param(None, id="asked bare")])
def test_an_and_that_is_not_due_does_not_eat_the_interval_of_its_operand(history: int | None) -> None:
    strategy = ProgressBasedStrategy(100) & TimeBasedStrategy(60)
    early = CheckpointContext(processed_items=100, elapsed_time=10, last_save_items=history)

    assert not strategy.should_save(early)

    assert strategy.should_save(replace(early, processed_items=101, elapsed_time=60))


def test_asked_bare_a_composite_counts_from_its_own_last_yes() -> None:
    strategy = TimeBasedStrategy(1e6) | ProgressBasedStrategy(100)

    yes = [n for n in range(0, 350, 10) if strategy.should_save(CheckpointContext(processed_items=n))]

    assert yes == [100, 200, 300]


def test_a_plain_tuple_from_a_users_strategy_counts_by_its_first_field() -> None:
    """``(False, "")`` is a true value in Python."""
    assert (Answers(False) | TIME).should_save(after(seconds=1)) == NOT_DUE
    assert (Answers(True) & Answers(False)).should_save(after()) == NOT_DUE
    assert (Answers(True) | TIME).should_save(after(seconds=1)) == (True, "Mine: as told")


def test_operators_flatten_and_keep_the_order() -> None:
    assert (TIME | ITEMS) | RATE == TIME | (ITEMS | RATE) == CompositeStrategy([TIME, ITEMS, RATE], "OR")
    assert CompositeStrategy([TIME, ITEMS, RATE], "AND") == TIME & ITEMS & RATE
    assert CompositeStrategy([CompositeStrategy([TIME, ITEMS], "AND"), RATE], "OR") == (TIME & ITEMS) | RATE


def test_operators_do_not_open_a_users_own_composite() -> None:
    class Never(CompositeStrategy):
        def should_save(self, context: CheckpointContext) -> SaveDecision:
            return NOT_DUE

    strategy = Never([ITEMS]) | TIME

    assert strategy.should_save(after(items=10, seconds=1)) == NOT_DUE


@pytest.mark.parametrize("other", [300, None, "every five minutes", lambda: None])
def test_a_strategy_joins_only_with_a_strategy(other: Any) -> None:
    with pytest.raises(TypeError):
        TIME | other
    with pytest.raises(TypeError):
        TIME & other


# -- short forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "long"),
    [
        pytest.param(every(seconds=30), TimeBasedStrategy(30), id="seconds"),
        pytest.param(every(minutes=5), TimeBasedStrategy(300), id="minutes"),
        pytest.param(every(hours=1, minutes=30, seconds=5), TimeBasedStrategy(5405), id="times add up"),
        pytest.param(every(items=1000), ProgressBasedStrategy(1000), id="items"),
        pytest.param(every(minutes=5, items=10), TimeBasedStrategy(300) | ITEMS, id="whichever comes first"),
        pytest.param(every(seconds=0), TimeBasedStrategy(0), id="at every tick"),
        pytest.param(rate_limit_below(0.2), RateLimitAwareStrategy(0.2), id="rate limit"),
    ],
)
def test_short_forms_say_the_same(short: SaveStrategy, long: SaveStrategy) -> None:
    assert short == long


# -- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "plan"),
    [
        pytest.param(TIME, Plan(inf, 35, NEVER), id="time"),
        pytest.param(ITEMS, Plan(6, inf, NEVER), id="items"),
        pytest.param(RATE, Plan(inf, inf, 0.2), id="rate limit: at its line"),
        pytest.param(TIME | ITEMS | RATE, Plan(6, 35, 0.2), id="or: whichever comes first"),
        pytest.param(TIME & ITEMS, Plan(inf, 35, NEVER), id="and: one that is not due delays all"),
        pytest.param(ITEMS & TIME, Plan(inf, 35, NEVER), id="and, in the other order"),
        pytest.param(TIME & RATE, Plan(inf, inf, 0.2), id="and: nothing before the quota drops"),
        pytest.param(Answers(False), Plan(1, inf), id="a user's own is asked at each tick"),
        pytest.param(Answers(False) | TIME, Plan(1, 35), id="also within an or"),
        pytest.param(Answers(True) & TIME, Plan(inf, 35, NEVER), id="but not before its partner in an and"),
    ],
)
def test_a_plan_says_when_to_ask_again(strategy: SaveStrategy, plan: Plan) -> None:
    assert strategy.plan(after(seconds=25, items=4, remaining=4000)) == plan


@pytest.mark.parametrize("strategy", [TIME, ITEMS, RATE, TIME | Answers(False), TIME & ITEMS & RATE], ids=repr)
def test_what_is_due_is_asked_at_the_next_tick(strategy: SaveStrategy) -> None:
    """After a save that failed, nothing is known but that a save is due."""
    plan = strategy.plan(after(seconds=60, items=10, remaining=10))

    assert min(plan) == 0


fractions = st.integers(0, 20).map(lambda n: n / 20)
simple = st.one_of(
    st.integers(0, 50).map(TimeBasedStrategy),
    st.integers(1, 50).map(ProgressBasedStrategy),
    fractions.map(RateLimitAwareStrategy),
)
any_strategy = st.recursive(
    simple, lambda s: st.builds(CompositeStrategy, st.lists(s, min_size=1, max_size=3), st.sampled_from(["OR", "AND"]))
)
small = st.integers(0, 60)
contexts = st.builds(
    after,
    seconds=small,
    items=small,
    remaining=st.none() | st.integers(-1, 10),
    rate_limit_total=st.none() | st.integers(0, 10),
    last_save_remaining=st.none() | st.integers(0, 10),
    last_save_items=st.none() | st.just(50),
)


@pytest.mark.slow
@given(any_strategy, contexts, small, small)
def test_within_its_plan_a_strategy_that_was_not_due_stays_so(
    strategy: SaveStrategy, context: CheckpointContext, seconds: int, items: int
) -> None:
    """Else a loop that goes by the plan would save late. (Whole numbers, so that no rounding blurs the edge.)"""
    plan = strategy.plan(context)
    later = replace(
        context, elapsed_time=context.elapsed_time + seconds, processed_items=context.processed_items + items
    )

    if items < plan.items and seconds < plan.seconds:
        assert not strategy.should_save(later)


@given(any_strategy, contexts)
def test_a_plan_is_empty_only_if_the_strategy_or_a_part_of_it_is_due(
    strategy: SaveStrategy, context: CheckpointContext
) -> None:
    """A plan that promises nothing costs a question at each tick."""
    parts = strategy.strategies if isinstance(strategy, CompositeStrategy) else [strategy]
    asked = replace(context, last_save_items=context.last_save_items or 0)

    plan = strategy.plan(asked)
    if min(plan.items, plan.seconds) <= 0 and not isinstance(strategy, CompositeStrategy):
        assert strategy.should_save(asked)
    if not any(min(part.plan(asked)) <= 0 for part in parts):
        assert min(strategy.plan(asked)) > 0


@pytest.mark.slow
@given(any_strategy, contexts)
def test_with_a_history_asking_twice_gives_the_same_answer(strategy: SaveStrategy, context: CheckpointContext) -> None:
    asked = replace(context, last_save_items=50)

    assert strategy.should_save(asked) == strategy.should_save(asked)
