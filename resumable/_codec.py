"""What bytes a checkpoint is: strict JSON, with a digest over the canonical content.

The canonical form is the compact document without its digest, keys in their order. The digest (SHA-256, FIPS 180-4)
stands last, so that a document as written is checked by hashing its bytes; one that a person or a tool has
re-formatted is decoded and encoded again first.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from ._errors import StateEncodeError

VERSION = "2.0"
INDENT_UP_TO = 8192
"""Documents up to this many bytes are indented for people."""
MAX_BYTES = 4 << 30
"""A larger document is refused before it is parsed."""
MAX_UNSIGNED_BYTES = 256 << 20
"""The same for one without a digest, which anybody may have written."""
MAX_DEPTH = 200

_CONTAINERS = (dict, list)
_encoder = msgspec.json.Encoder()
_LEAVES: frozenset[type] = frozenset({str, int, bool, type(None)})
_DIGEST_HEAD = b',"digest":"'
_SECTION = {"generation", "digest"}
"""What a section ``resumable`` has for certain."""
_TAIL_LENGTH = len(_DIGEST_HEAD) + 64 + len(b'"}}')


def encode(value: Any, path: str = "$") -> bytes:
    """*value* as compact JSON.

    Raises:
        StateEncodeError: If JSON cannot hold it; *path* says where to look.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        _walk(value, path, None, 0)
        raise StateEncodeError(path, str(error)) from error


decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


# -- what JSON can hold exactly ---------------------------------------------------------------------------------------


def check(value: Any, path: str, warn: Callable[[str], None] | None = None) -> None:
    """Make sure that *value* comes back from JSON as it is.

    Args:
        path: Where the value is, for the message.
        warn: Called with the path of each container that comes back as another kind (a tuple as a list).

    Raises:
        StateEncodeError: Naming the exact path, if it would not.
    """
    if not is_plain(value):
        _walk(value, path, warn, 0)


def is_plain(value: Any) -> bool:
    """Whether *value* is surely plain JSON, found level by level at C speed. False means: look closely."""
    level = [value]
    for _ in range(MAX_DEPTH):
        kinds: frozenset[type] = frozenset(map(type, level))
        leaves = kinds & _LEAVES
        types = kinds - leaves
        if float in types:
            if not all(map(math.isfinite, (v for v in level if type(v) is float))):
                return False
            types -= {float}
            leaves = _LEAVES
        if not types:
            return True
        if not all(map(_is_native, types)):
            return False
        dicts = level if types == {dict} and not leaves else [v for v in level if isinstance(v, dict)]
        lists = [v for v in level if isinstance(v, list)] if types != {dict} else []
        if not _has_plain_keys(dicts):
            return False
        values = chain.from_iterable(map(dict.values, dicts))
        if not lists and set(map(type, values)) <= _LEAVES:
            return True
        level = list(chain(chain.from_iterable(map(dict.values, dicts)), *lists))
    return False


def _is_native(kind: type) -> bool:
    return kind in _CONTAINERS or (issubclass(kind, _CONTAINERS) and getattr(kind, "is_json_native", False))


def _has_plain_keys(dicts: list[dict[Any, Any]]) -> bool:
    # A union of many small dicts is four times faster than a chain over them; for one large dict it is slower.
    keys: Iterable[Any] = set().union(*dicts) if len(dicts) > 8 else chain.from_iterable(dicts)
    return set(map(type, keys)) <= {str}


def _walk(value: Any, path: str, warn: Callable[[str], None] | None, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise StateEncodeError(path, f"it is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        _note_kind(value, dict, path, warn)
        for key, item in value.items():
            if type(key) is not str:
                raise StateEncodeError(path, f"the key {_short(key)} is not a string; JSON would make it one")
            _check_text(key, path)
            _walk(item, f"{path}{step(key)}", warn, depth + 1)
    elif isinstance(value, list | tuple):
        _note_kind(value, list, path, warn)
        for index, item in enumerate(value):
            _walk(item, f"{path}[{index}]", warn, depth + 1)
    elif type(value) is str:
        _check_text(value, path)
    elif type(value) is float:
        if not math.isfinite(value):
            raise StateEncodeError(path, f"{value} is not a JSON number")
    elif type(value) not in _LEAVES:
        raise StateEncodeError(path, _advice(value))


def _advice(value: Any) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    hints = {"set": "use sorted(...) or cp.set(name)", "frozenset": "use sorted(...)", "bytes": "decode it to str"}
    hint = hints.get(kind, "keep plain JSON in the state, or give a typed one: checkpointed(..., state=MyState)")
    return f"{_short(value)} is of type {kind}, which JSON cannot hold exactly; {hint}"


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StateEncodeError(path, f"{_short(text)} is not valid Unicode (a lone surrogate)") from None


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -- the document -----------------------------------------------------------------------------------------------------


def object_chunks(parts: Iterable[tuple[str, bytes | Iterable[bytes]]]) -> Iterator[bytes]:
    """One JSON object out of encoded members, each whole or in pieces."""
    lead = b"{"
    for name, part in parts:
        yield lead + _encoder.encode(name) + b":"
        if isinstance(part, bytes):
            yield part
        else:
            yield from part
        lead = b","
    yield b"{}" if lead == b"{" else b"}"


def sign(head: dict[str, Any], state: Iterable[bytes], tail: dict[str, Any]) -> Iterator[bytes]:
    """The document in pieces: *head*, the state, then *tail*, whose last member ``resumable`` gets the digest."""
    digest = hashlib.sha256()
    for chunk in chain([_encoder.encode(head)[:-1], b',"state":'], state, [b",", _encoder.encode(tail)[1:-2]]):
        digest.update(chunk)
        yield chunk
    digest.update(b"}}")
    yield _DIGEST_HEAD + digest.hexdigest().encode() + b'"}}'


def indented(document: bytes) -> bytes:
    """The same document for people to read."""
    return msgspec.json.format(document, indent=2) + b"\n"


def digest_of(document: dict[str, Any]) -> str:
    """The digest that a decoded document carries, "" if none."""
    internal = document.get("resumable")
    return str(internal.get("digest", "")) if isinstance(internal, dict) else ""


def decode_document(raw: bytes) -> dict[str, Any]:
    """A document out of *raw*, its digest checked where it has one.

    Raises:
        ValueError: With the reason, for a person, why these bytes are not a document.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    if is_as_written(raw):
        document = _parse(raw, decode)
    else:
        if len(raw) > MAX_UNSIGNED_BYTES and _DIGEST_HEAD[2:9] not in raw[-400:]:
            raise ValueError(f"it has no digest and is larger than {MAX_UNSIGNED_BYTES >> 20} MiB")
        document = _parse(raw, _decode_strictly)
        _check_digest(document)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def is_as_written(raw: bytes) -> bool:
    """Whether *raw* is a document as this library writes it, its digest right.

    Raises:
        ValueError: It has a digest at its end, but a wrong one.
    """
    if len(raw) < _TAIL_LENGTH or not raw.startswith(_DIGEST_HEAD, len(raw) - _TAIL_LENGTH):
        return False
    digest = hashlib.sha256(memoryview(raw)[:-_TAIL_LENGTH])
    digest.update(b"}}")
    if digest.hexdigest().encode() + b'"}}' != raw[-67:]:
        raise ValueError("its digest does not match its content; the file was damaged or edited")
    return True


def _parse(raw: bytes, parser: Callable[[bytes], Any]) -> Any:
    try:
        return parser(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ValueError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ValueError(f"it is not valid JSON ({error})") from None


def _decode_strictly(raw: bytes) -> Any:
    """JSON without the liberties that parsers take: no duplicate names, no NaN, no numbers out of range."""
    import json  # only documents of other tools come here

    value = decode(raw)
    json.loads(raw, object_pairs_hook=_refuse_duplicates)
    return value


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) != len({name for name, _ in pairs}):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")


def _check_digest(document: Any) -> None:
    if not isinstance(document, dict):
        return
    internal = document.get("resumable")
    if internal is None:
        if any(isinstance(section, dict) and section.keys() >= _SECTION for section in document.values()):
            raise ValueError("its 'resumable' section has another name; the file was damaged or edited")
        return
    if not isinstance(internal, dict) or not isinstance(internal.get("digest"), str):
        raise ValueError("its 'resumable' section has no digest")
    unsigned = {name: value for name, value in internal.items() if name != "digest"}
    canonical = _encoder.encode(document | {"resumable": unsigned})
    if hashlib.sha256(canonical).hexdigest() != internal["digest"]:
        raise ValueError("its digest does not match its content; the file was damaged or edited")
