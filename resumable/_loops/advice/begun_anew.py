"""Warns of what a loop that goes on finds begun anew: variables, iterators and files of the program."""

from __future__ import annotations

import ast
import io
import logging
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from types import BuiltinMethodType, FrameType
from typing import TYPE_CHECKING, Any

from ..._runtime.interpreter import is_standard_stream, parts_of_all
from .carried import Carried, carried_by, is_for_results_here
from .helpers import MISSING, added_to, used_by, value_in
from .shared import is_for_results
from .written import Written, called, name_of, prefixes

if TYPE_CHECKING:
    from ..loop import LoopOwner

_log = logging.getLogger("resumable")
_LIBRARY = __name__.partition(".")[0]
PLAIN = frozenset((list, dict, set, deque, Counter, defaultdict, OrderedDict))
"""The types of collections that a program is likely to gather results in."""
_NUMBERS = frozenset((int, float))
_SINGLE = frozenset((*_NUMBERS, bool, str, type(None)))
_WRITES = frozenset(("dump", "print", "to_csv", "to_json", "write", "writelines", "writerow", "writerows", "writestr"))
_HASHES = frozenset(("_blake2", "_hashlib", "_md5", "_sha1", "_sha2", "_sha256", "_sha3", "_sha512"))
_BUFFERS = (io.StringIO, io.BytesIO)
_MAKERS = ((list | deque, "log"), (set | frozenset, "set"), (dict, "mapping"))
"""What keeps a collection."""


def look_at_carried(owner: LoopOwner[Any], position: int, frame: FrameType, written: Written) -> None:
    """A loop of *owner* goes on at *position*, and *frame* gets its items, in the loop as it is *written*."""
    told = set()
    carried = carried_by(written)
    for name in sorted(carried.names - carried.collects - names_of_state(written)):
        value = value_in(frame, name)
        is_lost = _begins_anew(value, name, carried) and not _is_kept(owner, frame, name, value)
        if is_lost and (name not in carried.shared or _is_for_results(frame.f_code.co_filename, name, frame, value)):
            say_begun_anew(owner.operation_id, name, position, value)
            told.add(name)
    for name, (value, file) in sorted(_of_helpers(frame, written).items(), key=itemgetter(0)):
        is_lost = name not in told and not value and not _is_kept(owner, frame, name, value)
        if is_lost and (is_for_results_here(written, name) or _is_for_results(file, name, frame, value)):
            say_begun_anew(owner.operation_id, name, position, value)
    for name in sorted(carried.nexts):
        if _is_others_iterator(value_in(frame, name), written, name):
            _say_next(owner.operation_id, name, position)
    for name in sorted(carried.reads):
        value = value_in(frame, name)
        is_lost = type(value) in _BUFFERS and not (is_standard_stream(value) or value.tell())
        if is_lost and not _is_emptied(written, name):
            say_begun_anew(owner.operation_id, name, position, value)
    for file in {id(file): file for file in _files(frame, carried, written)}.values():
        _say_file(owner.operation_id, file, position)


def _of_helpers(frame: FrameType, written: Written) -> dict[str, tuple[Any, str]]:
    """The collections and numbers that functions add to, and the files of these functions."""
    kinds = PLAIN | _NUMBERS
    return {name: (value, file) for name, value, file in added_to(frame, written) if type(value) in kinds}


def _is_for_results(file: str, name: str, frame: FrameType, value: Any) -> bool:
    return is_for_results(file, name, frame.f_code, is_number=type(value) in _NUMBERS)


def _is_kept(owner: LoopOwner[Any], frame: FrameType, name: str, value: Any) -> bool:
    """Whether *value*, or an object that it is an attribute of, is saved."""
    return is_kept(owner, value) or any(_is_saved(owner, value_in(frame, one)) for one in prefixes(name)[1:])


def is_saved_by_hand(written: Written) -> bool:
    """Whether the program uses ``cp.before_save``: any of its variables may be saved by that."""
    return any(isinstance(one, ast.Attribute) and one.attr == "before_save" for one in written.nodes())


@lru_cache(maxsize=256)
def names_of_state(written: Written) -> frozenset[str]:
    """The variables in statements with ``cp.state``, but for those that are only put into it: they may come from it."""
    kinds = ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Return
    statements: list[Any] = [one for one in written.nodes() if isinstance(one, kinds)]
    from_state = [one for one in statements if one.value is not None and _has_state(one.value)]
    return frozenset(name for one in from_state for part in ast.walk(one) if (name := name_of(part)))


def _has_state(value: ast.expr) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == "state" for one in ast.walk(value))


def is_kept(owner: LoopOwner[Any], value: object) -> bool:
    """Whether *value* is part of the plain state."""
    state = getattr(owner, "state", None)
    return type(state) is dict and type(value) not in _SINGLE and any(one is value for one in state.values())


def _is_saved(owner: LoopOwner[Any], value: Any) -> bool:
    """Whether *value*, an object with attributes, is the checkpoint, a part of its state, or one for ``cp.track``."""
    state = getattr(owner, "state", None)
    of_state = getattr(state, "__dict__", {}) if type(state) is not dict else state
    is_state = type(value) not in _SINGLE and any(one is value for one in (state, *of_state.values()))
    return is_state or _is_ours(value) or hasattr(value, "load_state_dict")


def _is_ours(value: object) -> bool:
    """Whether *value* is a checkpoint, or a loop or collection of one."""
    return type(value).__module__.partition(".")[0] == _LIBRARY


def _begins_anew(value: Any, name: str, carried: Carried) -> bool:
    if value is MISSING:  # it may be set only between iter() and the loop
        return name in carried.begins
    if value is None and name in carried.made_where_missing:
        return False
    kind = type(value)
    if kind is tuple:
        is_blank = bool(value) and all(type(one) in _SINGLE and _begins_anew(one, "", carried) for one in value)
        return is_blank or carried.begins.get(name) == value
    if isinstance(value, float) and not math.isfinite(value):
        return True
    if kind in _SINGLE or kind in PLAIN:
        return not value or _is_blank(value) or (name in carried.begins and carried.begins[name] == value)
    return _is_empty_of_others(value) or kind.__module__ in _HASHES


def _is_blank(value: Any) -> bool:
    """Whether it only holds places for results: ``[None] * n``, ``{key: 0 for key in keys}``."""
    if type(value) not in (list, dict, defaultdict):
        return False
    return not any(value if type(value) is list else value.values())


def _is_empty_of_others(value: Any) -> bool:
    """Whether it is an empty array or table, or an array of zeros."""
    package = type(value).__module__.partition(".")[0]
    if package == "numpy" and hasattr(value, "any"):
        return value.dtype.kind in "biufc" and not value[value == value].any()  # without NaN
    return package in ("pandas", "polars") and hasattr(value, "__len__") and not len(value)


def _is_others_iterator(value: Any, written: Written, name: str) -> bool:
    is_ours = _is_ours(value) or any(
        "remaining" in ast.dump(one.value)
        for one in written.nodes()
        if isinstance(one, ast.Assign) and any(isinstance(at, ast.Name) and at.id == name for at in one.targets)
    )
    return hasattr(value, "__next__") and not is_ours


def _files(frame: FrameType, carried: Carried, written: Written) -> Iterator[Any]:
    """Files of the program, open for writing, that the body uses itself, by a writer of rows or by a function."""
    values = [*used_by(frame, written, _WRITES)]
    if any(called(one) in _WRITES for one in ast.walk(written.loop) if isinstance(one, ast.Call)):
        values += [value_in(frame, name) for name in sorted(carried.reads | carried.names)]
    for value in values:
        file = _file_of(value) if type(value).__module__ in ("_csv", "csv") else value
        if _is_file(file):
            yield file


def _file_of(writer: Any) -> Any:
    """The file of a writer of rows, which holds its method ``write``."""
    parts = parts_of_all(getattr(writer, "writer", writer))
    return next((one.__self__ for one in parts if isinstance(one, BuiltinMethodType)), None)


def _is_emptied(written: Written, name: str) -> bool:
    """Whether the body empties the text in memory itself."""
    calls = [one.func for one in ast.walk(written.loop) if isinstance(one, ast.Call)]
    return any(
        isinstance(one, ast.Attribute) and one.attr == "truncate" and name_of(one.value) == name for one in calls
    )


def _is_file(value: Any) -> bool:
    kinds = io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom | io.FileIO
    if type(value).__module__ in ("tarfile", "zipfile"):
        return str(getattr(value, "mode", ""))[:1] in ("a", "w", "x")
    if not isinstance(value, kinds) or is_standard_stream(value) or str(value.name).endswith(".log"):
        return False
    return not value.closed and value.writable() and isinstance(value.name, str | bytes) and not value.isatty()


def say_begun_anew(operation_id: str, name: str, position: int, value: Any) -> None:
    """Warn that a variable, which has *value* now, lacks the results of earlier runs."""
    _log.warning(
        "%s: the loop goes on at item %s, but %r lacks what earlier runs put into it.\n  Keep it: %s",
        operation_id,
        f"{position:,}",
        name,
        _cure(name, value),
    )


def _cure(name: str, value: Any) -> str:
    plain = name.rpartition(".")[2]
    if maker := next((maker for kinds, maker in _MAKERS if isinstance(value, kinds)), ""):
        return f"{name} = cp.{maker}({plain!r}) before the loop"
    if type(value).__module__ in _HASHES:
        return f"compute {name} after the loop, from what is kept of all items"
    if isinstance(value, _BUFFERS):
        return f"write to a file, cp.sink('{plain}.txt')"
    first = repr(value) if type(value) in _SINGLE and value is not None else ""
    begin = f"{name} = cp.state.get({plain!r}{first and f', {first}'})"
    return f"{begin} before the loop, and cp.state[{plain!r}] = {name} at the end of each item"


def _say_next(operation_id: str, name: str, position: int) -> None:
    _log.warning(
        "%s: the loop goes on at item %s, but next(%s) in its body starts from the beginning.\n"
        "  Put it inside: cp.remaining(zip(items, %s))",
        operation_id,
        f"{position:,}",
        name,
        name,
    )


def _say_file(operation_id: str, file: Any, position: int) -> None:
    name = getattr(file, "filename", None) or file.name
    is_emptied = "w" in str(getattr(file, "mode", "")) or getattr(file, "mode", None) == "rb+"
    _log.warning(
        "%s: the loop goes on at item %s, but the checkpoint does not keep %r, which the program opened itself: %s.\n"
        "  Write to cp.sink(%r) instead.",
        operation_id,
        f"{position:,}",
        name,
        "what earlier runs wrote to it is gone if opening it emptied it"
        if is_emptied
        else "rows of the last run may be missing in it, or come twice",
        name,
    )
