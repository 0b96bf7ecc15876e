"""Writes are recorded, so that power cuts can be tried on them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resumable._runtime import disk
from tests.faults.power import DIRECTORY, Data, Disk, Event, Length, Names, Synced, Told


class Recorder:
    """The writes below *root*. Lock files are left out: they hold nothing, and nobody owns them after a power cut."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.events: list[Event] = []
        self.names: dict[str, int] = {}
        self._inodes = itertools.count(1)
        self._open: dict[int, int | str] = {}
        self._positions: dict[int, int] = {}
        self.disk = Disk()
        known: dict[int, int] = {}
        for path in sorted(root.rglob("*")):
            if path.is_dir():
                self.names[str(path)] = DIRECTORY
            elif self._is_ours(path):
                number = known.setdefault(path.stat().st_ino, next(self._inodes))
                self.names[str(path)] = number
                self.disk.contents[number] = path.read_bytes()
        self.disk.names = dict(self.names)

    def disks(self) -> Iterator[Disk]:
        """The disk before the first event, and after each."""
        yield self.disk
        for event in self.events:
            self.disk.take(event)
            yield self.disk

    def tell(self, text: str) -> None:
        self.events.append(Told(text))

    def _is_ours(self, path: Any) -> bool:
        return os.fspath(path).startswith(self.root + os.sep) and not os.fspath(path).endswith(".lock")

    def _rename(self, changes: dict[str, int | None]) -> None:
        self.events.append(Names(changes))
        for name, number in changes.items():
            if number is None:
                del self.names[name]
            else:
                self.names[name] = number

    # Each is called once the real call has succeeded.

    def open(self, result: int, path: Any, flags: int, *rest: Any, **options: Any) -> None:
        name = os.fspath(path)
        self._open.pop(result, None)
        if os.path.isdir(name) and (name + os.sep).startswith(self.root + os.sep):
            self._open[result] = name
        elif self._is_ours(name):
            if name not in self.names:
                self._rename({name: next(self._inodes)})
            self._open[result], self._positions[result] = self.names[name], 0
            assert not flags & (os.O_APPEND | os.O_TRUNC), "not modelled"

    def write(self, result: int, descriptor: int, data: Any) -> None:
        number = self._open.get(descriptor)
        if isinstance(number, int):
            self.events.append(Data(number, self._positions[descriptor], bytes(data[:result])))
            self._positions[descriptor] += result

    def lseek(self, result: int, descriptor: int, *rest: Any) -> None:
        self._positions[descriptor] = result

    def ftruncate(self, result: None, descriptor: int, size: int) -> None:
        number = self._open.get(descriptor)
        if isinstance(number, int):
            self.events.append(Length(number, size))

    def fsync(self, result: None, descriptor: int) -> None:
        if descriptor in self._open:
            self.events.append(Synced(self._open[descriptor]))

    fdatasync = fsync

    def close(self, result: None, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def link(self, result: None, old: Any, new: Any, **options: Any) -> None:
        if self._is_ours(new):
            self._rename({str(new): self.names[str(old)]})

    def replace(self, result: None, old: Any, new: Any) -> None:
        if self._is_ours(new) and self.names.get(str(new)) != self.names[str(old)]:
            self._rename({str(old): None, str(new): self.names[str(old)]})

    rename = replace

    def unlink(self, result: None, path: Any) -> None:
        if self._is_ours(path):
            self._rename({str(path): None})

    remove = unlink

    rmdir = unlink

    def mkdir(self, result: None, path: Any, *rest: Any, **options: Any) -> None:
        if self._is_ours(path):
            self._rename({str(path): DIRECTORY})


_CALLS = [
    "open",
    "write",
    "lseek",
    "ftruncate",
    "fsync",
    "fdatasync",
    "close",
    "link",
    "replace",
    "rename",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
]


@contextmanager
def recording(root: Path) -> Iterator[Recorder]:
    """Record what this process writes below *root* while in the block; fails if something was missed."""
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:
        is_careful = disk.sync_data is os.fdatasync
        for name in _CALLS:
            patch.setattr(os, name, _noted(getattr(os, name), getattr(recorder, name)))
        if is_careful:
            patch.setattr(disk, "sync_data", os.fdatasync)
        yield recorder
    for event in recorder.events:
        recorder.disk.take(event)
    real = {str(path): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}
    assert recorder.disk.as_seen() == {name: data for name, data in real.items() if recorder._is_ours(name)}
    recorder.disk = recorder.disk.first()


def _noted(call: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
    def noted(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        note(result, *arguments, **options)
        return result

    return noted
