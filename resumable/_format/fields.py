"""The fields of a typed state that hold durable collections, saved by their changes; other fields are saved whole.

A field annotated ``DurableDict[File]`` holds a collection from the beginning. A field annotated ``dict[str, File]``
becomes one when the program asks for it by name.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from .._durable import Durable, make
from .._json import LEAVES
from .models import written_name

MADE_OF: dict[str, type[Any]] = {"mapping": dict, "log": list, "set": set}
_KINDS = {made_of: kind for kind, made_of in MADE_OF.items()}
_PLAIN = frozenset({dict, list, Any, object, *LEAVES})


class Field(msgspec.Struct, frozen=True):
    """A field that can hold a collection.

    Attributes:
        name: Its name in the class.
        key: Its name in the saved state.
        kind: ``mapping``, ``log`` or ``set``.
        of: The class of the values; None for plain values.
        is_declared: Whether the annotation demands a collection.
        refusal: Why it cannot hold a collection; "" if it can.
    """

    name: str
    key: str
    kind: str
    of: type[Any] | None
    is_declared: bool
    refusal: str = ""


def fields_of(kind: type[Any]) -> dict[str, Field]:
    """The fields of *kind* that can hold a collection, by their names in the class.

    Raises:
        TypeError: A field is annotated as a collection, but its values have no class.
    """
    found = {}
    for name, (key, annotation) in _annotations_of(kind).items():
        origin = get_origin(annotation) or annotation
        if not isinstance(origin, type):
            continue
        is_declared = issubclass(origin, Durable)
        if is_declared or origin in _KINDS:
            field = _field(name, key, origin, annotation, is_declared=is_declared)
            if is_declared and field.refusal:
                raise TypeError(f"state={kind.__name__}: {field.refusal}")
            found[name] = field
    return found


def _field(name: str, key: str, origin: Any, annotation: Any, *, is_declared: bool) -> Field:
    values = get_args(annotation)[-1:]
    value: Any = values[0] if values else Any
    refusal = ""
    if not isinstance(value, type) and not _is_plain(value):
        refusal = f"the field {name!r} needs a class for its values, such as a dataclass, not {value!r:.80}"
    of = value if isinstance(value, type) and value not in _PLAIN and get_origin(value) is None else None
    return Field(name, key, origin.kind if is_declared else _KINDS[origin], of, is_declared, refusal)


def _is_plain(annotation: Any) -> bool:
    """Whether every value of that type is plain JSON."""
    origin = get_origin(annotation)
    if origin is None:
        return annotation in _PLAIN
    return origin in (dict, list) and all(map(_is_plain, get_args(annotation)))


def _annotations_of(kind: Any) -> Mapping[str, tuple[str, Any]]:
    """The key and the annotation of each field."""
    if hasattr(kind, "__pydantic_fields__"):
        fields = kind.__pydantic_fields__.items()
        return {name: (written_name(kind, name, one), one.annotation) for name, one in fields}
    if hasattr(kind, "__struct_fields__"):
        keys = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    elif dataclasses.is_dataclass(kind):
        keys = {field.name: field.name for field in dataclasses.fields(kind)}
    else:
        return {}
    try:
        hints = get_type_hints(kind)
    except Exception:  # no value of it can be loaded, and that error says more
        return {}
    return {name: (key, hints[name]) for name, key in keys.items()}


def set_field(value: Any, name: str, part: Any) -> None:
    """Set a field, even of a frozen class or one with validators."""
    if hasattr(type(value), "__struct_fields__"):
        msgspec.structs.force_setattr(value, name, part)
    elif hasattr(value, "__dict__"):
        value.__dict__[name] = part
    else:
        object.__setattr__(value, name, part)


def blanked(state: Any, held: Iterable[Field]) -> Any:
    """A copy of *state* with an empty collection in each *held* field; *state* itself without any."""
    result = state
    for field in held:
        result = copy.copy(state) if result is state else result
        empty = make(field.kind, None, f"$.state.{field.key}") if field.is_declared else MADE_OF[field.kind]()
        set_field(result, field.name, empty)
    return result
