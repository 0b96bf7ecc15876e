"""When to save: each rule of the strategies, and the law of their plans."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._models import CheckpointContext
from resumable._strategies import (
    ASK_NOW,
    NOT_DUE,
    CompositeStrategy,
    Plan,
    ProgressBasedStrategy,
    RateLimitAwareStrategy,
    SaveDecision,
    SaveStrategy,
    TimeBasedStrategy,
    every,
    in_this_window,
    rate_limit_below,
)

TIME, ITEMS, RATE = TimeBasedStrategy(60), ProgressBasedStrategy(10), RateLimitAwareStrategy(0.2)


class Answers(SaveStrategy):
    """A user's own strategy, as the simplest of them are: it answers with a plain tuple."""

    def __init__(self, due: bool) -> None:
        self.due = due

    def should_save(self, context: CheckpointContext) -> SaveDecision:
        return (self.due, "Mine: as told" if self.due else "")  # type: ignore[return-value]


def after(*, seconds: float = 0, items: int = 0, remaining: int | None = None, **fields: Any) -> CheckpointContext:
    """A context *seconds* and *items* after the last save."""
    known: dict[str, Any] = {"last_save_time": 1000, "last_save_items": 50, "rate_limit_total": 5000}
    return CheckpointContext(
        elapsed_time=1000 + seconds,
        processed_items=50 + items,
        rate_limit_remaining=remaining,
        **(known | fields),
    )


# -- the answer -------------------------------------------------------------------------------------------------------


def test_a_decision_unpacks_as_the_specification_says_and_is_true_only_if_due() -> None:
    should_save, reason = SaveDecision(True, "Mine: now")

    assert (should_save, reason) == (True, "Mine: now")
    assert SaveDecision(True)
    assert not NOT_DUE
    assert not SaveDecision(False, "a reason does not make it true")


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waited", "due"),
    [
        pytest.param(59.9, False, id="too early"),
        pytest.param(60, True, id="on the second"),
        pytest.param(3600, True, id="long overdue"),
        pytest.param(-5, False, id="a last save after now"),
    ],
)
def test_time_based_counts_from_the_last_save(waited: float, due: bool) -> None:
    assert TIME.should_save(after(seconds=waited)).should_save is due


@pytest.mark.parametrize(
    ("interval", "waited", "reason"),
    [
        pytest.param(60, 61, "Time-based: 61s >= 60s", id="seconds"),
        pytest.param(300, 300.4, "Time-based: 300s >= 300s", id="not 300.4"),
        pytest.param(0.5, 0.55, "Time-based: 0.55s >= 0.5s", id="parts of a second"),
        pytest.param(60.4, 60.4, "Time-based: 60s >= 60s", id="never a shorter time >= a longer"),
        pytest.param(0, 0, "Time-based: 0s >= 0s", id="at every tick"),
    ],
)
def test_time_based_says_how_long_it_waited(interval: float, waited: float, reason: str) -> None:
    context = CheckpointContext(elapsed_time=waited, last_save_time=0)

    assert TimeBasedStrategy(interval).should_save(context) == (True, reason)


# -- items ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "due"),
    [
        pytest.param(9, False, id="too early"),
        pytest.param(10, True, id="on the item"),
        pytest.param(25, True, id="a jump over it"),
        pytest.param(-50, False, id="fewer items than at the last save"),
    ],
)
def test_progress_based_counts_from_the_last_save(items: int, due: bool) -> None:
    assert ITEMS.should_save(after(items=items)).should_save is due


def test_progress_based_says_how_many_items_were_processed_since_the_last_save() -> None:
    context = CheckpointContext(processed_items=5000, last_save_items=4000)

    assert ProgressBasedStrategy(1000).should_save(context) == (True, "Progress-based: 1000 items processed")


def test_asked_bare_progress_based_counts_from_its_own_last_yes() -> None:
    """Users of the specification ask a strategy directly, and save at each yes."""
    strategy = ProgressBasedStrategy(100)

    yes = [n for n in range(0, 350, 10) if strategy.should_save(CheckpointContext(processed_items=n))]

    assert yes == [100, 200, 300]


def test_asked_bare_progress_based_starts_anew_with_another_operation() -> None:
    strategy = ProgressBasedStrategy(100)
    assert strategy.should_save(CheckpointContext(processed_items=5000))

    assert not strategy.should_save(CheckpointContext(processed_items=99))
    assert strategy.should_save(CheckpointContext(processed_items=100))


def test_with_a_history_progress_based_remembers_nothing() -> None:
    """A save that failed must not push the next one an interval away: the same question has the same answer."""
    strategy = ProgressBasedStrategy(100)
    context = CheckpointContext(processed_items=100, last_save_items=0)

    assert [bool(strategy.should_save(context)) for _ in range(3)] == [True, True, True]
    assert strategy.should_save(CheckpointContext(processed_items=100)), "its own count was touched"


def test_a_plan_does_not_touch_the_own_count() -> None:
    for strategy in (ProgressBasedStrategy(100), ProgressBasedStrategy(100) | TIME):
        bare = CheckpointContext(processed_items=100)

        assert strategy.plan(bare) == strategy.plan(bare) == ASK_NOW
        assert strategy.should_save(bare)
        assert strategy.plan(replace(bare, processed_items=130)).items == 70


# -- rate limit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remaining", "before", "due"),
    [
        pytest.param(1001, None, False, id="above the line"),
        pytest.param(1000, None, True, id="on the line"),
        pytest.param(0, None, True, id="exhausted"),
        pytest.param(1000, 1001, True, id="dropped below since the last save"),
        pytest.param(999, 1000, False, id="was below at the last save"),
        pytest.param(800, 800, False, id="no request since the last save"),
        pytest.param(900, 800, True, id="below again in a fresh window"),
        pytest.param(4999, 800, False, id="a fresh window"),
        pytest.param(None, None, False, id="unknown"),
        pytest.param(-1, None, False, id="unknown, as Azure says it"),
    ],
)
def test_rate_limit_fires_once_for_each_drop_below_its_line(
    remaining: int | None, before: int | None, due: bool
) -> None:
    context = after(remaining=remaining, last_save_remaining=before)

    assert RATE.should_save(context).should_save is due


def test_rate_limit_saves_once_a_window_and_not_at_each_request() -> None:
    """The drop in the second window has the very numbers of the first one's save."""
    saved, before = [], None
    for remaining in [*range(100, -1, -1), *range(100, -1, -1)]:
        before = in_this_window(before, remaining)
        context = CheckpointContext(rate_limit_remaining=remaining, rate_limit_total=100, last_save_remaining=before)
        if RATE.should_save(context):
            saved.append(remaining)
            before = remaining

    assert saved == [20, 20]


@pytest.mark.parametrize("total", [None, 0, -1])
def test_rate_limit_without_a_total_is_not_due(total: int | None) -> None:
    assert RATE.should_save(after(remaining=0, rate_limit_total=total)) == NOT_DUE


def test_rate_limit_says_what_remains() -> None:
    reason = "Rate-limit: 800/5000 (16.0% remaining <= 20.0% threshold)"

    assert RATE.should_save(after(remaining=800)) == (True, reason)


@given(st.integers(1, 10**6), st.integers(0, 100))
def test_the_line_itself_counts_as_below(hundredth: int, percent: int) -> None:
    """0.1 * 30 is not 3 in floats; 3 of 30 must be 10% all the same."""
    context = CheckpointContext(rate_limit_remaining=percent * hundredth, rate_limit_total=100 * hundredth)

    assert RateLimitAwareStrategy(percent / 100).should_save(context)


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


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: TimeBasedStrategy(-1), "interval_seconds must be 0 or more", id="negative time"),
        pytest.param(lambda: TimeBasedStrategy(nan), "interval_seconds .* not nan", id="not a number"),
        pytest.param(lambda: TimeBasedStrategy(inf), "finite, not inf", id="for ever"),
        pytest.param(lambda: ProgressBasedStrategy(0), "items_interval must be at least 1", id="no items"),
        pytest.param(lambda: RateLimitAwareStrategy(20), "a fraction from 0 to 1, not 20", id="a percentage"),
        pytest.param(lambda: RateLimitAwareStrategy(-0.1), "a fraction from 0 to 1", id="negative fraction"),
        pytest.param(lambda: CompositeStrategy([]), "at least one strategy", id="empty composite"),
        pytest.param(lambda: CompositeStrategy([TIME], "XOR"), "'OR' or 'AND', not 'XOR'", id="operator"),
        pytest.param(lambda: every(), "every.. needs seconds=", id="every nothing"),
        pytest.param(lambda: every(minutes=-5, hours=1), "minutes must be", id="one negative of two"),
        pytest.param(lambda: every(items=0), "items_interval must be at least 1", id="every 0 items"),
        pytest.param(lambda: rate_limit_below(20), "fraction must be a fraction from 0 to 1", id="below 20"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_name(build: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: TimeBasedStrategy("60"), "interval_seconds must be a number, not '60'", id="text"),
        pytest.param(lambda: TimeBasedStrategy(True), "must be a number, not True", id="truth value"),
        pytest.param(lambda: ProgressBasedStrategy(1.5), "whole number, not 1.5", id="half an item"),
        pytest.param(lambda: ProgressBasedStrategy(True), "whole number, not True", id="a true item"),
        pytest.param(lambda: RateLimitAwareStrategy(None), "must be a number, not None", id="none"),
        pytest.param(lambda: CompositeStrategy([TIME, 5]), "5 is not a SaveStrategy", id="not a strategy"),
    ],
)
def test_an_argument_of_another_kind_is_refused_with_its_name(build: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        build()


@pytest.mark.parametrize("strategy", [TIME, ITEMS, RATE, TIME | ITEMS & RATE], ids=repr)
def test_strategies_are_values(strategy: SaveStrategy) -> None:
    """They go to other processes and into logs."""
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert hash(pickle.loads(pickle.dumps(strategy))) == hash(strategy)
    assert repr(strategy).startswith(type(strategy).__name__)


def test_the_own_count_is_no_part_of_the_value() -> None:
    asked, fresh = ProgressBasedStrategy(10), ProgressBasedStrategy(10)
    asked.should_save(CheckpointContext(processed_items=10))

    assert asked == fresh
    assert repr(asked) == "ProgressBasedStrategy(items_interval=10)"


# -- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "plan"),
    [
        pytest.param(TIME, Plan(inf, 35), id="time"),
        pytest.param(ITEMS, Plan(6, inf), id="items"),
        pytest.param(RATE, Plan(inf, inf), id="rate limit: new numbers ask by themselves"),
        pytest.param(TIME | ITEMS | RATE, Plan(6, 35), id="or: whichever comes first"),
        pytest.param(TIME & ITEMS, Plan(inf, 35), id="and: one that is not due delays all"),
        pytest.param(ITEMS & TIME, Plan(inf, 35), id="and, in the other order"),
        pytest.param(TIME & RATE, Plan(inf, inf), id="and: nothing before the quota drops"),
        pytest.param(Answers(False), Plan(1, inf), id="a user's own is asked at each tick"),
        pytest.param(Answers(False) | TIME, Plan(1, 35), id="also within an or"),
        pytest.param(Answers(True) & TIME, Plan(inf, 35), id="but not before its partner in an and"),
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

    if min(strategy.plan(asked)) <= 0 and not isinstance(strategy, CompositeStrategy):
        assert strategy.should_save(asked)
    if not any(min(part.plan(asked)) <= 0 for part in parts):
        assert min(strategy.plan(asked)) > 0


@given(any_strategy, contexts)
def test_with_a_history_asking_twice_gives_the_same_answer(strategy: SaveStrategy, context: CheckpointContext) -> None:
    asked = replace(context, last_save_items=50)

    assert strategy.should_save(asked) == strategy.should_save(asked)
