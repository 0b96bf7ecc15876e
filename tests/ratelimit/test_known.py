"""The second look at a host: what a few look-ups learn is what reading with care would have learned."""

from __future__ import annotations

import statistics
import time
from types import SimpleNamespace
from typing import Any

import httpx
import multidict
import pytest
import requests
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable.ratelimit import RateLimit
from resumable.ratelimit._budget import Budget
from resumable.ratelimit._known import KnownHost, parts_of
from resumable.ratelimit._meter import Meter
from resumable.ratelimit._response import Seen, read_response

NOW = 1_790_000_000.0
Headers = list[tuple[str, str]]


def of_httpx(status: int, headers: Headers, host: str, body: bytes) -> httpx.Response:
    request = httpx.Request("GET", f"https://{host}/items")
    return httpx.Response(status, headers=headers, content=body, request=request)


def of_requests(status: int, headers: Headers, host: str, body: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code, response.url, response._content = status, f"https://{host}/items", body
    response.headers.update(headers)
    return response


def of_aiohttp(status: int, headers: Headers, host: str, body: bytes) -> Any:
    found = multidict.CIMultiDictProxy(multidict.CIMultiDict(headers))
    return SimpleNamespace(status=status, headers=found, url=yarl.URL(f"https://{host}/items"), _body=body)


def of_pygithub(status: int, headers: Headers, host: str, body: bytes) -> Seen:
    return Seen(status, {name.lower(): value for name, value in headers}, host)


CLIENTS = [of_httpx, of_requests, of_aiohttp, of_pygithub]
by_client = pytest.mark.parametrize("make", CLIENTS)


def github(left: int, reset: int = 600, resource: str = "core", limit: int = 5000) -> Headers:
    return [
        ("Content-Type", "application/json"),
        ("X-RateLimit-Limit", str(limit)),
        ("X-RateLimit-Remaining", str(left)),
        ("X-RateLimit-Reset", str(int(NOW) + reset)),
        ("X-RateLimit-Used", str(limit - left)),
        ("X-RateLimit-Resource", resource),
    ]


def openai(left: int, reset: int = 600, *_: object) -> Headers:
    names = {"limit": "60", "remaining": str(left), "reset": str(reset)}
    return [(f"x-ratelimit-{name}-{what}", text) for what in ("requests", "tokens") for name, text in names.items()]


def ietf(left: int, reset: int = 600, *_: object) -> Headers:
    return [("RateLimit-Limit", "100"), ("RateLimit-Remaining", str(left)), ("RateLimit-Reset", str(reset))]


def structured(left: int, reset: int = 600, *_: object) -> Headers:
    return [("RateLimit", f'"a";r={left};t={reset}'), ("RateLimit-Policy", '"a";q=100;w=600')]


def silent(*_: object) -> Headers:
    return [("Content-Type", "text/html"), ("Server", "nginx")]


others = st.sampled_from(
    [
        [],
        [],
        [],
        [("X-New", "1")],
        [("Age", "60")],
        [("Age", "0")],
        [("Retry-After", "30")],
        [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
        [("MediaWiki-API-Error", "maxlag"), ("Retry-After", "5")],
        [("X-RateLimit-Remaining", "3")],
        [("RateLimit", '"b";r=0;t=9')],
        [("X-Shopify-Shop-Api-Call-Limit", "40/40")],
    ]
)
bodies = st.sampled_from([b"", b"[]", b'{"errors": [{"type": "RATE_LIMITED"}]}', b'{"error": "no such thing"}'])
answers = st.tuples(
    st.sampled_from([github, github, openai, ietf, structured, silent]),
    st.integers(0, 60),
    st.sampled_from([600, 600, 600, 601, 4200, -5]),
    st.sampled_from(["core", "search"]),
    st.sampled_from([200, 200, 200, 304, 404, 403, 429, 500]),
    others,
    bodies,
    st.sampled_from(["a.example", "b.example"]),
    st.sampled_from([0.0, 0.0, 1.0, 700.0]),
)


@by_client
@settings(deadline=None)
@given(sequence=st.lists(answers, max_size=12), line=st.sampled_from([-1.0, 0.2, 1.0]))
@pytest.mark.slow
def test_it_learns_what_reading_with_care_would(make: Any, sequence: list[Any], line: float) -> None:
    meter, budget, now = Meter(), Budget(), NOW
    for family, left, reset, resource, status, more, body, host, later in sequence:
        now += later
        answer = make(status, family(left, reset, resource) + more, host, body)

        matters = meter.observe(answer, now=now, line=line)

        expected = budget.observe(read_response(answer).tells(now), now, line=line)
        assert bool(matters) is bool(expected)
        found, careful = meter.to_dict()["buckets"], budget.to_dict()["buckets"]
        assert len(found) == len(careful)
        for one, other in zip(found, careful, strict=True):
            # A distance in whole seconds that is about the same is not read again.
            assert one.pop("reset_at") == pytest.approx(other.pop("reset_at"), abs=2)
            assert one == other


@by_client
def test_only_crossing_a_line_matters(make: Any) -> None:
    meter = Meter()
    matters = [
        meter.observe(make(200, github(left, limit=10), "a.example", b""), now=NOW, line=0.2)
        for left in (9, 8, 3, 2, 1, 0, 0, 0)
    ]

    assert matters == [False, False, False, True, False, True, False, False]
    assert meter.observe(make(200, github(9, 4200, limit=10), "a.example", b""), now=NOW + 601, line=0.2)


@by_client
@pytest.mark.parametrize("family", [github, openai, ietf, silent])
def test_the_second_answer_is_not_read_with_care(make: Any, family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    for left in (50, 49):
        meter.observe(make(200, family(left), "a.example", b"[]"), now=NOW, line=0.2)
    quick: list[bool | None] = []
    original = KnownHost.quick
    monkeypatch.setattr(KnownHost, "quick", lambda *given: quick.append(original(*given)) or quick[-1])

    for left in (48, 47):
        meter.observe(make(200, family(left), "a.example", b"[]"), now=NOW, line=-1.0)

    assert quick == [False, False]


def test_one_of_a_class_that_lacks_all_says_nothing_of_the_next() -> None:
    assert parts_of(SimpleNamespace(headers=None)) is None
    answer = SimpleNamespace(headers={"A": "b"}, status_code=200, url="https://a.example/x")
    parts = parts_of(answer)
    assert parts is not None
    assert parts.place == "a.example"


def test_the_accounts_of_a_host_are_known_apart() -> None:
    meter = Meter()
    for account, left in [("A", 50), ("B", 7), ("A", 49), ("B", 6), ("A", 0)]:
        meter.observe(of_httpx(200, github(left), "a.example", b""), now=NOW, account=account)

    left = {entry["account"]: entry["remaining"] for entry in meter.to_dict()["buckets"]}
    assert left == {"A": 0, "B": 6}


def test_what_a_program_tells_by_hand_is_known_too() -> None:
    meter = Meter()
    told = [RateLimit("core", 10, left, NOW + 60) for left in (9, 5, 0, 0)]

    assert [meter.observe(limit, now=NOW, line=-1.0) for limit in told] == [False, False, True, False]
    assert meter.scarcest(NOW) == told[-1]


def test_a_known_host_costs_three_look_ups() -> None:
    """At most three times as much as to look up three headers."""
    answers = [of_httpx(200, github(4000 - left), "a.example", b"[]") for left in range(400)]
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    meter, looks, costs = Meter(), [], []
    for answer in answers:
        began = time.perf_counter()
        for name in names:
            answer.headers.get(name)
        between = time.perf_counter()
        meter.observe(answer, now=NOW, line=0.2)
        costs.append(time.perf_counter() - between)
        looks.append(between - began)

    assert statistics.median(costs) <= 3 * statistics.median(looks)


@by_client
def test_a_window_that_ends_a_second_later_than_was_told_is_waited_for(make: Any) -> None:
    """Another server answers for that host, or the server rounds otherwise: what is left says whose end counts."""
    meter = Meter()
    meter.observe(make(200, github(39, 600), "a.example", b""), now=NOW)
    for left in range(59, -1, -1):
        meter.observe(make(200, github(left, 601), "a.example", b""), now=NOW)

    exhausted = meter.exhausted(NOW)

    assert exhausted is not None
    assert exhausted.reset_at == NOW + 601
