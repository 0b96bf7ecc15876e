"""A small GitHub-compatible server over any local git repository, to try clients against.

    python examples/github_server.py PATH --port 8000 --limit 400 --window 3

It has a rate limit with GitHub's headers, and it can fail on a schedule: the same requests in every run, and
each of them succeeds when it is sent again. GitHub Enterprise's ``/api/v3`` prefix works, too.
``/__requests`` lists what was served. It needs nothing but Python's standard library and ``git``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl, urlsplit

if not __package__:  # run as a script: make `examples` importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.github_answers import Answer, find_answer
from examples.github_limits import Budget, Faults, Quota, exhausted, rate_limit, secondary_limit
from examples.github_repository import GitRepository

DROPPED = 0  # in the log, the status of a request whose connection was closed without an answer
_PREFIX = "/api/v3"
_LOG = "/__requests"


class ServedRequest(NamedTuple):
    """One line of the log: *path* with its query, *status* (0: dropped), *time* of arrival (epoch seconds)."""

    path: str
    status: int
    time: float


class Reply(NamedTuple):
    """What goes over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class GitHubServer:
    """Serve the git repository at *path* from a thread, from construction until :meth:`close`.

    Neither 304 nor refusals nor faults count against the quota; all other answers do.

    Args:
        port: 0 takes a free one; ``url`` has it.
        limit: Requests in a window.
        window: Seconds.
        retry_after_every: Every n-th request gets 429 and ``Retry-After``, GitHub's secondary limit.
        retry_after: What ``Retry-After`` says, in whole seconds. It is not enforced.
        bad_gateway_every: Every n-th request gets 502.
        drop_every: Every n-th request gets no answer: its connection is closed.
        delay: Seconds to wait before each answer.
        clock: Epoch seconds, for the quota, the log and the ``Date`` header.

    Raises:
        ValueError: If there is no git repository at *path*, or a number makes no sense.
        OSError: If the port is taken.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limit: int = 5000,
        window: float = 3600,
        retry_after_every: int | None = None,
        retry_after: int = 1,
        bad_gateway_every: int | None = None,
        drop_every: int | None = None,
        delay: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self._delay = delay
        self._retry_after = retry_after
        self._quota = Quota(limit, window, clock)
        self._faults = Faults({"drop": drop_every, "bad gateway": bad_gateway_every, "retry after": retry_after_every})
        self._requests: list[ServedRequest] = []
        self._http = _HTTPServer((host, port), functools.partial(_Handler, self))
        self.url = f"http://{host}:{self._http.server_address[1]}"
        try:
            self._repository = GitRepository(path)
        except BaseException:
            self._http.server_close()
            raise
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[ServedRequest]:
        """All requests so far, in the order of their answers; ``/__requests`` itself is not among them."""
        return list(self._requests)

    def close(self) -> None:
        """Stop serving and close every connection. A second call does nothing."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.close_connections()
            self._http.server_close()
            self._repository.close()

    def __enter__(self) -> GitHubServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reply(self, target: str, host: str, known: str | None) -> Reply:
        """Answer a GET of *target* (path and query) at *host*; *known* is its ``If-None-Match``."""
        arrived = self.clock()
        time.sleep(self._delay)
        reply = self._reply(target, host, known)
        if target != _LOG:
            self._requests.append(ServedRequest(target, reply.status, arrived))
        return reply

    def _reply(self, target: str, host: str, known: str | None) -> Reply:
        parts = urlsplit(target)
        prefix = _PREFIX if parts.path.startswith(f"{_PREFIX}/") else ""
        path = parts.path.removeprefix(prefix)
        free = self._free(path) or self._refusal(target)
        if free is not None:
            return _encode(free, self._quota.look())
        query = dict(parse_qsl(parts.query))
        answer = find_answer(self._repository, f"http://{host}{prefix}", path, query)
        reply = _encode(answer, self._quota.look())
        if known is not None and reply.status == 200 and _matches(known, reply.headers["ETag"]):
            return reply._replace(status=304, body=b"")
        budget = self._quota.take()
        if budget is None:
            return _encode(exhausted(), self._quota.look())
        return reply._replace(headers=reply.headers | _quota_headers(budget))

    def _free(self, path: str) -> Answer | None:
        """Answers that need no quota."""
        if path == _LOG:
            return Answer(200, [request._asdict() for request in self._requests])
        return rate_limit(self._quota.look()) if path == "/rate_limit" else None

    def _refusal(self, target: str) -> Answer | None:
        if not self._quota.look().remaining:
            return exhausted()
        match self._faults.next(target):
            case "drop":
                return Answer(DROPPED, None)
            case "bad gateway":
                return Answer(502, {"message": "Server Error"})
            case "retry after":
                return secondary_limit(self._retry_after)
            case _:
                return None


def _encode(answer: Answer, budget: Budget) -> Reply:
    body = json.dumps(answer.body, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "ETag": f'W/"{hashlib.sha256(body).hexdigest()}"'}
    return Reply(answer.status, {**headers, **answer.headers, **_quota_headers(budget)}, body)


def _quota_headers(budget: Budget) -> dict[str, str]:
    numbers = {f"X-RateLimit-{name.title()}": str(number) for name, number in budget.as_dict().items()}
    return numbers | {"X-RateLimit-Resource": "core"}


def _matches(known: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return known.strip() == "*" or etag.removeprefix("W/") in tags


class _HTTPServer(ThreadingHTTPServer):
    """Knows its connections, so that it can end those that clients keep open."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self._connections: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End all connections, and wait for the answers that are under way."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # its client was faster
                    connection.shutdown(socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._connections, timeout=10)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that are killed are what this server is for.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet

    def __init__(self, github: GitHubServer, *connection: Any) -> None:
        self._github = github
        super().__init__(*connection)

    def do_GET(self) -> None:
        host = self.headers.get("Host") or self._github.url.removeprefix("http://")
        reply = self._github.reply(self.path, host, self.headers.get("If-None-Match"))
        if reply.status == DROPPED:
            self.close_connection = True
            return
        self.send_response_only(reply.status)
        self.send_header("Date", self.date_time_string(self._github.clock()))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 304:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: ``/__requests`` lists the requests."""


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve a local git repository as GitHub would.")
    parser.add_argument("path", type=Path, help="a git repository")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--limit", type=int, default=5000, help="requests in a window")
    parser.add_argument("--window", type=float, default=3600, metavar="SECONDS")
    parser.add_argument("--retry-after-every", type=int, metavar="N", help="answer each N-th with 429")
    parser.add_argument("--retry-after", type=int, default=1, metavar="SECONDS")
    parser.add_argument("--bad-gateway-every", type=int, metavar="N", help="answer each N-th with 502")
    parser.add_argument("--drop-every", type=int, metavar="N", help="close each N-th without an answer")
    parser.add_argument("--delay", type=float, default=0, metavar="SECONDS", help="before each answer")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        server = GitHubServer(**vars(parser.parse_args()))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    with server:
        print(server.url, flush=True)
        threading.Event().wait()


def _end(number: int, frame: object) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):  # a second one must not tear the end
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
