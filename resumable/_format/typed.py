"""State of a user's class, to plain JSON and back: dataclasses, ``msgspec.Struct``, pydantic models.

Nothing is saved that cannot be loaded: what was encoded is decoded, compared, and encoded again.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import PurePath
from typing import Any, get_origin

import msgspec

from .._durable import Durable
from .._errors import InputChangedError, StateEncodeError
from .._json import check, decode_spelled, encode, encode_spelled, scalar
from .._runtime.interpreter import collector_paused
from .._text import command_for
from .._text.cures import cure
from . import culprit, models
from .culprit import names_of
from .fields import fields_of, set_field
from .impossible import refuse_impossible, refuse_without_fields
from .roundtrip import differences

UNDECODABLE = (msgspec.ValidationError, ValueError, TypeError, NotImplementedError, RecursionError)
_MANY = 512
"""Larger containers are checked in parts."""
_NEWEST = 128
_PARTS = 64
_FEW = 8
_MOST_AT_ONCE = 1 << 16
"""How many bytes of JSON are decoded and compared at each save during the loop; larger states in turns."""


class TypedState:
    """A state of the class *kind*: encoded at each save, and checked whether it can be loaded.

    The check is complete on demand. Otherwise it covers the newest entries of each container, and others in turns.

    Args:
        warn: Called with changes on loading that are harmless.

    Attributes:
        kind: The class of the state.
        fields: The fields that can hold a durable collection, by name.

    Raises:
        TypeError: No state of this class could be loaded.
    """

    def __init__(self, kind: type[Any], warn: Callable[[str], None]) -> None:
        refuse_without_fields(kind)
        self.fields = fields_of(kind)
        refuse_impossible(kind, collections=[one.name for one in self.fields.values() if one.is_declared])
        self.kind = kind
        self._warn = warn
        self._turn = 0
        self._ends_fit = True  # unless the class demands that fields fit each other

    def plain(self, state: Any, *, wholly: bool) -> dict[str, Any]:
        """*state* as a dict for the document. Also raises what :func:`plain` raises.

        Raises:
            StateEncodeError: It would change on loading; the text says where and what to do.
        """
        with collector_paused():  # it would scan everything that is built here, several times
            value = plain(self.kind, state)
            if wholly:
                self._try(state, value)
            else:
                self._try_part(state)
            return value

    def _try_part(self, state: Any) -> None:
        self._turn += 1
        part = _part(state, self._turn)
        try:
            value = plain(self.kind, part)
            if self._turn % (1 + len(encode(value)) // _MOST_AT_ONCE) == 0:
                self._try(part, value)
            elif self._ends_fit:
                self._try_ends(state)
        except StateEncodeError:
            # The class may demand that fields fit each other. A part may not: only the whole counts.
            self._try(state, plain(self.kind, state))

    def _try_ends(self, state: Any) -> None:
        """A value that a large state got just now must not wait for its turn: no save with it could be loaded."""
        try:
            ends = _ends(state)
            self._try(ends, plain(self.kind, ends), said=False)
        except Exception:
            self._try(state, plain(self.kind, state))
            self._ends_fit = False

    def _try(self, state: Any, value: dict[str, Any], *, said: bool = True) -> None:
        if type(state) is not self.kind:
            reason = f"a {type(state).__name__} would come back as a {self.kind.__name__}; give state= its own class"
            raise StateEncodeError("$.state", reason)
        try:
            back = converted(self.kind, value)
        except UNDECODABLE as error:
            path, reason = place_and_reason(error)
            raise StateEncodeError(path, f"it could not be loaded again: {reason}; {_DECLARE}") from None
        warn = self._warn if said else lambda text: None
        for wrong in differences(state, back, "$.state", warn):
            if not wrong.is_left_out:
                raise StateEncodeError(wrong.path, wrong.reason)
            warn(f"{wrong.path} is not saved, because it is private or excluded: the next run begins with its default")
        if not self._is_encoded_alike(back, state, value):
            raise StateEncodeError("$.state", "loading and saving it changes it; look at its serializers")

    def _is_encoded_alike(self, back: Any, state: Any, value: Any) -> bool:
        if hasattr(self.kind, "model_dump_json"):
            again = plain(self.kind, back)
        elif to_json(back) == to_json(state):
            return True
        else:
            again = plain(self.kind, back)
        if again == value or _in_one_order(again) == _in_one_order(value):
            return True
        return encode_spelled(again) == encode_spelled(value)  # because NaN != NaN


_DECLARE = "assign what its type declares, or declare what you assign"


def _part(value: Any, turn: int, depth: int = 3) -> Any:
    """*value* with its large containers cut down to the part for this *turn*."""
    kind = type(value)
    if kind in (list, dict, set):
        if len(value) >= _MANY:
            return _share(value, turn % _PARTS)
        if kind is list or not depth:
            return value
        return {key: _part(item, turn, depth - 1) for key, item in value.items()} if kind is dict else value
    return _with_fields(value, lambda item: _part(item, turn, depth - 1)) if depth else value


def _with_fields(value: Any, cut: Callable[[Any], Any]) -> Any:
    """*value*, or a copy of it with those fields that *cut* changes."""
    names = names_of(type(value))
    parts = {name: cut(item) for name in names if (item := getattr(value, name, None)) is not None}
    changed = {name: part for name, part in parts.items() if part is not getattr(value, name)}
    if not changed:
        return value
    result = copy.copy(value)
    for name, part in changed.items():
        set_field(result, name, part)
    return result


def _ends(value: Any, depth: int = 4) -> Any:
    """*value* with the newest entries of its containers, and the beginnings of its texts."""
    kind = type(value)
    if kind in (str, bytes):
        return value if len(value) <= _MANY else value[:_MANY]
    if not depth:
        return value
    if kind is dict:
        newest = list(islice(reversed(value.items()), _FEW))[::-1]
        return {key: _ends(item, depth - 1) for key, item in newest}
    if kind is list:
        return [_ends(item, depth - 1) for item in value[-_FEW:]]
    if kind is set:
        return set(islice(value, _FEW))
    return _with_fields(value, lambda item: _ends(item, depth - 1))


def _share(value: Any, turn: int) -> Any:
    begin, end = len(value) * turn // _PARTS, min(len(value) * (turn + 1) // _PARTS, len(value) * turn // _PARTS + 2048)
    if isinstance(value, dict):
        return dict(chain(islice(value.items(), begin, end), islice(reversed(value.items()), _NEWEST)))
    if isinstance(value, list):
        return [*value[begin:end], *value[max(end, len(value) - _NEWEST) :]]
    return set(islice(value, begin, end))


def _in_one_order(value: Any) -> Any:
    """*value* with all arrays sorted, because a set has no order."""
    if isinstance(value, dict):
        return {key: _in_one_order(item) for key, item in value.items()}
    return sorted(map(_in_one_order, value), key=encode) if isinstance(value, list) else value


def place_and_reason(error: Any) -> tuple[str, str]:
    """Where decoding failed, and why, in our own words."""
    if callable(getattr(error, "errors", None)):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        steps = (f"[{one}]" if isinstance(one, int) else f".{one}" for one in first["loc"])
        return "$.state" + "".join(steps), str(first["msg"])
    text = str(error)
    found = re.fullmatch(r"(.*) - at `(key` in `)?\$(.*)`", text, re.DOTALL)
    if found is None:
        return "$.state", text
    return f"$.state{found[3]}{': a key' if found[2] else ''}", found[1]


# -- from a checkpoint


def restored(operation_id: str, kind: type[Any], saved: Mapping[str, Any] | None) -> Any:
    """A *kind* made from the *saved* fields; without any, a new one made without arguments.

    Raises:
        InputChangedError: The saved fields no longer fit *kind*.
        TypeError: Nothing was saved, and *kind* needs arguments.
    """
    if saved is None:
        return _made(kind)
    try:
        state = converted(kind, saved)
    except (msgspec.ValidationError, ValueError) as error:
        raise misfit(operation_id, kind, [str(error)]) from None
    # A renamed field would begin empty, and the next save would lose the old value.
    if plain(kind, state) != saved and (lost := list(islice(unknown_fields(saved, state), 5))):
        raise misfit(operation_id, kind, [f"it has no field {name!r}" for name in sorted(lost)])
    return state


def _made(kind: type[Any]) -> Any:
    try:
        return kind()
    except (TypeError, ValueError) as error:
        needs = str(error).splitlines()[0]
        raise TypeError(
            f"state={kind.__name__} cannot be made without arguments: {needs}; give each field a default"
        ) from None


def unknown_fields(saved: Any, state: Any) -> Iterator[str]:
    """The paths of saved fields that *state*, made from *saved*, has no place for.

    Walks the saved form and the object together, because the object knows which member of a union it is.
    """
    kind: Any = type(state)
    yield from _unknown_fields(saved, state, "", by_name=models.is_model(kind) and models.goes_by_name(kind))


def _unknown_fields(saved: Any, state: Any, path: str, *, by_name: bool) -> Iterator[str]:
    pairs: Iterable[tuple[str, Any, Any]] = ()
    if getattr(type(state), "__pydantic_root_model__", False):
        state = state.root
    if isinstance(saved, list) and isinstance(state, (list, tuple)):
        pairs = ((f"{path}[{index}]", *pair) for index, pair in enumerate(zip(saved, state, strict=False)))
    elif isinstance(saved, dict) and isinstance(state, dict):
        values = zip(saved.items(), state.values(), strict=False)
        pairs = ((f"{path}[{key!r}]", one, two) for (key, one), two in values)
    elif isinstance(saved, dict) and (names := _names_in_json(state, by_name=by_name)) is not None:
        yield from (f"{path}.{name}".lstrip(".") for name in saved if name not in names)
        known = ((name, names[name], one) for name, one in saved.items() if names.get(name))
        pairs = ((f"{path}.{name}", one, getattr(state, field, None)) for name, field, one in known)
    for where, one, two in pairs:
        if isinstance(one, (dict, list)):
            yield from _unknown_fields(one, two, where.lstrip("."), by_name=by_name)


def _names_in_json(state: Any, *, by_name: bool) -> dict[str, str] | None:
    """The field for each name in the saved form; "" for no field."""
    kind = type(state)
    if hasattr(kind, "__struct_fields__"):
        tag = kind.__struct_config__.tag_field
        names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
        return names | ({tag: ""} if tag else {})
    if dataclasses.is_dataclass(kind):
        return {field.name: field.name for field in dataclasses.fields(kind)}
    if hasattr(kind, "__pydantic_fields__"):
        return models.names_in_json(state, by_name=by_name)
    return None


def converted(kind: type[Any], saved: Mapping[str, Any]) -> Any:
    if models.is_model(kind):
        return models.converted(kind, saved)
    return msgspec.convert(saved, kind, dec_hook=decode_hook, str_keys=True)


def misfit(operation_id: str, kind: type[Any], reasons: list[str]) -> InputChangedError:
    return InputChangedError(
        operation_id,
        [f"the saved state does not fit {kind.__name__}: {reason}" for reason in reasons],
        [
            f"give new fields of {kind.__name__} defaults, keep the old ones, or change the saved state: "
            "CheckpointManager.load_checkpoint, create_checkpoint",
            f"start over:  {command_for('rm', operation_id)}",
        ],
    )


# -- to plain JSON


def plain(kind: type[Any], state: Any) -> dict[str, Any]:
    """*state* as a dict for the document.

    Raises:
        StateEncodeError: It is of no supported class, or JSON cannot hold a value in it.
    """
    try:
        value = builtins(state)
        # Silent changes by JSON, such as of a key, show only in the plain form.
        check(value, "$.state", nan=True)
        # A tuple becomes a list, and the type makes it a tuple again.
        value = decode_spelled(encode_spelled(value, "$.state"))
    except StateEncodeError:
        raise
    except Exception as error:  # whatever a class of the program, or a value that it does not declare, makes of it
        encode = models.part_to_json if models.is_model(kind) else builtins
        raise StateEncodeError(*culprit.place_and_reason(state, error, encode)) from error
    if not isinstance(value, dict):
        raise StateEncodeError("$.state", f"a {kind.__name__} is not saved as a JSON object")
    return value


def builtins(value: Any) -> Any:
    """*value* as dicts, lists and leaves; may still contain tuples and NaN."""
    if hasattr(value, "model_dump"):
        return models.dumped(value)
    return msgspec.to_builtins(value, enc_hook=_encode, str_keys=True)


def to_json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_encode)


def _encode(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if (plain := scalar(value)) is not value:
        return plain
    raise NotImplementedError(
        f"a {type(value).__name__} has no form in JSON; {cure(value) or 'keep plain values instead'}"
    )


def decode_hook(kind: type[Any], value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind(value)
    if isinstance(collection := get_origin(kind) or kind, type) and issubclass(collection, Durable):
        return collection(value)  # type: ignore[call-arg]
    raise NotImplementedError(f"a {kind.__name__} cannot be restored")
