"""State of a given type, to plain JSON and back: dataclasses, ``msgspec.Struct``, pydantic models, what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from .._errors import InputChangedError, StateEncodeError
from .._json import check, decode, encode
from .._text import command_for

_BYTES_IN_PYDANTIC = (
    "a pydantic model saves bytes that are no UTF-8 only with "
    "model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"
)


def restored(operation_id: str, kind: type[Any], saved: Mapping[str, Any] | None) -> Any:
    """A *kind* out of what was saved; a fresh one, made without arguments, if nothing was.

    Raises:
        InputChangedError: What was saved no longer fits *kind*.
    """
    if saved is None:
        return kind()
    try:
        if hasattr(kind, "model_validate_json"):
            state = kind.model_validate_json(encode(saved))
        else:
            state = msgspec.convert(saved, kind, dec_hook=_decode, str_keys=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise _misfit(operation_id, kind, [str(error)]) from None
    # A field that was renamed would begin anew, and what it held would be gone with the next save.
    lost = saved.keys() - plain(kind, state).keys()
    if lost:
        raise _misfit(operation_id, kind, [f"it has no field {name!r}" for name in sorted(lost)])
    return state


def _misfit(operation_id: str, kind: type[Any], reasons: list[str]) -> InputChangedError:
    return InputChangedError(
        operation_id,
        [f"the saved state does not fit {kind.__name__}: {reason}" for reason in reasons],
        [
            f"give new fields of {kind.__name__} defaults, keep the old ones, or change the saved state: "
            "CheckpointManager.load_checkpoint, create_checkpoint",
            f"start over:  {command_for('rm', operation_id)}",
        ],
    )


def plain(kind: type[Any] | None, state: Any) -> dict[str, Any]:
    """*state* as a dict for the document.

    Raises:
        StateEncodeError: It is no dict, and none of the kinds above.
    """
    if kind is None:
        if not isinstance(state, dict):
            raise StateEncodeError("$.state", f"cp.state must stay a dict, not become a {type(state).__name__}")
        return state
    try:
        if hasattr(state, "model_dump"):
            value = state.model_dump(mode="json", by_alias=True, round_trip=True)
        else:
            value = msgspec.to_builtins(state, enc_hook=_encode, str_keys=True)
        # What JSON would change silently, such as NaN, shows only in the plain form.
        check(value, "$.state")
        value = decode(encode(value))  # a tuple is a list there, and the type makes it one again
    except UnicodeDecodeError as error:
        raise StateEncodeError("$.state", f"{error}; {_BYTES_IN_PYDANTIC}") from error
    except (TypeError, NotImplementedError, ValueError, RecursionError) as error:
        raise StateEncodeError("$.state", str(error)) from error
    if not isinstance(value, dict):
        raise StateEncodeError("$.state", f"a {kind.__name__} is not saved as a JSON object")
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be saved")


def _decode(kind: type[Any], value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind(value)
    raise NotImplementedError(f"a {kind.__name__} cannot be restored")
