"""Redis servers that are several: a cluster, one that loses its master, one that wants replicas, and a Sentinel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from resumable import StoreError, checkpointed, every, open_store, read
from resumable.stores import EncryptedStore
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


def test_a_sentinel_is_refused() -> None:
    port = free_port()

    def command(place: Path) -> list[str]:
        (place / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\n")
        return ["redis-server", str(place / "sentinel.conf"), "--sentinel"]

    def is_up() -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(redis.Redis(port=port).ping())
        return False

    with redis_server():  # skips where there is none
        pass
    with (
        Medium(command, is_up, f"redis://127.0.0.1:{port}/0") as sentinel,
        pytest.raises(StoreError, match="is a Sentinel, which keeps no data"),
    ):
        put(open_store(sentinel.url), "job", b"x")
