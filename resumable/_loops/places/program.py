"""Searches the program: functions by name, and functions that the block of a checkpoint may call."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from . import place

_LIBRARY = __name__.partition(".")[0]
_STANDARD = (os.path.dirname(os.__file__), "<frozen")
_MANY = 1000
_Step = tuple[CodeType, Mapping[str, Any], int | None]
"""A function, the globals of its module, and the offset at which it enters the checkpoint's block."""


def is_in_program(where: str, frame: FrameType, outside: place.Stack) -> bool:
    """Whether each call of *where* still exists in its function, as far as *frame* shows."""
    return all(call.endswith("~") or _stands(call, frame, outside) for call in place.calls_of(where))


def _stands(call: str, frame: FrameType, outside: place.Stack) -> bool:
    function = place.function_of(call)
    for here in place.frames(frame):
        if here.f_code.co_qualname == function:
            return call in place.calls_around(here, outside).calls
    return any(call in place.calls_in(code).calls for code in codes_of(function, frame))


def codes_of(function: str, frame: FrameType) -> Iterator[CodeType]:
    """The code of each function with that qualified name: on the stack, in the module of *frame*, in other modules."""
    yield from _near(function, frame)
    for module in list(sys.modules.values()):
        if hasattr(module, "__dict__") and (code := _code_in(vars(module), function.split("."))) is not None:
            yield code


def _near(function: str, frame: FrameType) -> Iterator[CodeType]:
    yield from (here.f_code for here in place.frames(frame) if here.f_code.co_qualname == function)
    if (code := _code_in(place.scope_of(frame), function.split("."))) is not None:
        yield code


def _code_in(scope: Mapping[str, Any], steps: list[str]) -> CodeType | None:
    found: Any = scope.get(steps[0])
    for step in (None, *steps[1:]):
        if step == "<locals>":
            continue
        if type(found) is CodeType:
            inner = [one for one in found.co_consts if isinstance(one, CodeType) and one.co_name == step]
            found = inner[0] if len(inner) == 1 else None
        elif step is not None:
            found = inspect.getattr_static(found, step, None)
        if found is None:
            return None
        if type(found) is not CodeType:
            found = _attribute(_unwrapped(found), "__code__", found)
    return found if type(found) is CodeType else None


def _unwrapped(found: Any) -> Any:
    """The function inside a property, class method, static method or decorated function."""
    found = found.fget if issubclass(type(found), property) else found
    found = _attribute(found, "__func__", found)
    return _attribute(found, "__wrapped__", found)


def _attribute(value: Any, name: str, default: Any) -> Any:
    """The attribute, without ``__getattr__``, by which lazy modules and proxies import or compute something."""
    try:
        return object.__getattribute__(value, name)
    except Exception:
        return default


# -- functions that a block may call


def functions_of_block(frame: FrameType, outside: place.Stack, others: Iterable[str]) -> list[place.FunctionCalls]:
    """The calls in the functions that :func:`codes_of_block` finds."""
    return list(codes_of_block(frame, outside, others).values())


def codes_of_block(
    frame: FrameType, outside: place.Stack, others: Iterable[str] = ()
) -> dict[CodeType, place.FunctionCalls]:
    """The user's functions that the checkpoint's block around *frame* may call, judged by names.

    Every function that is named in one of them counts as called: too many rather than too few.

    Args:
        outside: The stack when the checkpoint was opened.
        others: Qualified names of functions that count in any case.
    """
    steps = [*_on_stack(frame, outside)]
    own = place.scope_of(frame)
    # A function of that name in another module counts only if a name leads there.
    steps += [(code, own, None) for function in sorted(set(others)) for code in _near(function, frame)]
    found: dict[CodeType, place.FunctionCalls] = {}
    indexes: dict[int, dict[str, list[FunctionType]]] = {}
    package = str(own.get("__name__", "")).partition(".")[0]
    for code, scope, opened in steps:  # the list grows meanwhile
        if code in found or not _is_users(code, scope, package):
            continue
        calls = found[code] = place.calls_in(code, opened)
        steps += [(one, scope, None) for one in code.co_consts if isinstance(one, CodeType)]
        modules = [one for name in calls.names if issubclass(type(one := scope.get(name)), ModuleType)]
        for around in (scope, *map(vars, modules)):
            index = indexes.get(id(around))
            if index is None:
                index = indexes[id(around)] = _functions_by_name(around)
            steps += [(one.__code__, one.__globals__, None) for name in calls.names for one in index.get(name, ())]
    return found


def active_codes(frame: FrameType, outside: place.Stack) -> Iterator[tuple[CodeType, int | None]]:
    """Every function active between *frame* and the one that opened the checkpoint; of that one, also where it did."""
    for here in place.frames(frame):
        opened = outside.get(place.address(here))
        yield here.f_code, opened
        if opened is not None:
            return


def _on_stack(frame: FrameType, outside: place.Stack) -> Iterator[_Step]:
    for here in place.frames(frame):
        opened = outside.get(place.address(here))
        if place.call_at(here, opened):  # "" in a package that calls functions of others
            yield here.f_code, place.scope_of(here), opened
        if opened is not None:
            return


def _is_users(code: CodeType, scope: Mapping[str, Any], package: str) -> bool:
    top = str(scope.get("__name__", "")).partition(".")[0]
    is_installed = "-packages" in code.co_filename or code.co_filename.startswith(_STANDARD)
    return top == package or not (top == _LIBRARY or is_installed)


def _functions_by_name(scope: Mapping[str, Any]) -> dict[str, list[FunctionType]]:
    """The functions in a module, by the names that lead to them: their own, their class, a collection of them."""
    found: dict[str, list[FunctionType]] = {}
    for name, value in list(scope.items()):
        for one in _members(value):
            for member, inner in (*_methods(one), (name, one)):
                if type(function := _unwrapped(inner)) is FunctionType:
                    for key in {name, member}:
                        found.setdefault(key, []).append(function)
    return found


def _members(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return islice(list(value.values()), _MANY)
    return islice(list(value), _MANY) if type(value) in (list, tuple, set, frozenset) else (value,)


def _methods(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of the class of *value*, or of *value* if it is a class."""
    kind = value if issubclass(type(value), type) else type(value)
    for one in kind.__mro__:
        if one.__module__ not in ("builtins", "typing"):
            yield from list(vars(one).items())
