"""A bucket refuses what would not be safe, and tells no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumable import StoreError, open_store
from tests.support.media import ACCESS, place_in
from tests.support.stores import put

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path: Path) -> str:
    return place_in("moto", tmp_path)


def test_a_bucket_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(StoreError, match=r"s3://nowhere.* has no such bucket"):
        put(open_store(url.replace("s3://bucket/", "s3://nowhere/")), "crawl", b"x")


def test_plain_http_to_another_machine_must_be_asked_for() -> None:
    place = "s3://bucket/there?endpoint=http://192.0.2.1&region=us-east-1"
    with pytest.raises(ValueError, match="allow_http=true"):
        open_store(place)
    open_store(f"{place}&allow_http=true")


def test_no_credential_is_told(url: str) -> None:
    """The client's own words show the whole request."""
    store = open_store(url.replace("?", "?access_key_id=of-a-secret&secret_access_key=very-secret&"))
    for text in (repr(store), str(store.describe()), str(store.describe("crawl"))):
        assert "secret" not in text
    away = open_store("s3://bucket/x?endpoint=http://127.0.0.1:9&region=a&secret_access_key=very-secret")
    with pytest.raises(StoreError) as caught:
        away.read("crawl")
    assert "very-secret" not in str(caught.value)
    assert ACCESS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, the client asks the machine that it believes to run on, and its error tells only of that."""
    for name in ACCESS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    store = open_store("s3://bucket/x?region=us-east-1")

    with pytest.raises(StoreError, match=r"s3://bucket/x: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET"):
        store.read("crawl")
