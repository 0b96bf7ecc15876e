"""Finds the parameter of a function for the checkpoint, and adds the checkpoint to a call without it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import BoundArguments, Parameter, Signature
from typing import Any

from .async_checkpoint import AsyncCheckpoint
from .checkpoint import Checkpoint

_NAMED = "cp"
_TEXT = re.compile(r"(?:\w+\.)*(Async)?Checkpoint(?:\[.*])?")
_LIKELY = ("checkpoint", "ckpt", "check_point", "check", "c")
"""Names that users give the checkpoint's parameter if they do not know how it is found."""
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Signatures:
    """A function's two signatures: the full one, and the public one without the checkpoint's *parameter*.

    *kind* is that parameter's annotation: Checkpoint, AsyncCheckpoint or None.
    """

    full: Signature
    public: Signature
    parameter: str | None
    kind: type[Any] | None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> BoundArguments:
        """The arguments of a call of the function *name*, with defaults.

        Raises:
            TypeError: They do not fit the public signature, or contain a checkpoint.
        """
        given = any(isinstance(value, Checkpoint | AsyncCheckpoint) for value in args)
        if self.parameter is not None and (given or self.parameter in kwargs):
            raise TypeError(f"{name}(): @resumable passes the checkpoint {self.parameter!r}; call it without")
        try:
            bound = self.public.bind(*args, **kwargs)
        except TypeError as error:
            likely = next((one for one in _LIKELY if self.parameter is None and one in self.public.parameters), "")
            way = f"; if {likely!r} takes the checkpoint, call it cp, or write {likely}: Checkpoint" if likely else ""
            raise TypeError(f"{name}(): {error}{way}") from None
        # Without its defaults, a parameter before the checkpoint would leave a gap.
        bound.apply_defaults()
        return bound

    def with_checkpoint(self, checkpoint: Any, bound: BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, with *checkpoint* added."""
        values: dict[Any, Any] = {**bound.arguments, self.parameter: checkpoint}
        call = BoundArguments(self.full, {name: values[name] for name in self.full.parameters})
        return call.args, call.kwargs


def signatures_of(function: Callable[..., Any]) -> Signatures:
    """Find the parameter of *function* that takes the checkpoint: the annotated one, else the one named ``cp``.

    Raises:
        TypeError: Two parameters are annotated as checkpoints.
    """
    signature = inspect.signature(function)
    hints = _hints(function)
    kinds = {
        name: _kind(hints.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
        if parameter.kind not in _VARIADIC
    }
    found = [name for name, kind in kinds.items() if kind is not None]
    if len(found) > 1:
        raise TypeError(f"{function!r} has several checkpoint parameters ({', '.join(found)}); there is one to give")
    name = found[0] if found else _NAMED if _NAMED in kinds else None
    others = [parameter for parameter in signature.parameters.values() if parameter.name != name]
    return Signatures(signature, signature.replace(parameters=others), name, kinds[name] if name else None)


def innermost(function: Any) -> Any:
    """The function in the source, inside methods, partials and decorators."""
    while True:
        inner = inspect.unwrap(function)
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif isinstance(inner, types.MethodType | classmethod | staticmethod):
            inner = inner.__func__
        elif not inspect.isroutine(inner) and not inspect.isclass(inner):
            inner = getattr(type(inner), "__call__", inner)  # noqa: B004
        if inner is function:
            return function
        function = inner


def _hints(function: Any) -> dict[str, Any]:
    """Annotations by name. One that cannot be resolved stays a text, and does not affect the others."""
    inner = innermost(function)
    names = getattr(inner, "__globals__", {})
    return {name: _resolved(hint, names) for name, hint in getattr(inner, "__annotations__", {}).items()}


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    with contextlib.suppress(Exception):
        return eval(hint, names) if isinstance(hint, str) else hint
    return hint


def _kind(hint: Any) -> type[Any] | None:
    for part in _parts(hint):
        if isinstance(part, str):
            match = _TEXT.fullmatch(part)
            if match:
                return AsyncCheckpoint if match[1] else Checkpoint
        elif isinstance(part, type) and issubclass(part, Checkpoint | AsyncCheckpoint):
            return AsyncCheckpoint if issubclass(part, AsyncCheckpoint) else Checkpoint
    return None


def _parts(hint: Any) -> Iterator[Any]:
    """The types inside an optional, annotated or generic *hint*; texts if they are not resolved."""
    if isinstance(hint, typing.ForwardRef):
        hint = hint.__forward_arg__
    origin = typing.get_origin(hint)
    if isinstance(hint, str):
        plain = re.sub(r"^(?:\w+\.)*Optional\[(.*)]$", r"\1", hint.strip(" '\""))
        yield from (part.strip(" '\"") for part in plain.split("|"))
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _parts(part)
    elif origin is typing.Annotated:
        yield from _parts(typing.get_args(hint)[0])
    else:
        yield origin or hint
