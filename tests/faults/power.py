"""What a power cut may leave of recorded writes: all that fsync does not rule out.

The model is weaker than any real file system. Only fsync orders anything: of the names that were changed since their
directory was synced any part may survive, in order or not (a rename is atomic); of the bytes that were written since
their file was synced any write may, wholly, up to some sector, or all but some sector, which is then as it was before.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
DIRECTORY = 0
"""Stands for an inode number where a name is a directory's."""

View = dict[str, bytes | None]
"""Files by their names; a directory holds None."""


@dataclass(frozen=True)
class Names:
    """Directory entries that change at once: the inode that each then names, None if it is gone."""

    changes: dict[str, int | None]

    @property
    def directory(self) -> str:
        return os.path.dirname(next(iter(self.changes)))


@dataclass(frozen=True)
class Data:
    """Bytes that are written into a file."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Length:
    """A file is cut off, or made longer."""

    inode: int
    size: int


@dataclass(frozen=True)
class Synced:
    """A file's contents, or a directory's names, are safe."""

    what: int | str


@dataclass(frozen=True)
class Told:
    """What the program said at this moment."""

    text: str


Event = Names | Data | Length | Synced | Told


# -- what may be left -------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """What is safe, and what is on its way."""

    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    moving: list[Names] = field(default_factory=list)
    written: dict[int, list[Data | Length]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    directories: set[str] = field(default_factory=set)
    _first: tuple[dict[str, int], dict[int, bytes]] | None = None

    def first(self) -> Disk:
        """The state before any operation."""
        assert self._first is not None
        return Disk(*self._first)

    def take(self, event: Event) -> None:
        if self._first is None:
            self._first = dict(self.names), dict(self.contents)
            self.directories.update(name for name, inode in self.names.items() if inode == DIRECTORY)
        match event:
            case Names():
                self.moving.append(event)
                self.directories.update(name for name, inode in event.changes.items() if inode == DIRECTORY)
            case Data() | Length():
                self.written.setdefault(event.inode, []).append(event)
            case Synced(int() as inode):
                self.contents[inode] = self._now(inode)
                self.written.pop(inode, None)
            case Synced(directory):
                self.names = _moved(self.names, [names for names in self.moving if names.directory == directory])
                self.moving = [names for names in self.moving if names.directory != directory]
            case Told(text):
                self.told.append(text)

    def last(self, word: str) -> str | None:
        """What was told last that begins with *word*."""
        found = [text.removeprefix(f"{word} ") for text in self.told if text.startswith(f"{word} ")]
        return found[-1] if found else None

    def _now(self, inode: int) -> bytes:
        content = self.contents.get(inode, b"")
        for event in self.written.get(inode, ()):
            content = _changed(content, event)
        return content

    def as_seen(self) -> View:
        """What programs see while the power is on."""
        names = _moved(self.names, self.moving)
        return {name: None if inode == DIRECTORY else self._now(inode) for name, inode in names.items()}

    def after_power_cut(self, *, whole: bool) -> Iterator[View]:
        """Everything that may be there after one; a few of the torn writes only, unless *whole*."""
        for kept in itertools.product((True, False), repeat=len(self.moving)):
            names = _moved(self.names, list(itertools.compress(self.moving, kept)))
            names = {name: inode for name, inode in names.items() if self._can_be_reached(name, names)}
            unsure = sorted(set(names.values()) & self.written.keys())
            for contents in itertools.product(*(self._torn(inode, whole) for inode in unsure)):
                known = dict(zip(unsure, contents, strict=True))
                yield {
                    name: None if inode == DIRECTORY else known.get(inode, self.contents.get(inode, b""))
                    for name, inode in names.items()
                }

    def _can_be_reached(self, name: str, names: dict[str, int]) -> bool:
        """A file whose directory was never made, or is gone, is lost with it."""
        parent = os.path.dirname(name)
        if parent not in self.directories:
            return True
        return parent in names and self._can_be_reached(parent, names)

    def _torn(self, inode: int, whole: bool) -> list[bytes]:
        """What may be in the file: the writes up to any, the last of them perhaps in part, one of the others lost."""
        before, events = self.contents.get(inode, b""), self.written[inode]
        found = {before: None}
        for lost in range(-1, len(events) - 1):
            content = before
            for event in events[:lost] + events[lost + 1 :] if lost >= 0 else events:
                found |= dict.fromkeys(_parts(content, event, whole))
                content = _changed(content, event)
        return list(found)


def _moved(names: dict[str, int], moves: list[Names]) -> dict[str, int]:
    result = dict(names)
    for move in moves:
        for name, inode in move.changes.items():
            if inode is None:
                result.pop(name, None)
            else:
                result[name] = inode
    return result


def _changed(content: bytes, event: Data | Length) -> bytes:
    if isinstance(event, Length):
        return content[: event.size].ljust(event.size, b"\0")
    content = content.ljust(event.offset, b"\0")
    return content[: event.offset] + event.data + content[event.offset + len(event.data) :]


def _parts(content: bytes, event: Data | Length, whole: bool) -> Iterator[bytes]:
    """*content* after a write that stopped at some sector, lost one of them, or is all there."""
    full = _changed(content, event)
    if isinstance(event, Data) and event.data:
        end = event.offset + len(event.data)
        inner = range((event.offset // SECTOR + 1) * SECTOR, end, SECTOR)
        edges = [event.offset, *inner, end]
        sectors = list(itertools.pairwise(edges))
        if not whole and len(sectors) > 4:
            sectors = [*sectors[:2], sectors[len(sectors) // 2], sectors[-1]]
        zeros = content.ljust(end, b"\0")
        yield zeros
        for start, stop in sectors:
            yield _changed(content, Data(event.inode, event.offset, event.data[: stop - event.offset]))
            yield full[:start] + zeros[start:stop] + full[stop:]
    yield full


def lay_out(view: View, root: Path) -> None:
    """Make the files of *view* below *root*, which must not exist."""
    root.mkdir()
    for name, data in sorted(view.items()):
        if data is None:
            os.mkdir(name)
        else:
            Path(name).write_bytes(data)
