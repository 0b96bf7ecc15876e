"""Quotas of several accounts and servers: which one must be waited for, and who is ready."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from yarl import URL

from resumable.ratelimit import RateLimit
from resumable.ratelimit._budget import Asked, Budget
from resumable.ratelimit._limits import refused
from resumable.ratelimit._meter import Meter
from resumable.ratelimit._response import seen_in

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


def refusal(after: float | None = None, resource: str = "") -> RateLimit:
    return replace(refused(None if after is None else NOW + after, resource), host="api.github.com")


def of(account: str, remaining: int, reset_at: float = RESET, host: str = "api.github.com") -> RateLimit:
    return RateLimit("core", 5000, remaining, reset_at, host, account)


def test_a_host_is_waited_for_once_all_its_accounts_are_empty() -> None:
    budget = budget_of(of("A", 0), of("B", 7, RESET - 60))
    assert budget.exhausted(NOW) is None

    budget.observe([of("B", 0, RESET - 60)], NOW)

    assert budget.exhausted(NOW) == of("B", 0, RESET - 60), "the first that is fresh"


def test_an_account_whose_request_has_passed_is_ready_even_if_no_answer_tells_of_its_quota() -> None:
    meter = Meter()
    ok, refusal = {"Content-Type": "text/plain"}, seen_in(429, {}, "api.example", b"")
    meter.observe(refusal, now=NOW, account="A")
    assert meter.exhausted(NOW) is not None
    meter.observe(seen_in(200, ok, "api.example", b""), now=NOW, account="B")
    assert meter.exhausted(NOW) is None
    assert meter.ready_account(NOW, Asked("api.example")) == "B"
    assert Meter(meter.to_dict()).exhausted(NOW) is None
    meter.observe(refusal, now=NOW, account="B")
    assert meter.exhausted(NOW) is not None


def test_headers_without_a_response_are_those_of_the_given_host() -> None:
    meter = Meter()
    for _ in range(2):
        meter.observe(
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(RESET))}, now=NOW, host="https://a.example/"
        )
    meter.observe({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": str(int(RESET))}, now=NOW)

    assert meter.exhausted(NOW, asked=meter.asked("b.example")) is None
    empty = meter.exhausted(NOW, asked=meter.asked("a.example"))
    assert empty is not None
    assert empty.host == "a.example"


@pytest.mark.parametrize("account", ["glpat-AbCdEf123456GhIj", "sk_live_AbCdEf0123456", "more than twenty-four signs"])
def test_what_may_be_the_token_itself_is_not_kept(account: str) -> None:
    meter = Meter()
    meter.observe(of("", 0), now=NOW, account=account)
    assert account not in str(meter.to_dict())
    assert meter.ready_account(NOW, meter.asked("api.github.com", accounts=[account])) == account


def test_an_account_is_empty_while_one_of_its_quotas_is() -> None:
    budget = budget_of(of("A", 0), RateLimit("search", 30, 0, RESET + 60, "api.github.com", "A"), of("B", 0, RESET + 9))

    assert budget.exhausted(NOW) == of("B", 0, RESET + 9)


def test_only_what_is_asked_is_waited_for() -> None:
    budget = budget_of(of("A", 0), of("B", 7), of("", 0, host="other.example"), search(0))

    def waits(**asked: Any) -> bool:
        return budget.exhausted(NOW, asked=Asked(**asked)) is not None

    assert waits()
    assert not waits(host="api.github.com")
    assert waits(host="api.github.com", account="A")
    assert not waits(host="api.github.com", account="B")
    assert not waits(host="api.github.com", account="A", resource="search")
    assert waits(host="other.example")
    assert not waits(host="unknown.example")
    assert not waits(spared=frozenset({"other.example"}))


def test_an_account_that_no_answer_has_told_of_is_full() -> None:
    budget = budget_of(of("A", 0))

    assert budget.exhausted(NOW, asked=Asked("api.github.com", accounts=("A",))) == of("A", 0)
    assert budget.exhausted(NOW, asked=Asked("api.github.com", accounts=("A", "B"))) is None
    assert budget.ready_account(NOW, Asked("api.github.com", accounts=("A", "B"))) == "B"


@pytest.mark.parametrize(
    ("told", "host"),
    [
        ("API.example", "api.example"),
        ("api.example:443", "api.example"),
        ("https://api.example:443/items?page=2", "api.example"),
        ("http://api.example:443/", "api.example:443"),
        ("api.example:8443", "api.example:8443"),
        ("https://api.example:8443/items?page=2", "api.example:8443"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[::1]/", "::1"),
        ("https://api.example:many/", ""),
    ],
)
def test_a_host_may_be_told_with_its_port_or_as_an_address(told: str, host: str) -> None:
    assert Meter().asked(told).host == host


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "api.example:8080"])
def test_servers_on_other_ports_have_quotas_of_their_own(host: str) -> None:
    name = host.rpartition(":")[0].strip("[]")
    meter = Meter()
    meter.observe(RateLimit("core", 60, 0, RESET, f"http://{host}/items"), now=NOW)

    assert meter.exhausted(NOW, asked=meter.asked(f"http://{host}/")) == RateLimit("core", 60, 0, RESET, host)
    assert meter.exhausted(NOW, asked=meter.asked(host[:-1] + "1")) is None, "another port"
    assert meter.exhausted(NOW, asked=meter.asked(f"http://[{name}]/" if ":" in name else name)), "any port"

    meter.spare(meter.asked(host).host)
    assert meter.exhausted(NOW, asked=meter.anything) is None


def test_the_account_that_has_most_left_is_ready() -> None:
    budget = budget_of(of("A", 10), of("B", 4000), of("C", 0, RESET - 60))
    assert budget.ready_account(NOW, Asked("api.github.com")) == "B"

    budget.observe([of("A", 0), of("B", 0)], NOW)

    assert budget.ready_account(NOW, Asked("api.github.com")) == "C", "the first that is fresh"
    assert budget.ready_account(NOW, Asked("unknown.example")) == ""


def test_the_account_that_has_most_left_speaks_for_its_host() -> None:
    budget = budget_of(of("A", 0), of("B", 4000), RateLimit("", 10, 9, RESET, "other.example"))

    assert budget.scarcest(NOW) == of("B", 4000)


@pytest.mark.parametrize(("status", "headers"), [(200, None), (None, {}), (None, None), ("200", {}), (200, 7)])
def test_a_response_without_headers_or_status_teaches_nothing(status: Any, headers: Any) -> None:
    response = SimpleNamespace(status_code=200, headers={}, url="https://api.example/")
    meter = Meter()
    meter.observe(response, now=NOW)  # so that objects of its class are known

    response.status_code, response.headers = status, headers

    assert not meter.observe(response, now=NOW)
    assert meter.exhausted(NOW) is None


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"remaining": "3"}, "remaining must be a number; not '3'"),
        ({"limit": "5000"}, "limit must be a number; not '5000'"),
        ({"reset_at": datetime(2026, 11, 28, tzinfo=UTC)}, r"reset_at must be a number: .* when\.timestamp\(\)"),
        ({"host": None}, "host must be the name of a server"),
    ],
)
def test_a_quota_with_wrong_numbers_is_refused_and_not_kept(told: dict[str, Any], message: str) -> None:
    meter = Meter()
    with pytest.raises(TypeError, match=message):
        meter.observe(replace(core(0), **told), now=NOW)
    assert meter.exhausted(NOW) is None
    assert meter.to_dict() == {"buckets": []}


def test_a_host_may_be_a_url_object_of_a_client() -> None:
    meter = Meter()
    meter.observe(replace(core(0), host=httpx.URL("https://api.github.com/repos")), now=NOW)  # type: ignore[arg-type]
    assert meter.exhausted(NOW, asked=meter.asked(URL("https://api.github.com"))) is not None  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="host must be the name of a server, or a URL; not None"):
        meter.asked(None)  # type: ignore[arg-type]
