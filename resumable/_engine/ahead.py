"""Takes many new records ahead of the save that will write them, so that the loop never stands still for long.

A save must see all new records at one instant. For a million of them, that takes a tenth of a second. So whenever many
wait, some are taken at the end of each item, as a save would take them, but only in memory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._durable import Durable
from .._durable.aliases import MANY

if TYPE_CHECKING:
    from .._runtime.clock import Clock
    from .parts import Parts
    from .session import Session

_AT_ONCE = 0.02
"""Seconds of work at the end of one item, about."""


def waiting(parts: Parts) -> list[Durable]:
    """The collections in which many new records wait."""
    return [one for one in parts.cut.boundary.writers if isinstance(one, Durable) and one.waiting >= MANY]


def take_ahead(parts: Parts, session: Session, clock: Clock) -> None:
    """Take some of the records that wait, at an item's end. The time counts as cost of the next save.

    Afterwards, the boundary's ``has_many`` says whether more can be taken at the end of the next item. What cannot be
    taken yet, because it belongs to an unfinished item, is looked for again after some time.

    Raises:
        StateEncodeError: JSON cannot hold one of them. It goes on waiting, and the save raises the error again.
    """
    parts.cut.boundary.has_many = False
    many = [] if parts.is_marker else waiting(parts)
    if not many:
        return
    began = clock.now()
    session.count_work(now=began)
    with parts.cut:
        parts.cut.settle(parts.loops)
        parts.cut.boundary.has_many = _take_from(many)
    now = clock.now()
    session.ahead_seconds += now - began
    session.waited(now=now)


def _take_from(many: Sequence[Durable]) -> bool:
    """Take records for a short time. Returns whether more can be taken at once."""
    began = time.thread_time()
    for one in many:
        while one.take_ahead():
            if time.thread_time() - began > _AT_ONCE:
                return True
    return False
