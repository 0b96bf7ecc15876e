"""All output files of one operation, and their names in the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from .._errors import StoreError
from .._runtime.paths import absolute
from .claim import Owner
from .sink import Mode, Sink, check_row
from .sink_file import Existing, Target, text_of


class Sinks:
    """All sinks of one operation.

    A run identifies a file by its absolute path, with all links resolved. The checkpoint keeps the name that the user
    gave, so that a directory can be moved together with its checkpoint.

    Args:
        saved: Where each file ended at the last save, by name.

    Attributes:
        opened: Each sink of this run, by its path.
        have_ended: Whether a save holds the final end of each file, or the checkpoint is removed.
    """

    def __init__(self, owner: Callable[[], Owner], saved: Mapping[str, Mapping[str, Any]]) -> None:
        self._owner = owner
        self._saved = dict(saved)
        self.opened: dict[str, Sink[Any]] = {}
        self.have_ended = False
        self._names: dict[str, str] = {}

    def open(
        self, path: str | os.PathLike[str], mode: Mode, existing: Existing, header: str | bytes | None = None
    ) -> Sink[Any]:
        """The sink that writes to *path*; opens the file if necessary. Also raises what :func:`open_file` raises.

        Raises:
            StateEncodeError: The *header* is not valid Unicode.
            TypeError: The file is open in the other mode, or the *header* does not match the mode.
            ValueError: *path* is none; *mode* or *existing* is unknown; a text header has no newline at its end; or the
                file is open with another header.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be 't' or 'b', not {mode!r}; a sink always goes on at its last save")
        if existing not in get_args(Existing):
            raise ValueError(f"existing must be 'append', 'replace' or 'refuse', not {existing!r}")
        given = text_of(path)
        if not given:
            raise ValueError("'' names no file: give the path of the output file")
        target = Target(self._owner(), given, _regular(path), _header_bytes(header, mode, given))
        known = self.opened.get(target.text)
        if known is None:
            known = self._open_first(target, mode, existing)
        elif known.closed:
            known = known.opened_again(target, mode)
        elif known.mode != mode:
            raise TypeError(
                f"{known.path} is open with mode={known.mode!r}; it cannot be written with {mode!r} as well"
            )
        elif target.header and known.header != target.header:
            raise ValueError(f"{known.path} is open already, with the header {known.header!r}, not {target.header!r}")
        self.opened[target.text] = known
        return known

    def _open_first(self, target: Target, mode: Mode, existing: Existing) -> Sink[Any]:
        names = self._saved_names(target)
        sink: Sink[Any] = Sink(target, mode, self._saved[names[0]] if names else None, existing)
        for name in names:
            self._saved.pop(name, None)
        is_free = target.given not in self._saved and target.given not in self._names.values()
        self._names[target.text] = target.given if is_free else target.text
        return sink

    def _saved_names(self, target: Target) -> list[str]:
        """The file's names in the checkpoint; the first one is right."""
        # Checkpoints of earlier releases lack the file's path: read the name as a path.
        paths = {name: sink.get("path") or text_of(os.path.realpath(name)) for name, sink in self._saved.items()}
        names = [name for name, path in paths.items() if path == target.text]
        if target.given in self._saved and (target.given in names or not names):
            names.insert(0, target.given)
        return names

    def to_dict(self, *, settled: bool = False) -> dict[str, Any]:
        """Where each file ends now, by name. See :meth:`Sink.to_dict`."""
        opened = {self._names[path]: sink.to_dict(settled=settled) for path, sink in self.opened.items()}
        return {**self._saved, **opened}

    def syncs(self) -> list[Callable[[], None]]:
        """Functions that sync each sink to the disk; each may block, and raises what :meth:`Sink.sync` raises."""
        return [sink.sync for sink in self.opened.values()]

    def is_busy_here(self) -> bool:
        """Whether this thread is inside a write to any sink. A signal handler asks before it saves."""
        return any(map(Sink.is_busy_here, list(self.opened.values())))

    def seal(self) -> None:
        """Accept no more rows in any sink."""
        for sink in self.opened.values():
            sink.seal()

    def release(self) -> None:
        """Close all files without a sync."""
        for sink in self.opened.values():
            sink.release(has_ended=self.have_ended)


def _header_bytes(header: str | bytes | None, mode: Mode, path: str) -> bytes:
    if header is None:
        return b""
    if mode == "b" and isinstance(header, bytes):
        return header
    if mode == "b" or not isinstance(header, str):
        wanted = "str" if mode == "t" else "bytes"
        raise TypeError(f"with mode={mode!r} the header must be {wanted}, not {type(header).__name__}")
    if header and not header.endswith("\n"):
        raise ValueError(f"the header must end with a newline of its own, as rows do: header={f'{header}{chr(10)}'!r}")
    check_row(header, Path(path))
    return header.encode()


def _regular(path: str | os.PathLike[str]) -> Path:
    """The absolute *path*, with all links resolved. Raises StoreError if a terminal, a pipe or a device is there."""
    named = absolute(path)
    if os.path.exists(named) and not (os.path.isfile(named) or os.path.isdir(named)):
        raise StoreError(
            f"cannot open {text_of(named)}: it is not a regular file, so a run that goes on could not take back what "
            "no save counts. It was not changed: write to a file, or use print()."
        )
    return absolute(path, resolves=True)
