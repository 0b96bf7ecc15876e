"""Finds the value in a state that cannot be encoded, after the whole has failed: the libraries do not say where."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._json import MAX_DEPTH, step
from .._text import shortened
from .._text.cures import cure

BYTES_IN_PYDANTIC = (
    "a pydantic model saves bytes that are not UTF-8 only with "
    "model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
)
_LONGEST_PATH = 200


def place_and_reason(
    state: Any, error: Exception, encode: Callable[[Any], Any], path: str = "$.state"
) -> tuple[str, str]:
    """The path of the innermost value that *encode* fails for, and why, with what to do.

    Args:
        error: What *encode* raised for the whole *state*.
        path: The path of *state*.
    """
    value = state
    for _ in range(MAX_DEPTH + 1):
        found = next(((place, part) for place, part in _parts(value) if _fails(encode, part)), None)
        if found is None:
            break
        path, value = path + found[0], found[1]
    return path[:_LONGEST_PATH], _reason(error, value)


def _reason(error: Exception, value: Any) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {MAX_DEPTH} levels, or contains itself; keep it flatter"
    if isinstance(error, UnicodeDecodeError):
        return f"{error}; {BYTES_IN_PYDANTIC}"
    text = " ".join(str(error).split()) or type(error).__name__
    if "surrogates not allowed" in text:
        return f"{text}; text.encode('utf-8', 'replace').decode() replaces it, ascii(text) keeps it readable"
    if isinstance(value, _Key):
        return f"{text}; use text as the key, such as str(key)"
    if ";" in text:
        return text
    if names_of(type(value)):
        return f"{text}; assign to its fields what their types declare"
    return f"{text}; {cure(value) or 'keep plain values instead'}"


class _Key(dict[Any, None]):
    """A dict with one key, which cannot be encoded alone."""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What *value* is made of, with the steps of its path."""
    if isinstance(value, dict) and not isinstance(value, _Key):
        yield from ((f": the key {shortened(key)}", _Key({key: None})) for key in value)
        yield from ((step(key) if type(key) is str else f"[{key!r:.40}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        yield from ((f".{name}", getattr(value, name)) for name in names_of(type(value)) if hasattr(value, name))


def _fails(encode: Callable[[Any], Any], part: Any) -> bool:
    try:
        encode(dict(part) if isinstance(part, _Key) else part)
    except Exception:
        return True
    return False


def names_of(kind: Any) -> Iterable[str]:
    """The names of the fields of a class; none for a class that has none."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return getattr(kind, "__struct_fields__", None) or getattr(kind, "__pydantic_fields__", None) or ()
