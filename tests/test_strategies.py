"""When to save: the rule of each strategy, and the arguments it takes."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
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

    def __repr__(self) -> str:
        return "Answers"

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


@pytest.mark.parametrize("strategy", [ITEMS, TIME], ids=lambda strategy: type(strategy).__name__)
@pytest.mark.parametrize("items", [1, 50_000], ids=["not due", "due"])
def test_asked_with_a_history_a_strategy_makes_next_to_no_calls(strategy: SaveStrategy, items: int) -> None:
    """The engine asks at each check-in and each save."""
    for ask in (strategy.should_save, strategy.plan):
        calls = calls_of(ask, after(items=items, seconds=items))

        # The answer is a NamedTuple, whose constructor is a lambda. A text is made only for a save.
        assert [name for name in calls if name != "_span"] in ([ask.__name__], [ask.__name__, "<lambda>"])


def calls_of(function: Callable[[CheckpointContext], object], context: CheckpointContext) -> list[str]:
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        function(context)
    finally:
        sys.setprofile(None)
    return calls


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
