"""The moment that a save holds, the end of the last done item; and one save of it, from the decision to the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .._durable import Durable
from .._format import journal
from .._loops.loop import Loop
from .._loops.registry import LoopRegistry
from .._loops.view import LoopView
from .._runtime.boundary import Boundary, Noting
from .._runtime.steps import Steps
from .options import Ticker
from .session import Before, Decision

if TYPE_CHECKING:
    from .._durable.once import CapturedEffects
    from .document import Document
    from .writer import Writer

Hooks = Sequence[tuple[Callable[[], object], int]]


class CapturedLoops:
    """The places of all loops at one instant.

    Captured before the state: what another thread has finished by then, the state has. It may have more, which is then
    done again.
    """

    def __init__(self, views: Mapping[str, LoopView]) -> None:
        self.changes: dict[str, dict[str, Any]] = {}
        self._committers: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self._places: dict[str, Callable[[], dict[str, Any] | None]] = {}
        for name, view in list(views.items()):
            self._committers[name] = view.committer()
            if (change := view.changes()) is not None:
                self.changes[name] = change
            self._places[name] = view.as_now()

    def places(self) -> dict[str, Any]:
        """The whole place of each that is kept."""
        return {name: form for name, place in self._places.items() if (form := place()) is not None}

    def commit(self) -> None:
        """What changed is safely stored."""
        for name, change in self.changes.items():
            self._committers[name](change)


NO_LOOPS = CapturedLoops({})


Part = bytes | Durable
"""A top-level value of the state: encoded, or a collection that knows what changed in it."""


class Save(msgspec.Struct, kw_only=True):
    """One save, from the decision to the disk.

    Attributes:
        decision: Why it is made, and where the operation stood.
        values: The metadata, as it will be once this save stands.
        parts: The user's values, encoded or as collections.
        sections: The library's own, each encoded.
        first: Each is called before the save is written: it brings an output file to the disk.
        is_last: Whether nothing is saved after this in this run.
        record: What goes to the journal; None if a whole document is to be written.
        document: The whole, instead of the record or as a compaction after it.
        seconds: What it cost the loop, and the disk.
        sent_at: When it was sent, in monotonic seconds.
        before: What the session needs if the save fails in flight.
        spells: Whether it spells the numbers that JSON has not.
        position: Where the journal stands after its record.
    """

    decision: Decision
    values: dict[str, Any]
    created_at: datetime
    at: datetime
    parts: dict[str, Part]
    collections: dict[str, Durable]
    sections: dict[str, bytes]
    loops: CapturedLoops
    effects: CapturedEffects | None = None
    first: Sequence[Callable[[], None]] = ()
    is_last: bool = False
    record: bytes | None = None
    document: Document | None = None
    status: Literal["captured", "sent", "stored", "failed"] = "captured"
    seconds: float = 0.0
    sent_at: float = 0.0
    before: Before | None = None
    position: journal.Position | None = None
    spells: bool = False

    def commit_collections(self) -> None:
        """What was begun in the collections is on its way to the disk. Any thread may call this."""
        for collection in self.collections.values():
            collection.commit()

    def commit(self) -> None:
        """What this save took is safely stored, or whatever follows will say it again."""
        self.commit_collections()
        self.loops.commit()
        if self.effects is not None:
            self.effects.commit()

    def rollback(self) -> None:
        """What this save took was not stored: the next one takes it again."""
        for collection in self.collections.values():
            collection.rollback()


_TRIES = 4
"""So often places are captured again, because a loop in another thread went on meanwhile. If it always does, what its
items have written by then counts, too."""


class Cut:
    """Where the unfinished item began: a save leaves out what was written after that.

    While in the block of it, whoever writes to a collection or a sink in another thread waits.

    Args:
        ticker: Who ticks by hand: an item is what comes between two ticks, from the first one on.
        has_ticked: Whether an earlier run has ticked by hand, so that this one begins within an item.

    Attributes:
        boundary: Counts the items that are handed out.
    """

    def __init__(self, ticker: Ticker, *, has_ticked: bool) -> None:
        self.boundary = Boundary()
        self._ticker, self._has_ticked = ticker, has_ticked
        self._is_at_end = self._is_final = False

    def add(self, written: Noting) -> None:
        """From now on *written* is told where the unfinished item began. Again does no harm."""
        if written.boundary is not self.boundary:
            written.attach(self.boundary)
        if not any(other is written for other in self.boundary.writers):
            self.boundary.writers.append(written)

    def keep_only(self, written: Sequence[Noting]) -> None:
        """Nothing but *written* is saved."""
        if len(written) != len(self.boundary.writers):
            for one in written:
                self.add(one)
            self.boundary.writers = list(written)

    def __enter__(self) -> None:
        self.boundary.lock.acquire()
        for one in self.boundary.writers:
            one.hold()

    def __exit__(self, *error: object) -> None:
        for one in self.boundary.writers:
            one.let_go()
        self.boundary.lock.release()

    def end(self, *, is_final: bool) -> None:
        """The program has come to its end, so that the last tick stands for no item.

        Args:
            is_final: Whether nothing is left to do, whatever the loops say.
        """
        self._is_at_end, self._is_final = True, is_final

    def settle(self, loops: LoopRegistry) -> CapturedLoops:
        """Note where the unfinished item began. Returns the places of all loops at that moment."""
        views, boundary, captured = loops.views, self.boundary, NO_LOOPS
        for _ in range(_TRIES):
            unfinished = [loop for loop in loops.unfinished() if not loop.is_in_worker] if views else []
            asking = [loop for loop in unfinished if loop.must_settle()]
            if asking or not self._is_within_item(unfinished):
                boundary.move()
            for loop in asking:
                loop.note_settled()
            now = boundary.now()
            if views:
                captured = CapturedLoops(views)
            # In this order: a loop that asked for an item meanwhile may get it between the two.
            if not any(loop.must_settle() for loop in unfinished if loop not in asking) and boundary.now() == now:
                break
        else:
            now = boundary.now()
        for one in boundary.writers:
            one.settle(now)
        return captured

    def _is_within_item(self, unfinished: Sequence[Loop[Any]]) -> bool:
        if self._is_final:
            return False
        has_ticked = self._has_ticked or self._ticker.ticked > 0
        return (has_ticked and not self._is_at_end) or any(loop.is_at_item() for loop in unfinished)


def bring_up_to_date(hooks: Hooks, writer: Writer, *, wait: bool, is_patient: bool) -> Steps[bool]:
    """Call what is to be called before a save, once nothing stands in the way of that save.

    Returns:
        Whether that was done; False if the save is put off, as :meth:`Writer.save` would.
    """
    if writer.job is not None or writer.compaction is not None:
        if not wait and (is_patient or writer.in_flight.seconds_left > 0):
            writer.in_flight.put_off()
            return False
        yield from writer.wait()
    for hook, _ in hooks:
        hook()
    return True
