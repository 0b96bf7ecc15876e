"""Addresses of databases, and connections that fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, StoreError, checkpointed, open_store
from resumable.stores._sql_dialect import address, parsed
from tests.support.media import place_in, shared
from tests.support.proxy import Proxy
from tests.support.stores import claimed, document

SERVERS = ("postgresql", "mariadb")


on_each_server = pytest.mark.parametrize("server", SERVERS)


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    found = re.search(r"127\.0\.0\.1:(\d+)", shared(server).url)
    assert found is not None
    with Proxy(int(found[1])) as proxy:
        yield proxy


@pytest.mark.slow
@on_each_server
def test_a_server_that_says_nothing_is_given_up(
    server: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resumable.stores._sql_dialect.REQUEST_SECONDS", 1)
    monkeypatch.setattr("resumable.stores._lease._LOOK_SECONDS", 0.1)
    store = open_store(proxy.url(place_in(server, tmp_path)))
    with claimed(store, "job") as lease:
        lease.keep(lambda: None, 0)  # type: ignore[attr-defined]
        lease.stage(lease.next, [b"x"])(b"")
        proxy.may_answer.clear()
        with pytest.raises(StoreError) as caught:
            lease.append(lease.next, b"1")
        assert caught.value.is_transient
        proxy.may_answer.set()
        lease.stage(lease.where(), [b"all"])(b"")
    assert document(store, "job") == b"all"


def test_a_database_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with claimed(open_store(f"sqlite:///{tmp_path}/new/store.db"), "job"):
        assert (tmp_path / "new" / "store.db").stat().st_mode & 0o777 == 0o600


def test_a_relative_file_is_found_from_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with claimed(store, "job") as lease:
        lease.stage(lease.next, [b"x"])(b"")

    assert (tmp_path / "here.db").exists()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgres://user:pw@host:5433/db?sslmode=require", "postgresql://host:5433/db"),
        ("postgresql:///db?host=/var/run/postgresql", "postgresql:///var/run/postgresql/db"),
        ("mariadb://user:pw@[::1]/db", "mysql://[::1]/db"),
        ("mysql+pymysql://host/db", "mysql://host/db"),
    ],
)
def test_an_address_says_where_and_nothing_else(url: str, told: str) -> None:
    assert address(parsed(url)) == told


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://host", "mysql://user@host/"])
def test_a_url_without_a_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"needs a file|names no database"):
        open_store(url)


def test_what_is_damaged_tells_commands_and_not_files(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with claimed(open_store(url), "a job") as lease:
        lease.stage(lease.next, [b"damaged"])(b"")
    with (
        pytest.raises(CheckpointCorruptError, match=r"start over:  resumable rm --store \S+store\.db 'a job'"),
        checkpointed("a job", store=url),
    ):
        pass
