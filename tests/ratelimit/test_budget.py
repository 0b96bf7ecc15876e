"""The budget: quotas kept apart, the lowest number within a window, a new window afresh; refusals; accounts."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from resumable.ratelimit import RateLimit
from resumable.ratelimit._budget import Budget
from resumable.ratelimit._limits import refused, succeeded

NOW = 1_790_000_000.0
RESET = NOW + 600


def core(remaining: int | None, reset_at: float | None = RESET, limit: int | None = 5000) -> RateLimit:
    return RateLimit("core", limit, remaining, reset_at, "api.github.com")


def search(remaining: int, reset_at: float | None = NOW + 30) -> RateLimit:
    return RateLimit("search", 30, remaining, reset_at, "api.github.com")


def budget_of(*limits: RateLimit, now: float = NOW) -> Budget:
    budget = Budget()
    budget.observe(limits, now)
    return budget


def test_nothing_is_known_at_first() -> None:
    assert Budget().scarcest(NOW) is None
    assert Budget().exhausted(NOW) is None
    assert Budget().used(core(0)) == 0


def test_quotas_are_kept_apart_and_the_scarcest_speaks() -> None:
    budget = budget_of(core(4000), search(3))

    assert budget.scarcest(NOW) == search(3)
    assert budget.scarcest(NOW + 31) == core(4000), "the window of search is over"


def test_the_same_resource_on_two_hosts_is_two_quotas() -> None:
    other = RateLimit("core", 5000, 10, RESET, "github.example.org")

    budget = budget_of(core(0), other)

    assert budget.exhausted(NOW) == core(0)
    assert budget.exhausted(NOW, reserve=10) in (core(0), other)
    assert len(budget.to_dict()["buckets"]) == 2


def test_an_answer_that_was_overtaken_does_not_give_quota_back() -> None:
    budget = budget_of(core(98), core(99))

    assert budget.scarcest(NOW) == core(98)


@given(
    remaining=st.lists(st.integers(0, 5000), min_size=1),
    jitter=st.lists(st.floats(0, 1), min_size=1),
    late=st.lists(st.integers(0, 5000)),
)
def test_in_any_order_the_lowest_of_the_window_stays(
    remaining: list[int], jitter: list[float], late: list[int]
) -> None:
    """Also among late answers of the window before, and resets rounded this way and that."""
    now, budget = RESET + 1, budget_of(core(7))
    for index, count in enumerate(remaining):
        budget.observe([core(count, RESET + 3600 + jitter[index % len(jitter)])], now)
        if index < len(late):
            budget.observe([core(late[index], RESET)], now)

    scarcest = budget.scarcest(now)

    assert scarcest is not None
    assert scarcest.remaining == min(remaining)


@given(st.permutations(range(40)))
def test_what_was_used_is_the_same_in_any_order(order: list[int]) -> None:
    budget = budget_of(core(4000))
    for used in order:
        budget.observe([core(3999 - used)], NOW)

    assert budget.used(core(0)) == 41


def test_a_new_window_replaces_the_old_one() -> None:
    budget = budget_of(core(0))

    budget.observe([core(4999, RESET + 3600)], RESET + 1)

    assert budget.scarcest(RESET + 1) == core(4999, RESET + 3600)
    assert budget.exhausted(RESET + 1) is None


def test_windows_of_a_second_are_told_apart_by_the_clock() -> None:
    """Their resets lie closer together than answers of one window may differ."""
    budget = budget_of(core(0, NOW + 1))

    budget.observe([core(49, NOW + 2)], NOW + 1)

    assert budget.exhausted(NOW + 1) is None
    assert budget.scarcest(NOW + 1) == core(49, NOW + 2)


def test_a_reset_beyond_all_measure_gives_way_to_the_next_answer() -> None:
    """A broken proxy must not stop a program for a year."""
    budget = budget_of(core(0, NOW + 300 * 86400))

    budget.observe([core(4000)], NOW)

    assert budget.exhausted(NOW) is None


def test_of_two_refusals_the_longer_one_holds() -> None:
    long, short = (RateLimit("retry-after", None, 0, NOW + wait) for wait in (60, 5))

    assert budget_of(long, short).exhausted(NOW) == long
    assert budget_of(short, long).exhausted(NOW) == long


def test_a_leaky_bucket_without_reset_goes_up_and_down() -> None:
    """Shopify tells no reset: only the newest answer counts, and there is nothing to wait for."""
    budget = budget_of(RateLimit("shop", 40, 0, None), RateLimit("shop", 40, 12, None))

    assert budget.scarcest(NOW) == RateLimit("shop", 40, 12, None)
    assert budget.exhausted(NOW, reserve=12) is None


def test_exhausted_is_told_until_the_reset() -> None:
    budget = budget_of(core(0))

    assert budget.exhausted(RESET - 0.1) == core(0)
    assert budget.exhausted(RESET) is None


def test_a_reserve_is_kept() -> None:
    budget = budget_of(core(50))

    assert budget.exhausted(NOW, reserve=49) is None
    assert budget.exhausted(NOW, reserve=50) == core(50)


def test_of_two_that_are_exhausted_the_later_reset_counts() -> None:
    assert budget_of(core(0), search(0)).exhausted(NOW) == core(0)


def test_a_limit_of_nothing_is_not_waited_for() -> None:
    """GraphQL without a token has a limit of 0: no wait will open it."""
    budget = budget_of(core(0, limit=0))

    assert budget.exhausted(NOW) is None
    assert budget.scarcest(NOW) is None


def test_a_policy_without_numbers_only_adds_the_limit() -> None:
    budget = budget_of(core(10, limit=None), core(None, None, limit=100))

    assert budget.scarcest(NOW) == core(10, limit=100)


def test_answers_that_cost_nothing_do_not_count() -> None:
    """A 304 tells the same number again."""
    budget = budget_of(core(4000), core(4000), core(4000), core(3999))

    assert budget.used(core(0)) == 2


def test_requests_that_nobody_saw_count_through_the_drop() -> None:
    budget = budget_of(core(4000), core(3988))

    assert budget.used(core(0)) == 13
    assert budget.used(search(0)) == 0


def test_requests_are_counted_over_windows() -> None:
    budget = budget_of(core(1))
    budget.observe([core(0)], NOW)
    budget.observe([core(4999, RESET + 3600)], RESET + 1)

    assert budget.used(core(0)) == 3


def test_each_quota_is_used_in_its_own_units() -> None:
    tokens, requests = RateLimit("tokens", 150_000, 150_000, RESET), RateLimit("requests", 60, 59, RESET)
    budget = budget_of(tokens, RateLimit("tokens", 150_000, 140_000, RESET), requests)

    assert budget.used(tokens) == 10_001
    assert budget.used(requests) == 1


def test_a_server_that_invents_quotas_does_not_fill_memory() -> None:
    budget = budget_of(core(0))

    budget.observe([RateLimit(str(number), 10, 9, RESET) for number in range(1000)], NOW)

    assert len(budget.to_dict()["buckets"]) == 256
    assert budget.exhausted(NOW) == core(0), "the one that matters is kept"


def test_a_budget_goes_on_in_the_next_run() -> None:
    """A run that was killed in a wait must go on waiting for what is left of it."""
    budget = budget_of(core(0), search(7), core(None))

    restored = Budget.from_dict(json.loads(json.dumps(budget.to_dict())))

    assert restored.to_dict() == budget.to_dict()
    assert restored.exhausted(NOW + 300) == core(0)
    assert restored.used(search(0)) == budget.used(search(0)) == 1


def test_a_stored_budget_that_is_broken_is_left_out() -> None:
    entry = budget_of(core(5)).to_dict()["buckets"][0]
    document = {"counted": 3, "buckets": [None, 5, {}, {"host": 1, "resource": 2}, entry | {"remaining": "?"}, entry]}

    budget = Budget.from_dict(document)

    assert budget.scarcest(NOW) == core(5)
    assert Budget.from_dict(None).to_dict() == Budget().to_dict()
    assert Budget.from_dict({"buckets": 5}).to_dict() == Budget().to_dict()


# -- refusals


def refusal(after: float | None = None, resource: str = "") -> RateLimit:
    return replace(refused(None if after is None else NOW + after, resource), host="api.github.com")


def success(resource: str = "") -> RateLimit:
    return replace(succeeded(resource), host="api.github.com")


def until(budget: Budget, now: float) -> float | None:
    limit = budget.exhausted(now)
    return None if limit is None else limit.reset_at


def test_a_refusal_without_a_time_holds_for_a_minute_and_twice_as_long_each_time() -> None:
    budget, now, waits = Budget(), NOW, []
    for _ in range(9):
        budget.observe([refusal()], now)
        reset_at = until(budget, now)
        assert reset_at is not None
        waits.append(reset_at - now)
        now = reset_at

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_refusals_of_requests_that_were_sent_together_are_one() -> None:
    budget = budget_of(*[refusal()] * 20)

    assert until(budget, NOW) == NOW + 60
    budget.observe([refusal()], NOW + 60)
    assert until(budget, NOW + 60) == NOW + 180


def test_a_time_that_is_over_is_a_short_pause_that_doubles() -> None:
    """Servers round down: after a kept wait they may say 0."""
    budget = budget_of(refusal(20))
    now, waits = NOW + 20, []
    for _ in range(8):
        budget.observe([replace(refusal(), reset_at=now - 0.3)], now)
        reset_at = until(budget, now)
        assert reset_at is not None
        waits.append(reset_at - now)
        now = reset_at

    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_success_ends_a_refusal_of_its_own_key_only() -> None:
    budget = budget_of(refusal(600), refusal(900, "search"))

    assert budget.observe([success()], NOW)
    assert until(budget, NOW) == NOW + 900
    assert budget.observe([success("search")], NOW)
    assert until(budget, NOW) is None
    assert not budget.observe([success("search")], NOW), "nothing to end is no news"


def test_after_a_success_a_refusal_is_the_first_again() -> None:
    budget = budget_of(refusal())
    budget.observe([refusal()], NOW + 60)
    budget.observe([success()], NOW + 180)

    budget.observe([refusal()], NOW + 190)

    assert until(budget, NOW + 190) == NOW + 250


def test_a_refusal_long_after_another_is_the_first_again() -> None:
    budget = budget_of(refusal())

    budget.observe([refusal()], NOW + 60 + 3600)

    assert until(budget, NOW + 3660) == NOW + 3720


def test_successes_of_requests_that_were_out_do_not_end_a_refusal() -> None:
    budget = Budget()
    budget.observe([refusal(600)], NOW, overtaken=2)

    for _ in range(2):
        budget.observe([success()], NOW + 1)
    assert until(budget, NOW + 1) == NOW + 600
    budget.observe([success()], NOW + 2)
    assert until(budget, NOW + 2) is None


def test_a_refusal_goes_on_in_the_next_run() -> None:
    budget = budget_of(refusal())
    budget.observe([refusal()], NOW + 60)

    restored = Budget.from_dict(json.loads(json.dumps(budget.to_dict())))
    restored.observe([refusal()], NOW + 180)

    assert until(restored, NOW + 180) == NOW + 180 + 240
