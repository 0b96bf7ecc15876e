"""Redis and Valkey: what the server keeps is said, what it has lost is found out, and what is needless ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from resumable import StoreBehindError, StoreError, checkpointed, every, open_store
from resumable.stores import Holder
from tests.support.media import Medium, MissingServer, forgetful, place_in, shared
from tests.support.media import redis as redis_server
from tests.support.stores import claimed, delete, document, journal, put


@pytest.fixture
def url(tmp_path: Path) -> str:
    return place_in("redis", tmp_path)


@pytest.fixture
def forgetting() -> Iterator[Medium]:
    try:
        with forgetful() as server:
            yield server
    except MissingServer as missing:
        pytest.skip(str(missing))


def test_a_server_that_may_lose_saves_is_warned_of_once(forgetting: Medium, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(forgetting.url)
    for key in ("one", "other"):
        put(store, key, b"x")
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]

    assert len(told) == 1
    assert "no append-only file" in told[0]


def test_a_server_that_evicts_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server:
        put(open_store(server.url), "crawl", b"x")

    assert "allkeys-lru" in caplog.text


def test_a_replica_is_refused() -> None:
    port = shared("redis").url.rpartition(":")[2].partition("/")[0]
    with (
        redis_server("--appendonly", "yes", "--replicaof", f"127.0.0.1 {port}") as server,
        pytest.raises(StoreError, match="is a replica"),
    ):
        put(open_store(server.url), "crawl", b"x")


def test_a_server_that_has_lost_what_it_acknowledged_is_found_out(forgetting: Medium) -> None:
    store = open_store(forgetting.url)
    lease = store.claim("crawl", Holder.me())
    lease.stage(lease.next, [b"x"])(b"")
    lease.append(lease.next, b"1\n")
    forgetting.restart()
    with pytest.raises(StoreBehindError):
        lease.append(lease.next, b"2\n")
    lease.stage(lease.where(), [b"everything"])(b"")
    lease.append(lease.next, b"3\n")
    lease.release()

    assert (document(store, "crawl"), journal(store, "crawl")) == (b"everything", b"3\n")


@pytest.mark.slow
def test_a_loop_goes_on_though_its_server_has_forgotten_all(
    forgetting: Medium, caplog: pytest.LogCaptureFixture
) -> None:
    with checkpointed("crawl", every(items=1), store=forgetting.url, auto_cleanup=False) as cp:
        log = cp.log("pages")
        for page in cp.remaining(range(40)):
            log.append([page, "x" * 1000])
            if page == 20:
                cp.save()
                forgetting.restart()
    with checkpointed("crawl", store=forgetting.url, when_done="skip") as cp:
        assert [page for page, _ in cp.log("pages")] == [*range(40)]
    assert "lost saves" in caplog.text


@pytest.mark.slow
def test_an_artifact_that_its_server_has_forgotten_is_put_there_anew(forgetting: Medium) -> None:
    with checkpointed("crawl", every(items=1), store=forgetting.url, auto_cleanup=False) as cp:
        for page in cp.remaining(range(20)):
            if page == 5:
                with cp.artifact("model").write() as path:
                    path.write_bytes(b"m" * 3_000_000)
            if page == 10:
                cp.save()
                forgetting.restart()
    with checkpointed("crawl", store=forgetting.url, when_done="skip") as cp:
        assert cp.artifact("model").path.read_bytes() == b"m" * 3_000_000


def test_what_is_deleted_leaves_a_mark_that_ends_by_itself(url: str) -> None:
    store = open_store(url)
    put(store, "crawl", b"x")
    with claimed(store, "crawl") as lease:
        lease.append(lease.next, b"1\n")
    prefix = url.partition("table_prefix=")[2]
    client = redis.Redis.from_url(url.partition("?")[0])
    try:
        lasting = [key for key in client.scan_iter(f"{prefix}*") if client.ttl(key) < 0]
        assert {key.rpartition(b":")[2] for key in lasting} == {b"op", b"log", b"snap", b"ids"}
        delete(store, "crawl")
        left = {key.rpartition(b":")[2]: client.ttl(key) for key in client.scan_iter(f"{prefix}*")}
    finally:
        client.close()

    assert set(left) == {b"op", b"ids"}
    assert 0 < left[b"op"] <= 7 * 86400


@pytest.mark.slow
@pytest.mark.parametrize("url", ["redis://user:very-secret@127.0.0.1:9/0", "valkey://:very-secret@127.0.0.1:9/0"])
def test_no_password_is_told(url: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreError) as caught:
        store.claim("crawl", Holder.me())

    for text in (repr(store), str(store.describe("crawl")), str(caught.value)):
        assert "secret" not in text
