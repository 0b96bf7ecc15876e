"""Which file name an operation id gets. Pure: no file is touched."""

from __future__ import annotations

PREFIX, SUFFIX = ".checkpoint_", ".json"
_MAX_BYTES = 180
_UNSAFE = frozenset('<>:"\\|?*')


def check_operation_id(operation_id: object) -> None:
    """Refuse what is no text.

    Raises:
        TypeError: If it is not a str.
        ValueError: If it holds a lone surrogate, which no file and no database can hold.
    """
    if not isinstance(operation_id, str):
        raise TypeError(f"operation_id must be a str, not {type(operation_id).__name__}")
    try:
        operation_id.encode()
    except UnicodeEncodeError:
        raise ValueError(f"operation_id {operation_id!r} is not valid Unicode (a lone surrogate)") from None


def plain_name(operation_id: str) -> str | None:
    """``.checkpoint_{id with / and space as _}.json``; None if that is no safe file name everywhere."""
    stem = operation_id.replace("/", "_").replace(" ", "_")
    if not stem or len(stem.encode()) > _MAX_BYTES or not stem.isprintable() or _UNSAFE.intersection(stem):
        return None
    return f"{PREFIX}{stem}{SUFFIX}"


def hashed_name(operation_id: str) -> str:
    """A safe name that no other id has: as much as fits of the plain one, then a short hash of the id."""
    import hashlib  # not worth loading before there is a name to make

    safe = "".join(c if c.isprintable() and c not in _UNSAFE and c not in "/ " else "_" for c in operation_id)
    stem = safe.encode()[: _MAX_BYTES - 20].decode(errors="ignore")
    return f"{PREFIX}{stem}-{hashlib.sha256(operation_id.encode()).hexdigest()[:12]}{SUFFIX}"


def may_share_a_file(one: str, other: str) -> bool:
    """Whether two ids are legitimate rivals for one file name (on file systems that fold case, too)."""
    return bool(_folded(one) & _folded(other))


def _folded(operation_id: str) -> set[str]:
    return {name.casefold() for name in names_for(operation_id)}


def names_for(operation_id: str) -> set[str]:
    """The file names that *operation_id* may get."""
    names = (plain_name(operation_id), hashed_name(operation_id))
    return {name for name in names if name is not None}
