"""What bytes a checkpoint is: strict JSON, with a digest over the canonical content.

The canonical form is the compact document without its digest, keys in their order. The digest (SHA-256, FIPS 180-4)
stands last, so that a document as written is checked by hashing its bytes; one that a person or a tool has
re-formatted is decoded and encoded again first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import msgspec

from ._errors import StateEncodeError
from ._plain import look_closely

R = TypeVar("R")

VERSION = "2.0"
INDENT_UP_TO = 8192
"""Documents up to this many bytes are indented for people."""
MAX_BYTES = 4 << 30
"""A larger document is refused before it is parsed."""
MAX_UNSIGNED_BYTES = 256 << 20
"""The same for one without a digest, which anybody may have written."""
MAX_UNSIGNED_CONTAINERS = 8 << 20
"""So many arrays and objects may stand in such a one: an empty array is two bytes there, and sixty in memory."""

_encoder = msgspec.json.Encoder()
_DIGEST_HEAD = b',"digest":"'
_SECTION = {"generation", "digest"}
"""What a section ``resumable`` has for certain."""
_WRONG_DIGEST = "its digest does not match its content; the file was damaged or edited"
_TAIL_LENGTH = len(_DIGEST_HEAD) + 64 + len(b'"}}')


def encode(value: Any, path: str = "$") -> bytes:
    """*value* as compact JSON.

    Raises:
        StateEncodeError: If JSON cannot hold it; *path* says where to look.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        look_closely(value, path)
        raise StateEncodeError(path, str(error)) from error


decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


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


def in_place(work: Callable[[], R]) -> Callable[[], R]:
    """Do *work* here and now; what comes back gives its result."""
    result = work()
    return lambda: result


def decode_document(
    raw: bytes, beside: Callable[[Callable[[], bool]], Callable[[], bool]] = in_place
) -> dict[str, Any]:
    """A document out of *raw*, its digest checked where it has one.

    Args:
        beside: Does something while the document is parsed, if it can; see :func:`in_place`.

    Raises:
        ValueError: With the reason, for a person, why these bytes are not a document.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    if _ends_with_digest(raw):
        is_right = beside(lambda: _is_digest_right(raw))
        try:
            document = _parse(raw, decode)
        finally:
            if not is_right():
                raise ValueError(_WRONG_DIGEST)
    else:
        if _DIGEST_HEAD[2:9] not in raw[-400:]:
            _refuse_unsigned(raw)
        document = _parse(raw, _decode_strictly)
        _check_digest(document)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _refuse_unsigned(raw: bytes) -> None:
    """Refuse what would take too much memory, before it is parsed."""
    if len(raw) > MAX_UNSIGNED_BYTES:
        raise ValueError(f"it has no digest and is larger than {MAX_UNSIGNED_BYTES >> 20} MiB")
    if raw.count(b"[") + raw.count(b"{") > MAX_UNSIGNED_CONTAINERS:
        raise ValueError(f"it has no digest and more than {MAX_UNSIGNED_CONTAINERS:,} arrays and objects")


def is_as_written(raw: bytes) -> bool:
    """Whether *raw* is a document as this library writes it, its digest right.

    Raises:
        ValueError: It has a digest at its end, but a wrong one.
    """
    if not _ends_with_digest(raw):
        return False
    if not _is_digest_right(raw):
        raise ValueError(_WRONG_DIGEST)
    return True


def _ends_with_digest(raw: bytes) -> bool:
    return len(raw) >= _TAIL_LENGTH and raw.startswith(_DIGEST_HEAD, len(raw) - _TAIL_LENGTH)


def _is_digest_right(raw: bytes) -> bool:
    digest = hashlib.sha256(memoryview(raw)[:-_TAIL_LENGTH])
    digest.update(b"}}")
    return digest.hexdigest().encode() + b'"}}' == raw[-67:]


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

    # Text, so that no other encoding is tried; it is gone before the next one takes its memory.
    json.loads(raw.decode(), object_pairs_hook=_refuse_duplicates)
    return decode(raw)


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
        raise ValueError(_WRONG_DIGEST)
