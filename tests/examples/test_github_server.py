"""The example server's limits and faults, met by real clients."""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import github
import httpx
import pytest
import requests

from examples.github_server import DROPPED, GitHubServer
from tests.support.servers import ServerProcess, make_repository

REPO = "/repos/ada/engine"


class Clock:
    """Epoch seconds that stand still until a test moves them."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("git") / "engine"
    return make_repository(path, files=10, commits=10, extra={"empty": b"", "binary": bytes(256)})


@pytest.fixture
def server(repository: Path) -> Iterator[GitHubServer]:
    with GitHubServer(repository) as server:
        yield server


@pytest.fixture
def client(server: GitHubServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def statuses(server: GitHubServer | ServerProcess) -> list[int]:
    return [request.status for request in server.requests]


# Its limits


def test_every_answer_carries_the_quota_and_the_date(repository: Path) -> None:
    clock = Clock(1_800_000_000.75)
    with GitHubServer(repository, limit=10, window=3, clock=clock) as server:
        answers = [httpx.get(server.url + path) for path in (REPO, "/nothing", "/rate_limit")]

    assert [answer.status_code for answer in answers] == [200, 404, 200]
    for answer, used in zip(answers, (1, 2, 2), strict=True):
        quota = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
        assert quota == {
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": str(10 - used),
            "x-ratelimit-reset": "1800000003",
            "x-ratelimit-used": str(used),
            "x-ratelimit-resource": "core",
        }
        assert parsedate_to_datetime(answer.headers["Date"]) == datetime.fromtimestamp(1_800_000_000, UTC)


def test_rate_limit_is_free_and_says_what_the_headers_say(client: httpx.Client) -> None:
    client.get(REPO)
    response = client.get("/rate_limit")

    core = response.json()["resources"]["core"]
    assert {name: str(number) for name, number in core.items()} == {
        name: response.headers[f"X-RateLimit-{name}"] for name in ("limit", "remaining", "reset", "used")
    }
    assert core["used"] == 1


def test_an_answer_that_is_known_costs_nothing(client: httpx.Client) -> None:
    first = client.get(f"{REPO}/contents/empty")
    again = client.get(f"{REPO}/contents/empty", headers={"If-None-Match": first.headers["ETag"]})
    other = client.get(f"{REPO}/contents/binary", headers={"If-None-Match": first.headers["ETag"]})

    assert [answer.status_code for answer in (first, again, other)] == [200, 304, 200]
    assert [answer.headers["X-RateLimit-Used"] for answer in (first, again, other)] == ["1", "1", "2"]
    assert again.content == b""


def test_an_exhausted_quota_refuses_until_its_reset(repository: Path) -> None:
    """Whoever waits until X-RateLimit-Reset is served; whoever comes before it is not."""
    clock = Clock(1_800_000_000.75)
    with GitHubServer(repository, limit=2, window=3, clock=clock) as server, httpx.Client() as client:
        answers = [client.get(server.url + REPO) for _ in range(4)]
        reset = int(answers[-1].headers["X-RateLimit-Reset"])
        clock.now = reset - 0.01
        early = client.get(server.url + REPO)
        clock.now = reset
        fresh = client.get(server.url + REPO)

    assert [answer.status_code for answer in (*answers, early, fresh)] == [200, 200, 403, 403, 403, 200]
    assert answers[-1].json()["message"].startswith("API rate limit exceeded for ")
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0", "0"]
    assert fresh.headers["X-RateLimit-Reset"] == str(reset + 3)


def test_a_window_of_fractions_ends_no_later_than_the_header_says(repository: Path) -> None:
    clock = Clock(1_800_000_000.75)
    with GitHubServer(repository, limit=1, window=0.5, clock=clock) as server:
        first = httpx.get(server.url + REPO)
        clock.now += 0.5
        fresh = httpx.get(server.url + REPO)

    assert int(first.headers["X-RateLimit-Reset"]) == 1_800_000_002
    assert fresh.status_code == 200


def test_a_quota_is_not_overdrawn_by_many_at_once(repository: Path) -> None:
    with GitHubServer(repository, limit=30) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: requests.get(server.url + REPO).status_code, range(60)))

    assert sorted(answers) == [200] * 30 + [403] * 30


def test_pygithub_knows_its_refusals(repository: Path) -> None:
    with GitHubServer(repository, limit=1) as server, github.Github(base_url=server.url, retry=None) as client:
        repo = client.get_repo("ada/engine")
        with pytest.raises(github.RateLimitExceededException):
            repo.get_contents("empty")

        assert client.rate_limiting == (0, 1)


# Its faults


def test_a_secondary_limit_says_when_to_come_back(repository: Path) -> None:
    with GitHubServer(repository, retry_after_every=3, retry_after=7) as server:
        answers = [requests.get(f"{server.url}{REPO}/commits?page={page}") for page in (1, 2, 3, 3, 4)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 200]
    assert answers[2].headers["Retry-After"] == "7"
    assert "secondary rate limit" in answers[2].json()["message"]
    assert answers[2].headers["X-RateLimit-Remaining"] == "4998"


def test_a_bad_gateway_costs_nothing(repository: Path) -> None:
    with GitHubServer(repository, bad_gateway_every=2) as server:
        answers = [requests.get(f"{server.url}{REPO}/commits?page={page}") for page in (1, 2, 2)]

    assert [answer.status_code for answer in answers] == [200, 502, 200]
    assert answers[-1].headers["X-RateLimit-Used"] == "2"


def test_a_dropped_connection_gives_no_answer(repository: Path) -> None:
    with GitHubServer(repository, drop_every=2) as server:
        with httpx.Client(base_url=server.url) as client:
            client.get(REPO)
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(f"{REPO}/commits")
            assert client.get(f"{REPO}/commits").status_code == 200
        with requests.Session() as session:
            session.get(f"{server.url}{REPO}/branches/main")  # the fourth: the repeated one did not count
            with pytest.raises(requests.ConnectionError):
                session.get(f"{server.url}{REPO}/branches/none")

        assert statuses(server) == [200, DROPPED, 200, 200, DROPPED]


def test_every_request_succeeds_when_it_is_repeated(repository: Path) -> None:
    """Even where each one fails, and whatever else is asked in between."""
    with GitHubServer(repository, bad_gateway_every=1, drop_every=3) as server:
        urls = [f"{server.url}{REPO}/commits?page={page}" for page in range(1, 6)]
        for url in urls:
            try:
                assert requests.get(url).status_code == 502
            except requests.ConnectionError:
                assert statuses(server)[-1] == DROPPED

        assert [requests.get(url).status_code for url in urls] == [200] * 5
        assert statuses(server) == [502, 502, DROPPED, 502, 502, *[200] * 5]


# How it runs


def test_the_log_tells_each_request_and_not_itself(repository: Path) -> None:
    clock = Clock(1_800_000_000.5)
    with GitHubServer(repository, clock=clock) as server:
        httpx.get(f"{server.url}{REPO}/commits?page=2")
        clock.now += 1
        httpx.get(f"{server.url}/nothing")
        told = [httpx.get(f"{server.url}/__requests").json() for _ in range(2)]

        assert told[0] == told[1] == [request._asdict() for request in server.requests]
        assert server.requests == [
            (f"{REPO}/commits?page=2", 200, 1_800_000_000.5),
            ("/nothing", 404, 1_800_000_001.5),
        ]


def test_a_connection_serves_many_requests(server: GitHubServer) -> None:
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        streams = [client.get(server.url + REPO).extensions["network_stream"] for _ in range(3)]

        ports = {stream.get_extra_info("client_addr")[1] for stream in streams}
    assert len(ports) == 1


def test_a_client_that_dies_leaves_no_trace(repository: Path) -> None:
    """Clients are killed in the middle on purpose; the server's stderr is for what went wrong in it."""
    with ServerProcess(repository, delay=0.05) as server:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset it
                connection.sendall(f"GET {REPO}/git/trees/main HTTP/1.1\r\n\r\n".encode())
        assert httpx.get(server.url + REPO).status_code == 200

        assert server.stop() == (0, "")


def test_closing_ends_connections_that_clients_keep_open(repository: Path) -> None:
    with httpx.Client() as client:
        with GitHubServer(repository) as server:
            client.get(server.url + REPO)
        with pytest.raises(httpx.TransportError):
            client.get(server.url + REPO)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"limit": 0}, id="no limit"),
        pytest.param({"window": 0}, id="no window"),
        pytest.param({"drop_every": 0}, id="a fault every 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(repository: Path, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="0"):
        GitHubServer(repository, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [".", "none"], ids=["not git", "not there"])
def test_a_place_without_a_repository_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        GitHubServer(tmp_path / name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_command_serves_until_it_is_told_to_end(repository: Path, number: int) -> None:
    with ServerProcess(repository, limit=2, window=60, drop_every=3) as server, httpx.Client() as client:
        answers = [client.get(f"{server.url}{REPO}/commits?page={page}") for page in (1, 2, 3)]

        assert [answer.status_code for answer in answers] == [200, 200, 403]
        assert statuses(server) == [200, 200, 403]
        assert server.stop(number) == (0, "")


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not a git repository") as caught:
        ServerProcess(tmp_path)

    assert "Traceback" not in str(caught.value)
