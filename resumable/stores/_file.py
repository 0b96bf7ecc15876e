"""Checkpoints as JSON files in a directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .._errors import CheckpointBusyError, StoreError
from .._runtime import disk
from . import _lock
from ._journal_file import JournalFile, without_room
from ._names import PREFIX, SUFFIX, check_operation_id, hashed_name, plain_name
from ._rivals import are_rivals, belongs_to_a_rival, operation_id_in


class FileStore:
    """One file for each checkpoint, ``.checkpoint_{id}.json``, replaced whole or not at all.

    Beside it, as needed: ``.json.prev`` (the checkpoint before), ``.journal`` (saves since the snapshot), ``.lock``.
    Ids that would share a file name, or have no safe one, get a short hash appended.

    Args:
        directory: Where they lie; made at the first save.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._located: dict[str, Path] = {}
        self._journals: dict[str, JournalFile] = {}
        self._new_journals: dict[str, Path] = {}

    def __repr__(self) -> str:
        return f"FileStore({str(self.directory)!r})"

    # -- names

    def locate(self, key: str) -> Path:
        """Where the checkpoint of *key* lies, or would."""
        path = self._located.get(key)
        if path is None:
            check_operation_id(key)
            path = self._choose(key)
        return path

    def _choose(self, key: str) -> Path:
        hashed = self.directory / hashed_name(key)
        name = plain_name(key)
        with _as_store_error(f"cannot look into {self.directory}"):
            # What cannot be looked at must not count as absent: the operation would begin anew.
            if name is None or disk.stamp(hashed) is not None:
                return hashed
            plain = self.directory / name
            # What is no file is nobody's; whoever reads it is told its name.
            return hashed if not disk.is_irregular(plain) and belongs_to_a_rival(plain, key) else plain

    # -- the five verbs

    def get(self, key: str) -> bytes | None:
        path = self.locate(key)
        with _as_store_error(f"cannot read {path}"):
            return disk.read(path)

    def put(self, key: str, blob: bytes) -> Path:
        return self.put_chunks(key, [blob])

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> Path:
        path = self.locate(key)
        with _as_store_error(f"cannot write {path}"):
            disk.make_directory(self.directory)
            disk.replace(path, chunks, keep=_beside(path, ".json.prev"))
        return path

    def delete(self, key: str) -> bool:
        path = self.locate(key)
        self._close_journal(key)
        self._drop_new_journal(key)
        with _as_store_error(f"cannot delete {path}"):
            # The checkpoint goes first, for good: what is left without it counts for nothing, but it without its
            # journal, as a power cut might leave it, would be taken for an older save.
            found = disk.unlink(path)
            if found:
                disk.sync_directory(self.directory)
            for suffix in (".journal", ".journal.prev", ".json.prev"):
                disk.unlink(_beside(path, suffix))
        return found

    def keys(self) -> Iterator[str]:
        for path in sorted(self.directory.glob(f"{PREFIX}*{SUFFIX}")):
            with contextlib.suppress(OSError):
                found = operation_id_in(path)
                yield found if found is not None else path.name[len(PREFIX) : -len(SUFFIX)]

    def close(self) -> None:
        for key in list(self._journals):
            self._close_journal(key)

    # -- one owner

    @contextlib.contextmanager
    def own(self, key: str) -> Iterator[None]:
        """Own *key* while in the block; raises CheckpointBusyError, naming the holder, if another process does."""
        with _as_store_error(f"cannot use {self.directory}"):
            disk.make_directory(self.directory)
        with contextlib.ExitStack() as stack:
            path = self._hold(key, stack)
            disk.remove_leftovers([_beside(path, suffix) for suffix in (SUFFIX, ".json.prev", ".journal")])
            self._located[key] = path
            try:
                yield
            finally:
                self._close_journal(key)
                self._drop_new_journal(key)
                del self._located[key]
                with contextlib.suppress(OSError):
                    if disk.stamp(path) is None:
                        os.unlink(_beside(path, ".lock"))

    def _hold(self, key: str, stack: contextlib.ExitStack) -> Path:
        """Lock the file of *key* until *stack* ends; returns which one it is."""
        hashed = self.directory / hashed_name(key)
        path = self.locate(key)
        while True:
            try:
                stack.enter_context(_lock.holding(_beside(path, ".lock"), key))
            except CheckpointBusyError:
                # An id that shares the file name may hold it, before its first save is there to tell.
                other = _lock.read_holder(_beside(path, ".lock")).get("operation_id")
                if path == hashed or not isinstance(other, str) or not are_rivals(key, other):
                    raise
                path = hashed
                continue
            # Who looked before it owned may have looked too early.
            chosen = hashed if path == hashed else self._choose(key)
            if chosen == path:
                return path
            stack.pop_all().close()
            path = chosen

    def is_owned(self, key: str) -> bool:
        """Whether some process works on *key* right now."""
        return _lock.is_held(_beside(self.locate(key), ".lock"))

    # -- the journal

    def read_journal(self, key: str) -> bytes | None:
        path = _beside(self.locate(key), ".journal")
        with _as_store_error(f"cannot read {path}"):
            raw = disk.read(path)
        return None if raw is None else without_room(raw)

    def append_journal(self, key: str, offset: int, data: bytes, meanwhile: Callable[[], None] | None = None) -> None:
        journal = self._journals.get(key)
        if journal is not None and journal.end != offset:
            self._close_journal(key)
            journal = None
        path = _beside(self.locate(key), ".journal") if journal is None else journal.path
        try:
            if journal is None:
                journal = self._journals[key] = JournalFile(path, offset)
            journal.append(data, meanwhile)
        except BaseException as error:
            self._journals.pop(key, None)
            if isinstance(error, OSError):
                raise _store_error(f"cannot append to {path}", error) from error
            raise

    def write_journal(self, key: str, chunks: Iterable[bytes]) -> Callable[[bytes], None]:
        path = _beside(self.locate(key), ".journal")
        new = disk.temporary_for(path)
        with _as_store_error(f"cannot write {path}"), disk.removed_on_error(new):
            disk.write_new(new, chunks)
        self._new_journals[key] = new
        return lambda more: self._put_in_place(key, new, path, more)

    def _put_in_place(self, key: str, new: Path, path: Path, more: bytes) -> None:
        self._close_journal(key)
        with _as_store_error(f"cannot write {path}"), disk.removed_on_error(new):
            journal = JournalFile(new, os.stat(new).st_size)
            journal.append(more)
            if journal.move_to(path):
                self._journals[key] = journal
        del self._new_journals[key]
        with _as_store_error(f"cannot write {path}"):
            disk.sync_directory(path.parent)

    def retire_journal(self, key: str) -> None:
        path = self.locate(key)
        self._close_journal(key)
        with _as_store_error(f"cannot rename {_beside(path, '.journal')}"):
            try:
                os.replace(_beside(path, ".journal"), _beside(path, ".journal.prev"))
            except FileNotFoundError:
                disk.unlink(_beside(path, ".journal.prev"))

    def _drop_new_journal(self, key: str) -> None:
        new = self._new_journals.pop(key, None)
        if new is not None:
            with contextlib.suppress(OSError):
                disk.unlink(new)

    def _close_journal(self, key: str) -> None:
        journal = self._journals.pop(key, None)
        if journal is not None:
            journal.close()

    # -- generations

    def stamp(self, key: str) -> object | None:
        """Something that differs whenever the checkpoint of *key* was written anew; None if there is none.

        Adding to the journal is not that: who reads while a loop saves would never come to an end.
        """
        path = self.locate(key)
        with _as_store_error(f"cannot look at {path}"):
            return disk.stamp(path)

    def get_previous(self, key: str) -> tuple[str, bytes] | None:
        path = _beside(self.locate(key), ".json.prev")
        with _as_store_error(f"cannot read {path}"):
            raw = disk.read(path)
        return None if raw is None else (str(path), raw)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name.removesuffix(SUFFIX) + suffix)


@contextlib.contextmanager
def _as_store_error(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _store_error(what, error) from error


def _store_error(what: str, error: OSError) -> StoreError:
    return StoreError(f"{what}: {error.strerror or error}. What was saved before still stands.")
