"""What this program cannot judge: to it, a newer release's files and encrypted ones are neither good nor damaged."""

from __future__ import annotations

import re
from typing import Any

from ._codec import VERSION, decode_document

_VERSION_IN_HEAD = re.compile(rb'\A\s*\{\s*"version"\s*:\s*"?([^",}]{1,40})')
_ENCRYPTED = "encrypted"


class UnknownFormatError(ValueError):
    """These bytes may well be a good checkpoint, but this program cannot tell."""


def refuse_unknown(raw: bytes) -> None:
    """Tell a document that others can read from one that nobody can.

    Raises:
        UnknownFormatError: It is encrypted, or of a newer release.
    """
    match = _VERSION_IN_HEAD.match(raw)
    if match is None:
        return
    version = match.group(1).decode(errors="replace")
    if version.endswith(_ENCRYPTED):
        raise UnknownFormatError(
            "it is encrypted; open it with EncryptedStore and its key (the command line takes --key-file)"
        )
    if is_newer(version) and not _is_ours(raw[: match.start(1)] + VERSION.encode() + raw[match.end(1) :]):
        raise UnknownFormatError(newer("version", version, f"{VERSION} and 1.0"))


def is_encrypted(raw: bytes) -> bool:
    """Whether *raw* says that it is."""
    match = _VERSION_IN_HEAD.match(raw)
    return match is not None and match.group(1).endswith(_ENCRYPTED.encode())


def is_newer(version: Any, known: str = VERSION) -> bool:
    """Whether *version* is a later one than *known*."""
    match = re.fullmatch(r"\d{1,6}(\.\d{1,6})*", str(version))
    return match is not None and _numbers(match.group()) > _numbers(known)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def newer(what: str, version: Any, known: str) -> str:
    """Why it cannot be judged, for a person."""
    return (
        f"it has {what} {version!r}, of a newer release; this program reads {known}. Use that release, or a later one"
    )


def _is_ours(raw: bytes) -> bool:
    """Whether its digest is right: then nothing but its version was damaged. Others' need have none."""
    try:
        return isinstance(decode_document(raw).get("resumable"), dict)
    except ValueError:
        return False
