"""Object stores: what a service must see to, what a save costs there, and what is removed."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resumable import StoreError, checkpointed, open_store
from resumable.stores import EndingLease, Holder, Lease
from tests.support.media import ACCESS, place_in, shared
from tests.support.proxy import Proxy
from tests.support.stores import claimed, document, journal, put

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path: Path) -> str:
    return place_in("moto", tmp_path)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    found = re.search(r"127\.0\.0\.1:(\d+)", shared("moto").url)
    assert found is not None
    with Proxy(int(found[1])) as proxy:
        yield proxy


def objects(url: str) -> list[str]:
    """The names of all objects of that place."""
    import obstore
    from obstore.store import S3Store

    place, _, query = url.partition("?")
    options = dict(one.split("=", 1) for one in query.split("&"))
    store = S3Store.from_url(place, **options, client_options={"allow_http": True})  # type: ignore[arg-type]
    return sorted(found["path"] for some in obstore.list(store) for found in some)


def append(lease: Lease, *segments: bytes) -> None:
    for segment in segments:
        lease.append(lease.next, segment)


class Refusing(BaseHTTPRequestHandler):
    """A service that says no to all, in its own way."""

    answer = 403, "AccessDenied", "no"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, code, message = self.answer
        body = f'<?xml version="1.0"?>\n<Error>\n<Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        self.send_response(status)
        self.send_header("Content-Length", f"{len(body)}")
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_PUT

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ((403, "InvalidAccessKeyId", "The key does not exist."), False),
        ((403, "RequestTimeTooSkewed", "The clocks differ."), False),
        ((400, "AuthorizationHeaderMalformed", "The region is wrong; expecting 'eu-central-1'"), False),
        ((400, "ExpiredToken", "The token has expired."), True),
        ((503, "SlowDown", "Please reduce your request rate."), True),
    ],
)
def test_why_a_service_refuses_is_told(
    answer: tuple[int, str, str], passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own words; credentials that have run out may be renewed."""
    monkeypatch.setattr(Refusing, "answer", answer)
    for name, value in ACCESS.items():
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        store = open_store(f"s3://bucket?endpoint=http://127.0.0.1:{service.server_port}&region=us-east-1")
        with pytest.raises(StoreError) as caught:
            store.claim("job", Holder.me())
        service.shutdown()

    assert f": {answer[1]}: {answer[2]}" in str(caught.value)
    assert caught.value.is_transient is passes


# -- what a service must see to ---------------------------------------------------------------------------------------


def without(*headers: bytes) -> Callable[[bytes], bytes]:
    """A service that does not know these headers."""

    def rewritten(request: bytes) -> bytes:
        for header in headers:
            request = re.sub(header + b":", b"x" * len(header) + b":", request, flags=re.IGNORECASE)
        return request

    return rewritten


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        pytest.param((b"If-None-Match",), "only if there is none .If-None-Match.", id="create"),
        pytest.param((b"If-Match",), "the request named another version .If-Match.", id="replace"),
    ],
)
def test_a_service_that_ignores_conditions_is_refused_with_what_it_did(
    headers: tuple[bytes, ...], what: str, url: str, proxy: Proxy
) -> None:
    proxy.rewrite = without(*headers)
    with pytest.raises(StoreError, match=f"overwrote an object .*{what}"):
        put(open_store(proxy.url(url)), "crawl", b"x")

    assert objects(url) == []


def test_what_it_says_of_itself_opens_it_again(url: str) -> None:
    with checkpointed("crawl", store=url, auto_cleanup=False) as cp:
        cp.tick()

    assert [entry.key for entry in open_store(str(open_store(url).describe())).list()] == ["crawl"]
    secret = open_store("s3://b/x?region=a&endpoint=https://user:very-secret@s3.test")
    assert "very-secret" not in str(secret.describe())


FORK = """
import os, sys
from resumable import StoreError, open_store
store = open_store(sys.argv[1])
store.read("crawl")
child = os.fork()
if child == 0:
    refused = 0
    for verb in (lambda: store.read("crawl"), lambda: open_store(sys.argv[1]).read("crawl")):
        try:
            verb()
        except StoreError as error:
            refused += "forkserver" in str(error)
    os._exit(refused)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_is_refused_and_does_not_hang(url: str) -> None:
    assert subprocess.run([sys.executable, "-B", "-c", FORK, url], timeout=300).returncode == 2


# -- what a save costs ------------------------------------------------------------------------------------------------


def test_a_save_is_one_request_and_now_and_then_a_second_one(url: str, proxy: Proxy) -> None:
    with claimed(open_store(proxy.url(url)), "crawl") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        before = proxy.answers
        append(lease, *(b"%d" % number * 20_000 for number in range(50)))

        assert 50 <= proxy.answers - before <= 56


def test_auto_saves_each_thirty_seconds_there(url: str) -> None:
    assert open_store(url).traits.least_interval == 30


# -- what is kept, and what is removed --------------------------------------------------------------------------------


def test_a_long_journal_has_objects_of_its_own_and_comes_back_whole(url: str) -> None:
    segments = [bytes([65 + number]) * 100_000 for number in range(12)]
    with claimed(open_store(url), "crawl") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        append(lease, *segments)

    assert journal(open_store(url), "crawl") == b"".join(segments)
    assert sum("log-" in name for name in objects(url)) == 3


def test_what_two_folds_have_made_needless_is_removed(url: str) -> None:
    store = open_store(url)
    with claimed(store, "crawl") as lease:
        lease.stage(lease.next, [b"0"])(b"")
        for fold in range(1, 5):
            append(lease, *[b"x" * 100_000] * 6)
            lease.stage(lease.next - 1, [b"%d" % fold])(b"")
    left = objects(url)

    assert document(store, "crawl") == b"4"
    assert sum(name.endswith("-00000") for name in left) == 2
    assert sum("log-" in name for name in left) <= 3
    with claimed(store, "crawl") as lease:
        lease.delete()
    assert [name.rpartition("/")[2] for name in objects(url)] == ["head"]


def test_what_an_owner_has_staged_and_not_committed_is_removed_by_the_next(url: str) -> None:
    store = open_store(url)
    lease = store.claim("crawl", Holder.me())
    lease.stage(lease.next, [b"kept"])(b"")
    lease.stage(lease.next, [b"staged"])
    taken = store.claim("crawl", Holder.me(), take_over=True)

    assert len(objects(url)) == 2
    assert document(store, "crawl") == b"kept"
    taken.release()


@pytest.mark.parametrize("patience", [60.0, 0.0], ids=["made again", "given up"])
def test_a_commit_whose_answer_was_lost_is_not_removed_as_what_was_never_committed(
    patience: float, url: str, proxy: Proxy
) -> None:
    with claimed(open_store(proxy.url(url)), "crawl") as lease:
        assert isinstance(lease, EndingLease)
        lease.keep(lambda: None, patience)
        commit = lease.stage(lease.next, [b"all of it"])
        proxy.lose = {proxy.answers}
        with suppress(StoreError):
            commit(b"")
        proxy.lose = frozenset()
    assert document(open_store(url), "crawl") == b"all of it"
