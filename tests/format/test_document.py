"""What JSON can hold exactly, the digest over it, and what comes out of damaged or hostile documents."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections import OrderedDict, namedtuple
from datetime import UTC, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable import CheckpointManager, StateEncodeError, checkpointed
from resumable._format.document import decode_document, indented, sign
from resumable._json import MAX_DEPTH, check, decode, encode, warn_once_per_path
from resumable.stores import MemoryStore
from tests.support import stores

Point = namedtuple("Point", "x y")


class Kind(Enum):
    A = "a"


class Number(IntEnum):
    ONE = 1


class Text(str):
    pass


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal in kinds too: 1 is not 1.0, and -0.0 is not 0.0."""
    return repr(one) == repr(other)


def signed(state: dict[str, Any], **internal: Any) -> bytes:
    head = {"version": "2.0", "operation_id": "crawl"}
    tail = {"metadata": {}, "created_at": "2026-01-01", "last_updated": "2026-01-01"}
    return b"".join(sign(head, [encode(state)], tail | {"resumable": {"generation": 1, **internal}}))


# -- strictness -------------------------------------------------------------------------------------------------------


@given(plain_json)
def test_what_passes_the_check_comes_back_exactly(value: Any) -> None:
    check(value, "$.state")
    assert same(decode(encode(value)), value)


@pytest.mark.slow
@given(st.recursive(plain_json | st.from_type(object), lambda inner: st.lists(inner) | st.tuples(inner)))
@settings(deadline=None)
def test_what_does_not_come_back_exactly_is_refused_or_warned_of(value: Any) -> None:
    warned: list[str] = []
    try:
        check(value, "$.state", warned.append)
        encoded = encode(value)
    except StateEncodeError:
        return
    assert same(decode(encoded), value) or warned


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"files": {"a": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}}, "$.state.files.a.when"),
        ({"files": {"a.js": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}}, "$.state.files['a.js'].when"),
        ({"list": [0, [1, {2}]]}, "$.state.list[1][1]"),
        ({"nan": [math.nan]}, "$.state.nan[0]"),
        ({"huge": {"x": math.inf}}, "$.state.huge.x"),
        ({"minus": -math.inf}, "$.state.minus"),
        ({"counts": {1: "a"}}, "$.state.counts"),
        ({"counts": {None: "a"}}, "$.state.counts"),
        ({"counts": {("a", "b"): 1}}, "$.state.counts"),
        ({"counts": {Text("a"): 1}}, "$.state.counts"),
        ({1: "top"}, "$.state"),
        ({"raw": b"bytes"}, "$.state.raw"),
        ({"path": Path("x")}, "$.state.path"),
        ({"kind": Kind.A}, "$.state.kind"),
        ({"number": [Number.ONE]}, "$.state.number[0]"),
        ({"text": Text("a")}, "$.state.text"),
        ({"object": {"deep": object()}}, "$.state.object.deep"),
        ({"text": ["\ud800"]}, "$.state.text[0]"),
        ({"keys": {"\udfff": 1}}, "$.state.keys"),
        ({"complex": 1j}, "$.state.complex"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(state: dict[Any, Any], path: str) -> None:
    store = MemoryStore()
    with pytest.raises(StateEncodeError) as caught:
        CheckpointManager(store=store).create_checkpoint("crawl", state)

    assert caught.value.path == path
    assert path in str(caught.value)
    assert stores.keys(store) == []


def test_a_state_that_contains_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["same"] = [{}] * 2
    state["self"] = state
    with pytest.raises(StateEncodeError, match=r"^\$\.state\.self\.self cannot be saved: it contains itself\."):
        CheckpointManager(store=MemoryStore()).create_checkpoint("crawl", state)


def test_the_path_to_what_is_nested_too_deeply_is_cut() -> None:
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        deep = {"child": deep}

    with pytest.raises(StateEncodeError) as caught:
        check(deep, "$.state")

    assert caught.value.path == "$.state" + ".child" * 8 + ".chil…"
    assert str(caught.value).count("child") == 8


@pytest.mark.parametrize("depth", [MAX_DEPTH - 10, MAX_DEPTH + 10, 100_000])
def test_what_can_be_saved_can_be_loaded_whatever_its_depth(depth: int) -> None:
    manager, value = CheckpointManager(store=MemoryStore()), []
    for _ in range(depth):
        value = [value]
    try:
        manager.create_checkpoint("crawl", {"deep": value})
    except StateEncodeError:
        assert depth > MAX_DEPTH
        assert manager.load_checkpoint("crawl") is None
    else:
        assert manager.load_checkpoint("crawl") is not None
    while value:  # without recursion, as the interpreter would
        value = value.pop()


def test_a_state_that_cannot_be_saved_fails_at_the_first_item_and_the_last_save_stands() -> None:
    store = MemoryStore()
    CheckpointManager(store=store).create_checkpoint("crawl", {"n": 1})
    before = stores.document(store, "crawl")
    with checkpointed("crawl", store=store) as cp:
        cp.state["bad"] = {1, 2}
        with pytest.raises(StateEncodeError):
            cp.tick()
        assert stores.document(store, "crawl") == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, 2), "$.state.value is a tuple and will come back as a list"),
        ({"a": [Point(1, 2)]}, "$.state.value.a[0] is a Point and will come back as a list"),
        (OrderedDict(a=1), "$.state.value is a OrderedDict and will come back as a dict"),
    ],
)
def test_what_comes_back_as_another_kind_is_warned_of_once_with_its_path(value: Any, text: str) -> None:
    with warnings.catch_warnings(record=True) as caught, checkpointed("crawl", store=MemoryStore()) as cp:
        warnings.simplefilter("always")
        cp.state["value"] = value
        for _ in range(3):
            cp.tick()
            cp.save()

    assert [str(warning.message) for warning in caught] == [text]


def test_each_path_is_warned_of() -> None:
    warn = warn_once_per_path()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check({"a": (1,), "b": [(2,)]}, "$", warn)
        check({"a": (1,), "b": [(2,)]}, "$", warn)
    assert [str(warning.message).split()[0] for warning in caught] == ["$.a", "$.b[0]"]


# -- the digest -------------------------------------------------------------------------------------------------------


@given(plain_json)
@settings(deadline=None)
def test_a_document_may_be_formatted_anew_by_any_tool(value: Any) -> None:
    raw = signed({"value": value})
    document = decode_document(raw)
    for ensure_ascii in (True, False):
        for indent in (None, 1, 4):
            again = json.dumps(json.loads(raw), indent=indent, ensure_ascii=ensure_ascii).encode()
            assert same(decode_document(again), document)
    assert same(decode_document(indented(raw)), document)


def test_json_tool_does_no_harm(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    state = {"text": "Größe 🦊 \x7f", "numbers": [1.0, -0.0, 1e22, 2**70, 0.1]}
    path = str(manager.create_checkpoint("crawl", state))
    command = [sys.executable, "-m", "json.tool", "--indent", "7", path, path + ".new"]
    subprocess.run(command, check=True)
    Path(path + ".new").replace(path)

    found = manager.load_checkpoint("crawl")
    assert found is not None
    assert same(found.state, state)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n":1', b'"n":2'),
        (b"crawl", b"crowl"),
        (b'"generation":1', b'"generation":2'),
        (b'"resumable"', b'"sesumable"'),
    ],
)
@pytest.mark.parametrize("form", ["as written", "formatted"])
def test_an_edit_is_noticed(old: bytes, new: bytes, form: str) -> None:
    raw = signed({"n": 1}).replace(old, new)
    if form == "formatted":
        raw = json.dumps(json.loads(raw), indent=2).encode()
    with pytest.raises(ValueError, match="damaged or edited"):
        decode_document(raw)


def test_the_order_of_keys_is_content() -> None:
    """A dict comes back in the order in which it was filled."""
    document = json.loads(signed({"b": 1, "a": 2}))
    with pytest.raises(ValueError, match="digest"):
        decode_document(json.dumps(document, sort_keys=True).encode())


# -- hostile documents ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "\\u0062": 2}}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": 1} {"a": 1}',
        b'{"a": 01}',
        b"",
        b"\0" * 1000,
        b"nul",
    ],
    ids=lambda raw: f"{raw[:14]!r} {len(raw)}",
)
def test_hostile_json_is_a_value_error_with_a_reason(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it "):
        decode_document(raw)
