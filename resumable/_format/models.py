"""Pydantic models, to JSON and back; without importing pydantic.

A field has its alias in JSON, unless a field of the model reads another name than it writes: then all have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from inspect import signature
from typing import Any

from .._json import encode, encode_scalar, is_plain


def is_model(kind: Any) -> bool:
    return hasattr(kind, "model_validate_json")


@lru_cache
def goes_by_name(kind: Any) -> bool:
    """Whether fields have their own names in JSON, because not all are read by the name that is written."""
    if "by_name" not in signature(kind.model_validate_json).parameters:  # pydantic before 2.11
        return False
    return not all(_is_read_as_written(name, field) for name, field in _fields_of(kind.__pydantic_core_schema__))


def _fields_of(schema: Any) -> Iterator[tuple[str, Any]]:
    """The fields in a schema of pydantic's core, also of inner models."""
    todo = [schema]
    for part in todo:  # the list grows meanwhile
        if isinstance(part, (list, tuple)):
            todo += part
        elif isinstance(part, Mapping):
            fields = part.get("fields", ())  # by name; of a dataclass a list of them, or of names
            pairs = fields.items() if isinstance(fields, Mapping) else [(None, field) for field in fields]
            some = [(str(name or field.get("name")), field) for name, field in pairs if isinstance(field, Mapping)]
            yield from some
            todo += [field for _, field in some]
            todo += [inner for key, inner in part.items() if key not in _NO_SCHEMAS]


_NO_SCHEMAS = {"fields", "default", "metadata"}


def _is_read_as_written(name: str, field: Any) -> bool:
    if field.get("serialization_exclude"):
        return True
    written, read = field.get("serialization_alias", name), field.get("validation_alias", name)
    paths = [[read]] if isinstance(read, str) else read if isinstance(read[0], list) else [read]
    return [written] in map(list, paths)


def dumped(state: Any) -> Any:
    """*state* as dicts, lists and leaves."""
    options: dict[str, Any] = {"mode": "json", **_writing(_kind_of(state))}
    try:
        return state.model_dump(**options)
    except ValueError:  # of numpy's scalars, pydantic knows only floats
        try:
            return state.model_dump(**options, fallback=encode_scalar)
        except TypeError:
            pass
        raise


def part_to_json(part: Any) -> bytes:
    """A *part* of a model as JSON, nearly as :func:`dumped` makes it of the whole; to find a part that fails."""
    if is_model(type(part)):
        return encode(dumped(part))
    import pydantic_core  # it is there, because the program has a model

    return encode(pydantic_core.to_jsonable_python(part, fallback=encode_scalar))


def to_json(value: Any) -> bytes:
    return value.model_dump_json(**_writing(_kind_of(value))).encode()  # type: ignore[no-any-return]


def _kind_of(value: Any) -> Any:  # a type counts as unhashable
    return type(value)


@lru_cache
def _writing(kind: Any) -> dict[str, Any]:
    return {"by_alias": not goes_by_name(kind), "round_trip": True, "warnings": False}


def reader(kind: Any) -> Callable[[bytes | str], Any]:
    """Makes a model from its JSON. Raises what pydantic raises."""
    if goes_by_name(kind):
        return partial(kind.model_validate_json, by_alias=False, by_name=True)
    return kind.model_validate_json  # type: ignore[no-any-return]


def converted(kind: Any, saved: Mapping[str, Any]) -> Any:
    """The model that *saved* was made from. Raises what pydantic raises."""
    return reader(kind)(encode(saved) if is_plain(saved) else _with_constants(saved))


def _with_constants(saved: Mapping[str, Any]) -> str:
    """JSON with ``NaN`` and ``Infinity``: pydantic reads these, however the model writes them."""
    import json  # seldom needed

    return json.dumps(saved)


def written_name(kind: Any, name: str, field: Any) -> str:
    """The name in JSON of the *field* that has this *name* in the class."""
    return name if goes_by_name(kind) else str(field.serialization_alias or field.alias or name)


def names_in_json(state: Any, *, by_name: bool) -> dict[str, str]:
    """The field for each name that pydantic reads; "" for one that no field has.

    Args:
        by_name: Whether the state that it belongs to goes by name.
    """
    config = type(state).model_config
    is_either = bool(config.get("populate_by_name") or config.get("validate_by_name"))
    known: dict[str, str] = dict.fromkeys(state.__pydantic_extra__ or {}, "")
    for name, field in type(state).__pydantic_fields__.items():
        for shown in [name] if by_name else _names_of(name, field, is_either=is_either):
            known[shown] = name
    return known


def _names_of(name: str, field: Any, *, is_either: bool) -> list[str]:
    alias = field.validation_alias
    if alias is None:
        return [name]
    choices = getattr(alias, "choices", [alias])
    names = [one if isinstance(one, str) else str(one.path[0]) for one in choices]
    return [*names, name] if is_either else names
