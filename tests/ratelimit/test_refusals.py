"""What counts as a refusal, how long it asks to wait, and what GraphQL tells in its body."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from resumable.ratelimit import RateLimit, read_headers, read_retry_after
from resumable.ratelimit._headers import is_rate_limited, read_graphql

NOW = 1_790_000_000.0


def http_date(stamp: float) -> str:
    return format_datetime(datetime.fromtimestamp(stamp, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # RFC 9110, section 10.2.3
        pytest.param({"Retry-After": "120"}, 120, id="seconds"),
        pytest.param({"Retry-After": http_date(NOW + 45)}, 45, id="date"),
        pytest.param({"Retry-After": http_date(NOW + 45), "Date": http_date(NOW + 15)}, 30, id="date against Date"),
        pytest.param({"Retry-After": http_date(NOW - 45)}, 0, id="date in the past"),
        pytest.param({"Retry-After": "0"}, 0, id="now"),
        pytest.param({"retry-after": "0.65"}, 0.65, id="fraction (Discord)"),
        pytest.param({"Retry-After": str(int(NOW) + 20)}, 20, id="epoch"),
        pytest.param({"Retry-After": "10, 30"}, 30, id="sent twice"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5, id="milliseconds win"),
        pytest.param({"retry-after-ms": "x", "Retry-After": "2"}, 2, id="broken milliseconds do not"),
        pytest.param({"Retry-After": "-5"}, None, id="negative"),
        pytest.param({"Retry-After": "1e17"}, None, id="longer than anybody lives"),
        pytest.param({"Retry-After": "soon"}, None, id="words"),
        pytest.param({"Retry-After": "nan"}, None, id="nan"),
        pytest.param({}, None, id="none"),
    ],
)
def test_retry_after_is_seconds_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize("status", [403, 429])
def test_a_refusal_with_retry_after_is_a_quota_that_is_used_up(status: int) -> None:
    """GitHub's secondary limits leave ``remaining`` as it is."""
    headers = {"Retry-After": "60", "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4000"}

    limits = read_headers(headers, status=status, now=NOW)

    assert limits == [RateLimit("retry-after", None, 0, NOW + 60), RateLimit("", 5000, 4000, None)]
    assert len(read_headers(headers, status=503, now=NOW)) == 1


@pytest.mark.parametrize(
    ("status", "headers", "message", "expected"),
    [
        pytest.param(429, {}, None, True, id="429 alone"),
        pytest.param(403, {}, None, False, id="403 alone"),
        pytest.param(403, {"X-RateLimit-Remaining": "17"}, "Must have admin rights", False, id="403, no permission"),
        pytest.param(403, {"X-RateLimit-Remaining": "0"}, None, True, id="403 with nothing left"),
        # docs.github.com, Rate limits for the REST API, "Exceeding the rate limit"
        pytest.param(
            403,
            {"X-RateLimit-Remaining": "17"},
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            True,
            id="secondary limit by its message",
        ),
        pytest.param(
            403, {"X-RateLimit-Remaining": "17", "Retry-After": "60"}, None, True, id="secondary by Retry-After"
        ),
        pytest.param(403, {"Retry-After": http_date(NOW)}, None, True, id="secondary by a date"),
        pytest.param(403, {"Retry-After": "never"}, None, False, id="403 with a broken Retry-After"),
        pytest.param(403, {}, "You have triggered an abuse detection mechanism.", True, id="abuse"),
        pytest.param(200, {}, "RATE_LIMITED: API rate limit exceeded", True, id="GraphQL"),
        pytest.param(200, {"X-RateLimit-Remaining": "0"}, None, False, id="the last good answer"),
        pytest.param(404, {}, "no such rate limit", False, id="404 about a rate limit"),
        pytest.param(500, {"Retry-After": "5"}, None, False, id="500"),
        # docs.stripe.com/rate-limits
        pytest.param(None, {"Stripe-Rate-Limited-Reason": "global-rate"}, None, True, id="Stripe"),
        pytest.param(None, {}, None, False, id="nothing known"),
    ],
)
def test_a_refusal_is_told_from_other_answers(
    status: int | None, headers: dict[str, str], message: str | None, expected: bool
) -> None:
    assert is_rate_limited(status, headers, message) is expected


# docs.github.com, Rate limits and query limits for the GraphQL API, "Querying the primary rate limit"
RATE_LIMIT = {"limit": 5000, "cost": 1, "remaining": 4999, "used": 1, "resetAt": "2026-09-21T15:13:20Z"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": {"viewer": {"login": "o"}, "rateLimit": RATE_LIMIT}}, id="answer"),
        pytest.param({"rateLimit": RATE_LIMIT}, id="data"),
        pytest.param(RATE_LIMIT, id="object"),
    ],
)
def test_graphql_tells_its_quota_in_the_body(body: object) -> None:
    assert read_graphql(body, now=NOW) == RateLimit("graphql", 5000, 4999, NOW + 3600)


@pytest.mark.parametrize(
    "body", [None, 5, [], {}, {"data": None}, {"data": {"rateLimit": None}}, {"rateLimit": {"remaining": "x"}}]
)
def test_a_body_without_a_quota_says_nothing(body: object) -> None:
    assert read_graphql(body, now=NOW) is None
