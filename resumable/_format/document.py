"""The bytes of a checkpoint: strict JSON, with a digest over the canonical content.

The canonical form is the compact document without its digest, keys in their order. The digest (SHA-256, FIPS 180-4)
comes last, so that the bytes of a document as written can be hashed directly. If a person or a tool has re-formatted
it, it is decoded and encoded again first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Protocol

import msgspec

from .._json import decode, encode

Beside = Callable[[Callable[[], bool]], Callable[[], bool]]

VERSION = "2.0"
INDENT_UP_TO = 8192
"""Documents up to this many bytes are indented for people."""
MAX_BYTES = 4 << 30
"""Larger documents are refused before they are parsed."""
MAX_UNSIGNED_BYTES = 256 << 20
"""Larger documents without a digest are refused: anybody may have written them."""
MAX_UNSIGNED_CONTAINERS = 8 << 20
"""A document without a digest may hold this many arrays and objects: ``[]`` is 2 bytes, but 60 in memory."""

_DIGEST_HEAD = b',"digest":"'
_SECTION = {"generation", "digest"}
"""What every section ``resumable`` contains."""
_WRONG_DIGEST = "its digest does not match its content; the file was damaged or edited"
_TAIL_LENGTH = len(_DIGEST_HEAD) + 64 + len(b'"}}')


# -- the document -----------------------------------------------------------------------------------------------------


def object_chunks(parts: Iterable[tuple[str, bytes | Iterable[bytes]]]) -> Iterator[bytes]:
    """One JSON object made of encoded members, each whole or in pieces."""
    lead = b"{"
    for name, part in parts:
        yield lead + encode(name) + b":"
        if isinstance(part, bytes):
            yield part
        else:
            yield from part
        lead = b","
    yield b"{}" if lead == b"{" else b"}"


class Digest(Protocol):
    """What of :func:`hashlib.sha256` signs a document."""

    def update(self, piece: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def sign(
    head: dict[str, Any], state: Iterable[bytes], tail: dict[str, Any], digest: Digest | None = None
) -> Iterator[bytes]:
    """The document in pieces: *head*, the state, then *tail*, whose last member ``resumable`` gets the digest."""
    digest = digest or hashlib.sha256()
    for chunk in chain([encode(head)[:-1], b',"state":'], state, [b",", encode(tail)[1:-2]]):
        yield chunk
        digest.update(chunk)  # only now: a disk may be writing it meanwhile
    digest.update(b"}}")
    yield _DIGEST_HEAD + digest.hexdigest().encode() + b'"}}'


def indented(document: bytes) -> bytes:
    """Indent *document* for people."""
    return msgspec.json.format(document, indent=2) + b"\n"


def decode_document(raw: bytes, beside: Beside | None = None) -> dict[str, Any]:
    """Decode the document *raw*, and check its digest if it has one.

    Args:
        beside: Starts to check the digest while the document is parsed; what it returns waits for the result.

    Raises:
        ValueError: These bytes are not a document. The text is for a person.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    if _ends_with_digest(raw):
        is_right: Callable[[], bool] = partial(_is_digest_right, raw)
        if beside is not None:
            is_right = beside(is_right)
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
    if len(raw) > MAX_UNSIGNED_BYTES:
        raise ValueError(f"it has no digest and is larger than {MAX_UNSIGNED_BYTES >> 20} MiB")
    if raw.count(b"[") + raw.count(b"{") > MAX_UNSIGNED_CONTAINERS:
        raise ValueError(f"it has no digest and more than {MAX_UNSIGNED_CONTAINERS:,} arrays and objects")


def is_as_written(raw: bytes) -> bool:
    """Whether *raw* is a document in the form that this library writes, with the right digest."""
    return _ends_with_digest(raw) and _is_digest_right(raw)


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
    except ValueError as error:
        if raw.startswith(_COMPRESSED):
            raise ValueError("it is compressed; add ?compress=zstd to the URL of its store") from None
        raise ValueError(f"it is not valid JSON ({error})") from None


def _decode_strictly(raw: bytes) -> Any:
    """Decode JSON strictly: no duplicate names, no NaN, no numbers out of range."""
    import json  # only for documents of other tools

    # As text, so that no other encoding is tried; freed before the parser needs the memory.
    json.loads(raw.decode(), object_pairs_hook=_refuse_duplicates)
    return decode(raw)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")


def _check_digest(document: Any) -> None:
    if not isinstance(document, dict):
        return
    internal = document.get("resumable")
    if internal is None:
        if any(isinstance(section, dict) and section.keys() >= _SECTION for section in document.values()):
            raise ValueError("its 'resumable' section was renamed; the file was damaged or edited")
        return
    if not isinstance(internal, dict) or not isinstance(internal.get("digest"), str):
        raise ValueError("its 'resumable' section has no digest")
    unsigned = {name: value for name, value in internal.items() if name != "digest"}
    canonical = encode(document | {"resumable": unsigned})
    if hashlib.sha256(canonical).hexdigest() != internal["digest"]:
        raise ValueError(_WRONG_DIGEST)


_VERSION_IN_HEAD = re.compile(rb'\A\s*\{\s*"version"\s*:\s*"?([^",}]{1,40})')
_ENCRYPTED = "encrypted"
ENCRYPTED = "it is encrypted; open it with EncryptedStore and its key (on the command line: --key-file)"
"""The message for what only a key opens."""
_COPYING = "copying"
_COMPRESSED = b"RZS1"


def begun_copy(operation_id: str, source: str) -> bytes:
    """The marker in a checkpoint's place while it is copied from *source*."""
    return encode({"version": f"{VERSION} {_COPYING}", "operation_id": operation_id, "from": source})


def is_begun_copy(raw: bytes) -> bool:
    """Whether *raw* is a marker from :func:`begun_copy`."""
    match = _VERSION_IN_HEAD.match(raw)
    return match is not None and match.group(1) == f"{VERSION} {_COPYING}".encode()


def broken_off(source: object) -> str:
    """The message about a copy from *source* that did not finish."""
    return (
        f"a copy from {source} is under way, or was interrupted. Run resumable copy again to go on with it, or "
        "resumable repair to go back to an earlier save that is still here"
    )


class UnknownFormatError(ValueError):
    """These bytes may be a good checkpoint, but this program cannot tell."""


def refuse_unknown(raw: bytes) -> None:
    """Raise UnknownFormatError for a document that is encrypted, or written by a newer release."""
    match = _VERSION_IN_HEAD.match(raw)
    if match is None:
        return
    version = match.group(1).decode(errors="replace")
    if version == VERSION:
        return
    if version.endswith(_ENCRYPTED):
        raise UnknownFormatError(ENCRYPTED)
    if is_newer(version) and not _is_ours(raw[: match.start(1)] + VERSION.encode() + raw[match.end(1) :]):
        raise UnknownFormatError(newer("version", version, f"{VERSION} and 1.0"))


def is_encrypted(raw: bytes) -> bool:
    match = _VERSION_IN_HEAD.match(raw)
    return match is not None and match.group(1).endswith(_ENCRYPTED.encode())


def is_newer(version: Any, known: str = VERSION) -> bool:
    """Whether *version* is later than *known*."""
    match = re.fullmatch(r"\d{1,6}(\.\d{1,6})*", str(version))
    return match is not None and [*map(int, match.group().split("."))] > [*map(int, known.split("."))]


def newer(what: str, version: Any, known: str) -> str:
    """Tell a person why it cannot be read."""
    return (
        f"a newer release wrote it, with {what} {version!r}; this program reads {known}. Use that release or a later "
        "one"
    )


def _is_ours(raw: bytes) -> bool:
    """Whether its digest is right, so that only its version is damaged."""
    try:
        return isinstance(decode_document(raw).get("resumable"), dict)
    except ValueError:
        return False
