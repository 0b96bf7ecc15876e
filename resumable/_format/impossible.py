"""Refuses a class of which no value can be loaded, before any work is done."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from .._durable import Durable
from .models import is_model


def refuse_without_fields(kind: Any) -> None:
    """Refuse a class whose values are no objects in JSON. Raises TypeError."""
    is_array = getattr(getattr(kind, "__struct_config__", None), "array_like", False)
    if is_typeddict(kind) or is_array or issubclass(kind, _NO_OBJECTS):
        raise TypeError(f"state= takes a class with fields, such as a dataclass, not {kind!r:.80}")


_NO_OBJECTS = (bytes, float, frozenset, int, list, set, str, tuple)


def refuse_impossible(kind: type[Any], what: str = "", collections: Collection[str] = ()) -> None:
    """Refuse a class that can never be loaded, before any work is done.

    Args:
        what: What has this class, for the message.
        collections: The fields that may be durable collections.

    Raises:
        TypeError: Names the field, if it is known.
    """
    what = what or f"state={kind.__name__}"
    if is_model(kind):
        _refuse_impossible_model(kind, what)
        return
    if (obstacle := _obstacle(kind)) is not None:
        path, reason = _innermost(kind, kind.__name__, obstacle)
        raise TypeError(f"{what} could not be loaded again: {path}: {reason}")
    for path, inner in _types_within(msgspec.inspect.type_info(kind), kind.__name__, set()):
        if hasattr(inner, "key_type") and (bad := _not_a_key(inner.key_type)):
            raise TypeError(_no_form_as_key(what, path, bad))
        if not isinstance(inner, msgspec.inspect.CustomType):
            continue
        custom = inner.cls
        is_held = path.removeprefix(f"{kind.__name__}.") in collections and issubclass(custom, Durable)
        if not is_held and not (isinstance(custom, type) and issubclass(custom, PurePath)):
            name = str(getattr(custom, "__name__", custom))
            raise TypeError(
                f"{what} could not be loaded again: {path} is a {name}, which has no form in JSON; "
                f"{_INSTEAD.get(name, 'use a dataclass, plain values, or keep it out of the state')}"
            )


def _obstacle(kind: Any) -> Exception | None:
    """Why there is no decoder for *kind*: such as a union that JSON cannot tell apart, or a name that is not known."""
    try:
        msgspec.json.Decoder(kind, dec_hook=_never_called)
    except Exception as error:  # also what a class of attrs, or the text of an annotation, raises
        return error
    return None


def _never_called(kind: type[Any], value: Any) -> Any:
    raise AssertionError(kind, value)


def _innermost(kind: Any, path: str, obstacle: Exception, depth: int = 20) -> tuple[str, str]:
    """The path of the innermost field that has no decoder, and why, with what to do."""
    for step, inner in _made_of(kind) if depth else ():
        if (cause := _obstacle(inner)) is not None:
            return _innermost(inner, path + step, cause, depth - 1)
    reason = " ".join(str(obstacle).split())
    if isinstance(obstacle, KeyError):  # of attrs
        return path, f"its field {reason} has no type; annotate it"
    return path, f"{reason}; {next(cure for sign, cure in _CURES if sign in reason)}"


_CURES = (
    ("is not defined", "define it where the module is read, not in a function or under TYPE_CHECKING"),
    ("Enums must", "let the values of its members be texts, or ints"),
    ("unions", "declare one of these types, or tell the classes apart: class A(msgspec.Struct, tag=True)"),
    ("InitVar", "make it a field"),
    ("takes_self", "give it a default that needs no self"),
    ("", "use a dataclass, plain values, or keep it out of the state"),
)


def _made_of(kind: Any) -> Iterator[tuple[str, Any]]:
    """The types that *kind* is made of, and the steps of their paths."""
    origin = get_origin(kind) or kind
    if origin is not Literal:
        inner = get_args(kind)[:1] if origin is Annotated else get_args(kind)
        yield from (("[]", one) for one in inner if one is not Ellipsis)
    names = getattr(origin, "__struct_fields__", None) or getattr(origin, "_fields", None)
    for given in ("__dataclass_fields__", "__attrs_attrs__"):
        names = names or [getattr(one, "name", one) for one in getattr(origin, given, ())]
    with contextlib.suppress(Exception):  # of a name in an annotation that is not known
        hints = get_type_hints(origin, include_extras=not is_typeddict(origin))
        some = [(f".{name}", hints[name]) for name in names or hints if name in hints]
        yield from (pair for pair in some if ClassVar not in (pair[1], get_origin(pair[1])))


_INSTEAD = {
    "Counter": "use dict[str, int]",
    "OrderedDict": "use dict, which keeps its order",
    "defaultdict": "use dict, with setdefault or get",
    "deque": "use list",
    "complex": "use tuple[float, float]",
    "ZoneInfo": "keep its name, a str",
    **dict.fromkeys(("DurableDict", "DurableLog", "DurableSet"), "only a field of the state itself can be one"),
}


def _types_within(info: Any, path: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """The type *info* and those that it is made of, each class once."""
    yield path, info
    if getattr(info, "cls", None) in seen:
        return
    seen |= {info.cls} if hasattr(info, "cls") else set()
    for field in getattr(info, "fields", ()):
        yield from _types_within(field.type, f"{path}.{field.name}", seen)
    for name in ("item_type", "key_type", "value_type", "type"):
        inner = getattr(info, name, None)
        if isinstance(inner, msgspec.inspect.Type):
            yield from _types_within(inner, f"{path}[]", seen)
    for inner in (*getattr(info, "types", ()), *getattr(info, "item_types", ())):
        yield from _types_within(inner, path, seen)


def _not_a_key(info: Any) -> str:
    """The name of the type *info* if no value of it can be a key; "" if one can."""
    if inner := getattr(info, "types", ()):
        names = list(map(_not_a_key, inner))
        return names[0] if all(names) else ""
    kind = getattr(info, "cls", None)
    if isinstance(info, msgspec.inspect.CustomType):
        return kind.__name__ if isinstance(kind, type) and issubclass(kind, PurePath) else ""
    name = _NO_KEYS.get(type(info).__name__, "")
    return str(getattr(kind, "__name__", name)) if name else ""


_NO_KEYS = {
    "BoolType": "bool",
    "NoneType": "None",
    "FrozenSetType": "frozenset",
    **dict.fromkeys(("TupleType", "VarTupleType", "NamedTupleType", "DataclassType", "StructType"), "tuple"),
}
"""Types in ``msgspec.inspect`` that can be keys of a dict, but not in JSON, and their names for people."""


def _refuse_impossible_model(kind: Any, what: str) -> None:
    """A class that pydantic only checks by isinstance has no form in JSON, unless the model defines one."""
    made = kind.__pydantic_decorators__
    has_own_form = any((made.field_serializers, made.model_serializers, made.field_validators, made.model_validators))
    if has_own_form or any(field.metadata or field.exclude for field in kind.__pydantic_fields__.values()):
        return
    for name, field in kind.__pydantic_fields__.items():
        for path, bad in _keys_without_form(field.annotation, f"{kind.__name__}.{name}"):
            raise TypeError(_no_form_as_key(what, path, bad))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.model_json_schema(mode="validation")
    except Exception as error:
        if "JSON" in type(error).__name__ or "Json" in type(error).__name__:
            found = re.search(r"<class '([^']*)'>", str(error))
            field = f"a field is {found[1]}, which" if found else "a field"
            raise TypeError(
                f"{what} could not be loaded again: {field} has no form in JSON; give it a serializer "
                "and a validator, or keep it out of the state"
            ) from None


def _keys_without_form(annotation: Any, path: str) -> Iterator[tuple[str, str]]:
    """Dicts in *annotation* whose keys pydantic writes as a text that it cannot read."""
    inner = get_args(annotation)
    if inner and issubclass(_class_of(annotation), Mapping) and issubclass(_class_of(inner[0]), (tuple, frozenset)):
        yield path, _class_of(inner[0]).__name__
    for one in inner:
        yield from _keys_without_form(one, f"{path}[]")


def _class_of(annotation: Any) -> type[Any]:
    kind = get_origin(annotation) or annotation
    return kind if isinstance(kind, type) else object


def _no_form_as_key(what: str, path: str, kind: str) -> str:
    return (
        f"{what} could not be loaded again: the keys of {path} are of type {kind}, which has no form as a key in JSON; "
        "use text, such as str(key), or keep a list of pairs: list[tuple[key, value]]"
    )
