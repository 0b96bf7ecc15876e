"""Hooks, with the real clients against a server on this machine."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import github
import githubkit
import httpx
import pytest
import requests

from resumable._runtime.current import CHECKPOINT, reset_current
from resumable.ratelimit import hooks
from resumable.ratelimit._response import read_response

NOW = 1_790_000_000.0


class Handler(BaseHTTPRequestHandler):
    """Counts down from 10; /refuse answers 403, /moved sends on to /, and what did not change is free."""

    protocol_version = "HTTP/1.1"
    remaining = 10

    def do_GET(self) -> None:
        status = 304 if "If-None-Match" in self.headers else {"/refuse": 403, "/moved": 302}.get(self.path, 200)
        type(self).remaining -= status != 304
        body = {403: b'{"message": "You have exceeded a secondary rate limit"}', 304: b""}.get(
            status, b'{"login": "o"}'
        )
        self.send_response(status)
        for name, value in {
            "X-RateLimit-Limit": "10",
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": "1790000600",
            "X-RateLimit-Resource": "core",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Location": "/",
            "ETag": '"1"',
            "Cache-Control": "private, max-age=60",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    handler = type("CountingHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Recorder:
    """Stands for the checkpoint: keeps what it was shown."""

    def __init__(self) -> None:
        self.seen = []

        self.accounts: list[str] = []

    def observe(self, response: object, *, account: str = "") -> None:
        self.seen.append(read_response(response))
        self.accounts.append(account)

    @property
    def remaining(self) -> list[int | None]:
        # The example's reset is fixed, so the server's own Date must not be held against it.
        return [int(seen.headers["x-ratelimit-remaining"]) for seen in self.seen]


@pytest.fixture
def checkpoint() -> Iterator[Recorder]:
    recorder = Recorder()
    token = CHECKPOINT.set(recorder)
    yield recorder
    reset_current(token)


def test_httpx_shows_every_response(url: str, checkpoint: Recorder) -> None:
    with hooks(httpx.Client(base_url=url, follow_redirects=True)) as client:
        client.get("/")
        client.get("/moved")
        assert client.get("/refuse").json()["message"]

    assert checkpoint.remaining == [9, 8, 7, 6]
    assert [seen.status for seen in checkpoint.seen] == [200, 302, 200, 403]
    assert {f"http://{seen.host}" for seen in checkpoint.seen} == {url}


async def test_httpx_async_shows_every_response(url: str, checkpoint: Recorder) -> None:
    async with hooks(httpx.AsyncClient(base_url=url)) as client:
        await client.get("/")
        await client.get("/refuse")

    assert checkpoint.remaining == [9, 8]


def test_requests_shows_every_response(url: str, checkpoint: Recorder) -> None:
    with hooks(requests.Session()) as session:
        session.get(url)
        session.get(f"{url}/moved")
        session.get(f"{url}/refuse")

    assert checkpoint.remaining == [9, 8, 7, 6]


def test_requests_keeps_a_hook_of_the_users_own(url: str, checkpoint: Recorder) -> None:
    seen = []
    with requests.Session() as session:
        session.hooks["response"] = lambda response, **_: seen.append(response)
        hooks(session).get(url)

    assert len(seen) == 1
    assert checkpoint.remaining == [9]


def test_a_refusal_that_only_the_body_tells_is_seen(url: str, checkpoint: Recorder) -> None:
    """httpx and requests call their hooks before they read the body."""
    with hooks(httpx.Client()) as client, hooks(requests.Session()) as session:
        for response in (client.get(f"{url}/refuse"), session.get(f"{url}/refuse")):
            assert response.json()["message"]

    assert [seen.is_rate_limited for seen in checkpoint.seen] == [True, True]


async def test_a_refusal_that_only_the_body_tells_is_seen_async(url: str, checkpoint: Recorder) -> None:
    async with hooks(httpx.AsyncClient(base_url=url)) as client, hooks(aiohttp.ClientSession(url)) as session:
        assert (await client.get("/refuse")).json()["message"]
        async with session.get("/refuse") as response:
            assert (await response.json())["message"]

    assert [seen.is_rate_limited for seen in checkpoint.seen] == [True, True]


def test_each_client_has_its_account(url: str, checkpoint: Recorder) -> None:
    """Hooked again, it has the new one."""
    with hooks(httpx.Client(base_url=url), account="A") as one, hooks(httpx.Client(base_url=url), account="B") as two:
        one.get("/")
        two.get("/")
        hooks(one, account="C").get("/")

    assert checkpoint.accounts == ["A", "B", "C"]


async def test_each_client_has_its_account_async(url: str, checkpoint: Recorder) -> None:
    async with hooks(aiohttp.ClientSession(url), account="A") as session:
        async with session.get("/") as response:
            await response.read()
        async with hooks(session, account="B").get("/") as response:
            await response.read()

    assert checkpoint.accounts == ["A", "B"]


def test_other_clients_have_their_accounts(url: str, checkpoint: Recorder) -> None:
    with hooks(requests.Session(), account="A") as session:
        session.get(url)
    client = hooks(github.Github(base_url=url, retry=None), account="B")
    client.requester.requestJsonAndCheck("GET", "/")
    client.close()
    hooks(of_githubkit(url), account="C").request("GET", "/")

    assert checkpoint.accounts == ["A", "B", "C"]


def test_a_streamed_body_is_left_to_the_user(url: str, checkpoint: Recorder) -> None:
    with hooks(requests.Session()) as session, session.get(f"{url}/refuse", stream=True) as response:
        assert response.raw.read()

    assert checkpoint.remaining == [9]


async def test_aiohttp_shows_every_response(url: str, checkpoint: Recorder) -> None:
    async with hooks(aiohttp.ClientSession(url)) as session:
        for path in ("/", "/moved", "/refuse"):
            async with session.get(path) as response:
                await response.json()

    assert checkpoint.remaining == [9, 8, 7, 6]


async def test_aiohttp_shows_refusals_that_it_raises(url: str, checkpoint: Recorder) -> None:
    async with hooks(aiohttp.ClientSession(url, raise_for_status=True)) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get("/refuse")

    assert checkpoint.remaining == [9]
    assert checkpoint.seen[0].status == 403


async def test_aiohttp_shows_nothing_where_nobody_answered(checkpoint: Recorder) -> None:
    async with hooks(aiohttp.ClientSession()) as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("http://127.0.0.1:1/")

    assert checkpoint.seen == []


def test_pygithub_shows_every_response(url: str, checkpoint: Recorder) -> None:
    client = hooks(github.Github(base_url=url, retry=None))

    assert client.get_user("o").login == "o"
    with pytest.raises(github.GithubException):
        client.requester.requestJsonAndCheck("GET", "/refuse")
    client.close()

    assert checkpoint.remaining == [9, 8]
    assert checkpoint.seen[1].is_rate_limited
    assert f"http://{checkpoint.seen[1].host}" == url


def test_pygithub_still_pickles(url: str, checkpoint: Recorder) -> None:
    """People send its objects to other processes."""
    requester = pickle.loads(pickle.dumps(hooks(github.Github(base_url=url, retry=None)).requester))

    requester.requestJsonAndCheck("GET", "/")
    requester.close()

    assert checkpoint.remaining == [9]


def of_githubkit(url: str) -> githubkit.GitHub:
    return githubkit.GitHub(base_url=url, http_cache=False, auto_retry=False)


def test_githubkit_shows_every_response(url: str, checkpoint: Recorder) -> None:
    client = hooks(of_githubkit(url))

    client.request("GET", "/")
    with pytest.raises(githubkit.exception.RequestFailed):
        client.request("GET", "/refuse")

    assert checkpoint.remaining == [9, 8]


async def test_githubkit_async_shows_every_response(url: str, checkpoint: Recorder) -> None:
    client = hooks(of_githubkit(url))

    await client.arequest("GET", "/")

    assert checkpoint.remaining == [9]


def test_what_githubkit_has_in_its_cache_costs_nothing(url: str, checkpoint: Recorder) -> None:
    """It asks the server each time; a 304 comes out of its cache as a 200, with the fresh headers."""
    client = hooks(githubkit.GitHub(base_url=url, auto_retry=False))

    for path in ("/", "/other", "/"):
        client.request("GET", path)

    assert checkpoint.remaining == [9, 8, 8]
    assert [seen.from_cache for seen in checkpoint.seen] == [False, False, False]


def test_githubkit_is_hooked_also_when_it_is_open(url: str, checkpoint: Recorder) -> None:
    with of_githubkit(url) as client:
        hooks(client).request("GET", "/")

    assert checkpoint.remaining == [9]


def test_githubkits_hooks_of_the_users_own_are_kept(url: str, checkpoint: Recorder) -> None:
    seen = []
    own = {"response": [seen.append]}

    hooks(githubkit.GitHub(base_url=url, http_cache=False, event_hooks=own)).request("GET", "/")

    assert len(seen) == 1
    assert checkpoint.remaining == [9]
    assert own == {"response": [seen.append]}


def test_githubkits_other_owners_of_a_configuration_are_left_alone(url: str, checkpoint: Recorder) -> None:
    plain = of_githubkit(url)
    hooks(githubkit.GitHub(config=plain.config))

    plain.request("GET", "/")

    assert checkpoint.seen == []


@pytest.mark.parametrize(
    ("make", "ask"),
    [
        pytest.param(lambda url: httpx.Client(base_url=url), lambda client: client.get("/"), id="httpx"),
        pytest.param(
            lambda url: github.Github(base_url=url, retry=None), lambda client: client.get_user("o"), id="PyGithub"
        ),
        pytest.param(of_githubkit, lambda client: client.request("GET", "/"), id="githubkit"),
    ],
)
def test_hooking_twice_does_not_double(make, ask, url: str, checkpoint: Recorder) -> None:
    client = make(url)

    ask(hooks(hooks(client)))
    getattr(client, "close", lambda: None)()

    assert checkpoint.remaining == [9]


def test_hooking_twice_does_not_double_requests(url: str, checkpoint: Recorder) -> None:
    with hooks(hooks(requests.Session())) as session:
        session.get(url)

    assert checkpoint.remaining == [9]


async def test_hooking_twice_does_not_double_async_clients(url: str, checkpoint: Recorder) -> None:
    async with hooks(hooks(httpx.AsyncClient())) as client:
        await client.get(url)
    async with hooks(hooks(aiohttp.ClientSession())) as session, session.get(url) as response:
        await response.read()

    assert checkpoint.remaining == [9, 8]


def test_subclasses_are_hooked_too(url: str, checkpoint: Recorder) -> None:
    class Session(requests.Session):
        pass

    with hooks(Session()) as session:
        session.get(url)

    assert checkpoint.remaining == [9]


def test_outside_of_a_checkpoint_nothing_happens(url: str) -> None:
    with hooks(httpx.Client(base_url=url)) as client:
        assert client.get("/").status_code == 200


def test_a_checkpoint_sees_only_what_its_own_context_asks(url: str, checkpoint: Recorder) -> None:
    """Threads start with a context of their own."""
    other = Recorder()
    with hooks(httpx.Client(base_url=url)) as client:

        def work() -> None:
            CHECKPOINT.set(other)
            client.get("/")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        client.get("/")

    assert other.remaining == [9]
    assert checkpoint.remaining == [8]


class Client:
    """Named like one of httpx, and is none."""


@pytest.mark.parametrize(
    "client", [None, "httpx", json, Client(), httpx.Client], ids=lambda thing: type(thing).__name__
)
def test_an_unknown_client_is_refused_by_name(client: object) -> None:
    with pytest.raises(TypeError, match=r"supported: httpx\.Client, httpx\.AsyncClient.*githubkit\.GitHub"):
        hooks(client)
