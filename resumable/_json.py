"""What JSON can hold exactly, and where in a state there is something that it cannot."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any

import msgspec

from ._errors import StateEncodeError
from ._text import shortened

MAX_DEPTH = 200
LEAVES: frozenset[type] = frozenset({str, int, float, bool, type(None)})
"""What JSON holds that holds nothing itself. A float must be finite."""
SURE: frozenset[type] = LEAVES - {float}
"""Those that need no look at the value, if the text is valid Unicode."""
_CONTAINERS: frozenset[type] = frozenset({dict, list})
_MANY = 8192
_NEWEST = 2048
_TURNS = 8


def check(value: Any, path: str, warn: Callable[[str], None] | None = None) -> None:
    """Make sure that *value* comes back from JSON as it is. Raises StateEncodeError with the exact path if not.

    Args:
        warn: Called with the path of each container that comes back as another kind (a tuple as a list).
    """
    if not is_plain(value):
        look_closely(value, path, warn)


def text_key(key: Any, path: str) -> str:
    """*key* as an exact str, for subclasses of it. Raises StateEncodeError if it is none."""
    if not isinstance(key, str):
        raise StateEncodeError(path, f"the key {key!r} is not a string; JSON would make it one")
    return str.__str__(key)


class Checker:
    """Checks one state at each save: wholly at first and on demand, cheaply else.

    A cheap check looks at the last entries of a large container, where new ones stand, and at an eighth of the others,
    in turns. So it finds what is wrong in a new entry at once, and in an older one after eight checks.
    """

    def __init__(self, warn: Callable[[str], None] | None = None) -> None:
        self._warn = warn
        self._turn = 0

    def check(self, value: Any, path: str, *, wholly: bool = False) -> None:
        """Make sure that *value* comes back from JSON as it is, as far as this turn looks; or *wholly*.

        Raises:
            StateEncodeError: Naming the exact path.
        """
        looked_at = value if wholly or self._turn == 0 else _part(value, self._turn % _TURNS)
        if not is_plain(looked_at):
            look_closely(value, path, self._warn)
        # Only what was found good counts as looked at.
        self._turn += 1


def _part(value: Any, turn: int, depth: int = 3) -> Any:
    """*value*, its large containers cut down to what this turn looks at."""
    if type(value) is dict:
        if len(value) >= _MANY:
            begin, end = _share(len(value), turn)
            return dict(chain(islice(value.items(), begin, end), islice(reversed(value.items()), _NEWEST)))
        if depth and len(value) < 64:
            return {key: _part(item, turn, depth - 1) for key, item in value.items()}
    elif type(value) is list and len(value) >= _MANY:
        begin, end = _share(len(value), turn)
        return [*value[begin:end], *value[-_NEWEST:]]
    return value


def _share(count: int, turn: int) -> tuple[int, int]:
    return count * turn // _TURNS, count * (turn + 1) // _TURNS


def is_plain(value: Any) -> bool:
    """Whether *value* is surely plain JSON, found level by level at C speed. False means: look closely."""
    level = [value]
    for _ in range(MAX_DEPTH):
        kinds: frozenset[type] = frozenset(map(type, level))
        leaves = kinds & SURE
        types = kinds - leaves
        if float in types:
            if not all(map(math.isfinite, (v for v in level if type(v) is float))):
                return False
            types -= {float}
            leaves = SURE
        if not types:
            return True
        if not types <= _CONTAINERS and not all(map(_is_native, types)):
            return False
        dicts = level if types == {dict} and not leaves else [v for v in level if isinstance(v, dict)]
        lists = [v for v in level if isinstance(v, list)] if types != {dict} else []
        # A union of many small dicts is four times faster than a chain over them; for one large dict it is slower.
        keys: Iterable[Any] = set().union(*dicts) if len(dicts) > 8 else chain.from_iterable(dicts)
        if not set(map(type, keys)) <= {str}:
            return False
        values = chain.from_iterable(map(dict.values, dicts))
        if not lists and set(map(type, values)) <= SURE:
            return True
        level = list(chain(chain.from_iterable(map(dict.values, dicts)), *lists))
    return False


def _is_native(kind: type) -> bool:
    return kind in _CONTAINERS or (issubclass(kind, (dict, list)) and getattr(kind, "is_json_native", False))


def look_closely(
    value: Any, path: str, warn: Callable[[str], None] | None = None, around: frozenset[int] = frozenset()
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
                raise StateEncodeError(path, f"the key {shortened(key)} is not a string; JSON would make it one")
            _check_text(key, path)
            look_closely(item, f"{path}{step(key)}", warn, around)
    elif isinstance(value, list | tuple):
        _note_kind(value, list, path, warn)
        around |= {id(value)}
        for index, item in enumerate(value):
            look_closely(item, f"{path}[{index}]", warn, around)
    elif type(value) is str:
        _check_text(value, path)
    elif type(value) is float:
        if not math.isfinite(value):
            raise StateEncodeError(path, f"{value} is not a JSON number")
    elif type(value) not in SURE:
        raise StateEncodeError(path, _advice(value))


def _advice(value: Any) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    hints = {"set": "use sorted(...) or cp.set(name)", "frozenset": "use sorted(...)", "bytes": "decode it to str"}
    hint = hints.get(kind, "keep plain JSON in the state, or give a typed one: checkpointed(..., state=MyState)")
    return f"{shortened(value)} is of type {kind}, which JSON cannot hold exactly; {hint}"


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StateEncodeError(path, f"{shortened(text)} is not valid Unicode (a lone surrogate)") from None


def _note_kind(value: Any, kind: type, path: str, warn: Callable[[str], None] | None) -> None:
    if type(value) is not kind and warn is not None and not getattr(value, "is_json_native", False):
        warn(f"{path} is a {type(value).__name__} and will come back as a {kind.__name__}")


def warn_once_per_path() -> Callable[[str], None]:
    """A ``warn`` for :func:`check` that says each thing once."""
    said: set[str] = set()

    def warn(text: str) -> None:
        if text not in said:
            said.add(text)
            warnings.warn(text, UserWarning, stacklevel=2)

    return warn


def step(key: str) -> str:
    """One step of a path into JSON: ``.name`` or ``['any text']``."""
    return f".{key}" if key.isidentifier() else f"[{key!r}]"


to_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode
"""Compact JSON. Raises errors of many kinds; :func:`encode` raises one."""


def encode(value: Any, path: str = "$") -> bytes:
    """*value* as compact JSON. Raises StateEncodeError if JSON cannot hold it; *path* says where to look."""
    try:
        return to_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        look_closely(value, path)
        raise StateEncodeError(path, str(error)) from error


decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode
