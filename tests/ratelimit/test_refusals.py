"""What counts as a refusal, and how long it asks to wait."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from resumable.ratelimit import RateLimit, read_headers, read_retry_after
from resumable.ratelimit._budget import Budget
from resumable.ratelimit._limits import refused, succeeded
from resumable.ratelimit._refusals import is_rate_limited
from resumable.ratelimit._response import read_response, seen_in

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


def end_of_refusal(headers: dict[str, str]) -> float | None:
    """Until when a 429 with *headers* keeps a budget waiting."""
    budget = Budget()
    budget.observe(seen_in(429, headers, "api.example", b"").tells(NOW), NOW)
    empty = budget.exhausted(NOW)
    return empty and empty.reset_at


RESET_ONLY = [
    {"X-RateLimit-Reset": str(int(NOW) + 40)},
    {"X-RateLimit-Reset": str(int(NOW + 40) * 1_000_000)},
    {"X-RateLimit-Reset": str(int(NOW) + 340), "Date": http_date(NOW + 300)},
    {"X-RateLimit-Reset-After": "40"},
    {"RateLimit-Reset": "40"},
    {"Rate-Limit-Reset": "40"},
    {"RateLimit-ResetTime": str(datetime.fromtimestamp(NOW + 40, UTC))[:19] + " UTC"},
    {"X-RateLimit-Limit": "60", "X-RateLimit-Reset": "40"},
    {"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "40"},
    {"x-ms-retry-after-ms": "40000"},
]


@pytest.mark.parametrize("headers", RESET_ONLY, ids=str)
def test_a_refusal_that_tells_a_reset_and_no_rest_holds_until_then(headers: dict[str, str]) -> None:
    assert end_of_refusal(headers) == NOW + 40


def test_a_reset_does_not_count_while_something_is_left() -> None:
    """GitHub's secondary limit comes with the hour of the primary one."""
    headers = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4000", "X-RateLimit-Reset": str(int(NOW) + 3000)}
    assert end_of_refusal(headers) == NOW + 60


def test_a_policy_tells_how_long_its_window_is() -> None:
    headers = {"RateLimit": '"p";r=0', "RateLimit-Policy": '"p";q=100;w=60'}
    assert read_headers(headers, now=NOW) == [RateLimit("p", 100, 0, NOW + 60)]


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_refusal_with_retry_after_is_a_quota_that_is_used_up(status: int) -> None:
    """GitHub's secondary limits leave ``remaining`` as it is."""
    headers = {"Retry-After": "60", "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4000"}

    limits = read_headers(headers, status=status, now=NOW)

    assert limits == [RateLimit("retry-after", None, 0, NOW + 60), RateLimit("", 5000, 4000, None)]
    assert len(read_headers(headers, status=500, now=NOW)) == 1


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
        pytest.param(403, {}, "dailyLimitExceeded Daily Limit Exceeded", True, id="Google's day"),
        pytest.param(200, {"X-RateLimit-Remaining": "0"}, None, False, id="the last good answer"),
        pytest.param(404, {}, "no such rate limit", False, id="404 about a rate limit"),
        pytest.param(500, {"Retry-After": "5"}, None, False, id="500"),
        pytest.param(503, {"Retry-After": "5"}, None, True, id="503 with Retry-After"),
        pytest.param(503, {}, None, False, id="503 alone"),
        *(
            pytest.param(status, {"Retry-After": "5"}, None, False, id=f"{status}, mis-sent")
            for status in (200, 201, 202, 301, 404, 413, 502)
        ),
        # mediawiki.org, Manual:Maxlag parameter
        pytest.param(200, {"Retry-After": "5", "MediaWiki-API-Error": "maxlag"}, None, True, id="maxlag"),
        pytest.param(200, {"MediaWiki-API-Error": "badtoken"}, None, False, id="another error of MediaWiki"),
        pytest.param(None, {"Retry-After": "5"}, None, True, id="headers alone"),
        # docs.stripe.com/rate-limits
        pytest.param(None, {"Stripe-Rate-Limited-Reason": "global-rate"}, None, True, id="Stripe"),
        pytest.param(None, {}, None, False, id="nothing known"),
    ],
)
def test_a_refusal_is_told_from_other_answers(
    status: int | None, headers: dict[str, str], message: str | None, expected: bool
) -> None:
    assert is_rate_limited(status, headers, message) is expected


class Answer:
    def __init__(self, status: int, body: object = None, **headers: str) -> None:
        self.status_code, self.url = status, "https://api.example/call"
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._content = json.dumps(body).encode()


DAILY = {"error": {"code": 403, "message": "Daily Limit Exceeded", "errors": [{"reason": "dailyLimitExceeded"}]}}
EMPTY = {"X_RateLimit_Limit": "60", "X_RateLimit_Remaining": "0"}


@pytest.mark.parametrize(
    ("answer", "until"),
    [
        pytest.param(Answer(429), None, id="no time"),
        pytest.param(Answer(429, Retry_After="20"), NOW + 20, id="Retry-After"),
        pytest.param(Answer(503, Retry_After="20"), NOW + 20, id="503"),
        pytest.param(Answer(200, Retry_After="5", MediaWiki_API_Error="maxlag"), NOW + 5, id="maxlag"),
        pytest.param(Answer(403, DAILY), None, id="dailyLimitExceeded"),
        pytest.param(Answer(429, {"parameters": {"retry_after": 900}}), NOW + 900, id="Telegram"),
        pytest.param(Answer(429, **EMPTY), None, id="an empty quota without a reset"),
        pytest.param(Answer(429, **EMPTY, X_RateLimit_Reset=str(int(NOW) - 1)), NOW - 1, id="a reset in the past"),
        pytest.param(Answer(429, Retry_After="20", Age="90"), NOW + 20, id="out of a cache on the way"),
    ],
)
def test_a_refusal_says_for_how_long_it_holds(answer: Answer, until: float | None) -> None:
    assert read_response(answer).refusal(NOW) == replace(refused(until), host="api.example")


def test_an_empty_quota_with_a_reset_says_it_by_itself() -> None:
    seen = read_response(Answer(403, **EMPTY, X_RateLimit_Reset=str(int(NOW) + 90)))

    assert seen.is_rate_limited
    assert seen.tells(NOW) == [RateLimit("", 60, 0, NOW + 90, "api.example")]


def test_a_refusal_out_of_ones_own_cache_is_none() -> None:
    answer = Answer(429, Retry_After="20")
    answer.from_cache = True  # type: ignore[attr-defined]

    assert read_response(answer).tells(NOW) == []


def test_a_success_is_told_for_the_quota_that_it_names() -> None:
    core = RateLimit("core", None, 7, None, "api.example")
    plain, named = Answer(200), Answer(200, X_RateLimit_Remaining="7", X_RateLimit_Resource="core")

    assert read_response(plain).tells(NOW) == [replace(succeeded(), host="api.example")]
    assert read_response(named).tells(NOW)[1:] == [replace(succeeded("core"), host="api.example"), core]
    assert read_response(Answer(500)).tells(NOW) == []
    assert read_response(Answer(200, Age="9")).tells(NOW) == []


def test_docker_hub_tells_the_length_of_its_window() -> None:
    """docs.docker.com, Docker Hub pull usage and limits."""
    (left,) = read_headers({"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}, now=NOW)
    (empty,) = read_headers({"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}, now=NOW)

    assert left == RateLimit("", 100, 76, None)
    assert empty == RateLimit("", 100, 0, NOW + 21600)


def test_linear_puts_the_quotas_name_first() -> None:
    """linear.app/developers/rate-limiting."""
    headers = {
        "X-RateLimit-Requests-Limit": "5000",
        "X-RateLimit-Requests-Remaining": "0",
        "X-RateLimit-Requests-Reset": str(int(NOW + 60) * 1000),
        "X-RateLimit-Complexity-Limit": "250000",
        "X-RateLimit-Complexity-Remaining": "249000",
        "X-Complexity": "12",
    }

    assert read_headers(headers, now=NOW) == [
        RateLimit("requests", 5000, 0, NOW + 60),
        RateLimit("complexity", 250_000, 249_000, None),
    ]
