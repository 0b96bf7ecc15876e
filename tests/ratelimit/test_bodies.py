"""What bodies tell: the quotas of GraphQL, refusals by their codes, and how long to wait."""

from __future__ import annotations

from typing import Any

import pytest

from resumable.ratelimit import RateLimit
from resumable.ratelimit._bodies import is_refused, read_body_after, read_graphql, read_status

NOW = 1_790_000_000.0

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


def test_less_than_a_query_costs_is_nothing() -> None:
    """The next one would be refused."""
    assert read_graphql(RATE_LIMIT | {"cost": 20, "remaining": 15}, now=NOW) == RateLimit(
        "graphql", 5000, 0, NOW + 3600
    )


def shopify(available: float, requested: float | None, **error: Any) -> dict[str, Any]:
    """shopify.dev, API limits, "GraphQL Admin API rate limits"."""
    throttle = {"maximumAvailable": 1000.0, "currentlyAvailable": available, "restoreRate": 50.0}
    cost = {"requestedQueryCost": requested, "actualQueryCost": None, "throttleStatus": throttle}
    return {"data": None, "extensions": {"cost": cost}, **error}


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        pytest.param(shopify(600, 100), RateLimit("graphql", 1000, 600, None), id="enough"),
        pytest.param(shopify(20, 120), RateLimit("graphql", 1000, 0, NOW + 2), id="too little"),
        pytest.param(shopify(20, None), RateLimit("graphql", 1000, 20, None), id="cost unknown"),
        pytest.param(shopify(20, 9000), RateLimit("graphql", 1000, 0, NOW + 19.6), id="more than fits"),
        pytest.param(shopify(-5, 9), None, id="senseless"),
    ],
)
def test_shopifys_bucket_fills_at_a_rate(body: object, limit: RateLimit | None) -> None:
    assert read_graphql(body, now=NOW) == limit


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}


@pytest.mark.parametrize(
    ("body", "after"),
    [
        pytest.param({"ok": False, "error_code": 429, "parameters": {"retry_after": 900}}, 900, id="Telegram"),
        pytest.param({"error": {"code": 429, "details": [{"a": 1}, RETRY_INFO]}}, 37.5, id="Google"),
        pytest.param([{"error": {"code": 429, "details": [RETRY_INFO]}}], 37.5, id="Google, in a list"),
        pytest.param({"error": {"details": [{"retryDelay": {"seconds": 12}}]}}, 12, id="protobuf"),
        pytest.param({"message": "You are being rate limited.", "retry_after": 64.57}, 64.57, id="Discord"),
        pytest.param({"errors": [{"extensions": {"retry_in_seconds": 17}}]}, 17, id="monday.com"),
        pytest.param({"errors": [{"extensions": {"resetAt": "2026-09-21T14:23:20Z"}}]}, 600, id="a time"),
        pytest.param({"error": {"retry_after_ms": 1500}}, 1.5, id="milliseconds"),
        pytest.param({"retry_after": -1}, None, id="negative"),
        pytest.param({"retry_after": "soon"}, None, id="words"),
        pytest.param({"retry_after": True}, None, id="no number"),
        pytest.param({"error": "retry_after 5"}, None, id="text"),
        pytest.param([], None, id="empty"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_a_body_tells_how_long_to_wait(body: object, after: float | None) -> None:
    assert read_body_after(body, now=NOW) == after


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"errors": [{"type": "RATE_LIMITED"}]}, True, id="GitHub"),
        pytest.param({"errors": [{"extensions": {"code": "THROTTLED"}}]}, True, id="Shopify"),
        pytest.param({"errors": [{"extensions": {"code": "RATELIMITED"}}]}, True, id="Linear"),
        pytest.param({"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}, True, id="Google"),
        pytest.param({"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}, True, id="Google's day"),
        pytest.param({"error": {"code": "maxlag", "lag": 7}}, True, id="MediaWiki"),
        pytest.param({"ok": False, "error": "ratelimited"}, True, id="Slack"),
        pytest.param({"errors": [{"message": "Field 'rateLimit' doesn't exist"}]}, False, id="words of a field"),
        pytest.param({"errors": [{"extensions": {"code": "undefinedField"}}]}, False, id="another code"),
        pytest.param({"error": {"errors": [{"reason": "fileSizeLimitExceeded"}]}}, False, id="another limit"),
        pytest.param({"data": {"code": "RATE_LIMITED"}}, False, id="in the data"),
        pytest.param({"error": None, "errors": 7}, False, id="no errors"),
        pytest.param("RATE_LIMITED", False, id="text"),
    ],
)
def test_a_refusal_is_told_by_the_codes_of_errors(body: object, expected: bool) -> None:
    assert is_refused(body) is expected


def test_a_body_may_repeat_its_status() -> None:
    assert read_status({"error_code": 429}) == 429
    assert read_status({"error": {"code": 403}}) == 403
    assert read_status({"error": {"code": "maxlag"}}) is None
    assert read_status({"code": 200}) is None
