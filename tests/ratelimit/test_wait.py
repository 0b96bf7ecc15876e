"""How long tenacity waits for a rate limit, and what it takes for one."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest
import tenacity
from tenacity import Future, RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from resumable.ratelimit import retry_if_rate_limited, wait_rate_limit

NOW = 1_790_000_000.0


def clock() -> float:
    return NOW


def state_of(outcome: object) -> RetryCallState:
    """A call whose attempt raised *outcome*, if it is an error, or returned it."""
    state = RetryCallState(Retrying(), None, (), {})
    state.outcome = Future(1)
    if isinstance(outcome, BaseException):
        state.outcome.set_exception(outcome)
    else:
        state.outcome.set_result(outcome)
    return state


def answer(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    request = httpx.Request("GET", "https://api.github.com/repos")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, content=body, request=request)


def error(response: httpx.Response) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("refused", request=response.request, response=response)


EMPTY = {"x_ratelimit_limit": "5000", "x_ratelimit_remaining": "0", "x_ratelimit_reset": "1790002092"}


@pytest.mark.parametrize(
    "wrap", [pytest.param(lambda response: response, id="result"), pytest.param(error, id="error")]
)
@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        pytest.param(answer(429, retry_after="17"), 18, id="one second after Retry-After"),
        pytest.param(answer(503, retry_after="17"), 18, id="Retry-After of a 503"),
        pytest.param(answer(403, **EMPTY, retry_after="17"), 18, id="Retry-After wins over the reset"),
        pytest.param(answer(403, **EMPTY), 2093, id="one second after the reset"),
        pytest.param(answer(500, **EMPTY), 2093, id="nothing left, whatever the error"),
        pytest.param(answer(429), 60, id="a refusal that names no time"),
        pytest.param(answer(429, retry_after="0"), 1, id="a refusal whose time is over"),
        pytest.param(answer(429, retry_after="0.65"), 0.65, id="fractions are not rounded"),
        pytest.param(answer(429, retry_after_ms="1500"), 1.5, id="milliseconds are not rounded"),
        pytest.param(answer(500, retry_after="17"), 18, id="Retry-After of a server's error"),
        pytest.param(answer(202, retry_after="17"), 18, id="Retry-After of an answer that is not ready"),
        pytest.param(answer(200, retry_after="17"), 3, id="mis-sent with a good answer: the fallback"),
        pytest.param(answer(404, retry_after="17"), 3, id="mis-sent with another error: the fallback"),
        pytest.param(answer(429, b'{"parameters": {"retry_after": 900}}'), 901, id="told in the body"),
        pytest.param(answer(403, b'{"message": "secondary rate limit"}'), 60, id="a secondary limit"),
        pytest.param(answer(403), 3, id="another 403: the fallback"),
        pytest.param(answer(500), 3, id="another error: the fallback"),
        pytest.param(answer(500, x_ratelimit_remaining="9", x_ratelimit_reset="60"), 3, id="enough left: the fallback"),
    ],
)
def test_the_server_says_how_long(wrap: Callable, response: httpx.Response, seconds: float) -> None:
    wait = wait_rate_limit(wait_fixed(3), jitter=0, clock=clock)

    assert wait(state_of(wrap(response))) == pytest.approx(seconds, abs=1e-6)


def test_jitter_only_makes_it_later() -> None:
    wait = wait_rate_limit(clock=clock, jitter=5)

    waits = [wait(state_of(answer(403, **EMPTY))) for _ in range(200)]

    assert min(waits) >= 2093
    assert max(waits) <= 2098
    assert len(set(waits)) > 1


def test_a_hint_is_shortened_only_by_the_users_own_cap() -> None:
    """A cap of ours would ask too early, and be refused again."""
    day = state_of(answer(429, retry_after="86400"))

    assert wait_rate_limit(clock=clock, jitter=0)(day) == 86401
    assert wait_rate_limit(clock=clock, max_wait=900)(day) == 900
    assert wait_rate_limit(wait_fixed(99), max_wait=0)(state_of(ValueError())) == 0


def test_a_fallback_longer_than_a_minute_stands_for_a_refusal_too() -> None:
    assert wait_rate_limit(wait_fixed(90), clock=clock)(state_of(answer(429))) == 90


@pytest.mark.parametrize("fallback", [float("nan"), -5.0, float("-inf")])
def test_never_under_zero(fallback: float) -> None:
    assert wait_rate_limit(lambda state: fallback)(state_of(ValueError())) == 0


def test_other_errors_have_the_fallback_of_tenacity() -> None:
    assert 0 <= wait_rate_limit()(state_of(ValueError())) <= 60


def test_it_says_why_it_waits(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "resumable.ratelimit"):
        wait_rate_limit(jitter=0, clock=clock)(state_of(answer(403, **EMPTY, x_ratelimit_resource="core")))
        wait_rate_limit(jitter=0, clock=clock)(state_of(ValueError("no limit")))

    (record,) = caplog.records
    assert record.name == "resumable.ratelimit"
    assert record.getMessage().startswith("waiting 34:53 (until ")
    assert record.getMessage().endswith(") for api.github.com: rate limit core is used up")


@pytest.mark.parametrize(
    "arguments", [{"max_wait": -1}, {"max_wait": float("nan")}, {"jitter": -1}, {"jitter": float("inf")}]
)
def test_a_senseless_argument_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        wait_rate_limit(**arguments)


def test_both_survive_pickling() -> None:
    wait = pickle.loads(pickle.dumps(wait_rate_limit(wait_fixed(3), max_wait=10)))
    retry = pickle.loads(pickle.dumps(retry_if_rate_limited()))

    assert wait(state_of(answer(429, retry_after="17"))) == 10
    assert retry(state_of(answer(429)))


GRAPHQL_REFUSED = {"data": None, "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(answer(429), True, id="429"),
        pytest.param(error(answer(429)), True, id="429 raised"),
        pytest.param(error(answer(403, **EMPTY)), True, id="nothing left"),
        pytest.param(
            error(answer(403, b'{"message": "You have exceeded a secondary rate limit"}')), True, id="secondary"
        ),
        pytest.param(error(answer(403, b'{"message": "Must have admin rights"}')), False, id="no permission"),
        pytest.param(answer(200, b'{"errors": [{"type": "RATE_LIMITED"}]}'), True, id="GraphQL response"),
        pytest.param(GRAPHQL_REFUSED, True, id="GraphQL body"),
        pytest.param({"data": {}, "errors": [{"type": "NOT_FOUND"}]}, False, id="another GraphQL error"),
        pytest.param(answer(200, b'{"text": "RATE_LIMIT"}'), False, id="a text about it"),
        pytest.param(answer(200, **EMPTY), False, id="the last good answer"),
        pytest.param(answer(500), False, id="500"),
        pytest.param(answer(500, retry_after="5"), False, id="500 with Retry-After"),
        pytest.param(answer(503, retry_after="5"), True, id="503 with Retry-After"),
        pytest.param(answer(503), False, id="503 alone"),
        pytest.param(answer(200, retry_after="5"), False, id="mis-sent with a good answer"),
        pytest.param(answer(200, retry_after="5", mediawiki_api_error="maxlag"), True, id="maxlag"),
        pytest.param(ValueError("rate limit"), False, id="an error that only says so"),
        pytest.param(None, False, id="None"),
        pytest.param({"name": "Retry"}, False, id="a value"),
    ],
)
def test_only_a_refusal_for_a_limit_is_tried_again(outcome: object, expected: bool) -> None:
    assert retry_if_rate_limited()(state_of(outcome)) is expected


def test_before_the_first_attempt_there_is_nothing_to_retry() -> None:
    state = RetryCallState(Retrying(), None, (), {})

    assert retry_if_rate_limited()(state) is False
    assert wait_rate_limit(wait_fixed(3))(state) == 3


def test_an_error_raised_from_a_refusal_counts_as_one() -> None:
    """SDKs and users wrap the client's error in their own."""
    wrapped = RuntimeError("could not fetch")
    wrapped.__cause__ = error(answer(429, retry_after="17"))

    assert retry_if_rate_limited()(state_of(wrapped))
    assert wait_rate_limit(clock=clock, jitter=0)(state_of(wrapped)) == 18


@pytest.mark.parametrize(
    ("refusal", "waits"),
    [
        pytest.param(answer(429), [60, 120, 240, 480], id="without a time"),
        pytest.param(answer(429, retry_after="0"), [1, 2, 4, 8], id="whose time is over"),
        pytest.param(answer(429, retry_after="7"), [8, 8, 8, 8], id="with a time"),
    ],
)
def test_refusals_in_a_row_wait_longer(refusal: httpx.Response, waits: list[float]) -> None:
    slept: list[float] = []
    policy = Retrying(
        retry=retry_if_rate_limited(),
        wait=wait_rate_limit(wait_fixed(3), clock=clock, jitter=0),
        stop=stop_after_attempt(5),
        sleep=slept.append,
        retry_error_callback=lambda state: None,
    )

    policy(lambda: refusal)
    policy(lambda: refusal)

    assert slept == waits * 2, "each call counts its own"


def test_a_failure_of_another_kind_begins_the_row_anew() -> None:
    slept: list[float] = []
    answers = [answer(429), answer(429), answer(500), answer(429), answer(200)]
    policy = Retrying(
        retry=tenacity.retry_if_exception_type(httpx.HTTPStatusError),
        wait=wait_rate_limit(wait_fixed(3), clock=clock, jitter=0),
        sleep=slept.append,
    )

    policy(fetch_from, answers)

    assert slept == [60, 120, 3, 60]


def test_it_combines_with_other_conditions() -> None:
    retry = retry_if_rate_limited() | retry_if_exception_type(OSError)

    assert retry(state_of(answer(429)))
    assert retry(state_of(OSError()))
    assert not retry(state_of(ValueError()))


def fetch_from(answers: list[httpx.Response]) -> httpx.Response:
    response = answers.pop(0)
    response.raise_for_status()
    return response


def test_tenacity_waits_as_told_and_then_goes_on() -> None:
    slept: list[float] = []
    policy = Retrying(
        retry=retry_if_rate_limited(),
        wait=wait_rate_limit(clock=clock, jitter=0),
        stop=stop_after_attempt(5),
        sleep=slept.append,
    )

    response = policy(fetch_from, [answer(429, retry_after="7"), answer(403, **EMPTY), answer(200)])

    assert response.status_code == 200
    assert slept == [8, 2093]


def test_tenacitys_async_retrying_waits_the_same() -> None:
    slept: list[float] = []
    answers = [answer(429, retry_after="7"), answer(200)]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    @tenacity.retry(retry=retry_if_rate_limited(), wait=wait_rate_limit(clock=clock, jitter=0), sleep=sleep)
    async def fetch() -> httpx.Response:
        return fetch_from(answers)

    assert asyncio.run(fetch()).status_code == 200
    assert slept == [8]


def test_a_result_with_odd_attributes_is_no_refusal() -> None:
    """Attributes of a user's result may be anything, also things that refuse to be true or false."""

    class Undecided:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    odd = SimpleNamespace(status="429", reset=Undecided(), url=Undecided(), headers=Undecided(), requester=Undecided())

    assert retry_if_rate_limited()(state_of(odd)) is False
