"""A block inside the block of another checkpoint: rows that its items write may be lost, or be there twice."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .._runtime.boundary import Again, Boundary, Noting

if TYPE_CHECKING:
    from pathlib import Path

    from .operation import Operation

_log = logging.getLogger("resumable")


class Nested:
    """Looks at what is written to an outer checkpoint, and warns once of a row that an inner loop's item writes.

    The two are saved one after the other. An inner item that is saved as done is not done again, and does not write
    again what the unfinished outer item has lost.

    Args:
        outer_id: The operation whose block is around.
        boundary: That of the outer checkpoint.
        inner: The operation that begins.
    """

    def __init__(self, outer_id: str, boundary: Boundary, inner: Operation) -> None:
        self._outer_id = outer_id
        self._boundary = boundary
        self._inner = inner
        before = boundary.again
        self._before: Again | None = before.still_here() if isinstance(before, Nested) else before
        self._set(self)

    def has(self, writer: Noting, row: Any, /) -> bool:
        """Whether *writer* has that *row* already, as who looked before knows it."""
        inner = self._inner
        is_within = not inner.is_ending and (inner.ticker.ticked > 0 or bool(inner.parts.loops.running.at_item()))
        if is_within:
            _say_lost(self._outer_id, writer.known_as, inner.operation_id)
        if (is_within or inner.is_ending) and self._boundary.again is self:
            self._set(self._before)
        return self._before is not None and self._before.has(writer, row)

    def still_here(self) -> Again | None:
        """Itself; or, if its block has ended and nothing was written since, the one before."""
        if not self._inner.is_ending:
            return self
        return self._before.still_here() if isinstance(self._before, Nested) else self._before

    def _set(self, again: Again | None) -> None:
        with self._boundary.lock:
            self._boundary.again = again
            for writer in self._boundary.writers:
                writer.attend()


_told: set[tuple[str, str]] = set()


def _say_lost(outer_id: str, what: str, inner_id: str) -> None:
    if (outer_id, what) in _told:  # each item may open an inner operation of its own
        return
    _told.add((outer_id, what))
    _log.warning(
        "%s: an item of %r, a checkpoint inside of this one, writes to %s, and that is saved only with the item around "
        "it. If the outer item is interrupted, the row is lost, because the inner item is not done again. Write it to "
        "the inner checkpoint, or after its block.",
        outer_id,
        inner_id,
        what,
    )


def say_rows_may_come_twice(outer_id: str, inner_id: str, path: Path) -> None:
    """Warn that an outer item which is interrupted does an inner block again, though that has ended."""
    _log.warning(
        "%s: %r, a checkpoint inside an item of this one, writes to %s. If that block ends and the item is then "
        "interrupted, the next run does both again, and the rows are there twice. Use one checkpoint: its loops may be "
        "nested, and its sinks have each row once.",
        outer_id,
        inner_id,
        path,
    )
