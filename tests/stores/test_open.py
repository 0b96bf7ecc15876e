"""From what a user writes to a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable import open_store
from resumable.stores import FileStore, MemoryStore
from resumable.stores._open import without_own
from tests.support.stores import DictStore, claimed, document


def test_a_directory_is_a_file_store_however_it_is_written(tmp_path: Path) -> None:
    for where in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        store = open_store(where)
        assert isinstance(store, FileStore)
        assert Path(str(store.describe())) == tmp_path


def test_a_store_is_itself_and_a_url_names_one_store() -> None:
    store = MemoryStore()

    assert open_store(store) is store
    assert open_store("memory://one") is open_store("memory://one")
    assert open_store("memory://one") is not open_store("memory://other")


def test_a_directory_has_an_escaped_url() -> None:
    for url in ("file:///my%20files/a%3Fb", "file://localhost/my%20files/a%3Fb?lease=5"):
        assert str(open_store(url).describe()) == "/my files/a?b"
    assert str(open_store("file:///runs/#2;a").describe()) == "/runs/#2;a"


def test_memory_has_layers_too() -> None:
    with claimed(open_store("memory://layers?compress=zstd"), "job") as lease:
        lease.stage(lease.next, [b"x" * 1000])(b"")
        assert document(open_store("memory://layers?compress=zstd"), "job") == b"x" * 1000
    assert next(open_store("memory://layers?compress=zstd").list()).size < 100


def test_spaces_around_a_url_and_capitals_in_its_scheme_do_not_matter() -> None:
    assert open_store(" Memory://one\n") is open_store("memory://one")
    assert open_store("REDIS://there/0\n").describe() == "redis://there/0"


def test_a_driver_that_is_not_installed_is_told_with_the_way_without_it(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"needs pg8000, .* pip install pg8000  or use postgresql:// instead"):
        open_store("postgresql+pg8000://there/db")


def test_a_simple_store_is_wrapped() -> None:
    assert open_store(DictStore()).claim is not None


@pytest.mark.parametrize(
    ("where", "says"),
    [
        pytest.param("ftp://there", "no store for ftp://", id="unknown"),
        pytest.param("postgresq://u@h/db", "no store for postgresq://.* did you mean postgresql://?", id="close"),
        pytest.param("redis:/there", "a URL begins with redis://", id="one slash"),
        pytest.param("redis//there", "a URL begins with redis://", id="no colon"),
        pytest.param("s3:there", "a URL begins with s3://", id="no slash"),
        pytest.param("sqlite:x.db", "a URL begins with sqlite://", id="a file"),
        pytest.param('"redis://there"', "a URL begins with redis://", id="in quotes"),
        pytest.param("memory:", "a URL begins with memory://", id="memory"),
        pytest.param("redis://there?leese=5", "Redis has no option 'leese'", id="option"),
        pytest.param("sqlite+aiosqlite:///x.db", "a driver for async code only; write sqlite://", id="async"),
        pytest.param("sqlite:///x.db?lease=soon", "lease must be a number of seconds, not 'soon'", id="no number"),
        pytest.param("sqlite:///x.db?lease=0", "lease must be a number of seconds above 0", id="no time"),
        pytest.param("sqlite:///x.db?lease=1&lease=2", "lease is given twice", id="twice"),
        pytest.param("sqlite:///x.db?table_prefix=a-b", "table_prefix must have only letters", id="prefix"),
        pytest.param("file:///x?compress=zstd", "plain JSON; for compressed ones use", id="directory compressed"),
        pytest.param("file:///x?table_prefix=a", "a directory has no tables", id="directory with tables"),
        pytest.param("file:///x?what=1", "a directory takes no what", id="directory with a query"),
        pytest.param("sqlite:///x.db?compress=gzip", "compress must be 'zstd'", id="compression"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(where: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        open_store(where)


def test_what_is_no_store_is_told() -> None:
    with pytest.raises(TypeError, match="a store is a directory, a URL or an object with get"):
        open_store(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "bare", "own"),
    [
        ("redis://h/0", "redis://h/0", {}),
        ("redis://h/0?lease=5", "redis://h/0", {"lease": "5"}),
        ("s3://b?a=%20&compress=zstd&b", "s3://b?a=%20&b", {"compress": "zstd"}),
    ],
)
def test_a_driver_sees_its_own_parameters_only(url: str, bare: str, own: dict[str, str]) -> None:
    assert without_own(url) == (bare, own)
