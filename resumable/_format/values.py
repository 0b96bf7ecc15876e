"""Values of one class in a durable collection, to plain JSON and back."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Any, Generic, TypeVar, cast, is_typeddict

import msgspec

from .._errors import StateEncodeError
from .._json import LEAVES, decode_spelled, encode_spelled, is_exact
from .._runtime.interpreter import ALONE, COUNTS_ARE_TRUE, parts_of_all, reference_counts
from . import culprit, models, typed
from .impossible import refuse_impossible
from .roundtrip import differences, is_value

V = TypeVar("V")

_MOST_DEPTH = 20


class Values(Generic[V]):
    """Values of the class *kind* in the collection at *path*: encodes, checks and decodes them.

    Raises:
        TypeError: *kind* is not a class, or no value of it could be loaded.
    """

    def __init__(self, kind: type[V], path: str, operation_id: str, warn: Callable[[str], None]) -> None:
        if not isinstance(kind, type) or kind is Any or is_typeddict(kind):
            raise TypeError(f"{path} needs a class for its values, such as a dataclass, not {kind!r:.80}")
        refuse_impossible(kind, f"{path} of {kind.__name__}")
        self.kind = kind
        self._class_of_values = type(kind()) if issubclass(kind, PurePath) else kind  # for Path, that is PosixPath
        self.path = path
        self._operation_id, self._warn = operation_id, warn
        self._decode: Callable[[bytes], Any]
        self._to_json: Callable[[Any], bytes]
        self._encode: Callable[[Any], Any]
        if models.is_model(kind):
            self._decode, self._to_json, self._encode = models.reader(kind), models.to_json, models.part_to_json
        else:
            decoder = msgspec.json.Decoder(kind, dec_hook=typed.decode_hook)
            self._decode, self._to_json, self._encode = decoder.decode, typed.to_json, typed.to_json

    def to_json(self, value: V) -> bytes:
        """*value* as JSON; NaN and the infinities are spelled out, see :func:`encode_spelled`."""
        raw = self._to_json(value)
        return raw if is_exact(raw) and not _has_constants(raw) else encode_spelled(typed.builtins(value))

    def _back(self, raw: bytes) -> V:
        back = typed.converted(self.kind, decode_spelled(raw)) if b'$float"' in raw else self._decode(raw)
        return cast("V", back)

    def encoded(self, value: V, where: Callable[[Any], str], key: Any) -> tuple[bytes, Any]:
        """*value*, which belongs to *key*, as JSON and as the plain value that JSON gives back.

        Args:
            where: Returns the path of a key, for messages.

        Raises:
            StateEncodeError: JSON cannot hold it, or it would change on loading.
            TypeError: It is of another class.
        """
        if type(value) is not self._class_of_values:
            raise TypeError(f"{where(key)} takes {self.kind.__name__}, not {type(value).__name__}")
        try:
            raw = self.to_json(value)
            plain = decode_spelled(raw)
        except Exception as error:  # whatever a class of the program, or a value that it does not declare, makes of it
            raise StateEncodeError(*culprit.place_and_reason(value, error, self._encode, where(key))) from error
        try:
            back = self._back(raw)
        except (*typed.UNDECODABLE, msgspec.MsgspecError) as error:
            place, reason = typed.place_and_reason(error)
            inner = place.removeprefix("$.state")
            raise StateEncodeError(where(key) + inner, f"it could not be loaded again: {reason}") from None
        if back != value or self.to_json(back) != raw:
            self.compare([value], [raw], lambda index: where(key))
        return raw, plain

    def is_one(self, raw: bytes, other: bytes) -> bool:
        """Whether both are JSON of equal values: such as 1 and 1.0 of a float."""
        try:
            return self.to_json(self._back(raw)) == self.to_json(self._back(other))
        except (*typed.UNDECODABLE, msgspec.MsgspecError):
            return False

    def compare(self, values: list[V], raws: list[bytes], where: Callable[[int], str]) -> None:
        """Check that each of *values* equals what its JSON gives back, with types at every depth.

        Raises:
            StateEncodeError: One differs.
        """
        backs = list(map(self._back, raws))
        for wrong in differences(values, backs, "", lambda place: None):
            index, _, rest = wrong.path.removeprefix("[").partition("]")
            place = f"{where(int(index))}{rest}"
            if not wrong.is_left_out:
                raise StateEncodeError(place, wrong.reason)
            self._warn(f"{place} is not saved, because it is private or excluded: it comes back with its default")

    def value(self, plain: Any, where: str) -> V:
        """The value that *plain* was made from.

        Raises:
            InputChangedError: It does not fit the class, or has a field that the class lacks.
        """
        try:
            value = typed.converted(self.kind, plain)
        except (*typed.UNDECODABLE, msgspec.MsgspecError) as error:
            raise typed.misfit(self._operation_id, self.kind, [f"{error} in {where}"]) from None
        if isinstance(plain, dict) and self.to_json(value) != encode_spelled(plain):
            lost = list(islice(typed.unknown_fields(plain, value), 5))
            if lost:
                reasons = [f"it has no field {name!r}, which {where} has" for name in sorted(lost)]
                raise typed.misfit(self._operation_id, self.kind, reasons)
        return value  # type: ignore[no-any-return]

    def held(self, values: list[V]) -> list[bool]:
        """Whether the program may still change each of *values*, because it refers to it or to something mutable in it.

        Args:
            values: The only container that refers to them.
        """
        if not COUNTS_ARE_TRUE:
            return [True] * len(values)
        may_change = not is_value(cast("Hashable", self.kind))
        counts = list(reference_counts(values))
        return [
            (may_change and count > ALONE) or _is_held_inside(value)
            for value, count in zip(values, counts, strict=True)
        ]


def _has_constants(raw: bytes) -> bool:
    """Whether a model may have written numbers that JSON lacks in its own way."""
    return b"NaN" in raw or b"Infinity" in raw


def _is_held_inside(value: Any, depth: int = 0) -> bool:
    if depth > _MOST_DEPTH:
        return True
    inner = [one for one in parts_of_all(value) if not _is_constant(cast("Hashable", type(one)))]
    if not inner:
        return False
    counts = list(reference_counts(inner))
    is_held = any(
        count > ALONE + 1 for one, count in zip(inner, counts, strict=True) if not isinstance(one, (tuple, frozenset))
    )
    return is_held or any(_is_held_inside(one, depth + 1) for one in inner)


@lru_cache
def _is_constant(kind: type[Any]) -> bool:
    if kind in LEAVES or issubclass(kind, (type, enum.Enum)):
        return True
    return (
        is_value(cast("Hashable", kind))
        and not issubclass(kind, (tuple, frozenset))
        and not hasattr(kind, "__dataclass_fields__")
    )
