"""What is seen in the objects and errors of the clients, made as the clients make them."""

from __future__ import annotations

import json
import subprocess
import sys
from http import HTTPStatus
from types import SimpleNamespace

import aiohttp
import gidgethub
import gidgethub.sansio
import github
import githubkit
import githubkit.exception
import httpx
import multidict
import pytest
import requests
import urllib3
import yarl

from resumable.ratelimit import RateLimit
from resumable.ratelimit._response import Seen, read_response

NOW = 1_790_000_000.0
HEADERS = {
    "X-RateLimit-Limit": "5000",
    "X-RateLimit-Remaining": "42",
    "X-RateLimit-Reset": "1790000600",
    "X-RateLimit-Resource": "core",
}
URL = "https://api.github.com/rate"
CORE = RateLimit("core", 5000, 42, NOW + 600, "api.github.com")
REFUSAL = b'{"message": "You have exceeded a secondary rate limit"}'


def of_httpx(status: int = 200, body: bytes = b"", **extensions: object) -> httpx.Response:
    request = httpx.Request("GET", URL)
    return httpx.Response(status, headers=HEADERS, content=body, request=request, extensions=extensions)


def of_requests(status: int = 200, body: bytes = b"") -> requests.Response:
    response = requests.Response()
    response.status_code, response.url, response._content = status, URL, body
    response.headers.update(HEADERS)
    return response


def of_urllib3(status: int = 200, body: bytes = b"") -> urllib3.HTTPResponse:
    return urllib3.HTTPResponse(body, headers=HEADERS, status=status, request_url=URL, preload_content=True)


def of_githubkit(status: int = 200, body: bytes = b"") -> githubkit.Response:
    return githubkit.Response(of_httpx(status, body), dict)


def of_aiohttp_error(status: int) -> aiohttp.ClientResponseError:
    headers = multidict.CIMultiDictProxy(multidict.CIMultiDict(HEADERS))
    info = aiohttp.RequestInfo(yarl.URL(URL), "GET", headers, yarl.URL(URL))
    return aiohttp.ClientResponseError(info, (), status=status, message="Forbidden", headers=headers)


def of_pygithub() -> github.Github:
    return github.Github(auth=None, lazy=True)


@pytest.mark.parametrize("make", [of_httpx, of_requests, of_urllib3, of_githubkit])
def test_the_response_of_each_client_is_read(make) -> None:
    good, refused = read_response(make(200)), read_response(make(403, REFUSAL))

    assert (good.status, good.is_rate_limited, good.limits(NOW)) == (200, False, [CORE])
    assert (refused.status, refused.is_rate_limited, refused.limits(NOW)) == (403, True, [CORE])
    assert "secondary rate limit" in refused.message


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(httpx.HTTPStatusError("", request=httpx.Request("GET", URL), response=of_httpx(429)), id="httpx"),
        pytest.param(requests.HTTPError(response=of_requests(429)), id="requests"),
        pytest.param(of_aiohttp_error(429), id="aiohttp"),
        pytest.param(githubkit.exception.RequestFailed(of_githubkit(429)), id="githubkit"),
    ],
)
def test_the_error_of_each_client_shows_its_response(error: Exception) -> None:
    seen = read_response(error)

    assert (seen.status, seen.is_rate_limited, seen.limits(NOW)) == (429, True, [CORE])


@pytest.mark.parametrize("status", [403, 429])
def test_pygithubs_errors_carry_headers_and_words(status: int) -> None:
    """It raises a plain GithubException for a 429, and lower-cases the headers."""
    headers = {name.lower(): value for name, value in HEADERS.items()}
    error = github.GithubException(status, {"message": "You have exceeded a secondary rate limit"}, headers)

    seen = read_response(error)

    assert (seen.status, seen.is_rate_limited) == (status, True)
    assert [limit.remaining for limit in seen.limits(NOW)] == [42]


def test_a_pygithub_error_without_headers_is_still_told_by_its_status() -> None:
    assert read_response(github.GithubException(429, None, None)).is_rate_limited
    assert not read_response(github.GithubException(404, {"message": "Not Found"}, None)).is_rate_limited


def test_pygithubs_objects_show_the_headers_they_came_with() -> None:
    """A lazy one would ask the server if it were asked by its public name."""
    client = of_pygithub()
    repository = github.Repository.Repository(client.requester, HEADERS, {"url": "/repos/a/b"})

    assert read_response(repository).limits(NOW) == [CORE]


def test_pygithubs_client_shows_what_it_knows() -> None:
    client = of_pygithub()
    assert read_response(client).limits(NOW) == []

    client.requester.rate_limiting, client.requester.rate_limiting_resettime = (42, 5000), int(NOW) + 600

    assert read_response(client).limits(NOW) == [RateLimit("", 5000, 42, NOW + 600, "api.github.com")]


def test_gidgethub_tells_by_an_object() -> None:
    told = gidgethub.sansio.RateLimit(limit=5000, remaining=0, reset_epoch=NOW + 600)
    client = SimpleNamespace(rate_limit=told)
    expected = [RateLimit("", 5000, 0, NOW + 600)]

    assert read_response(told).limits(NOW) == expected
    assert read_response(client).limits(NOW) == expected
    for error in (gidgethub.RateLimitExceeded(told), gidgethub.RateLimitExceeded(told, headers=HEADERS)):
        seen = read_response(error)
        assert (seen.status, seen.is_rate_limited) == (HTTPStatus.FORBIDDEN, True)
        assert seen.limits(NOW)[0] == expected[0]


def test_gidgethubs_graphql_errors_are_read() -> None:
    body = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}

    assert read_response(gidgethub.QueryError(body)).is_rate_limited
    assert not read_response(gidgethub.QueryError({"errors": [{"message": "No such field"}]})).is_rate_limited
    assert not read_response(gidgethub.BadRequest(HTTPStatus.NOT_FOUND)).is_rate_limited


def test_an_sdks_error_that_is_named_for_it_counts() -> None:
    class RateLimitError(Exception):
        pass

    assert read_response(RateLimitError("slow down")).is_rate_limited


@pytest.mark.parametrize("make", [of_httpx, of_requests, of_urllib3, of_githubkit])
def test_graphql_is_read_where_the_body_is_there(make) -> None:
    body = b'{"data": {"rateLimit": {"limit": 5000, "remaining": 7, "resetAt": "2026-09-21T14:23:20Z"}}}'
    plain = make(200, body)
    for name in HEADERS:
        plain.headers.pop(name)

    (limit,) = read_response(plain).limits(NOW)

    assert (limit.resource, limit.remaining, limit.reset_at) == ("graphql", 7, 1_790_000_600)
    assert read_response(make(200, b'{"errors": [{"type": "RATE_LIMITED"}]}')).is_rate_limited


def test_a_body_that_was_not_read_is_left_alone() -> None:
    """Reading it would block on the network, or take a stream away from the user."""

    def chunks():
        pytest.fail("the body was read")
        yield b""

    lazy = httpx.Response(403, headers=HEADERS, content=chunks(), request=httpx.Request("GET", URL))
    streamed = requests.Response()
    streamed.status_code, streamed.raw = 403, SimpleNamespace(stream=lambda *_, **__: chunks())

    assert read_response(lazy).limits(NOW) == [CORE]
    assert read_response(lazy).message == ""
    assert read_response(streamed).message == ""


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(of_httpx(hishel_from_cache=True), id="hishel"),
        pytest.param(SimpleNamespace(status_code=200, headers=HEADERS, from_cache=True), id="requests-cache"),
        pytest.param(SimpleNamespace(status_code=200, headers=HEADERS | {"Age": "60"}), id="Age"),
    ],
)
def test_numbers_out_of_a_cache_are_old_news(response: object) -> None:
    """draft-ietf-httpapi-ratelimit-headers-11, section 7.3."""
    assert read_response(response).limits(NOW) == []


def test_an_answer_that_was_asked_for_anew_is_not_old() -> None:
    """A 304 brings fresh headers; hishel makes it a 200 out of the cache."""
    seen = read_response(of_httpx(hishel_from_cache=True, hishel_revalidated=True))

    assert seen.limits(NOW) == [CORE]


def test_a_mapping_is_headers() -> None:
    assert read_response(HEADERS).limits(NOW) == [RateLimit("core", 5000, 42, NOW + 600)]
    assert read_response(httpx.Headers(HEADERS)).limits(NOW) == [RateLimit("core", 5000, 42, NOW + 600)]
    assert read_response(multidict.CIMultiDict(HEADERS)).limits(NOW) == [RateLimit("core", 5000, 42, NOW + 600)]


def test_what_was_read_may_be_read_again() -> None:
    seen = read_response(of_httpx())

    assert read_response(seen) is seen
    assert read_response(CORE).limits(NOW) == [CORE]


class Hostile:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "thing",
    [
        *(None, 5, "429", b"", [], {}, object(), Hostile(), ValueError(), SystemExit(1)),
        SimpleNamespace(headers=5),
        SimpleNamespace(remaining=1, limit=2, reset="tomorrow"),
        dict.fromkeys(range(500)),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_an_unknown_thing_shows_nothing(thing: object) -> None:
    seen = read_response(thing)

    assert seen.limits(NOW) == []
    assert not seen.is_rate_limited


def test_a_circle_of_causes_ends() -> None:
    error = ValueError()
    error.__cause__ = KeyError()
    error.__cause__.__cause__ = error

    assert read_response(error) == Seen()


def test_no_client_is_imported() -> None:
    program = "import sys, resumable.ratelimit; print(sorted(sys.modules))"

    loaded = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=True).stdout

    for client in ("httpx", "requests", "aiohttp", "urllib3", "github", "githubkit", "gidgethub"):
        assert f"'{client}'" not in loaded


@pytest.mark.parametrize(
    ("body", "is_refusal"),
    [
        pytest.param({"ok": False, "error": "ratelimited"}, True, id="Slack"),
        pytest.param({"ok": False, "error": "channel_not_found"}, False, id="Slack, another error"),
        pytest.param({"ok": False, "error_code": 429, "description": "Too Many Requests"}, True, id="Telegram"),
        pytest.param({"ok": False, "error_code": 400, "description": "Bad Request"}, False, id="Telegram, 400"),
        pytest.param({"message": "API rate limit exceeded", "documentation_url": "https://d"}, True, id="GitHub"),
        pytest.param({"message": "Not Found", "documentation_url": "https://d/rate-limit"}, False, id="GitHub, 404"),
        pytest.param({"status": "error", "message": "x", "errorType": "RATE_LIMIT"}, True, id="HubSpot"),
        pytest.param({"title": "Too Many Requests", "status": 429}, True, id="RFC 9457"),
        pytest.param({"title": "Not found", "status": 404}, False, id="RFC 9457, 404"),
        pytest.param({"error": {"message": "(#4) Application request limit reached", "code": 4}}, True, id="Facebook"),
        pytest.param([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "x"}], True, id="Salesforce"),
        pytest.param({"__type": "a.b#ProvisionedThroughputExceededException"}, True, id="AWS"),
        pytest.param({"sha": "1", "message": "Mend the rate limit"}, False, id="no error"),
        pytest.param([{"id": 1, "errorCode": "RATE_LIMIT"}, {"id": 2}], False, id="rows"),
    ],
)
def test_a_decoded_body_says_whether_it_is_a_refusal(body: object, is_refusal: bool) -> None:
    assert read_response(body).is_rate_limited is is_refusal


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]),
        (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
        (403, {"error": {"message": "(#17) User request limit reached", "type": "OAuthException", "code": 17}}),
        (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"),
    ],
)
def test_an_error_says_so_in_its_own_way(status: int, body: object) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert read_response(of_httpx(status, text.encode())).is_rate_limited
