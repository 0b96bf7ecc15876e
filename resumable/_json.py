"""Strict JSON: what it can hold exactly, and where in a state it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import lru_cache
from itertools import chain, islice
from typing import Any, cast

import msgspec

from ._errors import StateEncodeError
from ._runtime.dicts import PARTS_TELL_KEYS, SIZES_WITH_TEXT_KEYS
from ._runtime.interpreter import has_gil, parts_of_all, warn_user
from ._text import kind_of, shortened

MAX_DEPTH = 200
LEAVES: frozenset[type] = frozenset({str, int, float, bool, type(None)})
"""The scalar types of JSON. A float must be finite."""
SURE: frozenset[type] = LEAVES - {float}
"""Scalar types of which every value is good; a text must be valid Unicode."""
_CONTAINERS: frozenset[type] = frozenset({dict, list})
_TEXT: frozenset[type] = frozenset({str})
_SCALARS = frozenset("biufU")
"""The kinds of numpy that are scalars of JSON: bool, int, unsigned, float, str."""
_FIRST_AT = ", first at "
_NO_NUMBER = "keep None instead, or give nan='allow': checkpointed(..., nan='allow')"
_AT_ONCE = 1000
_MANY = 8192
_NEWEST = 2048
_TURNS = 8


def check(value: Any, path: str, warn: Callable[[str], None] | None = None, *, nan: bool = False) -> None:
    """Make sure that *value* comes back from JSON as it is. Raises StateEncodeError with the exact path if not.

    Args:
        warn: Called for each value that comes back as another type: a tuple as a list, a numpy scalar as a plain one.
        nan: Whether NaN and the infinities are good, because :func:`encode_spelled` writes them.
    """
    if not is_plain(value):
        look_closely(value, path, warn, nan=nan)


def text_key(key: Any, path: str) -> str:
    """*key* as an exact str. Raises StateEncodeError if it is not a str or not valid Unicode."""
    if not isinstance(key, str):
        raise StateEncodeError(
            path, f"the key {shortened(key)} is not a string; JSON would make it one. {_as_text(key)}"
        )
    check_unicode(key, path)
    return str.__str__(key)


def _as_text(key: Any) -> str:
    return "Use key.decode() or key.hex()" if isinstance(key, bytes) else "Use str(key)"


class Checker:
    """Checks one state at each save: completely at first and on demand, otherwise in part.

    A partial check covers the last entries of a large container, which are new, and an eighth of the others in turn. So
    it finds a wrong new entry at once, and a wrong older one after at most eight checks.

    Attributes:
        turn: Number of checks that have found everything good.
    """

    def __init__(self, warn: Callable[[str], None] | None = None, *, nan: bool = False) -> None:
        self._warn, self._nan = warn, nan
        self.turn = 0

    def check(self, value: Any, path: str, *, wholly: bool = False) -> None:
        """Make sure that *value* comes back from JSON as it is, as far as this turn looks; or *wholly*.

        Raises:
            StateEncodeError: Naming the exact path.
        """
        looked_at = value if wholly or self.turn == 0 else _part(value, self.turn % _TURNS)
        if not is_plain(looked_at):
            look_closely(value, path, self._warn, nan=self._nan)
        # Only what was found good counts as looked at.
        self.turn += 1


def _part(value: Any, turn: int, depth: int = 3) -> Any:
    """*value* with large containers cut down to the part for this turn."""
    if type(value) is dict:
        if len(value) >= _MANY:
            # Not as a dict, which takes as long to make as to look at. Each is read by one call: others may add to it.
            keys, values = _share_of(value.keys(), turn), _share_of(value.values(), turn)
            return values if {str}.issuperset(map(type, keys)) else value
        if depth and len(value) < 64:
            return {key: _part(item, turn, depth - 1) for key, item in value.items()}
    elif type(value) is list and len(value) >= _MANY:
        begin, end = _share(len(value), turn)
        return [*value[begin:end], *value[-_NEWEST:]]
    return value


def _share_of(view: Any, turn: int) -> list[Any]:
    nearer_end = view if 2 * turn < _TURNS else reversed(view)  # skipping takes time, too
    some = islice(nearer_end, *_share(len(view), min(turn, _TURNS - 1 - turn)))
    return [*some, *islice(reversed(view), _NEWEST)]


def _share(count: int, turn: int) -> tuple[int, int]:
    return count * turn // _TURNS, -(-count * (turn + 1) // _TURNS)


def is_plain(value: Any) -> bool:
    """Whether *value* is surely plain JSON. Checks level by level at C speed; False means: use :func:`look_closely`."""
    level = [value]
    for depth in range(MAX_DEPTH):
        kinds = set(map(type, level))
        if has_leaves := not kinds.isdisjoint(LEAVES):
            kinds -= SURE
        if float in kinds:
            if not all(map(math.isfinite, level if kinds == {float} else [v for v in level if type(v) is float])):
                return False
            kinds -= {float}
        if not kinds:
            return True
        if not kinds <= _CONTAINERS and not all(map(_is_native, kinds)):
            return False
        inner = _unsure_within([v for v in level if type(v) in kinds] if has_leaves else level, kinds)
        if inner is None:
            return False
        is_growing = depth > 1 and len(inner) > max(len(level), _AT_ONCE)
        level = (
            list({id(v): v for v in inner}.values()) if is_growing else inner
        )  # a container that holds another one twice would double the work
    return False


def _unsure_within(containers: list[Any], kinds: set[type]) -> list[Any] | None:
    """The members of *containers*, which are of these *kinds*, without those that are surely good.

    None if a dict has a key that is not an exact str.
    """
    unsure: list[Any] = []
    for start in range(
        0, len(containers), _AT_ONCE
    ):  # small parts stay in the processor's cache until they are encoded
        some = containers[start : start + _AT_ONCE]
        parts = parts_of_all(*some) if PARTS_TELL_KEYS and kinds <= _CONTAINERS else None
        if parts is None or len(parts) != sum(map(len, some)):
            dicts = [v for v in some if isinstance(v, dict)]
            if not {str}.issuperset(map(type, chain.from_iterable(dicts))):
                return None
            lists = chain.from_iterable(v for v in some if isinstance(v, list))
            parts = [*chain.from_iterable(map(dict.values, dicts)), *lists]
        kinds_here = set(map(type, parts))
        if not kinds_here <= SURE:
            unsure += parts if kinds_here.isdisjoint(SURE) else [v for v in parts if type(v) not in SURE]
    return unsure


_packer = msgspec.msgpack.Encoder()
_pack: Callable[[Any, bytearray], Any] = _packer.encode_into if has_gil() else lambda value, _: _packer.encode(value)
"""Fails on a lone surrogate, and is faster than JSON because it escapes nothing."""
_packed = bytearray()
"""What was packed last. To allocate one each time would take half as long again."""
_DEEPEST, _LONGEST = 3, 32
_UNSURE: tuple[Any, ...] = (b"",)


def is_good(value: Any) -> bool:
    """Whether JSON surely holds this one *value* exactly. False means: use :func:`check`.

    It is for single values, as they are assigned to a collection, which adds a level around them. :func:`is_plain` is
    for many at once.
    """
    kind = type(value)
    try:
        if kind is dict:
            if value.__sizeof__() not in SIZES_WITH_TEXT_KEYS and not _TEXT.issuperset(map(type, value)):
                return False
            values = value.values()
        elif kind is str:
            return value.isascii() or _is_unicode(value)
        elif kind is not list:
            return kind in SURE or (kind is float and math.isfinite(value))
        else:
            values = value if len(value) <= _LONGEST else _UNSURE
        # Inlined from _is_small_and_plain: a call would take a quarter longer.
        for one in values:
            kind = type(one)
            if kind is str or kind is int:
                pass
            elif kind is float:
                if one - one != 0.0:  # NaN, for NaN and the infinities
                    return False
            elif (
                one is not None
                and kind is not bool
                and ((kind is not dict and kind is not list) or not _is_small_and_plain(one))
            ):
                break
        else:
            _pack(value, _packed)
            return True
    except Exception:  # also if another thread adds to it
        pass
    return is_plain([value]) and _is_unicode(value)


def _is_small_and_plain(container: Any, depth: int = _DEEPEST - 1) -> bool:
    """Whether a dict or list is small and surely plain JSON; whether its texts are valid Unicode, :func:`_pack` tells.

    Args:
        depth: How many levels below it to check.
    """
    if len(container) > _LONGEST:
        return False
    values = container
    if type(container) is dict:
        if container.__sizeof__() not in SIZES_WITH_TEXT_KEYS and not _TEXT.issuperset(map(type, container)):
            return False
        values = container.values()
    for one in values:
        kind = type(one)
        if kind is str or kind is int:
            pass
        elif kind is float:
            if one - one != 0.0:
                return False
        elif (
            one is not None
            and kind is not bool
            and ((kind is not dict and kind is not list) or not depth or not _is_small_and_plain(one, depth - 1))
        ):
            return False
    return True


def _is_unicode(value: Any) -> bool:
    """Whether no text in *value*, which is otherwise good, has a lone surrogate."""
    try:
        _pack(value, _packed)
    except UnicodeEncodeError:
        return False
    except (OverflowError, msgspec.MsgspecError):  # an int of more than 64 bits
        try:
            to_json(value)
        except UnicodeEncodeError:
            return False
    except TypeError:  # a subclass of str
        return False
    return True


def _is_native(kind: type) -> bool:
    return kind in _CONTAINERS or (issubclass(kind, (dict, list)) and getattr(kind, "is_json_native", False))


def look_closely(
    value: Any,
    path: str,
    warn: Callable[[str], None] | None = None,
    around: frozenset[int] = frozenset(),
    *,
    nan: bool = False,
) -> None:
    """Check each value by itself; *around* holds the ids of the containers that it lies in. See :func:`check`."""
    if id(value) in around:
        raise StateEncodeError(path, "it contains itself")
    if len(around) > MAX_DEPTH:
        raise StateEncodeError(f"{path[:60]}…", f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        _note_kind(value, dict, path, warn)
        around |= {id(value)}
        for key, item in list(value.items()):  # another thread may add to it
            if type(key) is not str:
                kind = f"a {kind_of(key)}, no plain str" if isinstance(key, str) else "not a string"
                raise StateEncodeError(
                    path, f"the key {shortened(key)} is {kind}; JSON would make it one. {_as_text(key)}"
                )
            check_unicode(key, path)
            look_closely(item, f"{path}{step(key)}", warn, around, nan=nan)
    elif isinstance(value, list | tuple):
        _note_kind(value, list, path, warn)
        around |= {id(value)}
        for index, item in enumerate(value):
            look_closely(item, f"{path}[{index}]", warn, around, nan=nan)
    elif type(value) is str:
        check_unicode(value, path)
    elif type(value) is float:
        if not nan and not math.isfinite(value):
            cure = _NO_NUMBER if path.startswith("$.state") else "keep None instead"
            raise StateEncodeError(path, f"{value} is not a JSON number; {cure}")
    elif type(value) not in SURE:
        if (plain := scalar(value)) is value:
            from ._text.cures import advice  # needed only for the error

            raise StateEncodeError(path, advice(value))
        look_closely(plain, path, warn, around, nan=nan)
        if warn is not None:
            warn(scalar_comes_back(value, plain, path))


# -- numpy's numbers --------------------------------------------------------------------------------------------------


@lru_cache
def _is_of_numpy(kind: type) -> bool:
    return kind.__module__ == "numpy" and any(base.__name__ == "generic" for base in kind.__mro__)


def is_scalar(value: Any) -> bool:
    """Whether *value* is a scalar of numpy, which need not be installed."""
    return _is_of_numpy(cast("Hashable", type(value)))


def scalar(value: Any) -> Any:
    """The bool, int, float or str that equals a scalar of numpy; anything else unchanged."""
    if not is_scalar(value) or value.dtype.kind not in _SCALARS:
        return value
    plain = value.item()
    return plain if type(plain) in LEAVES else value  # a long double is more than a float


def scalar_comes_back(value: Any, plain: Any, path: str) -> str:
    """The warning that a scalar *value* of numpy comes back as the *plain* one."""
    return f"a {kind_of(value)} will come back as a plain {type(plain).__name__}{_FIRST_AT}{path}"


def accepted(value: Any, path: str, around: frozenset[int], *, nan: bool) -> Any:
    """*value* as a collection takes it, where :func:`is_good` is not sure. Raises what :func:`look_closely` raises."""
    look_closely(value, path, None, around, nan=nan)
    return scalar(value)


def check_unicode(text: str, path: str, cure: str = "") -> None:
    """Make sure that *text* can be written as UTF-8.

    Args:
        cure: What to do about it, if the usual advice does not fit.

    Raises:
        StateEncodeError: It has a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        cure = cure or "text.encode('utf-8', 'replace').decode() replaces it, ascii(text) keeps it readable"
        half = f"character {error.start} is half of a pair, or a byte that is not UTF-8 (a lone surrogate)"
        raise StateEncodeError(path, f"{shortened(text)} is not valid Unicode: {half}; {cure}") from None


def _note_kind(value: Any, kind: type, path: str, warn: Callable[[str], None] | None) -> None:
    if type(value) is not kind and warn is not None and not getattr(value, "is_json_native", False):
        warn(f"{path} is a {type(value).__name__} and will come back as a {kind.__name__}")


def warn_once_per_path() -> Callable[[str], None]:
    """A ``warn`` for :func:`check` that says each text once; for numpy's scalars, once for each type."""
    said: set[str] = set()

    def warn(text: str) -> None:
        what = text.partition(_FIRST_AT)[0]
        if what not in said:
            said.add(what)
            warn_user(text)

    return warn


def step(key: str) -> str:
    """One step of a path into JSON: ``.name`` or ``['any text']``."""
    return f".{key}" if key.isidentifier() else f"[{key!r}]"


def encode_scalar(value: Any) -> Any:
    """A hook for msgspec: the result of :func:`scalar`. Raises TypeError for anything but a scalar of numpy."""
    if (plain := scalar(value)) is value:
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return plain


to_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=encode_scalar).encode
"""Compact JSON. Raises errors of many kinds; :func:`encode` raises one."""


def encode(value: Any, path: str = "$") -> bytes:
    """*value* as compact JSON. Raises StateEncodeError if JSON cannot hold it; *path* says where to look."""
    try:
        return to_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        look_closely(value, path)
        raise StateEncodeError(path, str(error)) from error


decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


# -- NaN and the infinities -------------------------------------------------------------------------------------------

SPELLED = "$float"
"""The key that spells a number which JSON lacks: ``{"$float": "nan"}``, ``"inf"`` or ``"-inf"``.

A document with such numbers says so in ``resumable.nonfinite``, a journal record in ``nonfinite``. There, a dict of the
program with only this key gets one more ``$``.
"""
_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode_spelled(value: Any, path: str = "$") -> bytes:
    """*value* as compact JSON, with NaN and infinities spelled. Raises what :func:`encode` raises."""
    raw = encode(value, path)
    return raw if is_exact(raw) else encode(_spelled(value), path)


def to_exact_json(value: Any) -> bytes:
    """*value* as compact JSON for other programs; spelled only if it holds NaN or an infinity."""
    raw = encode(value)
    return raw if b"null" not in raw or is_plain(value) else encode(_spelled(value))


def is_exact(raw: bytes) -> bool:
    """Whether *raw*, compact JSON with ``null`` for NaN, surely equals the result of :func:`encode_spelled`."""
    return b"null" not in raw and b'$float"' not in raw


def decode_spelled(raw: bytes) -> Any:
    """The value that :func:`encode_spelled` encoded. Raises what :func:`unspelled` raises."""
    return unspelled(decode(raw)) if b'$float"' in raw else decode(raw)


def _spelled(value: Any) -> Any:
    value = scalar(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {SPELLED: str(float(value))}
    if isinstance(value, dict):
        return {_moved(key, len(value), "$"): _spelled(item) for key, item in value.items()}
    return list(map(_spelled, value)) if isinstance(value, (list, tuple)) else value


def _moved(key: str, count: int, more: str) -> str:
    is_alike = count == 1 and key.endswith(SPELLED) and key.lstrip("$") == "float"
    return more + key if is_alike else key


def unspelled(value: Any) -> Any:
    """The value that :func:`encode_spelled` encoded, from its decoded JSON.

    Raises:
        ValueError: It spells an unknown number, or is nested too deeply.
    """
    try:
        return _unspelled(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unspelled(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_unspelled, value))
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        key, item = next(iter(value.items()))
        if key == SPELLED:
            if not isinstance(item, str) or item not in _NUMBERS:
                raise ValueError(f"it spells a number as {item!r:.40}")
            return _NUMBERS[item]
        if _moved(key, 1, "$") != key:
            return {key[1:]: _unspelled(item)}
    return {key: _unspelled(item) for key, item in value.items()}
