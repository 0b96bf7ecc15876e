"""Redis servers that are several: a cluster, one that loses its master, one that wants replicas, and a Sentinel."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from resumable import StoreError, checkpointed, every, open_store, read
from resumable.stores import EncryptedStore
from resumable.stores._redis_server import client_of
from tests.support.media import ALWAYS, Medium, MissingServer, free_port
from tests.support.media import redis as redis_server
from tests.support.stores import claimed, keys, put

pytestmark = pytest.mark.slow


def port_of(server: Medium) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def asked(server: Medium) -> redis.Redis:
    return redis.Redis(port=port_of(server), decode_responses=True)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Medium]]:
    """Three servers of one cluster: two have half of all keys each, the third one is the replica of the first."""
    with contextlib.ExitStack() as stack:
        try:
            found = [
                stack.enter_context(
                    redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()), *ALWAYS)
                )
                for _ in range(3)
            ]
        except MissingServer as missing:
            pytest.skip(str(missing))
        first, second, third = clients = [asked(one) for one in found]
        first.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16383)
        bus = int(str(first.config_get("cluster-port")["cluster-port"]))
        for other in (second, third):
            other.execute_command("CLUSTER MEET", "127.0.0.1", port_of(found[0]), bus)
        until(lambda: all("cluster_state:ok" in text(one, "INFO") for one in clients))
        until(lambda: all(len(text(one, "NODES").splitlines()) == 3 for one in clients))
        third.execute_command("CLUSTER REPLICATE", text(first, "MYID"))
        until(lambda: asked(found[2]).info("replication").get("master_link_status") == "up")
        yield found


def text(client: redis.Redis, what: str) -> str:
    """The answer to a CLUSTER command, as it is sent."""
    client = redis.Redis(port=client.get_connection_kwargs()["port"])
    client.response_callbacks.clear()
    answer = client.execute_command("CLUSTER", what)
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def test_operations_lie_on_all_nodes_of_a_cluster(nodes: list[Medium]) -> None:
    url, names = nodes[0].url, [f"job-{number}" for number in range(6)]
    for name in names:
        with checkpointed(name, every(items=1), store=url, auto_cleanup=False) as cp:
            sizes = cp.mapping("sizes")
            sizes.update({str(number): "x" * 50 for number in range(300)})
            for number in cp.remaining(range(5)):
                sizes[str(number)] = number
        with claimed(open_store(url), name) as lease:
            lease.put_artifact("v1", [b"a" * 3_000_000])  # type: ignore[attr-defined]

    counts = [asked(node).dbsize() for node in nodes[:2]]
    assert all(counts)
    store = open_store(nodes[1].url)
    assert keys(store)[: len(names)] == names
    for name in names:
        assert [read(name, store).state["sizes"][str(number)] for number in range(5)] == [*range(5)]
        assert b"".join(store.read_artifact(name, "v1")) == b"a" * 3_000_000  # type: ignore[attr-defined]
    with claimed(store, names[0]) as lease:
        assert lease.delete()
    assert names[0] not in keys(store)


def test_an_encrypted_one_lies_in_a_cluster_too(nodes: list[Medium]) -> None:
    store = EncryptedStore(nodes[0].url, EncryptedStore.new_key())
    with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        for number in cp.remaining(range(5)):
            cp.log("numbers").append(number)

    assert read("job", store).collections["numbers"] == [*range(5)]


def test_a_loop_goes_on_when_a_replica_takes_the_place_of_its_master(nodes: list[Medium]) -> None:
    """What the replica has not got is written anew. The last test of these nodes."""
    store = open_store(nodes[1].url)  # which stays
    on_first = next(name for name in map(str, range(99)) if is_on(nodes[0], name))
    with checkpointed(on_first, every(items=1), store=store, auto_cleanup=False) as cp:
        for number in cp.remaining(range(30)):
            cp.state["number"] = number
            if number == 10:
                nodes[0].kill()
                asked(nodes[2]).execute_command("CLUSTER FAILOVER TAKEOVER")

    assert read(on_first, store).state["number"] == 29


def is_on(node: Medium, operation_id: str) -> bool:
    from resumable.stores._medium import row_key

    slot: Any = asked(node).execute_command("CLUSTER KEYSLOT", f"{{{row_key(operation_id)[:32]}}}")
    return int(slot) < 8192


def test_a_server_that_wants_replicas_says_so_until_it_has_one() -> None:
    options = (*ALWAYS, "--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0")
    with redis_server(*options) as master:
        with pytest.raises(StoreError, match=r"NOREPLICAS Not enough good replicas to write\.$"):
            put(open_store(master.url), "job", b"x")
        with redis_server(*ALWAYS, "--replicaof", f"127.0.0.1 {port_of(master)}"):
            until(lambda: asked(master).info("replication").get("min_slaves_good_slaves", 0) > 0)
            put(open_store(master.url), "job", b"x")

    assert open_store(master.url)


# -- Sentinels --------------------------------------------------------------------------------------------------------

SECRET, OTHER_SECRET = "of the/m@ster%", "of-sentinels"


def sentinel(watches: int) -> Medium:
    """One of three that watch the master at that port, as ``mymaster``."""
    port = free_port()
    lines = [
        *(f"port {port}", "bind 127.0.0.1", f"requirepass {OTHER_SECRET}", f"sentinel sentinel-pass {OTHER_SECRET}"),
        *(f"sentinel monitor mymaster 127.0.0.1 {watches} 2", f'sentinel auth-pass mymaster "{SECRET}"'),
        *("sentinel down-after-milliseconds mymaster 3000", "sentinel failover-timeout mymaster 3000"),
    ]

    def command(place: Path) -> list[str]:
        (place / "sentinel.conf").write_text("\n".join(lines))
        return ["redis-server", str(place / "sentinel.conf"), "--sentinel"]

    def is_up() -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(redis.Redis(port=port, password=OTHER_SECRET).ping())
        return False

    return Medium(command, is_up, f"redis://:{OTHER_SECRET}@127.0.0.1:{port}/0")


class Watched:
    """A master, its replica, three Sentinels, and the URL of the master that they name."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        with_password = (*ALWAYS, "--masterauth", SECRET, "--repl-diskless-sync-delay", "0")
        try:
            self.master = stack.enter_context(redis_server(*with_password))
        except MissingServer as missing:
            pytest.skip(str(missing))
        replica = stack.enter_context(redis_server(*with_password, "--replicaof", f"127.0.0.1 {port_of(self.master)}"))
        for one in (self.master, replica):
            asked(one).config_set("requirepass", SECRET)
        self.client = redis.Redis(port=port_of(self.master), password=SECRET)
        self.replica = redis.Redis(port=port_of(replica), password=SECRET)
        until(lambda: self.replica.info("replication")["master_link_status"] == "up")
        self.ports = [port_of(stack.enter_context(sentinel(port_of(self.master)))) for _ in range(3)]
        until(lambda: all(map(self._knows_all, self.ports)))
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.place = f"redis://{hosts}/0?sentinel=mymaster"
        self.url = self.place.replace("//", f"//:{quote(SECRET, safe='')}@") + f"&sentinel_password={OTHER_SECRET}"

    def has_come(self) -> bool:
        """Whether the replica has all that the master has."""
        offsets = [one.info("replication")["master_repl_offset"] for one in (self.client, self.replica)]
        return offsets[0] == offsets[1]

    def _knows_all(self, port: int) -> bool:
        masters: Any = redis.Redis(port=port, password=OTHER_SECRET).sentinel_masters()
        state = masters["mymaster"]
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


@pytest.fixture(params=[False, True], ids=["all has come", "some has not come"])
def watched(request: pytest.FixtureRequest) -> Iterator[tuple[Watched, bool]]:
    with contextlib.ExitStack() as stack:
        yield Watched(stack), request.param


def test_a_loop_goes_on_where_sentinels_name_another_master(
    watched: tuple[Watched, bool], caplog: pytest.LogCaptureFixture
) -> None:
    """What was acknowledged, and had not come to the replica that takes over, is written anew."""
    servers, loses = watched
    store = open_store(servers.url)
    assert store.describe() == servers.place
    with checkpointed("job", every(items=1), store=store, auto_cleanup=False) as cp:
        numbers, texts = cp.log("numbers"), cp.mapping("texts")
        texts.update({str(number): "x" * 50 for number in range(300)})
        cp.save()
        for number in cp.remaining(range(30)):
            numbers.append(number)
            if loses and number == 8:
                servers.replica.replicaof("NO", "ONE")
            if number == 15:
                cp.save()
                if not loses:
                    until(servers.has_come)
                servers.master.kill()

    assert read("job", store).collections["numbers"] == [*range(30)]
    assert ("has lost saves" in caplog.text) is loses


def test_a_name_that_sentinels_do_not_know_is_told_and_no_password(
    watched: tuple[Watched, bool], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    servers, _ = watched
    wrong = servers.url.replace("mymaster", "nobody")
    with pytest.raises(StoreError, match=r"No master found for 'nobody'$") as caught:
        put(open_store(wrong), "job", b"x")
    alone = f"redis://:{OTHER_SECRET}@127.0.0.1:{servers.ports[0]}/0"
    with pytest.raises(StoreError, match=r"is a Sentinel, .* add its name: redis://127.0.0.1:\d+/0\?sentinel=") as too:
        put(open_store(alone), "job", b"x")
    with pytest.raises(ValueError, match=r"\?sentinel=NAME") as other:
        open_store(alone.replace("redis", "redis+sentinel"))

    told = f"{caught.value!r} {too.value!r} {other.value!r} {caplog.text}"
    assert quote(SECRET, safe="") not in told
    assert SECRET not in told
    assert OTHER_SECRET not in told


def test_a_pool_of_one_connection_has_it_still() -> None:
    """The options of the URL are tried without taking it."""
    client_of("redis://localhost/0?max_connections=1").connection_pool.make_connection()
