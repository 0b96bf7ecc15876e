"""The user's state directory: the places of saves, the reports of running jobs, and events of operations.

Each place, each running job and the events of each operation have a small file. They help people to find and watch
their jobs. Nothing depends on them, and errors with them are ignored. ``$RESUMABLE_INDEX`` names another
directory, or is ``off``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from .._errors import StoreError
from .._format.sections import Run
from .._runtime import disk
from ..stores import CheckpointStore

VARIABLE = "RESUMABLE_INDEX"
_OFF = frozenset({"off", "0", "no", "false"})
_DAY = 86400
_MOST_EVENTS = 1 << 18
"""Keep this many bytes of events of one operation; then drop the older half."""
_MOST_KEPT = 20
_MOST_OPERATIONS = 1000
"""Keep the events of this many operations; then drop the half with the oldest events."""

T = TypeVar("T", bound=msgspec.Struct)


class Place(msgspec.Struct):
    """A directory or URL where a program has saved, and when last: seconds since the epoch, to the day."""

    place: str
    at: float


class Kept(msgspec.Struct):
    """Directories that keep what one store could not take."""

    directories: list[str]


class Pulse(msgspec.Struct, omit_defaults=True):
    """What a running job reports every two seconds.

    Attributes:
        at: When it was reported, in seconds since the epoch.
        since: When the number of items last changed.
        item_seconds: The average duration of an item; 0 if unknown.
        does: ``works``, ``waits`` for *whom*, or is ``paused``.
        until: When a wait will end.
        unsaved: The runs that no save tells of, this one included, before its first save.
    """

    operation_id: str
    place: str
    host: str
    pid: int
    run: int
    at: float
    since: float
    items: int
    total: int | None = None
    item_seconds: float = 0.0
    does: Literal["works", "waits", "paused"] = "works"
    whom: str = ""
    until: float | None = None
    unsaved: list[Run] = []


def directory() -> Path | None:
    """The state directory of this user; None if the index is off."""
    told = os.environ.get(VARIABLE, "").strip()
    if told.lower() in _OFF:
        return None
    return Path(told) if told else _default()


@functools.cache
def _default() -> Path:
    import platformdirs  # needed only after the first save

    return platformdirs.user_state_path("resumable", appauthor=False)


def place_of(store: CheckpointStore) -> str | None:
    """The address that opens *store* again, without credentials; None if there is none."""
    try:
        where = store.describe()
    except StoreError:
        return None
    if isinstance(where, Path):
        return os.fsencode(where.absolute()).decode(errors="backslashreplace")  # goes into JSON
    return None if where.startswith("memory:") or "://" not in where else where


@functools.lru_cache(maxsize=256)
def name_for(place: str, operation_id: str = "") -> str:
    """The name of files about an operation, or a place, in the state directory."""
    return hashlib.sha256(f"{place}\0{operation_id}".encode("utf-8", "replace")).hexdigest()[:24]


# -- places -----------------------------------------------------------------------------------------------------------


def note_place(home: Path, place: str) -> None:
    """Note that checkpoints lie in *place*, unless that was noted today."""
    path, now = f"{home}/places/{name_for(place)}.json", time.time()
    with contextlib.suppress(OSError):
        if now - os.stat(path).st_mtime < _DAY:
            return
    write(Path(path), Place(place, round(now)))


def places() -> list[str]:
    """All noted places, newest first."""
    home = directory()
    found = _all(home / "places", Place) if home is not None else ()
    return [place.place for place, _ in sorted(found, key=lambda each: -each[0].at)]


def forget_place(place: str) -> None:
    """Forget *place*, where nothing is left."""
    if (home := directory()) is not None:
        remove(home / "places" / f"{name_for(place)}.json")


# -- runs, events -----------------------------------------------------------------------------------------------------


def pulse_of(store: CheckpointStore, operation_id: str) -> Pulse | None:
    """The last report of a running job of *operation_id*; None if none reports on this machine."""
    home, place = directory(), place_of(store)
    return None if home is None or place is None else read(pulse_path(home, place, operation_id), Pulse)


def pulse_path(home: Path, place: str, operation_id: str) -> Path:
    """The file for a run's pulse."""
    return home / "runs" / f"{name_for(place, operation_id)}.json"


def events_path(home: Path, place: str, operation_id: str) -> Path:
    """The file for the events of an operation."""
    return home / "events" / f"{name_for(place, operation_id)}.jsonl"


def add_events(path: Path, lines: bytes) -> None:
    """Add *lines* to the events of an operation."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make_room(path.parent)
        elif path.stat().st_size > _MOST_EVENTS:
            kept = path.read_bytes()[-_MOST_EVENTS // 2 :].partition(b"\n")[2]
            _replace(path, kept)
        descriptor = os.open(path, disk.WRITE | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)


def _make_room(folder: Path) -> None:
    """Remove the older half of the files in *folder* if there are too many."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.stat().st_mtime) if _are_many(folder) else []
    for entry in found[: len(found) // 2]:
        remove(folder / entry.name)


def _are_many(folder: Path) -> bool:
    return len(os.listdir(folder)) >= _MOST_OPERATIONS


def events_of(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events from *offset* on, and the offset of the next ones."""
    raw = b""
    with contextlib.suppress(OSError), path.open("rb") as file:
        offset = 0 if os.fstat(file.fileno()).st_size < offset else offset
        file.seek(offset)
        raw = file.read()
    raw = raw[: raw.rfind(b"\n") + 1]
    found = []
    for line in raw.splitlines():
        with contextlib.suppress(msgspec.MsgspecError):
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
    return found, offset + len(raw)


# -- runs whose last save failed

_unsaved_here: dict[str, Run] = {}
"""Those of this process, by where their checkpoint lies."""


def note_unsaved(store: CheckpointStore, operation_id: str, run: Run) -> None:
    """Note how *run* ended, because *store* cannot save it."""
    _unsaved_here[_where(store, operation_id)] = run
    if len(_unsaved_here) > _MOST_OPERATIONS:
        _unsaved_here.pop(next(iter(_unsaved_here)))
    if (path := _unsaved_path(store, operation_id)) is not None:
        with contextlib.suppress(OSError):
            _make_room(path.parent)
        write(path, run)


def unsaved_of(store: CheckpointStore, operation_id: str) -> Run | None:
    """How a run ended that could not be saved, as far as this machine knows."""
    path = _unsaved_path(store, operation_id)
    return (read(path, Run) if path is not None else None) or _unsaved_here.get(_where(store, operation_id))


def knows_more(store: CheckpointStore, operation_id: str, *, is_cut_off: bool) -> bool:
    """Whether this machine knows of a run of which its checkpoint does not tell.

    Args:
        is_cut_off: Whether the last run of the checkpoint does not say how it ended.
    """
    pulse = pulse_of(store, operation_id)
    return bool(pulse and pulse.unsaved) or (is_cut_off and unsaved_of(store, operation_id) is not None)


def tell_unsaved(store: CheckpointStore, operation_id: str, history: list[Run]) -> None:
    """Add how the last run of *history* ended, if that was noted here. Without it, the run looks killed."""
    noted, last = unsaved_of(store, operation_id), history[-1]
    if noted is not None and (noted.run, noted.began, noted.pid) == (last.run, last.began, last.pid):
        last.ended, last.reason, last.error = noted.ended, noted.reason, noted.error
        last.place, last.stopped_at = noted.place, noted.stopped_at


def add_unsaved(store: CheckpointStore, operation_id: str, history: list[Run]) -> None:
    """Add to *history* the runs of this machine that were killed before their first save."""
    pulse, last = pulse_of(store, operation_id), history[-1]
    if pulse is None or not pulse.unsaved:
        return
    for run in pulse.unsaved:
        if run.run > last.run and run.began >= last.began:  # else it is of an operation that was removed
            run.ended = run.ended or datetime.fromtimestamp(pulse.at, UTC).isoformat(timespec="seconds")
            run.items = run.items_before
            history.append(run)


def _unsaved_path(store: CheckpointStore, operation_id: str) -> Path | None:
    home, place = directory(), place_of(store)
    return None if home is None or place is None else home / "unsaved" / f"{name_for(place, operation_id)}.json"


def _where(store: CheckpointStore, operation_id: str) -> str:
    try:
        return str(store.describe(operation_id))
    except StoreError:
        return operation_id


# -- checkpoints kept in a directory, because their store was away


def note_kept(site: str, where: str) -> None:
    """Note that the directory *where* keeps a checkpoint for *site*, a place in a store, until it is brought there."""
    if (path := _kept_path(site)) is not None:
        write(path, Kept([*dict.fromkeys([*kept_for(site), where])][-_MOST_KEPT:]))


def kept_for(site: str) -> list[str]:
    """The directories of this machine that may keep a checkpoint for *site*. Forgets those that are gone."""
    path = _kept_path(site)
    noted = read(path, Kept) if path is not None else None
    if path is None or noted is None:
        return []
    found = [where for where in noted.directories if os.path.isdir(where)]
    if not found:
        remove(path)
    return found


def _kept_path(site: str) -> Path | None:
    home = directory()
    return None if home is None else home / "kept" / f"{name_for(site)}.json"


# -- files ------------------------------------------------------------------------------------------------------------


def read(path: Path, kind: type[T]) -> T | None:
    """The content of *path*; None if it is missing or damaged."""
    try:
        return msgspec.json.decode(disk.read(path, 1 << 16) or b"", type=kind)
    except (OSError, ValueError, RecursionError):
        return None


def write(path: Path, value: msgspec.Struct) -> None:
    """Replace *path* by *value*; not synced, because it does not matter after a power cut."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(path, msgspec.json.encode(value))


def remove(path: Path) -> None:
    """Remove *path*, if it exists."""
    with contextlib.suppress(OSError):
        path.unlink()


def _replace(path: Path, data: bytes) -> None:
    temporary = disk.temporary_for(path)
    with disk.removed_on_error(temporary):
        descriptor = os.open(temporary, disk.WRITE | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)


def _all(folder: Path, kind: type[T]) -> Iterator[tuple[T, Path]]:
    names: Callable[[], list[str]] = lambda: sorted(os.listdir(folder))  # noqa: E731
    with contextlib.suppress(OSError):
        for name in names():
            if name.endswith(".json") and (value := read(folder / name, kind)) is not None:
                yield value, folder / name
