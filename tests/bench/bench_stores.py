"""What a save of 100 changed among 1e5 entries costs in a store beside the bare statement that writes its bytes.

``python -m tests.bench.bench_stores [sqlite postgresql mariadb redis] [URL…]``. Servers are started for it and sync
what they acknowledge. In turns, one by one; medians of many. "Store" is the append of a lease, "save" a whole
``cp.save()``, which gathers and encodes what has changed, too. Then the time to read all of it, beside a query for its
bytes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGBLOB

from resumable import checkpointed, every, open_store
from resumable.stores import Holder
from resumable.stores._sql_dialect import parsed
from tests.bench.bench_saves import CHANGED, record
from tests.support.databases import mariadb, postgresql
from tests.support.media import Medium, redis

ROUNDS = 150
ENTRIES = 100_000
LINE_BYTES = 17_800
"""As long as what such a save writes."""
SERVERS: dict[str, Callable[[], Medium]] = {
    "postgresql": partial(postgresql, "-c", "fsync=on"),
    "mariadb": partial(mariadb, "--innodb-flush-log-at-trx-commit=1"),
    "redis": redis,  # appendfsync always
}
"""Each syncs what it acknowledges."""


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class BareSQL:
    """A row for each save, on one connection."""

    def __init__(self, url: str) -> None:
        address = parsed(url.partition("?")[0])
        options: dict[str, Any] = {"timeout": 10} if address.get_backend_name() == "sqlite" else {}
        engine = sa.create_engine(address, isolation_level="AUTOCOMMIT", connect_args=options)
        self._connection = engine.connect()
        if address.get_backend_name() == "sqlite":
            self._connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            self._connection.exec_driver_sql("PRAGMA synchronous=FULL")
        table = sa.Table("bare", sa.MetaData(), sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False))
        table.append_column(sa.Column("data", sa.LargeBinary().with_variant(LONGBLOB(), "mysql")))
        table.create(self._connection)
        self._cursor: Any = self._connection.connection.cursor()
        self._mark = "?" if address.get_backend_name() == "sqlite" else "%s"
        self._next = 0

    def insert(self, data: bytes) -> None:
        self._next += 1
        self._cursor.execute(f"INSERT INTO bare (seq, data) VALUES ({self._mark}, {self._mark})", (self._next, data))

    def rows(self) -> list[bytes]:
        self._cursor.execute(f"SELECT data FROM bare WHERE seq > {self._mark} ORDER BY seq", (0,))
        return [row[0] for row in self._cursor.fetchall()]

    def clear(self) -> None:
        self._cursor.execute("DELETE FROM bare")

    def close(self) -> None:
        self._connection.close()


class BareRedis:
    """An entry of a stream for each save, on one connection."""

    def __init__(self, url: str) -> None:
        from redis import Redis

        self._client: Any = Redis.from_url(url, single_connection_client=True)

    def insert(self, data: bytes) -> None:
        self._client.xadd("bare", {"d": data})

    def rows(self) -> list[bytes]:
        return [entry[b"d"] for _, entry in self._client.xrange("bare")]

    def clear(self) -> None:
        self._client.delete("bare")

    def close(self) -> None:
        self._client.close()


def bare_of(url: str) -> BareSQL | BareRedis:
    """The least that a program of one's own would do."""
    return BareRedis(url) if url.startswith("redis") else BareSQL(url)


def measure(name: str, url: str) -> None:
    with closing(bare_of(url)) as bare:
        lease = open_store(url).claim("appends", Holder.me())
        lease.stage(lease.next, [b"{}"])(b"")
        with checkpointed("job", every(hours=1), store=url, auto_cleanup=False) as cp:
            files = cp.mapping("files")
            files.update({str(number): record(number) for number in range(ENTRIES)})
            cp.save()
            line = b"x" * LINE_BYTES
            told: dict[str, list[float]] = {"bare": [], "store": [], "save": []}
            for turn in range(ROUNDS):
                told["bare"].append(seconds(lambda: bare.insert(line)))
                told["store"].append(seconds(lambda: lease.append(lease.next, line, b"{}")))
                for number in range(CHANGED):
                    files[str((turn * CHANGED + number) % ENTRIES)] = record(turn + number)
                told["save"].append(seconds(cp.save))
        lease.release()
        least, store, save = (statistics.median(times) * 1000 for times in told.values())
        stored = open_store(url).read("job")
        assert stored is not None
        bare.clear()
        for start in range(0, len(stored.snapshot), 1 << 20):
            bare.insert(stored.snapshot[start : start + (1 << 20)])
        bare.insert(stored.journal)
        raw = min(seconds(bare.rows) for _ in range(5)) * 1000
        read = min(seconds(lambda: open_store(url).read("job")) for _ in range(5)) * 1000
    print(
        f"{name:<12} bare {least:6.2f} ms   store {store:6.2f} ms ({store / least:4.2f})   "
        f"save {save:6.2f} ms ({save / least:4.2f})   read {read:5.0f} ms beside {raw:5.0f} ms",
        flush=True,
    )


def main() -> None:
    asked = sys.argv[1:] or ["sqlite", *SERVERS]
    for name in asked:
        if name == "sqlite":
            with tempfile.TemporaryDirectory() as place:
                measure(name, f"sqlite:///{Path(place) / 'store.db'}")
        elif name in SERVERS:
            with SERVERS[name]() as server:
                measure(name, server.url)
        else:
            measure(name.partition(":")[0], name)


if __name__ == "__main__":
    main()
