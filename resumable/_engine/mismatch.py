"""Whether a checkpoint belongs to the call that wants to go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .._errors import InputChangedError
from .._text import command_for


class Call(Protocol):
    """What is compared."""

    @property
    def operation_id(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any] | None: ...


def check_arguments(call: Call, saved: Any) -> None:
    """Compare the call's arguments with the *saved* ones, as far as both know them.

    Raises:
        InputChangedError: They differ.
    """
    if not isinstance(saved, dict) or not call.arguments:
        return
    changed = {n: v for n, v in call.arguments.items() if n in saved and saved[n] != v}
    if changed:
        names = ", ".join(repr(name) for name in changed) + ","
        field = next(iter(changed))
        raise InputChangedError(
            call.operation_id,
            [f"{name} was {_short(saved[name])}, is {_short(value)}" for name, value in changed.items()],
            [
                f"two operations:  put {{{field}}} into the operation_id",
                f"it does not matter:  ignore_arguments=({names}), or leave it out of arguments=",
                f"start over:  {command_for('rm', call.operation_id)}",
            ],
        )


def name_directory(error: InputChangedError, directory: str) -> None:
    """Have the ways out of *error* name the *directory* in which the checkpoint lies; "" changes nothing."""
    bare, whole = (command_for("rm", error.operation_id, where) for where in ("", directory))
    # In place: the list is an argument of the error, too, out of which pickle makes it again.
    error.ways_out[:] = [way.replace(bare, whole) for way in error.ways_out]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
