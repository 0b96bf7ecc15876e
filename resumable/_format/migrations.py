"""Old formats: a v1.0 document becomes a v2.0 document, and keeps every field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_LEGACY_VERSIONS = ("1.0", "1", 1)
_LEGACY_NAMES = ("files_data", "processed_files", "processed_dirs")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 1e11
"""Larger numbers are milliseconds: read as seconds they would be after the year 5138."""


def is_legacy(document: Mapping[str, Any]) -> bool:
    """Whether *document* has format v1.0: it says so, or it has no version and a v1.0 field."""
    if document.get("version") is not None:
        return not isinstance(document["version"], bool) and document["version"] in _LEGACY_VERSIONS
    return any(name in document for name in _LEGACY_NAMES)


def migrate(document: dict[str, Any], operation_id: str, *, modified_at: datetime) -> dict[str, Any]:
    """The v2.0 document of *operation_id* with everything in the v1.0 *document*; it shares the values.

    ``files_data`` becomes a dict by path, ``metadata`` the metadata, and ``timestamp`` both the time of creation and of
    the last save, because v1.0 has only one. Everything else goes into the state under its own name; so does a time
    stamp that cannot be read.

    Args:
        modified_at: When the document was written; used if it has no time stamp.

    Raises:
        ValueError: A field has a type that v1.0 never had. The text is for a person.
    """
    state = {name: value for name, value in document.items() if name not in ("version", "metadata")}
    if state.get("operation_id") == operation_id:
        del state["operation_id"]
    if "files_data" in state:
        state["files_data"] = _by_path(state["files_data"])
    for name in ("processed_files", "processed_dirs"):
        if name in state:
            state[name] = _as_list(name, state[name])
    saved_at = _instant(state.get("timestamp"))
    if saved_at is None:
        saved_at = _in_utc(modified_at)
    else:
        del state["timestamp"]
    head = {"version": "2.0", "operation_id": operation_id, "state": state}
    stamps = dict.fromkeys(("created_at", "last_updated"), saved_at.isoformat())
    return head | {"metadata": _metadata(document, _progress(state))} | stamps


def _by_path(files: Any) -> dict[str, Any]:
    """Files by path, each entry with all its fields, from either form of v1.0. None means no files."""
    if files is None or isinstance(files, dict):
        return files or {}
    if not isinstance(files, list):
        raise ValueError(f"its 'files_data' must be an object or a list, not {_kind(files)}")
    by_path: dict[str, Any] = {}
    for index, entry in enumerate(files):
        if not isinstance(entry, dict):
            raise ValueError(f"files_data[{index}] must be an object with a 'path', not {_kind(entry)}")
        path = entry.get("path")
        if not isinstance(path, str):
            raise ValueError(f"files_data[{index}]: its 'path' must be a text, not {_kind(path)}")
        if by_path.setdefault(path, entry) != entry:
            raise ValueError(f"its 'files_data' holds two different entries for {path!r}")
    return by_path


def _as_list(name: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"its {name!r} must be a list, not {_kind(value)}")
    return value


def _metadata(document: dict[str, Any], progress: dict[str, int]) -> dict[str, Any]:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict | None):
        raise ValueError(f"its 'metadata' must be an object, not {_kind(metadata)}")
    known = metadata or {}
    return known | {name: count for name, count in progress.items() if known.get(name) is None}


def _progress(state: dict[str, Any]) -> dict[str, int]:
    """The old loop's progress: the length of the list by which it skipped, and its total if it kept one."""
    progress: dict[str, int] = {}
    done = next((state[name] for name in (*_LEGACY_NAMES[1:], "files_data") if name in state), None)
    if done is not None:
        progress["processed_items"] = len(done)
    totals = (state.get(name) for name in ("total_items", "total_files"))
    total = next((value for value in totals if type(value) is int and value >= 0), None)
    if total is not None:
        progress["total_items"] = total
    return progress


def _instant(stamp: Any) -> datetime | None:
    """A UTC instant from an ISO 8601 text (UTC if it has no zone) or from seconds since 1970; else None."""
    try:
        if isinstance(stamp, str):
            return _in_utc(datetime.fromisoformat(stamp))
        if isinstance(stamp, int | float) and not isinstance(stamp, bool):
            return _EPOCH + timedelta(seconds=stamp / 1000 if stamp >= _MILLISECONDS_FROM else stamp)
    except (ValueError, OverflowError):
        pass
    return None


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _kind(value: Any) -> str:
    """The JSON name for the type of *value*."""
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if value is not None else "null")
