"""Databases as stores: servers that hang, end connections or start late; large saves; addresses; tables."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from resumable import StaleCheckpointError, StoreError, checkpointed, every, open_store
from resumable.stores import Holder
from resumable.stores._medium import Parameters, Staged, row_key
from resumable.stores._sql import open_url
from resumable.stores._sql_dialect import Database, parsed
from tests.support import databases
from tests.support.media import place_in, shared
from tests.support.stores import claimed, document, journal, keys

SERVERS = ("postgresql", "mariadb")
on_each_server = pytest.mark.parametrize("server", SERVERS)


@pytest.mark.slow
@pytest.mark.parametrize("server", [*SERVERS, "sqlite"])
@pytest.mark.parametrize("prefix", ["Mine_", "1st_", "select"])
def test_a_prefix_may_be_any_that_is_allowed(server: str, prefix: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db" if server == "sqlite" else shared(server).url
    store = open_store(f"{url}?table_prefix={prefix}")
    for numbers in ([0, 1], [0, 1, 2]):
        with checkpointed("prefixed", every(items=1), store=store, auto_cleanup=len(numbers) == 3) as cp:
            log = cp.log("log")
            for number in cp.remaining(range(3), limit=2):
                log.append(number)
            assert list(log) == numbers
    assert keys(store) == []


@pytest.mark.parametrize("deed", ["claim", "delete"])
def test_who_stood_still_in_a_claim_or_a_delete_removes_nothing_of_the_next_owner(deed: str, tmp_path: Path) -> None:
    medium = open_url(f"sqlite:///{tmp_path}/store.db", Parameters())
    first = medium.claim("job", Holder("a", 1, "", nonce="first"), ttl=30)
    operation = row_key("job")
    row = medium.row(operation)
    assert row is not None
    second = medium.claim("job", Holder("b", 2, "", nonce="second"), ttl=30, take_over=True)
    second.put_piece("name", 0, b"theirs")
    second.commit(Staged("name", second.next, 1, 6), None, b"")
    second.append(second.next + 1, second.next, b"too", b"")
    if deed == "claim":
        medium.remove_staged(operation, row)
    else:
        with pytest.raises(StaleCheckpointError):
            first.delete()
    found = medium.read("job")
    assert found is not None
    assert (found.snapshot, found.journal) == (b"theirs", b"too")


def connections_ended(server: str, url: str) -> int:
    """End idle connections, as a cloud does. Returns how many."""
    engine = sa.create_engine(parsed(url.partition("?")[0]), isolation_level="AUTOCOMMIT")
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user"
    with engine.connect() as connection:
        if server == "postgresql":
            ended = len(connection.exec_driver_sql(query).all())
        else:
            mine = "SELECT id FROM information_schema.processlist WHERE id <> connection_id()"
            ended = 0
            for one in [one for (one,) in connection.exec_driver_sql(mine)]:
                with contextlib.suppress(sa.exc.DBAPIError):  # it has just ended by itself
                    connection.exec_driver_sql(f"KILL {one}")
                    ended += 1
    engine.dispose()
    return ended


@pytest.mark.slow
@on_each_server
def test_connections_that_are_ended_between_saves_are_made_anew(server: str, tmp_path: Path) -> None:
    url, ended = place_in(server, tmp_path), 0
    with checkpointed("job", every(items=1), store=url, auto_cleanup=False) as cp:
        log = cp.log("log")
        for number in cp.remaining(range(20)):
            log.append([number, "x" * 500])
            cp.save()
            if number % 5 == 0:
                ended += connections_ended(server, url)
    with checkpointed("job", store=url) as cp:
        assert [number for number, _ in cp.log("log")] == [*range(20)]

    assert ended >= 4


@pytest.mark.slow
@on_each_server
def test_a_run_waits_for_a_server_that_starts(server: str) -> None:
    with databases.SERVERS[server]() as own:
        own.kill()
        started = threading.Timer(2, own.restart)
        started.start()
        with checkpointed("job", store=own.url, on_store_error="continue") as cp:
            cp.tick()
        started.join()


@pytest.mark.slow
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "postgresql://127.0.0.1:1/x", "mysql://127.0.0.1:1/x"])
def test_a_wrong_address_ends_the_run_without_its_patience(url: str) -> None:
    with pytest.raises(StoreError, match=r"127\.0\.0\.1"), checkpointed("job", store=url, patience=3600):
        pass


@pytest.mark.slow
@on_each_server
def test_many_processes_may_make_the_tables_at_once(server: str, tmp_path: Path) -> None:
    url, problems = place_in(server, tmp_path), list[BaseException]()

    def claim(number: int) -> None:
        try:
            store = open_store(f"{url}&lease={30 + number}")  # a store, and connections, of its own
            with claimed(store, f"job-{number}") as lease:
                lease.stage(lease.next, [b"x"])(b"")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert len(keys(open_store(url))) == 8


@pytest.mark.slow
@pytest.mark.parametrize("server", [*SERVERS, "sqlite"])
def test_a_save_may_be_larger_than_what_a_server_takes_at_once(server: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db" if server == "sqlite" else place_in(server, tmp_path)
    store, large = open_store(url), bytes(range(256)) * 80_000
    with claimed(store, "job") as lease:
        lease.stage(lease.next, [large, large])(b"")
        lease.append(lease.next, large)
        lease.append(lease.next, b"end")
        assert document(store, "job") == large + large
        assert journal(store, "job") == large + b"end"
        lease.stage(lease.next, [b"small"])(b"")
        lease.stage(lease.next, [b"smaller"])(b"")
    assert left_in(url) == ["smaller", "small"]


def left_in(url: str) -> list[str]:
    """The pieces that are still there, if they are short."""
    bare, _, query = url.partition("?")
    prefix = query.removeprefix("table_prefix=") or "resumable_"
    engine = sa.create_engine(parsed(bare))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT data FROM {prefix}pieces ORDER BY length(data) DESC")
        left = [bytes(data).decode() for (data,) in rows]
    engine.dispose()
    return left


def test_what_was_staged_and_never_committed_leaves_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with claimed(open_store(url), "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        lease.stage(lease.next, [b"never"])
    assert left_in(url) == ["x"]
    Database(parsed(url)).run("UPDATE resumable_operations SET snapshot = NULL")
    with claimed(open_store(url), "job"):
        assert left_in(url) == []


def test_an_operation_that_saved_nothing_leaves_no_row(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with claimed(open_store(url), "job"):
        pass
    assert Database(parsed(url)).rows("SELECT count(*) FROM resumable_operations") == [(0,)]


def test_to_look_makes_no_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url)
    assert store.read("job") is None
    assert [*store.list()] == []
    with sa.create_engine(parsed(url)).connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0


def test_two_urls_are_two_stores_and_one_is_one(tmp_path: Path) -> None:
    url: Any = f"sqlite:///{tmp_path}/store.db"
    assert open_store(url) is open_store(url)
    one, other = open_store(f"{url}?table_prefix=a_"), open_store(f"{url}?table_prefix=b_")
    with claimed(one, "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")
        assert [*other.list()] == []
        other.claim("job", Holder.me()).release()
