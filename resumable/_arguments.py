"""Which operation a call of a decorated function is, and which of its arguments must be the same on a resume."""

from __future__ import annotations

import hashlib
import inspect
import string
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ._codec import check, encode
from ._errors import StateEncodeError

_formatter = string.Formatter()


def fields_of(template: str) -> set[str]:
    """The arguments that *template* names, as in ``"fetch_{repo.full_name}"``.

    Raises:
        ValueError: If it is no template, or reaches for a private name.
    """
    fields = set()
    for _, field, spec, _ in _formatter.parse(template):
        if field is None:
            continue
        name = field.partition(".")[0].partition("[")[0]
        if not name or name.isdigit():
            raise ValueError(f"{template!r} has a field without a name; name the argument, as in {{repo_name}}")
        if "._" in field or "[_" in field or name.startswith("_"):
            raise ValueError(f"{template!r} reaches for the private name {field!r}")
        fields |= {name} | (fields_of(spec) if spec else set())
    return fields


def check_template(template: str, signature: inspect.Signature) -> None:
    """Refuse a template that no call can fill.

    Raises:
        ValueError: It names what is no parameter.
    """
    unknown = fields_of(template) - set(signature.parameters)
    if unknown:
        known = ", ".join(signature.parameters) or "none"
        raise ValueError(f"operation_id {template!r} names {sorted(unknown)}, but the parameters are: {known}")


def bind(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The call's arguments by name, defaults applied.

    Raises:
        TypeError: They do not fit, as Python would say.
    """
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def operation_id_for(
    template: str | Callable[..., str] | None,
    name: str,
    arguments: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> str:
    """The operation that this call is.

    Args:
        template: Text with fields, or a function of the same arguments; None: *name* and a digest of the arguments.

    Raises:
        TypeError: Without a template: an argument that cannot be told by its value.
    """
    if isinstance(template, str):
        return _formatter.vformat(template, (), arguments)
    if template is not None:
        operation_id = template(*args, **kwargs)
        if not isinstance(operation_id, str):
            raise TypeError(f"operation_id's function must give a str, not {type(operation_id).__name__}")
        return operation_id
    if not arguments:
        return name
    try:
        check(dict(arguments), "$")
    except StateEncodeError as error:
        raise TypeError(
            f"the operation cannot be told by its arguments: {error.path[2:]} is no plain value. "
            f'Name it: @resumable(operation_id="{name}_{{...}}")'
        ) from None
    digest = hashlib.sha256(encode(sorted(arguments.items()))).hexdigest()[:12]
    return f"{name}-{digest}"


def compared(
    arguments: Mapping[str, Any], template: str | Callable[..., str] | None, ignored: Collection[str]
) -> dict[str, Any]:
    """The arguments that a resume must find the same: plain values that are neither in the id nor ignored."""
    in_id = fields_of(template) if isinstance(template, str) else set()
    plain = {}
    for name, value in arguments.items():
        if name in in_id or name in ignored:
            continue
        try:
            check({name: value}, "$")
        except StateEncodeError:
            continue
        plain[name] = _as_loaded(value)
    return plain


def _as_loaded(value: Any) -> Any:
    """*value* as it comes back from JSON: tuples are lists."""
    if isinstance(value, dict):
        return {key: _as_loaded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_loaded(item) for item in value]
    return value
