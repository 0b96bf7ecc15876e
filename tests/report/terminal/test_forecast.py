"""When it will be done: pace, windows, waits."""

from __future__ import annotations

import functools
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._report.terminal.forecast import (
    BudgetView,
    Forecast,
    Forecaster,
    PerItem,
    QuotaLook,
    WindowLength,
    forecast,
)
from tests.bench.bench_eta import SCENARIOS, Moment, Play, clock

NOW = 1_800_000_000.0
HOUR = 3600.0


def budget(**changes: Any) -> BudgetView:
    """5,000 an hour, fresh in half an hour, one request an item."""
    values: dict[str, Any] = {
        "remaining": 1_000,
        "limit": 5_000,
        "reset_seconds": 1_800.0,
        "window_seconds": HOUR,
        "units_per_item": 1.0,
    }
    return BudgetView(**values | changes)


def look(**changes: Any) -> QuotaLook:
    values: dict[str, Any] = {
        "name": "core",
        "limit": 5_000,
        "remaining": 4_999,
        "reset_at": NOW + HOUR,
        "used": 1,
    }
    return QuotaLook(**values | changes)


@functools.cache
def moments(name: str, keeps_forecast: bool = True) -> list[Moment]:
    return Play(SCENARIO[name], keeps_forecast=keeps_forecast).play()


SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}
NO_STOP, STOPPED, SECONDS = SCENARIOS[0].name, SCENARIOS[1].name, SCENARIOS[-1].name


# -- the table


@pytest.mark.slow
def test_the_moments_of_the_table_have_the_truth_that_it_says() -> None:
    """The yardstick itself: the simulated hours are those that were written down."""
    running, stopped = moments(NO_STOP), moments(STOPPED)
    truths = {m.label: clock(m.truth)[:4] for m in (running[0], *stopped)}

    assert truths["after item 100"] == "1:24"
    assert truths["after item 3,001"] == "0:59"
    assert truths["after item 5,001"] == "0:24"


@pytest.mark.slow
@pytest.mark.parametrize("keeps_forecast", [True, False], ids=["forecast saved", "forecast not saved"])
@pytest.mark.parametrize("name", [name for name in SCENARIO if name != SECONDS])
def test_the_forecast_is_within_5_percent_of_the_truth_at_each_moment(name: str, keeps_forecast: bool) -> None:
    for moment in moments(name, keeps_forecast):
        assert moment.ours == pytest.approx(moment.truth, rel=0.05), moment.label


@pytest.mark.slow
def test_tqdm_and_rich_are_40_percent_off_or_more_where_the_table_says_so() -> None:
    table = [moments(NO_STOP)[0], *(m for m in moments(STOPPED) if m.label.startswith("after"))]

    for moment in table:
        for said in (moment.tqdm, moment.rich):
            assert said is None or abs(said - moment.truth) >= 0.4 * moment.truth, moment.label


def test_the_waits_are_counted_down_one_by_one() -> None:
    waits = [moment.waits for moment in moments("1.2 requests an item, no stop")]

    assert waits == [2, 2, 2, 1, 1, 1, 0]


def test_windows_of_seconds_are_right_to_one_window() -> None:
    """A total that is whole windows stands on an edge: one request more is one window more."""
    scenario = SCENARIO[SECONDS]

    for moment in moments(SECONDS):
        assert moment.ours == pytest.approx(moment.truth, abs=scenario.window + scenario.margin)


# -- one forecast


def test_without_a_quota_it_is_the_work_alone() -> None:
    assert forecast(10, 2.0) == Forecast(20.0)


def test_a_quota_that_lasts_costs_no_wait() -> None:
    assert forecast(1_000, 0.3, budget()) == Forecast(300.0)


def test_the_wait_is_what_the_window_has_left_when_the_quota_is_used_up() -> None:
    assert forecast(1_001, 0.3, budget()) == Forecast(pytest.approx(300.3 + 1_500), 1, 1_500.0)


def test_each_full_window_on_the_way_costs_a_wait() -> None:
    """1,000 now, 5,000 in each of two full windows, 1 in a third."""
    found = forecast(11_051, 0.3, budget())

    assert found.waits == 3
    assert found.wait_seconds == pytest.approx(1_500 + 2 * (HOUR - 1_500))


def test_a_pace_that_the_quota_outlasts_never_waits() -> None:
    assert forecast(100_000, 1.0, budget(remaining=1_800)).waits == 0


def test_a_wait_that_is_going_on_is_one_of_the_waits() -> None:
    found = forecast(10, 1.0, budget(remaining=0, reset_seconds=100.0, margin_seconds=1.0))

    assert found == Forecast(111.0, 1, 101.0)


def test_the_last_second_of_a_wait_is_beyond_the_reset() -> None:
    found = forecast(10, 1.0, budget(remaining=0, reset_seconds=-0.25, margin_seconds=1.0))

    assert found == Forecast(10.75, 1, 0.75)


def test_a_window_that_is_over_counts_as_a_fresh_one() -> None:
    assert forecast(5_000, 0.3, budget(remaining=0, reset_seconds=-10.0)) == Forecast(1_500.0)


def test_whole_windows_cost_no_wait_for_a_rounding_error() -> None:
    """The quota of the last window is used up by the last item, and nobody waits after that."""
    found = forecast(6_000, 0.1, budget(units_per_item=1.000_000_1))

    assert found.waits == 1


@pytest.mark.parametrize("unknown", ["limit", "window_seconds"])
def test_beyond_what_is_known_of_the_quota_no_wait_is_assumed(unknown: str) -> None:
    found = forecast(100_000, 0.01, budget(**{unknown: None}))

    assert found.waits == 1


numbers = st.floats(0, 1e7)


@given(
    left=numbers,
    item=numbers,
    remaining=st.integers(-10, 10**6),
    limit=st.none() | st.integers(-1, 10**6),
    reset=st.floats(-1e5, 1e7),
    window=st.none() | st.floats(0.1, 1e6),
    units=st.floats(0, 1e4),
    margin=st.floats(0, 60),
)
def test_any_numbers_give_a_forecast_that_is_no_less_than_the_work(
    left: float,
    item: float,
    remaining: int,
    limit: int | None,
    reset: float,
    window: float | None,
    units: float,
    margin: float,
) -> None:
    view = BudgetView(
        remaining=remaining,
        limit=limit,
        reset_seconds=reset,
        window_seconds=window,
        units_per_item=units,
        margin_seconds=margin,
    )

    found = forecast(left, item, view)

    assert found.seconds_left is not None
    assert not math.isnan(found.seconds_left)
    assert found.seconds_left >= left * item
    assert (found.waits == 0) == (found.wait_seconds == 0)


# -- pace


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1)), min_size=1))
def test_a_constant_speed_is_told_exactly_however_often_one_looks(looks: list[tuple[int, float]]) -> None:
    mean = PerItem()
    for items, keep in looks:
        mean = mean.after(items, items * 0.3, keep)

    assert mean.mean == pytest.approx(0.3)


def test_the_rate_is_that_of_working_time_over_all_runs() -> None:
    """3,000 items in 900 s of work, however long the computer was off."""
    assert Forecaster(3_000, 900.0).rate == pytest.approx(1 / 0.3)


def test_items_that_were_done_before_are_no_speed() -> None:
    forecaster = Forecaster(1_000_000, 0.0)

    forecaster.look(1_000_010, 10.0, now=NOW)

    assert forecaster.rate == pytest.approx(1.0, rel=0.5)
    forecaster.look(1_000_100, 100.0, now=NOW)
    assert forecaster.rate == pytest.approx(1.0, rel=0.12)


def test_a_run_on_a_slower_machine_soon_has_its_own_rate() -> None:
    """Ten hours at 10 items a second must not hide for hours that it is one a second now."""
    forecaster = Forecaster(360_000, 36_000.0)
    for second in range(1, 601):
        forecaster.look(360_000 + second, 36_000.0 + second, now=NOW + second)

    assert forecaster.rate == pytest.approx(1.0, rel=0.6)
    for second in range(601, 1_801):
        forecaster.look(360_000 + second, 36_000.0 + second, now=NOW + second)
    assert forecaster.rate == pytest.approx(1.0, rel=0.1)


def test_a_change_of_speed_is_followed_within_the_hour() -> None:
    forecaster, done, worked = Forecaster(), 0, 0.0
    for speed, seconds in ((10, 36_000), (1, 3_600)):
        for _ in range(seconds // 10):
            done, worked = done + 10 * speed, worked + 10.0
            forecaster.look(done, worked, now=NOW + worked)

    assert forecaster.rate == pytest.approx(1.0, rel=0.2)


def test_slow_items_are_averaged_over_many_not_over_minutes() -> None:
    """Items of 10 and 30 minutes in turn: the last one alone would be off by half."""
    forecaster, worked = Forecaster(), 0.0
    for item in range(1, 61):
        worked += 600.0 if item % 2 else 1_800.0
        forecaster.look(item, worked, now=NOW + worked)

    assert forecaster.rate == pytest.approx(1 / 1_200, rel=0.05)


def test_items_that_vary_at_random_give_a_steady_forecast() -> None:
    rng, forecaster, worked = random.Random(4), Forecaster(), 0.0
    for item in range(1, 3_001):
        worked += rng.expovariate(1 / 0.3)
        forecaster.look(item, worked, now=NOW + worked)
        if item >= 1_000:
            left = forecaster.forecast(10_000, now=NOW + worked).seconds_left
            assert left == pytest.approx((10_000 - item) * 0.3, rel=0.12)


def test_looking_twice_between_two_items_changes_nothing() -> None:
    once, twice = Forecaster(), Forecaster()
    for item in (1, 2, 3):
        once.look(item, item * 2.0, [look(used=item)], now=NOW)
        twice.look(item, item * 2.0, [look(used=item)], now=NOW)
        twice.look(item, item * 2.0 + 1.0, [look(used=item)], now=NOW)

    assert once.to_dict() == twice.to_dict()


@pytest.mark.parametrize("total", [None, 100], ids=["total unknown", "total known"])
def test_before_the_first_item_nothing_is_said(total: int | None) -> None:
    forecaster = Forecaster()
    forecaster.look(0, 0.0, [look()], now=NOW)

    assert forecaster.rate is None
    assert forecaster.forecast(total, now=NOW) == Forecast()


def test_an_unknown_total_has_a_rate_and_no_end() -> None:
    forecaster = Forecaster()
    forecaster.look(10, 5.0, [look()], now=NOW)

    assert forecaster.rate == 2.0
    assert forecaster.forecast(None, now=NOW) == Forecast()


def test_more_items_than_the_total_have_nothing_left() -> None:
    forecaster = Forecaster()
    forecaster.look(11, 5.0, now=NOW)

    assert forecaster.forecast(10, now=NOW) == Forecast(0.0)


# -- what an item takes of the quota


def used_up(forecaster: Forecaster, items: range, *, used_before: int, each: int = 1) -> None:
    for item in items:
        used = used_before + each * (item - items.start + 1)
        forecaster.look(item, item * 0.3, [look(remaining=5_000 - used, used=used)], now=NOW + item * 0.3)


def test_requests_before_the_first_item_are_no_items_cost() -> None:
    """100 pages of a listing before 100 items would double what an item seems to take."""
    with_listing, without = Forecaster(), Forecaster()

    used_up(with_listing, range(1, 101), used_before=100)
    used_up(without, range(1, 101), used_before=0)

    def units(forecaster: Forecaster) -> Any:
        return forecaster.to_dict()["quotas"]["core"]["units"]

    assert units(with_listing) == units(without)
    assert units(without)["items"] == units(without)["amount"]


def test_a_reserve_that_is_kept_back_is_not_there_to_be_used() -> None:
    forecaster = Forecaster()
    for item in (1, 2):
        quota = look(remaining=1_000 - item, used=item, reserve=500)
        forecaster.look(item, item * 0.1, [quota], now=NOW)

    assert forecaster.forecast(500, now=NOW).waits == 0
    assert forecaster.forecast(501, now=NOW).waits == 1


def test_a_refusal_whose_cost_was_never_measured_is_waited_for_all_the_same() -> None:
    forecaster = Forecaster(10, 10.0)
    refusal = look(name="secondary", limit=None, remaining=0, reset_at=NOW + 60, used=1)
    forecaster.look(10, 10.0, [refusal], now=NOW)

    assert forecaster.forecast(20, now=NOW) == Forecast(70.0, 1, 60.0)
    assert forecaster.forecast(20, now=NOW + 61) == Forecast(10.0)


def test_of_several_quotas_the_one_that_takes_longest_counts() -> None:
    forecaster = Forecaster()
    for item in (1, 2, 3):
        search = look(name="search", limit=30, remaining=30 - item, reset_at=NOW + 60, used=item)
        core = look(remaining=5_000 - item, used=item)
        forecaster.look(item, item * 0.5, [core, search], now=NOW)

    assert forecaster.forecast(90, now=NOW + 1.5).waits == 2


def test_a_server_that_names_a_new_quota_each_time_fills_no_memory() -> None:
    forecaster = Forecaster()
    for item in range(1, 1_000):
        forecaster.look(item, item * 1.0, [look(name=f"q{item}")], now=NOW)

    assert len(forecaster.to_dict()["quotas"]) <= 64


# -- the windows


def test_the_length_is_what_the_first_answer_of_a_new_window_has_before_it() -> None:
    """The window of 3 s opened at 10 with the first request after the reset at 8."""
    length = WindowLength().look(8.0, now=7.0).look(13.0, now=10.0).look(13.0, now=12.0)

    assert length.seconds == 3.0


@pytest.mark.parametrize(("left", "guess"), [(45.0, 60.0), (61.0, 60.0), (900.0, HOUR), (HOUR + 1, HOUR), (2e5, 2e5)])
def test_before_a_window_was_seen_to_open_it_is_a_customary_one(left: float, guess: float) -> None:
    assert WindowLength().look(NOW + left, now=NOW).seconds == guess


def test_a_window_that_began_with_the_operation_shows_its_length_at_once() -> None:
    assert WindowLength().look(NOW + 900, now=NOW, is_new=True).seconds == 900.0


def test_windows_of_a_second_are_seen_to_open_too() -> None:
    length = WindowLength()
    for second in range(5):
        length = length.look(NOW + second + 1, now=NOW + second + 0.01)

    assert length.seconds == pytest.approx(0.99)


def test_one_absurd_reset_does_not_stretch_the_waits_to_come() -> None:
    length = WindowLength()
    for hour, left in enumerate((HOUR, HOUR, 86_400.0)):
        length = length.look(NOW + hour * HOUR + left, now=NOW + hour * HOUR)

    assert length.seconds == HOUR


@pytest.mark.parametrize("reset_at", [NOW, NOW - 5, math.inf, math.nan])
def test_a_reset_that_says_nothing_is_not_learned_from(reset_at: float) -> None:
    assert WindowLength().look(reset_at, now=NOW) == WindowLength()


# -- over runs


def test_what_was_learned_goes_through_json_into_the_next_run() -> None:
    first = Forecaster()
    for item in range(1, 101):
        quota = look(remaining=5_000 - 2 * item, used=2 * item, reset_at=NOW + 900)
        first.look(item, item * 0.3, [quota], now=NOW + item * 0.3)

    second = Forecaster(100, 30.0, json.loads(json.dumps(first.to_dict())))
    second.look(100, 30.0, [look(remaining=4_800, used=200, reset_at=NOW + 900)], now=NOW + 600)

    assert second.rate == pytest.approx(first.rate)
    # 2,400 items in this window, 2,500 in each that follows, every 15 minutes.
    assert second.forecast(100 + 2_400 + 2_500 + 1, now=NOW + 600).waits == 1


@pytest.mark.parametrize(
    "saved",
    [
        pytest.param([], id="a list"),
        pytest.param({"pace": 5, "quotas": 7}, id="numbers"),
        pytest.param({"pace": {"items": -1, "amount": "x"}, "quotas": {"core": None}}, id="broken fields"),
        pytest.param({"pace": {"items": 1e300, "amount": math.nan}}, id="absurd numbers"),
        pytest.param({"quotas": {"core": {"window": {"opened": [None, "3", -1]}, "units": []}}}, id="broken quota"),
    ],
)
def test_what_cannot_be_read_of_an_earlier_run_is_left_out(saved: Any) -> None:
    forecaster = Forecaster(10, 5.0, saved)
    forecaster.look(12, 6.0, [look()], now=NOW)

    assert forecaster.rate == pytest.approx(2.0)
