"""Opens what a user gives as a store: a directory, a URL, or an object."""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any

from .._text import close_to, hidden
from ._base import CheckpointStore, SimpleStore
from ._file import FileStore

MEDIA = {
    "sqlite": "_sql",
    "postgresql": "_sql",
    "postgres": "_sql",
    "mysql": "_sql",
    "mariadb": "_sql",
    "redis": "_redis",
    "rediss": "_redis",
    "valkey": "_redis",
    "valkeys": "_redis",
    "unix": "_redis",
    "s3": "_objects",
    "gs": "_objects",
    "az": "_objects",
}
"""By scheme: the module of this room, with ``open_url(url: str, parameters: Parameters) -> Medium``."""
EXTRAS = {"_sql": "sql", "_redis": "redis", "_objects": "s3"}
"""By module: the extra to install."""
_OWN = ("lease", "table_prefix", "compress")

_MEANT = re.compile(r"[\s\"'<]*(\w+)(?:\+\w+)?(?::|//)")
"""What begins like a URL that is mistyped or quoted."""

_opened: dict[str, CheckpointStore] = {}
"""By URL, so that all who use one share its connections."""


def open_store(where: str | os.PathLike[str] | CheckpointStore | SimpleStore) -> CheckpointStore:
    """The store that *where* names: a directory, a URL, or a store, which is returned unchanged.

    One URL means one store for the life of the process. A simple store of your own, with get, put, delete, keys and
    close, is wrapped. These parameters of a URL are meant for this library, not for a driver: ``lease=30`` (seconds
    that a silent owner keeps its operation), ``table_prefix=resumable_`` and ``compress=zstd``.

    Example:
        >>> with checkpointed("in memory", store=open_store("memory://tests")) as cp:
        ...     cp.tick()

    Raises:
        ValueError: No store has that scheme, or a part of the URL is wrong.
        ImportError: The package for that scheme is missing. Says what to install.
        TypeError: *where* is none of these.
    """
    if isinstance(where, str):
        # What came out of a file with a secret ends with a newline.
        match = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]+)://(.*\S)?", where, re.DOTALL)
        if match is not None:
            scheme = match[1].lower()
            return _by_url(f"{scheme}://{match[2] or ''}", scheme)
        if (meant := _MEANT.match(where)) and meant[1].lower() in (*MEDIA, "memory", "file"):
            raise ValueError(
                f"a URL begins with {meant[1]}://, not {hidden(where)!r}; for a directory of that name, begin with ./"
            )
        return FileStore(where)
    if isinstance(where, os.PathLike):
        return FileStore(where)
    if isinstance(where, CheckpointStore):
        return where
    if isinstance(where, SimpleStore):
        from ._simple import AdaptedStore

        return AdaptedStore(where)
    raise TypeError(f"a store is a directory, a URL or an object with get, put, delete, keys and close, not {where!r}")


def _by_url(url: str, scheme: str) -> CheckpointStore:
    if scheme == "file":
        return _directory(url)
    # A forked child must not use connections of its parent.
    key = url if scheme == "memory" else f"{os.getpid()} {url}"
    if key not in _opened:
        _opened.setdefault(key, _in_memory(url) if scheme == "memory" else _leased(url, scheme))
    return _opened[key]


def _directory(url: str) -> FileStore:
    from urllib.parse import unquote, urlsplit

    bare, own = without_own(url)
    parts = urlsplit(bare, allow_fragments=False)  # a # is part of the name
    if parts.query:
        raise ValueError(f"a directory takes no {parts.query.partition('=')[0]}; a ? in its name is written as %3F")
    if "compress" in own:
        raise ValueError(
            "a directory keeps its checkpoints as plain JSON; for compressed ones use "
            "sqlite:///checkpoints.db?compress=zstd, or EncryptedStore(directory, key, compress='zstd')"
        )
    if "table_prefix" in own:
        raise ValueError("a directory has no tables, and takes no table_prefix; use another directory instead")
    host = "" if parts.netloc.lower() == "localhost" else unquote(parts.netloc)
    lease = _seconds(own.get("lease"))
    return (
        FileStore(host + unquote(parts.path)) if lease is None else FileStore(host + unquote(parts.path), lease=lease)
    )


def _in_memory(url: str) -> CheckpointStore:
    from ._memory import MemoryStore

    return _in_layers(MemoryStore(), without_own(url)[1].get("compress", ""))


def _leased(url: str, scheme: str) -> CheckpointStore:
    dialect = scheme.partition("+")[0]
    if dialect not in MEDIA:
        known = ("memory", *MEDIA)
        close = "".join(f"did you mean {name}://? " for name in close_to(dialect, known)[:1])
        schemes = ", ".join(f"{name}://" for name in known)
        raise ValueError(f"no store for {scheme}:// in this version; {close}use a directory or one of {schemes}")
    from ._lease import LeasedStore
    from ._medium import Parameters

    bare, own = without_own(url)
    parameters = Parameters(_seconds(own.get("lease")), _prefix(own.get("table_prefix", "")), own.get("compress", ""))
    medium = _medium(bare, scheme, parameters)
    return _in_layers(LeasedStore(medium, parameters.lease), parameters.compress)


def _in_layers(store: CheckpointStore, compress: str) -> CheckpointStore:
    if compress not in ("", "zstd"):
        raise ValueError(f"compress must be 'zstd', not {compress!r}")
    if not compress:
        return store
    from ._compressed import CompressedStore

    return CompressedStore(store)


def _medium(url: str, scheme: str, parameters: Any) -> Any:
    dialect, _, driver = scheme.partition("+")
    name = MEDIA[dialect]
    try:
        return import_module(f".{name}", __package__).open_url(url, parameters)
    except ImportError as error:
        if (error.name or "").startswith("resumable"):
            raise
        missing = error.name or "a package"
        extra = f"pip install 'resumable-loops[{EXTRAS[name]}]'"
        way = f"pip install {missing}  or use {dialect}:// instead:  {extra}" if driver else extra
        raise ImportError(f"{scheme}:// needs {missing}, which is not installed:  {way}", name=error.name) from None


def without_own(url: str) -> tuple[str, dict[str, str]]:
    """*url* without this library's own parameters, for a driver; and these parameters.

    Raises:
        ValueError: One of them is given twice.
    """
    from urllib.parse import unquote_plus

    base, mark, query = url.partition("?")
    rest, own = [], dict[str, str]()
    for part in query.split("&") if mark else ():
        name, _, value = part.partition("=")
        if name not in _OWN:
            rest.append(part)
        elif name in own:
            raise ValueError(f"{hidden(base)}: {name} is given twice")
        else:
            own[name] = unquote_plus(value)
    return base + ("?" + "&".join(rest) if rest else ""), own


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"lease must be a number of seconds, not {text!r}") from None
    if not 0 < seconds < float("inf"):
        raise ValueError(f"lease must be a number of seconds above 0, not {text!r}")
    return seconds


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{0,40}", text):
        raise ValueError(f"table_prefix must have only letters, digits and _, at most 40, not {text!r}")
    return text
