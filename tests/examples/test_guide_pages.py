"""The ready fetch functions, against servers, through kills: each item comes once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import httpx
import pytest
import requests

from examples.github_server import GitHubServer
from examples.guide.pages import ISSUES, Fetch, github_graphql, github_rest, keyset, offset_and_limit
from resumable import CursorExpiredError, checkpointed
from tests.support.servers import make_repository

ROOT = Path(__file__).parents[2]
COUNT = 23
MORE_THAN_A_PIPE_HOLDS = 4000


class Died(BaseException):
    """The program ends within an item."""


class Handler(BaseHTTPRequestHandler):
    """Items by offset, by id, and through GraphQL."""

    server: Api  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: int(value) for name, value in parse_qsl(parts.query)}
        items = self.server.items
        if parts.path == "/by-offset":
            found = items[query["offset"] : query["offset"] + query["limit"]]
        else:
            found = [item for item in items if item["id"] > query["since_id"]][: query["limit"]]
        self.answer(found)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        after = asked["variables"]["after"]
        if after in self.server.expired:
            error = {"type": "INVALID_CURSOR_ARGUMENTS", "message": f"`{after}` does not appear to be a valid cursor."}
            self.answer({"data": None, "errors": [error]})
            return
        first = 0 if after is None else int(after.removeprefix("cursor "))
        found, last = self.server.items[first : first + 5], first + 5
        page = {"endCursor": f"cursor {last}", "hasNextPage": last < len(self.server.items)}
        self.answer({"data": {"repository": {"issues": {"nodes": found, "pageInfo": page}}}})

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Api(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.items = [{"id": number} for number in range(1, COUNT + 1)]
        self.expired: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubServer]:
    path = make_repository(tmp_path_factory.mktemp("served") / "repository", files=5, commits=COUNT)
    with GitHubServer(path) as server:
        yield server


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def go_through(url: str, make: Callable[[httpx.Client], Fetch], **options: Any) -> list[Any]:
    """All items, in runs of which each dies at its fourth one."""
    begun, is_over = [], False
    while not is_over:
        with suppress(Died), checkpointed("guide") as cp, httpx.Client(base_url=url) as client:
            stop = len(begun) + 3
            for item in cp.pages(make(client), **options):
                if len(begun) == stop:
                    raise Died
                begun.append(item)
            is_over = True
    return begun


def test_githubs_rest_api(github: GitHubServer) -> None:
    found = go_through(github.url, lambda client: github_rest(client, "/repos/a/b/commits", per_page=5), key="sha")

    with httpx.Client(base_url=github.url) as client:
        assert found == client.get("/repos/a/b/commits?per_page=100").json()
    assert len(found) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("client", ["httpx", "requests", "aiohttp"])
def test_many_windows_are_waited_for_and_nothing_is_refused(client: str, tmp_path: Path) -> None:
    begun: list[str] = []
    is_over = False
    path = make_repository(tmp_path / "served", files=5, commits=60)
    with GitHubServer(path, limit=5, window=0.5) as server:
        while not is_over:
            with suppress(Died):
                if client == "aiohttp":
                    asyncio.run(_commits_by_aiohttp(server, begun))
                else:
                    _commits(server, client, begun)
                is_over = True
        statuses = [request.status for request in server.requests]
    assert len(begun) == len(set(begun)) == 60
    assert set(statuses) == {200}
    assert len(statuses) == 12 + 4  # each run but the first fetches the page again at which it was


def _begin(commit: dict[str, Any], begun: list[str], stop: int) -> None:
    if len(begun) == stop:
        raise Died
    begun.append(commit["sha"])


def _commits(server: GitHubServer, client: str, begun: list[str]) -> None:
    stop = len(begun) + 13
    http: Any = httpx.Client() if client == "httpx" else requests.Session()
    with http, checkpointed("guide") as cp:
        for commit in cp.pages(http.get, start=f"{server.url}/repos/a/b/commits?per_page=5"):
            _begin(commit, begun, stop)


async def _commits_by_aiohttp(server: GitHubServer, begun: list[str]) -> None:
    stop = len(begun) + 13
    async with aiohttp.ClientSession() as http, checkpointed("guide") as cp:
        async for commit in cp.pages(http.get, start=f"{server.url}/repos/a/b/commits?per_page=5"):
            _begin(commit, begun, stop)


def test_githubs_graphql_api(api: Api) -> None:
    assert go_through(api.url, lambda client: github_graphql(client, ISSUES, "repository.issues")) == api.items


def test_a_graphql_cursor_that_has_expired_is_told(api: Api) -> None:
    runs: list[int] = []

    def make(client: httpx.Client) -> Fetch:
        runs.append(len(runs))
        if len(runs) == 4:
            api.expired.add("cursor 5")
        return github_graphql(client, ISSUES, "repository.issues")

    with pytest.raises(CursorExpiredError, match="valid cursor"):
        go_through(api.url, make)
    assert len(runs) == 4


def test_offset_and_limit(api: Api) -> None:
    assert go_through(api.url, lambda client: offset_and_limit(client, "/by-offset", limit=5)) == api.items


def test_since_id(api: Api) -> None:
    assert go_through(api.url, lambda client: keyset(client, "/since", limit=5)) == api.items


@pytest.mark.slow
def test_the_program_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """What it prints is more than a pipe holds: it cannot be done before it is killed."""
    repository = make_repository(tmp_path / "repository", files=5, commits=MORE_THAN_A_PIPE_HOLDS)
    with GitHubServer(repository) as server:
        program = [sys.executable, "-B", "-m", "examples.guide.pages", "a/b"]
        command = [*program, "--limit", str(MORE_THAN_A_PIPE_HOLDS), "--url", server.url]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "CHECKPOINT_DIR": str(tmp_path)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
        assert process.stdout is not None
        first = process.stdout.readline()
        process.terminate()
        first += process.communicate()[0]
        second = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)

    seen = [line.partition(" ")[0] for line in (first + second.stdout).splitlines()]
    assert 0 < len(first.splitlines()) < MORE_THAN_A_PIPE_HOLDS
    assert len(seen) == len(set(seen)) == MORE_THAN_A_PIPE_HOLDS
    assert list(tmp_path.glob(".checkpoint_*")) == []
