"""``resumable serve``: all jobs in a browser, on this machine only, by the server of the standard library."""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import click

from .._errors import StoreError
from .._report.live import Live, everywhere, live, live_of
from .._report.pages.site import ASKS, job_page, jobs_page, problem_page, title_for
from .._report.places import name_for, place_of, places
from .._report.stored.scan import entry_of, name_of
from .._report.stored.summary import summaries
from .._report.wishes import ask, asked_of, take_back
from .._text import printable
from ..stores import CheckpointStore, open_store
from ._options import opened
from ._watch import reason_for

_COOKIE = "resumable_token"
_NAMES = {"127.0.0.1", "localhost"}
_LONGEST_FORM = 4096
_ASKED_AGAIN_SECONDS = 60.0
"""Do not ask a place again for this long after it did not answer: each page would wait for it."""
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Site:
    """The pages, and what they show.

    Args:
        store: The only place to show; None shows all known places.
        allows_control: Whether visitors may pause and stop jobs.

    Attributes:
        token: Visitors need it; it is part of the printed address.
    """

    def __init__(self, store: CheckpointStore | None, *, allows_control: bool = False) -> None:
        self.token = secrets.token_urlsafe(24)
        self._store, self._allows_control = store, allows_control
        # One thread at a time may use the connections of this store. Other stores are opened for each page.
        self._lock = contextlib.nullcontext() if store is None else threading.Lock()
        self._unreached: dict[str, tuple[str, float]] = {}

    def answer(self, path: str) -> tuple[int, str]:
        """The status and the page for a GET of *path*."""
        with self._lock:
            if path == "/":
                where = None if self._store is None else name_of(self._store)
                found_here = [(place, one) for place, _, one in self._jobs()]
                found_here.sort(key=lambda each: each[1].summary.state != "running")  # running jobs come first
                unreached = [(place, why) for place, (why, _) in sorted(self._unreached.items())]
                return 200, jobs_page(found_here, title_for(where), unreached)
            found = self._job(path)
            if found is None:
                return 404, _no_such_job()
            store, one = found
            return 200, job_page(store, one, self.token if self._allows_control else None)

    def ask(self, path: str, what: str) -> tuple[int, str]:
        """Leave a request for the job at *path*. Returns status and page; 303 sends the browser back to the job."""
        if not self._allows_control or what not in ASKS:
            return 403, problem_page(
                "Not allowed", "This server only shows jobs. Start it with --allow-control to change that."
            )
        with self._lock:
            found = self._job(path)
            if found is None:
                return 404, _no_such_job()
            store, operation_id = found[0], found[1].summary.operation_id
            try:
                if what == "resume":
                    asked = asked_of(store, operation_id)
                    if asked is not None and asked.ask == "pause":
                        take_back(store, operation_id, asked)
                else:
                    entry = entry_of(store, operation_id)
                    ask(store, operation_id, what, term=entry.term if entry is not None else 0)  # type: ignore[arg-type]
            except StoreError as error:
                return 500, problem_page("The request failed", printable(str(error)))
        return 303, ""

    def _jobs(self) -> Iterator[tuple[str, CheckpointStore, Live]]:
        if self._store is not None:
            for one in summaries(self._store):
                yield place_of(self._store) or "", self._store, live(self._store, one)
            return
        now = time.monotonic()
        self._unreached = {
            place: (why, at) for place, (why, at) in self._unreached.items() if now - at < _ASKED_AGAIN_SECONDS
        }
        for place, store, found in everywhere(self._note_unreached, passed_over=frozenset(self._unreached)):
            for one in found:
                yield place, store, live(store, one)

    def _note_unreached(self, place: str, error: Exception) -> None:
        self._unreached[place] = printable(reason_for(place, error)), time.monotonic()

    def _job(self, path: str) -> tuple[CheckpointStore, Live] | None:
        _, kind, digest, operation_id = (*path.split("/", 3), "", "", "")[:4]
        store = self._store_at(digest) if kind == "job" else None
        one = live_of(store, unquote(operation_id)) if store is not None else None
        return None if store is None or one is None else (store, one)

    def _store_at(self, digest: str) -> CheckpointStore | None:
        if self._store is not None:
            return self._store if name_for(place_of(self._store) or "") == digest else None
        place = next((place for place in places() if name_for(place) == digest), None)
        return None if place is None else open_store(place)


def _no_such_job() -> str:
    return problem_page("Not found", "There is no such job; it may have finished.")


class _Handler(BaseHTTPRequestHandler):
    """Shows the server's site to visitors who have its token, and who ask for its own address."""

    server_version, sys_version = "resumable", ""
    timeout = 10

    @property
    def _ours(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        token = parse_qs(asked.query).get("token", [""])[0]
        if not self._is_for_us():
            return
        if token and _is_same(token, self._ours.site.token):
            set_cookie = f"{self._cookie}={self._ours.site.token}; Path=/; HttpOnly; SameSite=Strict"
            self._send(303, "", {"Location": asked.path or "/", "Set-Cookie": set_cookie})
        elif not _is_same(self._token(), self._ours.site.token):
            self._refuse()
        else:
            self._try(lambda: self._ours.site.answer(asked.path))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_for_us():
            return
        if not self._is_from_us() or not _is_same(self._token(), self._ours.site.token):
            self._refuse()
            return
        if not length.isdigit() or int(length) > _LONGEST_FORM:
            self._send(413, problem_page("Too long", "This is not a form of this page."))
            return
        form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
        if not _is_same(form.get("token", [""])[0], self._ours.site.token):  # a foreign page may have sent it
            self._refuse()
            return
        path = urlsplit(self.path).path
        self._try(lambda: self._ours.site.ask(path, form.get("ask", [""])[0]), {"Location": path})

    def _is_for_us(self) -> bool:
        """Whether the browser asks for our own address, not for a foreign name that resolves to it."""
        if self.headers.get("Host", "") in self._ours.hosts:
            return True
        self._send(421, problem_page("Wrong address", "Use the address that was printed."))
        return False

    def _is_from_us(self) -> bool:
        """Whether one of our own pages sends the form, as far as the browser tells."""
        origin = self.headers.get("Origin")
        return origin is None or origin in {f"http://{host}" for host in self._ours.hosts}

    @property
    def _cookie(self) -> str:
        """The name of the cookie. Browsers share cookies between the ports of a machine, so the port is part of it."""
        return f"{_COOKIE}_{self._ours.server_address[1]}"

    def _token(self) -> str:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def _refuse(self) -> None:
        self._send(403, problem_page("Not allowed", "Use the address that was printed; it ends in a token."))

    def _try(self, work: Callable[[], tuple[int, str]], more: dict[str, str] | None = None) -> None:
        try:
            status, page = work()
        except (StoreError, ValueError, OSError) as error:
            status, page = 500, problem_page("The checkpoint cannot be read", printable(str(error)))
        self._send(status, page, more if status == 303 else None)

    def _send(self, status: int, page: str, more: dict[str, str] | None = None) -> None:
        body = page.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in (_HEADERS | {"Content-Length": str(len(body))} | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the address holds the token."""


def _is_same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


class Server(ThreadingHTTPServer):
    """Serves *site* on 127.0.0.1, each request in a thread of its own; *port* 0 takes any free port.

    Attributes:
        hosts: What a browser may call this server.

    Raises:
        OSError: It cannot listen on *port*.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.site = site
        port = self.server_address[1]
        self.hosts = {f"{host}:{port}" for host in _NAMES} | (_NAMES if port == 80 else set())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that left before they got their page."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@click.command("serve", short_help="Show all jobs in a browser, on this machine only.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8788,
    metavar="PORT",
    help="The port (default: 8788); 0 takes a free one.",
)
@click.option("--allow-control", is_flag=True, help="Let visitors pause, stop and retry jobs.")
@click.option("--dir", "--store", "where", metavar="DIR", help="Show only this place; without it, all known places.")
def serve_command(port: int, allow_control: bool, where: str | None) -> None:
    """Show all jobs of this user, or those of one place, in a browser: their present state, events and reports.

    It listens on 127.0.0.1 only. Visitors need the printed address, which ends in a token. They can change nothing
    unless --allow-control is given. Ctrl-C ends it.
    """
    logging.getLogger("resumable").setLevel(logging.CRITICAL)  # the pages themselves say what cannot be read
    site = Site(opened(where) if where is not None else None, allows_control=allow_control)
    try:
        server = Server(site, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror or error}; try --port 0") from None
    click.echo(f"http://127.0.0.1:{server.server_address[1]}/?token={site.token}")
    with server:
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            click.echo("", err=True)
