"""What each family of headers says. Examples are the vendors' own where a page is named."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from types import MappingProxyType

import pytest

from resumable.ratelimit import RateLimit, read_headers

NOW = 1_790_000_000.0


def http_date(stamp: float) -> str:
    return format_datetime(datetime.fromtimestamp(stamp, UTC), usegmt=True)


def rfc3339(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).isoformat().replace("+00:00", "Z")


FAMILIES = [
    # docs.github.com, Rate limits for the REST API, "Checking the status of your rate limit"
    pytest.param(
        {
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "4987",
            "X-RateLimit-Reset": "1790003600",
            "X-RateLimit-Used": "13",
            "X-RateLimit-Resource": "core",
        },
        [RateLimit("core", 5000, 4987, NOW + 3600)],
        id="GitHub",
    ),
    # github.com/PyGithub/PyGithub/pull/2697: floats, once in scientific notation
    pytest.param(
        {"x-ratelimit-limit": "5000.0", "x-ratelimit-remaining": "1e3", "x-ratelimit-reset": "1.7900036e+09"},
        [RateLimit("", 5000, 1000, NOW + 3600)],
        id="GitHub with floats",
    ),
    # draft-ietf-httpapi-ratelimit-headers-11, sections 3.2 and 4.2
    pytest.param(
        {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
        [RateLimit("default", 100, 50, NOW + 30)],
        id="IETF draft 11",
    ),
    pytest.param(
        {
            "RateLimit": '"permin";r=0;t=6, "perhr";r=900;t=3000',
            "RateLimit-Policy": '"permin";q=50;w=60,"perhr";q=1000;w=3600',
        },
        [RateLimit("permin", 50, 0, NOW + 6), RateLimit("perhr", 1000, 900, NOW + 3000)],
        id="IETF draft 11, two policies",
    ),
    pytest.param(
        {"RateLimit": '"default";r=999;pk=:dHJpYWwxMjEzMjM=:'},
        [RateLimit("default dHJpYWwxMjEzMjM=", None, 999, None)],
        id="IETF draft 11, a partition without window",
    ),
    pytest.param(
        {"RateLimit": '"100-in-15min"; r=50; t=900; acme="a,b;c"'},
        [RateLimit("100-in-15min", None, 50, NOW + 900)],
        id="IETF draft 8 to 11, spaces and foreign parameters",
    ),
    # draft-ietf-httpapi-ratelimit-headers-07, section 2
    pytest.param(
        {"RateLimit": "limit=100, remaining=50, reset=5"}, [RateLimit("", 100, 50, NOW + 5)], id="IETF draft 7"
    ),
    # draft-ietf-httpapi-ratelimit-headers-06, section 5: policies behind the limit
    pytest.param(
        {"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "50"},
        [RateLimit("", 10, 9, NOW + 50)],
        id="IETF draft 6",
    ),
    # docs.gitlab.com, User and IP rate limits, "Response headers"
    pytest.param(
        {
            "RateLimit-Limit": "600",
            "RateLimit-Name": "throttle_authenticated_web",
            "RateLimit-Observed": "6",
            "RateLimit-Remaining": "594",
            "RateLimit-Reset": "1790000060",
            "RateLimit-ResetTime": "Mon, 21 Sep 2026 13:34:20 GMT",
        },
        [RateLimit("throttle_authenticated_web", 600, 594, NOW + 60)],
        id="GitLab",
    ),
    # platform.openai.com/docs/guides/rate-limits, "Rate limits in headers"
    pytest.param(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        [RateLimit("requests", 60, 59, NOW + 0.012), RateLimit("tokens", 150000, 149984, NOW + 360)],
        id="OpenAI",
    ),
    # console.groq.com/docs/rate-limits, "Rate Limit Headers"
    pytest.param(
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-reset-requests": "2m59.56s",
        },
        [RateLimit("requests", 14400, 14370, NOW + 179.56)],
        id="Groq",
    ),
    # learn.microsoft.com/answers/questions/5625878: -1 where it is not known
    pytest.param(
        {
            "x-ratelimit-limit-tokens": "-1",
            "x-ratelimit-remaining-tokens": "-1",
            "x-ratelimit-reset-tokens": "0",
            "x-ratelimit-limit-requests": "10",
            "x-ratelimit-remaining-requests": "9",
        },
        [RateLimit("requests", 10, 9, None)],
        id="Azure",
    ),
    # docs.anthropic.com, Rate limits, "Response headers"
    pytest.param(
        {
            "anthropic-ratelimit-requests-limit": "4000",
            "anthropic-ratelimit-requests-remaining": "3201",
            "anthropic-ratelimit-requests-reset": rfc3339(NOW + 24),
            "anthropic-ratelimit-input-tokens-limit": "400000",
            "anthropic-ratelimit-input-tokens-remaining": "312000",
            "anthropic-ratelimit-input-tokens-reset": rfc3339(NOW + 9),
        },
        [RateLimit("requests", 4000, 3201, NOW + 24), RateLimit("input-tokens", 400000, 312000, NOW + 9)],
        id="Anthropic",
    ),
    # docs.discord.com/developers/topics/rate-limits, "Header Format"
    pytest.param(
        {
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "1470173023",
            "X-RateLimit-Reset-After": "1.5",
            "X-RateLimit-Bucket": "abcd1234",
        },
        [RateLimit("abcd1234", 5, 0, NOW + 1.5)],
        id="Discord",
    ),
    # shopify.dev/docs/api/admin-rest/usage/rate-limits
    pytest.param({"X-Shopify-Shop-Api-Call-Limit": "32/40"}, [RateLimit("shop", 40, 8, None)], id="Shopify"),
    # support.reddithelp.com, Reddit Data API Wiki
    pytest.param(
        {"x-ratelimit-used": "6", "x-ratelimit-remaining": "594.0", "x-ratelimit-reset": "123"},
        [RateLimit("", 600, 594, NOW + 123)],
        id="Reddit",
    ),
    # docs.slack.dev/apis/web-api/rate-limits: only Retry-After, with a 429
    pytest.param({"Retry-After": "30"}, [], id="Slack"),
    # docs.x.com, Rate limits
    pytest.param(
        {"x-rate-limit-limit": "900", "x-rate-limit-remaining": "899", "x-rate-limit-reset": "1790000900000"},
        [RateLimit("", 900, 899, NOW + 900)],
        id="X, in milliseconds",
    ),
    # developer.konghq.com, Rate Limiting, "Headers sent to the client"
    pytest.param(
        {"X-RateLimit-Limit-Minute": "10", "X-RateLimit-Remaining-Minute": "9"},
        [RateLimit("minute", 10, 9, None)],
        id="Kong",
    ),
]


@pytest.mark.parametrize(("headers", "expected"), FAMILIES)
def test_each_family_is_read(headers: dict[str, str], expected: list[RateLimit]) -> None:
    assert read_headers(headers, now=NOW) == expected


@pytest.mark.parametrize(("headers", "expected"), FAMILIES)
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_upper_and_lower_case_do_not_matter(spell, headers: dict[str, str], expected: list[RateLimit]) -> None:
    spelled = MappingProxyType({spell(name): value for name, value in headers.items()})

    assert read_headers(spelled, now=NOW) == expected


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Content-Type": "text/html"}, id="others"),
        pytest.param({"X-RateLimit-Remaining": ""}, id="empty"),
        pytest.param({"X-RateLimit-Remaining": "many"}, id="words"),
        pytest.param({"X-RateLimit-Remaining": "nan"}, id="nan"),
        pytest.param({"X-RateLimit-Remaining": "inf"}, id="infinity"),
        pytest.param({"X-RateLimit-Remaining": "-5"}, id="negative"),
        pytest.param({"X-RateLimit-Remaining": "9" * 18}, id="more than anybody has"),
        pytest.param({"X-RateLimit-Remaining": "9" * 5000}, id="five thousand digits"),
        pytest.param({"X-RateLimit-Remaining": "1e99"}, id="huge exponent"),
        pytest.param({"X-RateLimit-Remaining": "٤٢"}, id="digits that are not ASCII"),
        pytest.param({"X-RateLimit-Remaining": "1_000"}, id="Python digits"),
        pytest.param({"X-RateLimit-Remaining": "0x10"}, id="hexadecimal"),
        pytest.param({"X-RateLimit-Remaining": "1, x"}, id="one of two broken"),
        pytest.param({"X-RateLimit-Reset": "1790003600"}, id="a reset of nothing"),
        pytest.param({"RateLimit": '"default";r=50;t=30, ;;'}, id="list with a broken part"),
        pytest.param({"RateLimit": '"default;r=50'}, id="open quote"),
        pytest.param({"RateLimit": '"' * 4000}, id="quotes"),
        pytest.param({"RateLimit": '"a"' + ";x" * 2000 + "!"}, id="parameters without end"),
        pytest.param({"X-Shopify-Shop-Api-Call-Limit": "32"}, id="call limit without its limit"),
        pytest.param({"X-RateLimit-Remaining": None, 5: "5", "X-RateLimit-Limit": object()}, id="no text at all"),
        pytest.param(None, id="no mapping"),
    ],
)
def test_what_is_broken_says_nothing(headers: dict[str, str]) -> None:
    assert read_headers(headers, now=NOW) == []


@pytest.mark.parametrize(
    "reset",
    ["", "soon", "-60", "nan", "9e99", "99999999999999999", "1300000000", "99999999", "0001-01-01T00:00:00Z", "9999h"],
)
def test_an_absurd_reset_is_unknown_and_the_rest_stands(reset: str) -> None:
    """A year off or more is no window of any server, and would make a program sleep for good."""
    headers = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}

    assert read_headers(headers, now=NOW) == [RateLimit("", 10, 0, None)]


def test_a_header_sent_twice_is_read_the_careful_way() -> None:
    headers = {
        "X-RateLimit-Remaining": "40, 12",
        "x-ratelimit-remaining": "30",
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Reset": "10, 60",
    }

    assert read_headers(headers, now=NOW) == [RateLimit("", 100, 12, NOW + 60)]


def test_bytes_and_numbers_are_read_as_text() -> None:
    """Raw headers are bytes, and PyGithub's may be numbers."""
    headers = {b"X-RateLimit-Limit": b"10", "x-ratelimit-remaining": 3, "x-ratelimit-reset": 1_790_000_060}

    assert read_headers(headers, now=NOW) == [RateLimit("", 10, 3, NOW + 60)]


def test_a_name_cannot_steer_the_terminal() -> None:
    headers = {"X-RateLimit-Remaining": "3", "X-RateLimit-Resource": "\x1b[2Jcore\x07" + "x" * 100}

    (limit,) = read_headers(headers, now=NOW)

    assert limit.resource.startswith("[2Jcore")
    assert len(limit.resource) <= 64


def test_a_server_cannot_name_quotas_without_end() -> None:
    headers = {f"x-ratelimit-remaining-{number}": "1" for number in range(1000)}

    assert len(read_headers(headers, now=NOW)) == 16


@pytest.mark.parametrize("ahead", [-7200, -30, -1, 2, 30, 7200, 86400])
def test_the_skew_between_the_clocks_is_corrected(ahead: float) -> None:
    """Our clock is *ahead* seconds ahead: the reset comes later by as much on our clock."""
    server = NOW - ahead
    headers = {
        "Date": http_date(server),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(server + 60)),
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": rfc3339(server + 60),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }

    assert [limit.reset_at for limit in read_headers(headers, now=NOW)] == pytest.approx([NOW + 60] * 3)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.99])
def test_the_fractions_that_a_date_leaves_out_are_no_skew(fraction: float) -> None:
    headers = {"Date": http_date(NOW), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1790000003"}

    (limit,) = read_headers(headers, now=NOW + fraction)

    assert limit.reset_at == 1_790_000_003
