"""The bytes of encrypted data: a snapshot, its journal and artifacts, in pieces that are encrypted one by one.

Each piece is encrypted by AES-256-GCM with its own nonce, and bound to its place: the operation, and the piece's number
in one snapshot, artifact or journal. It decrypts in no other place, and a missing piece is detected. A snapshot and its
journal are bound to a chain: an id that an operation gets when it begins anew, and that later snapshots inherit.

- A snapshot is a JSON document, ``{"version":"2.1 encrypted","operation_id":…,"chain":…,"snapshot":…,
  "aes-256-gcm":["…","…"]}``, with a MiB of the bytes in each text, in base64.
- A segment of a journal is a line, ``aes-256-gcm/2 chain sequence length base64``.
- An artifact is a line, then pieces, each behind its length in four bytes.

The encrypted content of a piece begins with a byte that says whether the rest is compressed by zstd. Data of version
2.0 can be read: its snapshots are one piece, and its lines have neither chain nor length.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from .._errors import StoreError
from ._compressed import packed, unpacked
from ._pieces import Stream, blocks

VERSION = "2.1 encrypted"
_OLD_VERSION = "2.0 encrypted"
NO_CHAIN = "0" * 16
"""The chain of data from version 2.0."""
_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16
_AS_IT_IS, _BY_ZSTD = b"-", b"z"
_FIRST, _BETWEEN, _LAST = b',"aes-256-gcm":["', b'",\n"', b'"]}\n'
_OLD_FIRST, _OLD_LAST = b',"aes-256-gcm":"', b'"}\n'
_CHAIN_IN_HEAD = re.compile(rb'"chain":"([0-9a-f]{16})","snapshot":"([0-9a-f]{32})"')
_LINE = re.compile(rb"aes-256-gcm/2 ([0-9a-f]{16}) (\d{1,19}) (\d{1,10}) ([A-Za-z0-9+/=]*)\n")
_OLD_LINE = re.compile(rb"aes-256-gcm (\d{1,19}) ([A-Za-z0-9+/=]*)\n")
_BEGINNING = re.compile(
    rb"aes-256-gcm/2 (?:[0-9a-f]{0,16}|[0-9a-f]{16} \d{0,19}"
    rb"|[0-9a-f]{16} \d{1,19} (\d{0,10})(?:( )[A-Za-z0-9+/=]*\n?)?)"
)
"""The first part of a line, cut anywhere."""
_WORD = b"aes-256-gcm/2 "
_TORN, _DAMAGED = b"1", b"!\n"
"""What replaces a bad line in a decrypted journal: one that a crash cut off becomes the beginning of a number, one that
cannot be decrypted becomes a damaged line."""
_ARTIFACT_HEAD = b"resumable encrypted artifact 2\n"
_OLD_ARTIFACT_HEAD = b"resumable encrypted artifact 1\n"
_PIECE = 1 << 20
_LARGEST = _PIECE + _NONCE_BYTES + _TAG_BYTES + 1


class WrongKeyError(ValueError):
    """It was encrypted with another key, or its bytes are damaged; the two cannot be told apart."""


class Sealer:
    """Encrypts with the first of *keys*; decrypts with any of them.

    Args:
        packs: Whether to compress first.

    Raises:
        ValueError: A key is malformed.
        ImportError: A package is missing.
    """

    def __init__(self, keys: Sequence[str | bytes], *, packs: bool = False) -> None:
        ciphers = _aesgcm()
        self._ciphers = [ciphers(_key_from(key)) for key in keys]
        if not self._ciphers:
            raise ValueError("no key was given")
        if packs:
            packed(b"")
        self._packs = packs

    def _sealed(self, piece: bytes, place: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        small = packed(piece) if self._packs else piece
        inside = _BY_ZSTD + small if len(small) < len(piece) else _AS_IT_IS + piece
        return nonce + self._ciphers[0].encrypt(nonce, inside, place)  # type: ignore[no-any-return]

    def _opened(self, sealed: bytes, place: bytes, *, is_old: bool = False) -> bytes:
        """Decrypt one piece. Raises WrongKeyError if no key decrypts it in that place."""
        from cryptography.exceptions import InvalidTag

        for cipher in self._ciphers:
            try:
                inside: bytes = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
            except (InvalidTag, ValueError):
                continue
            return inside if is_old else _unpacked(inside)
        raise WrongKeyError("it was encrypted with another key than this one, or its bytes are damaged")

    # -- a snapshot

    def snapshot(self, key: str, chunks: Iterable[bytes], chain: str) -> Iterator[bytes]:
        """The document with *chunks*, encrypted for the operation *key*, in pieces.

        Args:
            chain: The chain of the journal that may continue from it.
        """
        name = os.urandom(16).hex()
        yield _head(key, chain, name) + _FIRST
        for number, (piece, is_last) in enumerate(_told_last(blocks(chunks, _PIECE))):
            yield base64.b64encode(self._sealed(piece, _place("snapshot", key, chain, name, number, is_last)))
            yield _LAST if is_last else _BETWEEN

    def opened_snapshot(self, key: str, document: bytes) -> bytes:
        """Decrypt what :meth:`snapshot` returned.

        Raises:
            WrongKeyError: No key decrypts it.
            ValueError: It is damaged, of another operation, or not encrypted. The text is for a person.
        """
        old = _old_head(key) + _OLD_FIRST
        if document.startswith(old) and document.endswith(_OLD_LAST):
            sealed = _from_base64(memoryview(document)[len(old) : -len(_OLD_LAST)])
            return self._opened(sealed, _old_head(key), is_old=True)
        chain, name = _chain_in(document)
        lead = _head(key, chain, name) + _FIRST
        if not document.startswith(lead) or not document.endswith(_LAST):
            if any(version.encode() in document[:100] for version in (VERSION, _OLD_VERSION)):
                raise ValueError("it is encrypted, but damaged, or it belongs to another operation")
            raise ValueError("it is not encrypted, and a store with a key reads only what is")
        pieces = _told_last(_pieces_of(document, len(lead), len(document) - len(_LAST)))
        return b"".join(
            [
                self._opened(_from_base64(piece), _place("snapshot", key, chain, name, number, is_last))
                for number, (piece, is_last) in enumerate(pieces)
            ]
        )

    # -- its journal

    def segment(self, key: str, chain: str, sequence: int, data: bytes) -> bytes:
        """A journal's segment as stored: a line."""
        text = base64.b64encode(self._sealed(data, _place("segment", key, chain, sequence)))
        return b"%b%b %d %d %b\n" % (_WORD, chain.encode(), sequence, len(text), text)

    def opened_journal(self, key: str, journal: bytes, chain: str | None = None) -> bytes:
        """The segments of *journal*, joined, up to one that cannot be decrypted.

        That one is replaced by a torn line if a crash may have cut it off, else by a damaged line; see ``journal``.

        Args:
            chain: The snapshot's chain: segments of other chains are left out. None: of all.
        """
        return b"".join(self._opened_lines(key, journal, chain))

    def _opened_lines(self, key: str, journal: bytes, chain: str | None) -> Iterator[bytes]:
        at = 0
        while at < len(journal):
            end = journal.find(b"\n", at) + 1 or len(journal)
            line, at = journal[at:end], end
            try:
                yield self._opened_line(key, line, chain)
            except ValueError:
                is_torn = end == len(journal) and _is_torn(line)
                yield (_TORN if line.strip(b"\0") else line) if is_torn else _DAMAGED
                return

    def _opened_line(self, key: str, line: bytes, chain: str | None) -> bytes:
        if match := _LINE.fullmatch(line):
            its, number = match[1].decode(), int(match[2])
            if int(match[3]) != len(match[4]):
                raise ValueError("its length is not the one that it states")
            found = self._opened(_from_base64(match[4]), _place("segment", key, its, number))
        elif match := _OLD_LINE.fullmatch(line):
            its, place = NO_CHAIN, msgspec.json.encode([key, "segment", int(match[1])])
            found = self._opened(_from_base64(match[2]), place, is_old=True)
        else:
            raise ValueError("it is not an encrypted save")
        return found if chain in (None, its) else b""

    # -- artifacts

    def artifact(self, key: str, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """*pieces* as stored."""
        yield _ARTIFACT_HEAD
        for number, (piece, is_last) in enumerate(_told_last(blocks(pieces, _PIECE))):
            sealed = self._sealed(piece, _place("artifact", key, name, number, is_last))
            yield len(sealed).to_bytes(4) + sealed

    def opened_artifact(self, key: str, name: str, stored: Iterable[bytes]) -> Iterator[bytes]:
        """Decrypt what :meth:`artifact` returned, in pieces.

        Raises:
            StoreError: It was encrypted with another key, or is damaged.
        """
        source, failed = Stream(stored), f"cannot decrypt the artifact {name} of {key!r}"
        head = source.read(len(_ARTIFACT_HEAD))
        if head not in (_ARTIFACT_HEAD, _OLD_ARTIFACT_HEAD):
            raise StoreError(f"{failed}: it is not encrypted, and a store with a key reads only what is")
        is_old = head == _OLD_ARTIFACT_HEAD
        pieces = _old_pieces(source) if is_old else _pieces_with_length(source)
        number = -1
        for number, (piece, is_last) in enumerate(_told_last(pieces)):
            old, new = [key, name, number, is_last], _place("artifact", key, name, number, is_last)
            try:
                yield self._opened(piece, msgspec.json.encode(old) if is_old else new, is_old=is_old)
            except WrongKeyError:
                raise StoreError(f"{failed}: it was encrypted with another key, or its bytes are damaged") from None
        if number < 0:
            raise StoreError(f"{failed}: its bytes are damaged")


def new_key() -> str:
    """A new random key, as text."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


def new_chain() -> str:
    """A new id, for a journal that begins anew."""
    return os.urandom(8).hex()


def chain_of(document: bytes) -> str:
    """The chain of the encrypted snapshot *document*; :data:`NO_CHAIN` if it has none. It may be forged."""
    return _chain_in(document)[0]


def _key_from(key: str | bytes) -> bytes:
    try:
        raw = base64.b64decode(key.strip(), altchars=b"-_", validate=True)
    except (AttributeError, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        # The message must not contain the key.
        raise ValueError(f"the key must be {_KEY_BYTES} bytes in base64; EncryptedStore.new_key() makes one")
    return raw


def _aesgcm() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ImportError("encryption needs a package:  pip install 'resumable-loops[crypto]'") from error
    return AESGCM


def _unpacked(inside: bytes) -> bytes:
    if inside[:1] == _AS_IT_IS:
        return inside[1:]
    found = unpacked(inside[1:]) if inside[:1] == _BY_ZSTD else None
    if found is None:
        raise ValueError("it is compressed in a way that this release does not know")
    return found


def _place(kind: str, key: str, *more: object) -> bytes:
    """The place that a piece is bound to."""
    return msgspec.json.encode([kind, key, *more])


# -- layout


def _head(key: str, chain: str, name: str) -> bytes:
    """The beginning of a snapshot, without its closing part."""
    return msgspec.json.encode({"version": VERSION, "operation_id": key, "chain": chain, "snapshot": name})[:-1]


def _old_head(key: str) -> bytes:
    return msgspec.json.encode({"version": _OLD_VERSION, "operation_id": key})[:-1]


def _chain_in(document: bytes) -> tuple[str, str]:
    """The chain and the name in a snapshot."""
    end = document.find(_FIRST)
    match = _CHAIN_IN_HEAD.fullmatch(document, end - 72, end) if end > 0 else None
    return (match[1].decode(), match[2].decode()) if match is not None else (NO_CHAIN, "")


def _pieces_of(document: bytes, start: int, end: int) -> Iterator[memoryview]:
    view = memoryview(document)
    while (found := document.find(_BETWEEN, start, end)) >= 0:
        yield view[start:found]
        start = found + len(_BETWEEN)
    yield view[start:end]


def _from_base64(text: bytes | memoryview) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError("its bytes are damaged") from None


def _is_torn(tail: bytes) -> bool:
    """Whether the last line can be what a crash leaves of one append: a part of it, or blocks never written."""
    head = tail.split(b"\0", 1)[0]
    match = _BEGINNING.fullmatch(head)
    # After the beginning of this line comes that of the next: it was begun after this one was complete.
    if (match is None and not _WORD.startswith(head)) or tail.find(_WORD, 1) > 0:
        return False
    length = len(tail) + 1  # while the length is unknown, it may be any
    if match is not None and match[2] is not None:
        length = match.end(2) + int(match[1]) + 1
    is_short = len(tail) < length and b"\n" not in tail
    # The first and last bytes of a line may share a disk block with older or later data.
    has_hole = b"\0" * 16 in tail or tail.startswith(b"\0") or tail.endswith(b"\0")
    return is_short or (has_hole and len(tail) <= length)


def _pieces_with_length(source: Stream) -> Iterator[bytes]:
    while head := source.read(4):
        size = int.from_bytes(head)
        piece = source.read(min(size, _LARGEST))
        yield piece if len(head) == 4 and len(piece) == size else b""


def _old_pieces(source: Stream) -> Iterator[bytes]:
    while piece := source.read(_NONCE_BYTES + _PIECE + _TAG_BYTES):
        yield piece


def _told_last(pieces: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each of *pieces*, and whether it is the last one."""
    waiting = list[Any]()
    for piece in pieces:
        if waiting:
            yield waiting.pop(), False
        waiting.append(piece)
    for piece in waiting:
        yield piece, True
