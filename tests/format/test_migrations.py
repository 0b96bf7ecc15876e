"""v1.0 documents: all three shapes become v2.0, and nothing is lost on the way."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable._format.migrations import is_legacy, migrate

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

AS_DICT = {
    "version": "1.0",
    "files_data": {"modules/a.js": {"sha": "a1", "size": 3}, "modules/b.js": {"sha": "b2"}},
    "processed_files": ["modules/a.js", "modules/b.js"],
    "timestamp": "2024-01-15T10:30:00",
    "completed": False,
}
AS_LIST = {
    "files_data": [{"path": "modules/a.js", "sha": "a1", "size": 3}, {"path": "modules/b.js", "sha": "b2"}],
    "processed_files": ["modules/a.js"],
    "timestamp": 1705314600.25,
    "completed": True,
}
WITH_DIRS = {
    "files_data": [{"path": "modules/a.js", "sha": "a1"}],
    "processed_dirs": ["modules", "src", "test"],
    "timestamp": "2024-01-15T10:30:00",
}
KNOWN = ("version", "metadata", "timestamp", "files_data", "processed_files", "processed_dirs")


def migrated(document: dict[str, Any]) -> dict[str, Any]:
    return migrate(document, "crawl", modified_at=NOW)


def with_files(files: Any) -> dict[str, Any]:
    return {"version": "1.0", "files_data": files}


# -- the three shapes -------------------------------------------------------------------------------------------------


def test_a_dict_of_files_stays_one() -> None:
    assert migrated(AS_DICT) == {
        "version": "2.0",
        "operation_id": "crawl",
        "state": {
            "files_data": {"modules/a.js": {"sha": "a1", "size": 3}, "modules/b.js": {"sha": "b2"}},
            "processed_files": ["modules/a.js", "modules/b.js"],
            "completed": False,
        },
        "metadata": {"processed_items": 2},
        "created_at": "2024-01-15T10:30:00+00:00",
        "last_updated": "2024-01-15T10:30:00+00:00",
    }


def test_a_list_of_files_becomes_a_dict_by_path_with_all_fields() -> None:
    state = migrated(AS_LIST)["state"]

    assert state["files_data"] == {
        "modules/a.js": {"path": "modules/a.js", "sha": "a1", "size": 3},
        "modules/b.js": {"path": "modules/b.js", "sha": "b2"},
    }
    assert state["processed_files"] == ["modules/a.js"]
    assert state["completed"] is True


def test_the_form_with_directories_keeps_them_and_counts_by_them() -> None:
    document = migrated(WITH_DIRS)

    assert document["state"]["processed_dirs"] == ["modules", "src", "test"]
    assert document["metadata"]["processed_items"] == 3


def test_a_v1_document_without_any_list_counts_its_files() -> None:
    assert migrated(with_files({"a": {}, "b": {}}))["metadata"] == {"processed_items": 2}


@pytest.mark.parametrize("document", [AS_DICT, AS_LIST, WITH_DIRS], ids=["dict", "list", "dirs"])
def test_the_old_document_is_left_as_it_was_and_the_new_one_is_json(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)

    new = migrated(document)

    assert document == before
    assert json.loads(json.dumps(new)) == new
    assert not is_legacy(new)


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name not in KNOWN),
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
        max_size=6,
    ),
    st.sampled_from([AS_DICT, AS_LIST, WITH_DIRS]),
)
def test_no_unknown_key_is_lost(unknown: dict[str, Any], document: dict[str, Any]) -> None:
    state = migrated(unknown | document)["state"]

    for name, value in unknown.items():
        assert name in document or state[name] == value


@given(st.dictionaries(st.text(), st.dictionaries(st.text().filter(lambda name: name != "path"), st.integers())))
def test_no_file_and_no_field_of_one_is_lost(files: dict[str, dict[str, Any]]) -> None:
    as_list = [{"path": path} | fields for path, fields in files.items()]

    assert migrated(with_files(as_list))["state"]["files_data"] == {entry["path"]: entry for entry in as_list}


def test_the_id_is_the_one_asked_for_and_another_one_is_not_forgotten() -> None:
    other = migrated({"operation_id": "old name"} | AS_DICT)

    assert other["operation_id"] == "crawl"
    assert other["state"]["operation_id"] == "old name"
    assert "operation_id" not in migrated({"operation_id": "crawl"} | AS_DICT)["state"]


# -- metadata ---------------------------------------------------------------------------------------------------------


def test_metadata_is_kept_and_stands_before_what_is_derived() -> None:
    document = {"metadata": {"processed_items": 7, "total_items": None, "by": "the old tool"}, "total_files": 9}

    assert migrated(document | AS_DICT)["metadata"] == {
        "processed_items": 7,
        "total_items": 9,
        "by": "the old tool",
    }


@pytest.mark.parametrize("total", ["9", -1, 9.5, True, None])
def test_a_total_that_is_no_count_is_kept_but_not_believed(total: Any) -> None:
    document = migrated({"total_items": total} | AS_DICT)

    assert "total_items" not in document["metadata"]
    assert document["state"]["total_items"] == total


# -- the time stamp ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "created_at"),
    [
        pytest.param("2024-01-15T10:30:00", "2024-01-15T10:30:00+00:00", id="no zone: UTC"),
        pytest.param("2024-01-15T10:30:00.5Z", "2024-01-15T10:30:00.500000+00:00", id="Z"),
        pytest.param("2024-01-15T10:30:00+02:00", "2024-01-15T08:30:00+00:00", id="another zone"),
        pytest.param("2024-01-15 10:30:00", "2024-01-15T10:30:00+00:00", id="a space"),
        pytest.param(1705314600, "2024-01-15T10:30:00+00:00", id="seconds since 1970"),
        pytest.param(1705314600.25, "2024-01-15T10:30:00.250000+00:00", id="with a fraction"),
        pytest.param(1705314600250, "2024-01-15T10:30:00.250000+00:00", id="milliseconds"),
    ],
)
def test_the_time_stamp_becomes_the_time_of_creation_and_of_the_last_save(stamp: Any, created_at: str) -> None:
    document = migrated({**AS_DICT, "timestamp": stamp})

    assert document["created_at"] == document["last_updated"] == created_at
    assert "timestamp" not in document["state"]


@pytest.mark.parametrize(
    "stamp", ["last tuesday", "", None, True, 1e300, -(10**400), float("inf"), [2024], "0001-01-01T00:00:00+14:00"]
)
def test_a_time_stamp_that_cannot_be_read_is_kept_under_its_name(stamp: Any) -> None:
    document = migrated({**AS_DICT, "timestamp": stamp})

    assert document["created_at"] == document["last_updated"] == NOW.isoformat()
    assert document["state"]["timestamp"] == stamp


def test_without_a_time_stamp_the_file_tells() -> None:
    document = migrate(with_files({}), "crawl", modified_at=NOW.astimezone(timezone(timedelta(hours=5))))

    assert document["created_at"] == document["last_updated"] == NOW.isoformat()
    assert "timestamp" not in document["state"]


# -- what v1.0 never was ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(with_files("a.js"), "'files_data' must be an object or a list, not a text", id="text"),
        pytest.param(with_files(7), "not a number", id="number"),
        pytest.param(with_files(["a.js"]), r"files_data\[0\] must be an object .* not a text", id="bare paths"),
        pytest.param(with_files([{"path": "a"}, None]), r"files_data\[1\] must be .* not null", id="null entry"),
        pytest.param(
            with_files([{"sha": "a1"}]), r"files_data\[0\]: its 'path' must be a text, not null", id="no path"
        ),
        pytest.param(
            with_files([{"path": 3}]), r"files_data\[0\]: its 'path' must be a text, not a number", id="number path"
        ),
        pytest.param(
            with_files([{"path": "a", "sha": "1"}, {"path": "a", "sha": "2"}]),
            "two different entries for 'a'",
            id="two of one path",
        ),
        pytest.param({"processed_files": {"a": 1}}, "'processed_files' must be a list, not an object", id="files"),
        pytest.param({"processed_dirs": True}, "'processed_dirs' must be a list, not true or false", id="dirs"),
        pytest.param({**AS_DICT, "metadata": [1]}, "'metadata' must be an object, not a list", id="metadata"),
    ],
)
def test_a_field_of_another_kind_is_refused_with_a_reason(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        migrated(document)


def test_the_same_entry_twice_is_one() -> None:
    entry = {"path": "a", "sha": "1"}

    assert migrated(with_files([entry, dict(entry)]))["state"]["files_data"] == {"a": entry}


def test_null_is_nothing_yet() -> None:
    document = migrated({"files_data": None, "processed_files": None})

    assert document["state"] == {"files_data": {}, "processed_files": []}
    assert document["metadata"] == {"processed_items": 0}


# -- which documents are old ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "legacy"),
    [
        pytest.param(AS_DICT, True, id="says so"),
        pytest.param(AS_LIST, True, id="no version, but its fields"),
        pytest.param(WITH_DIRS, True, id="no version, with directories"),
        pytest.param({"version": "1.0"}, True, id="an empty one"),
        pytest.param({"version": 1.0, "files_data": {}}, True, id="a number"),
        pytest.param({"version": None, "files_data": {}}, True, id="null"),
        pytest.param({"version": "2.0", "files_data": {}}, False, id="today's"),
        pytest.param({"version": "3.0", "files_data": {}}, False, id="too new"),
        pytest.param({"version": True}, False, id="a truth value"),
        pytest.param({"version": ["1.0"]}, False, id="a list"),
        pytest.param({}, False, id="nothing"),
        pytest.param({"name": "package", "dependencies": {}}, False, id="somebody else's"),
    ],
)
def test_a_document_is_legacy_if_it_says_so_or_has_a_field_of_v1(document: dict[str, Any], legacy: bool) -> None:
    assert is_legacy(document) is legacy
