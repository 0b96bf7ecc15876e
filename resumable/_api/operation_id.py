"""The operation id of a call, and the arguments that must not change on resume."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import PurePath
from string import Formatter
from typing import Any

import msgspec

from .._json import decode
from .._text import HIDDEN, hidden, hide, names_secret

OperationId = str | Callable[..., str] | None
"""A template with fields from the call's arguments, a callable that takes them, or None: a digest of them."""

KEPT_WHOLE_BYTES = 1000
"""An argument with longer JSON is kept as a digest, because each save writes it again."""
_RECEIVERS = frozenset({"self", "cls", "mcs"})
_LEFT_OUT = object()


def check_operation_id(operation_id: object, signature: inspect.Signature) -> None:
    """Refuse an *operation_id* that cannot name the calls of a function with this *signature*.

    Raises:
        TypeError: *operation_id* is neither a str, nor callable, nor None.
        ValueError: It is empty or not a template, or one of its fields is not a parameter or reads a private attribute.
    """
    if operation_id is not None and not isinstance(operation_id, str) and not callable(operation_id):
        raise TypeError(f"operation_id must be a str or callable, not {type(operation_id).__name__}")
    if operation_id == "":
        raise ValueError("operation_id is empty: give it a name, such as operation_id='fetch'")
    for field in _fields(operation_id) if isinstance(operation_id, str) else ():
        at = f"operation_id={operation_id!r}: {{{field}}}"
        name, *attributes = re.sub(r"\[[^]]*]", "", field).split(".")
        if name not in signature.parameters:
            known = ", ".join(signature.parameters) or "none"
            raise ValueError(f"{at} is not a parameter; the parameters are: {known}")
        if any(attribute.startswith("_") for attribute in attributes):
            raise ValueError(f"{at} reads a private attribute")


def _fields(template: str) -> Iterator[str]:
    """All fields of a template, including those inside format specifications."""
    try:
        for _, field, spec, _ in Formatter().parse(template):
            if field is not None:
                yield field
                yield from _fields(spec or "")
    except ValueError as error:
        raise ValueError(f"operation_id={template!r}: {error}; a literal brace is doubled") from None


def operation_id_for(
    operation_id: OperationId, bound: inspect.BoundArguments, *, name: str, ignore: Collection[str] = ()
) -> str:
    """The operation id of a call.

    Args:
        bound: The call's arguments, without the checkpoint, with defaults.
        name: Precedes the digest if *operation_id* is None. See :func:`name_of`.
        ignore: Parameters that are not part of the digest.

    Raises:
        TypeError: A callable did not return a str, or an argument has no digest.
        ValueError: It is empty, or would contain a secret, judged by the name of a template's field or by its form.
    """
    if operation_id is None:
        return _digested(name, bound.arguments, ignore)
    if isinstance(operation_id, str):
        _refuse_secrets(operation_id, bound.arguments, name)
        made: object = operation_id.format_map(bound.arguments)
    else:
        made = operation_id(*bound.args, **bound.kwargs)
    if not isinstance(made, str):
        raise TypeError(f"operation_id must return a str, not {type(made).__name__}")
    if not made:
        raise ValueError(f"{name}: the operation_id of this call is empty; begin it with a name: 'fetch-{{repo}}'")
    if (shown := hidden(made)) != made:
        raise ValueError(
            f"{name}: the operation_id {shown!r} would hold a secret; it is stored and shown in plain text"
        )
    return made


def _refuse_secrets(template: str, arguments: Mapping[str, Any], name: str) -> None:
    for field in _fields(template):
        called = re.findall(r"[^].[]*[^].[\d][^].[]*", field)[-1]  # the last part that is not a number
        value = Formatter().get_field(field, (), arguments)[0]
        if hide(called, value) == HIDDEN if names_secret(called) else hidden(str(value)) != str(value):
            raise ValueError(f"{name}: {{{field}}} holds a secret; an operation_id is stored and shown in plain text")


def name_of(function: Any) -> str:
    """``module.qualname`` of *function*; only ``qualname`` in ``__main__``, whose file may be moved.

    Raises:
        TypeError: *function* has no name.
    """
    qualname, module = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if not isinstance(qualname, str):
        raise TypeError(f"{function!r} has no name to make an operation_id from; give operation_id=...")
    plain = qualname.replace("<locals>.", "")
    return plain if module in (None, "__main__") else f"{module}.{plain}"


def _digested(name: str, arguments: Mapping[str, Any], ignore: Collection[str]) -> str:
    plain = {
        parameter: hide(parameter, _plain(value))
        for parameter, value in arguments.items()
        if _tells(parameter, value, ignore)
    }
    for unknown in (parameter for parameter, value in plain.items() if value is _LEFT_OUT):
        raise TypeError(
            f"{name}: the argument {unknown!r} ({type(arguments[unknown]).__name__}) has no value that is equal in "
            f"every run; give operation_id=..., or ignore_arguments=({unknown!r},)"
        )
    return f"{name}-{_digest(msgspec.json.encode(plain, order='sorted'))}" if plain else name


def encodable_arguments(
    operation_id: OperationId, bound: inspect.BoundArguments, *, ignore: Collection[str] = (), salt: str = ""
) -> dict[str, Any]:
    """The arguments that must not change on resume, as plain JSON without secrets.

    It omits the receiver, *ignore*, arguments that are part of the id, secrets by their names, and values without
    stable JSON. A long value becomes a digest; so does a possible secret, keyed with *salt*.
    """
    if operation_id is None:
        return {}
    fields = _fields(operation_id) if isinstance(operation_id, str) else ()
    known = {re.split(r"[.\[]", field, maxsplit=1)[0] for field in fields} | set(ignore)
    kept = {name: _kept(name, value, salt) for name, value in bound.arguments.items() if _tells(name, value, known)}
    return {name: value for name, value in kept.items() if value is not _LEFT_OUT}


def _tells(parameter: str, value: Any, known: Collection[str]) -> bool:
    is_left_out = parameter in known or parameter in _RECEIVERS
    return not is_left_out and not (names_secret(parameter) and hide(parameter, value) == HIDDEN)


def _kept(name: str, value: Any, salt: str) -> Any:
    plain = _plain(value)
    if plain is _LEFT_OUT:
        return plain
    plain = hide(name, plain, salt)
    encoded = msgspec.json.encode(plain)
    if len(encoded) <= KEPT_WHOLE_BYTES:
        return plain
    size = f" of {len(plain):,}" if isinstance(plain, list | dict) else ""
    return f"{type(value).__name__}{size}, SHA-256 {_digest(encoded)}"


def _plain(value: Any) -> Any:
    """*value* as JSON gives it back in every process; ``_LEFT_OUT`` if JSON cannot hold it."""
    try:
        return decode(msgspec.json.encode(value, order="sorted", enc_hook=_encode))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _LEFT_OUT


def _encode(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError


def _digest(encoded: bytes) -> str:
    return hashlib.sha256(encoded).hexdigest()[:12]
