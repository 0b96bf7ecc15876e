"""The sinks of one operation: one for each file, however its path is spelled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from ._sink import Mode, Sink
from ._sink_file import Existing, Place, text_of


class Sinks:
    """The sinks of one operation.

    In a run, a file is known by its place: the path with all links resolved. In the checkpoint it keeps the name that
    the user gave it, so that a directory may be moved, together with its checkpoint.

    Args:
        saved: How far each went at the last save, by name.
    """

    def __init__(self, operation_id: str, saved: Mapping[str, Mapping[str, Any]]) -> None:
        self._operation_id = operation_id
        self._saved = dict(saved)
        self._open: dict[str, Sink[Any]] = {}
        self._names: dict[str, str] = {}
        self._announced: set[str] = set()

    def open(self, path: str | os.PathLike[str], mode: Mode, existing: Existing) -> Sink[Any]:
        """The sink *path*, opened if it is not open. See :func:`open_file`.

        Raises:
            TypeError: It is open in the other mode.
            ValueError: There is no such *mode*, or no such *existing*.
        """
        _check(mode, existing)
        given = os.fspath(path)
        place = Place(self._operation_id, given, Path(os.path.realpath(given)))
        known = self._open.get(place.text)
        if known is None:
            return self._open_first(place, mode, existing)
        if known.closed:
            return self._open_again(place, mode, known)
        if known.mode != mode:
            raise TypeError(
                f"{known.path} is open with mode={known.mode!r}; it cannot be written with {mode!r} as well"
            )
        return known

    def _open_first(self, place: Place, mode: Mode, existing: Existing) -> Sink[Any]:
        names = self._saved_names(place)
        saved = self._saved[names[0]] if names else None
        sink: Sink[Any] = Sink(place, mode)
        sink.open(saved, existing)
        for name in names:
            self._saved.pop(name, None)
        is_free = place.given not in self._saved and place.given not in self._names.values()
        self._names[place.text] = place.given if is_free else place.text
        self._open[place.text] = sink
        if saved is not None and not saved.get("closed"):
            self._announced.add(place.text)
        return sink

    def _open_again(self, place: Place, mode: Mode, known: Sink[Any]) -> Sink[Any]:
        sink: Sink[Any] = Sink(place, mode)
        sink.open(known.to_dict() | {"closed": True}, "append")
        self._open[place.text] = sink
        return sink

    def _saved_names(self, place: Place) -> list[str]:
        """The names under which the file is saved; the first one is to be believed."""
        names = [name for name, sink in self._saved.items() if _place_of(name, sink) == place.text]
        if place.given in self._saved and (place.given in names or not names):
            names.insert(0, place.given)
        return names

    def is_announced(self, sink: Sink[Any]) -> bool:
        """Whether the checkpoint says that rows of this run's may follow in the file.

        Until it does, they would be taken for those of others, or not be known at all.
        """
        return text_of(sink.path) in self._announced

    def note_announced(self, sink: Sink[Any]) -> None:
        """A save with *sink* stands."""
        self._announced.add(text_of(sink.path))

    def to_dict(self) -> dict[str, Any]:
        """How far each goes now, by name."""
        return {**self._saved, **{self._names[place]: sink.to_dict() for place, sink in self._open.items()}}

    def syncs(self) -> list[Callable[[], None]]:
        """What brings each to the disk."""
        return [sink.sync for sink in self._open.values()]

    def is_busy_here(self) -> bool:
        """Whether a signal handler that asks interrupts a write."""
        return any(sink.is_busy_here() for sink in list(self._open.values()))

    def seal(self) -> None:
        """Take no more rows. See :meth:`Sink.seal`."""
        for sink in self._open.values():
            sink.seal()

    def release(self) -> None:
        """Let go of them all."""
        for sink in self._open.values():
            sink.release()


def _check(mode: str, existing: str) -> None:
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be 't' or 'b', not {mode!r}")
    if existing not in get_args(Existing):
        raise ValueError(f"existing must be 'append', 'replace' or 'refuse', not {existing!r}")


def _place_of(name: str, saved: Mapping[str, Any]) -> str:
    """Where the file *name* lay; earlier releases have not saved that."""
    place: str = saved.get("path") or text_of(os.path.realpath(name))
    return place
