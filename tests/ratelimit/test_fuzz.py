"""Hostile headers: nothing raises, and no wait is over its cap.

1,000 cases each; RESUMABLE_FUZZ_EXAMPLES=10000 for the whole.
"""

from __future__ import annotations

import json
import math
import os
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenacity import Future, RetryCallState, Retrying, wait_fixed

from resumable.ratelimit import read_headers, read_retry_after, retry_if_rate_limited, wait_rate_limit
from resumable.ratelimit._bodies import read_graphql
from resumable.ratelimit._budget import Budget
from resumable.ratelimit._refusals import is_rate_limited
from resumable.ratelimit._response import read_response
from resumable.ratelimit._values import YEAR

fuzzed = settings(
    max_examples=int(os.environ.get("RESUMABLE_FUZZ_EXAMPLES", "1000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

NOW = 1_790_000_000.0
NAMES = [
    "Date",
    "Age",
    "Retry-After",
    "retry-after-ms",
    "RateLimit",
    "RateLimit-Policy",
    "X-Shopify-Shop-Api-Call-Limit",
    "Stripe-Rate-Limited-Reason",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-tokens-remaining",
    "x-ratelimit-reset-after",
    *(
        f"{prefix}-{part}"
        for prefix in ("X-RateLimit", "RateLimit", "x-rate-limit")
        for part in ("Limit", "Remaining", "Reset", "Used", "Resource", "Bucket", "Remaining-Tokens", "Reset-Tokens")
    ),
]
names = st.sampled_from(NAMES) | st.sampled_from(NAMES).map(str.lower) | st.text(max_size=20)
LARGE = ["1e9", "1e12", "1e99", "999999999", "1789999999", "1790000060", "1790000060000"]
SPANS = ["0", "-0", "-1", "nan", "inf", "-inf", "6m0s", "12ms", "9999999h", "32/40", "0/0"]
DATES = """Mon, 21 Sep 2026 13:33:20 GMT
Mon, 99 Foo 99999 99:99:99 GMT
0001-01-01T00:00:00Z
9999-12-31T23:59:59Z""".splitlines()
FIELDS = """"p";r=0;t=30
"p";r=0;t=30, "p";r=9
"p";q=
limit=1, remaining=0, reset=7""".splitlines()
TOO_LONG = ["9" * 19, "9" * 5000, "1s" * 200, ";" * 500, '"' * 501, ", " * 200]
near_the_edges = st.sampled_from([*LARGE, *SPANS, *DATES, *FIELDS, *TOO_LONG, "\x00", "\ud800"])
structured = st.from_regex(r'"?[a-z]{0,3}"?(;[a-z]{0,2}=?[0-9"]{0,4}){0,4},?', fullmatch=True)
values = (
    near_the_edges
    | structured
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text()
    | st.binary()
    | st.integers()
    | st.floats()
    | st.none()
)
headers = st.dictionaries(names, values, max_size=12)
statuses = st.none() | st.sampled_from([200, 304, 400, 403, 429, 503]) | st.integers()


def is_sane(reset_at: float | None) -> bool:
    return reset_at is None or abs(reset_at - NOW) <= YEAR


@pytest.mark.slow
@fuzzed
@given(headers=headers, status=statuses)
def test_no_header_makes_a_reader_raise_or_tell_nonsense(headers: dict, status: int | None) -> None:
    budget = Budget()
    limits = read_headers(headers, status=status, now=NOW)
    budget.observe(limits, NOW)

    for limit in limits:
        assert limit.remaining is None or limit.remaining >= 0
        assert limit.limit is None or limit.limit >= 0
        assert is_sane(limit.reset_at)
    after = read_retry_after(headers, now=NOW)
    assert after is None or 0 <= after <= YEAR
    assert isinstance(is_rate_limited(status, headers), bool)
    assert Budget.from_dict(json.loads(json.dumps(budget.to_dict()))).to_dict() == budget.to_dict()


@pytest.mark.slow
@fuzzed
@given(
    headers=headers,
    status=statuses,
    body=st.binary()
    | st.sampled_from([b'{"data": {"rateLimit": 1e999}}', b"[" * 3000, b'{"errors": [null, {"type": 5}]}']),
    cap=st.floats(min_value=0, allow_nan=False) | st.none(),
    other=st.floats(),
)
def test_no_answer_makes_the_wait_raise_or_go_over_its_cap(
    headers: dict, status: int | None, body: bytes, cap: float | None, other: float
) -> None:
    state = RetryCallState(Retrying(), None, (), {})
    state.outcome = Future(1)
    state.outcome.set_result(SimpleNamespace(status_code=status, headers=headers, _content=body))
    wait = wait_rate_limit(
        wait_fixed(other) if other == other else lambda state: other, max_wait=cap, clock=lambda: NOW
    )

    seconds = wait(state)

    assert 0 <= seconds <= (math.inf if cap is None else cap)
    assert isinstance(retry_if_rate_limited()(state), bool)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "rateLimit", "errors", "type", "message", "remaining", "limit", "resetAt"]), inner
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@fuzzed
@given(body=json_values)
def test_no_body_makes_a_reader_raise(body: object) -> None:
    limit = read_graphql(body, now=NOW)
    seen = read_response(body)

    assert limit is None or is_sane(limit.reset_at)
    assert isinstance(seen.is_rate_limited, bool)
    assert all(is_sane(told.reset_at) for told in seen.limits(NOW))
