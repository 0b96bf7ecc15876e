"""The functions of the program that a loop's body calls, and the variables outside of them that they add to."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, MemberDescriptorType
from typing import Any

from ..._runtime.interpreter import variable_in
from .reach import times_in
from .written import Written, assigned_in, base_of, is_of_others, name_of, text_of

MISSING = object()
"""Stands for the value of what is not there."""
_ADDS = frozenset(("add", "append", "appendleft", "extend", "insert"))


def value_in(frame: FrameType, name: str) -> Any:
    """The variable ``x``, ``self.x`` or ``self.x.y``; ``MISSING`` if there is none."""
    first, *attributes = name.split(".")
    return functools.reduce(_attribute_of, attributes, variable_in(frame, first, MISSING))


def _attribute_of(value: Any, name: str) -> Any:
    """The attribute, if reading it runs nothing of the program."""
    places = getattr(value, "__dict__", {}), vars(type(value))
    found = next((place[name] for place in places if name in place), MISSING)
    return getattr(value, name, MISSING) if type(found) is MemberDescriptorType else found  # of __slots__


def added_to(frame: FrameType, written: Written) -> Iterator[tuple[str, Any, str]]:
    """The variables that functions add to which the body calls directly: their names, values, and the file."""
    for call in ast.walk(written.loop):
        if not isinstance(call, ast.Call):
            continue
        if isinstance(call.func, ast.Name):
            yield from _of_function(variable_in(frame, call.func.id))
        elif isinstance(call.func, ast.Attribute) and (base := name_of(call.func.value)):
            value = value_in(frame, base)
            yield from _of_method(getattr(type(value), call.func.attr, None), base, value)


def _of_function(function: Any) -> Iterator[tuple[str, Any, str]]:
    if type(function) is not FunctionType or is_of_others(function.__code__.co_filename):
        return
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    file = function.__code__.co_filename
    for name in _names(function.__code__):
        if "." in name:
            continue
        if name in cells:
            yield name, cells[name].cell_contents, file
        elif name in function.__globals__:
            yield name, function.__globals__[name], file


def _of_method(function: Any, base: str, value: Any) -> Iterator[tuple[str, Any, str]]:
    if type(function) is not FunctionType or is_of_others(function.__code__.co_filename):
        return
    own = function.__code__.co_varnames[:1]
    for name in _names(function.__code__):
        first, *attributes = name.split(".")
        if (first,) == own and attributes:
            found = functools.reduce(_attribute_of, attributes, value)
            yield ".".join([base, *attributes]), found, function.__code__.co_filename


def used_by(frame: FrameType, written: Written, calls: frozenset[str]) -> Iterator[Any]:
    """What the functions read outside of themselves that the body calls directly, and that call one of *calls*."""
    for call in ast.walk(written.loop):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        function = variable_in(frame, call.func.id)
        if type(function) is not FunctionType or is_of_others(function.__code__.co_filename):
            continue
        if calls.isdisjoint(function.__code__.co_names):
            continue
        for cell in function.__closure__ or ():
            yield cell.cell_contents
        for name in function.__code__.co_names:
            yield function.__globals__.get(name)


@lru_cache(maxsize=256)
def _names(code: CodeType) -> tuple[str, ...]:
    """What the function adds to that it has not made itself: ``rows``, ``self.rows``."""
    scope = text_of(code)
    if scope is None:
        return ()
    made = assigned_in(scope) - set(code.co_varnames[:1])
    added = {_added(one) for one in ast.walk(scope)} - times_in(scope) - {""}
    return tuple(sorted(name for name in added if name.partition(".")[0] not in made))


def _added(node: ast.AST) -> str:
    if isinstance(node, ast.AugAssign):
        return name_of(node.target)
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ADDS
    return base_of(node.func.value) if is_call else ""  # type: ignore[attr-defined]
