"""What a store that was away could not take: kept on this machine; the next run here brings it to the store.

A run that gives up leaves an ordinary checkpoint in a local directory, with a note of the store's last save. The next
run that owns the operation brings it to the store, if the store still has exactly that save. Otherwise another run has
gone on meanwhile: then the local copy is renamed, and a message names both.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .._errors import CheckpointBusyError, CheckpointCorruptError, ResumableError, StaleCheckpointError, StoreError
from .._format.files import put_aside
from .._format.restore import Restored, restore, restored_from
from .._format.sections import Stand, Unsaved
from .._runtime.steps import Steps
from ..stores import ArtifactLease, CheckpointStore, Holder, Lease
from .capture import Save, capture
from .writer import Writer

if TYPE_CHECKING:
    from .operation import Operation
    from .options import Options

_log = logging.getLogger("resumable")
_MOST_STANDS = 200


class Stands:
    """The save that the store may hold: the last acknowledged one, or one whose answer never came.

    Attributes:
        known: All of these, oldest first.
    """

    def __init__(self, restored: Restored | None) -> None:
        self.known: list[Stand] = [stand_of(restored)]

    def stored(self, save: Save) -> None:
        """*save* is acknowledged: it replaced those before."""
        self.known = _stands_of([save])

    def failed(self, saves: Sequence[Save]) -> None:
        """*saves* may or may not have reached the store."""
        self.known += _stands_of(saves)
        del self.known[1:-_MOST_STANDS]

    def deleted(self) -> None:
        """The checkpoint may be removed."""
        self.known.append(None)


def _stands_of(saves: Iterable[Save]) -> list[Stand]:
    places = [save.position or (save.document.at if save.document is not None else None) for save in saves]
    return [(place.sequence, place.crc) for place in places if place is not None]


def stand_of(restored: Restored | None) -> Stand:
    """The save that a checkpoint just read holds."""
    if restored is None:
        return None
    position = restored.position
    return (position.sequence, position.crc) if position is not None else (restored.newest, -1)


# -- a run gives up ---------------------------------------------------------------------------------------------------


def leave(operation: Operation, failure: BaseException, reason: str) -> Steps[str]:
    """Keep on this machine what the store could not take because of *failure*. Returns a message; "" if that failed.

    Args:
        reason: The reason of the save.
    """
    options, stands, lease = operation.options, operation.stands, operation.writer.lease
    is_final = isinstance(failure, CheckpointBusyError | CheckpointCorruptError | StaleCheckpointError)
    if is_final or not isinstance(failure, StoreError) or stands is None or lease is None or not operation.is_owner():
        return ""
    parts, session, at = operation.parts, operation.session, operation.instant
    in_flight = _stands_of(operation.writer.in_flight.saves)
    token = os.urandom(8).hex()
    parts.saved.unsaved = Unsaved(_site(options), lease.term, lease.next, [*stands.known, *in_flight], token)
    parts.encoded_sections = {}  # encode them all anew
    decision = session.demand(reason, now=at.monotonic)
    take = partial(capture, parts, decision, session, at=at.utc, in_flight=0, is_last=True)
    place: Path | str | None = None
    try:
        for local in _places(options):
            place = place or (yield from _saved_in(local, operation, take))
    except (ResumableError, OSError) as error:
        _log.warning("%s: could not be kept on this machine either: %s", operation.operation_id, error)
    if place is None:
        return ""
    _note_kept(_site(options), Path(place).parent)
    told = (
        f"{operation.operation_id!r} could not be saved in {_site(options)}, and is kept in {place}; the next run on "
        "this machine brings it there"
    )
    _log.error("%s: %s %s", operation.operation_id, failure, told)
    return told


def _saved_in(local: CheckpointStore, operation: Operation, take: Any) -> Steps[Path | str | None]:
    """Save it in *local*. Returns where it lies; None if something else is there."""
    writer = Writer(local, operation.operation_id, works_beside=False)
    writer.adopt({}, operation.parts.cut)
    try:
        yield writer.claim
        if (yield partial(local.read, operation.operation_id)) is not None:
            return None
        if operation.parts.workshop is not None:
            yield partial(operation.parts.workshop.put_into, cast("ArtifactLease", writer.lease))
        yield from writer.save(take)
        return writer.location
    except CheckpointBusyError:
        return None
    finally:
        writer.release()


def _places(options: Options) -> Iterator[CheckpointStore]:
    """Where it may lie: first beside the checkpoints without a store; another operation may have this id there."""
    if options.local is None:
        return
    yield options.local
    over: Any = getattr(options.store, "over")  # noqa: B009 - a store that has made the one above has it
    directory = Path(options.local.describe())
    yield over(directory / f"unsaved-{hashlib.sha256(_site(options).encode()).hexdigest()[:12]}")


def _noted_places(options: Options) -> Iterator[CheckpointStore]:
    """Where runs kept it that were started in other directories of this machine, as far as it noted that."""
    if options.local is None:
        return
    from .._report.places import kept_for

    over: Any = getattr(options.store, "over")  # noqa: B009 - mypy knows no such attribute
    here = {str(Path(local.describe())) for local in _places(options)}
    for directory in kept_for(_site(options)):
        if directory not in here:
            yield over(Path(directory))


def _note_kept(site: str, directory: Path) -> None:
    from .._report.places import note_kept

    note_kept(site, str(directory))


def _site(options: Options) -> str:
    return str(options.store.describe(options.operation_id))


def take_back(operation: Operation) -> Steps[None]:
    """The store is back and has everything: remove the copy on this machine."""
    for local in _places(operation.options):
        yield partial(_remove, local, operation)
    _log.warning("%s: %s answers again, and has everything", operation.operation_id, _site(operation.options))


def _remove(local: CheckpointStore, operation: Operation) -> None:
    unsaved, key = operation.parts.saved.unsaved, operation.operation_id
    if unsaved is None or not os.path.lexists(local.describe(key)):
        return
    with contextlib.suppress(ResumableError):  # the next run detects that it was brought
        lease = local.claim(key, Holder.me())
        try:
            found = restore(local, key, now=operation.instant.utc, lease=lease)
            if found is not None and found.sections.unsaved == unsaved:
                lease.delete()
        finally:
            lease.release()


# -- the next run -----------------------------------------------------------------------------------------------------


def bring(writer: Writer, options: Options, *, now: datetime) -> None:
    """Bring what an earlier run kept here to the store. *writer* owns the operation.

    Raises:
        StoreError: The store cannot take it. The copy on this machine stays.
        CheckpointCorruptError: The checkpoint in the store cannot be read.
    """
    for local in (*_places(options), *_noted_places(options)):
        path = local.describe(options.operation_id)
        if not os.path.lexists(path):
            continue
        try:
            lease = local.claim(options.operation_id, Holder.me())
        except CheckpointBusyError as error:
            _log.warning("%s: %s is skipped: %s", options.operation_id, path, error)
            continue
        try:
            _bring_from(local, lease, Path(path), writer, options, now)
        finally:
            lease.release()


def _bring_from(
    local: CheckpointStore, lease: Lease, path: Path, writer: Writer, options: Options, now: datetime
) -> None:
    key, site = options.operation_id, _site(options)
    try:
        found = restore(local, key, now=now, lease=lease)
    except CheckpointCorruptError as error:
        _log.warning("%s: %s", key, error)
        return
    unsaved = found.sections.unsaved if found is not None else None
    if found is None or unsaved is None or unsaved.store != site:
        return  # a checkpoint without a store, or of another store
    assert writer.lease is not None, "the operation is not claimed"
    from .._format.anywhere import bring_over, is_begun_from

    there = writer.lease.read()
    is_begun = there is not None and is_begun_from(there, local, key)
    known = None if there is None or is_begun else restored_from(there, writer.store, key, now=now)
    before = known.sections.unsaved if known is not None else None
    was_brought = before is not None and before.token == unsaved.token
    if was_brought and stand_of(known) == stand_of(found):
        lease.delete()
        _log.info("%s: what %s held had been brought to %s already", key, path, site)
    elif is_begun or stand_of(known) in unsaved.stands:
        bring_over(local, writer.store, writer.lease, found, lease.read(), is_begun=is_begun)
        lease.delete()
        items = found.data.metadata.processed_items
        _log.warning("%s: brought what %s held to %s: %s items are done", key, path, site, f"{items:,}")
    elif was_brought:
        kept = put_aside(path, f".unsaved-{now:%Y%m%dT%H%M%SZ}-{unsaved.token[:6]}")
        _log.info("%s: %s had been brought to %s, where a run has gone on; it is kept as %s", key, path, site, kept)
    else:
        kept = put_aside(path, f".unsaved-{now:%Y%m%dT%H%M%SZ}-{unsaved.token[:6]}")
        _log.error(
            "%s: %s held what could not be saved in %s while that did not answer. Another run has gone on there "
            "meanwhile, or its checkpoint was removed there. This run goes on from there; what was here is kept as %s.",
            *(key, path, site, kept),
        )
