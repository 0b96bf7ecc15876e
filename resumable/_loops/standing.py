"""The progress of the loops of one run, for people: each loop's name, and how many of its items are done."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .view import LoopView

_FOR = re.compile(r"\bfor\s+\(?\s*([^\W\d]\w*(?:\s*,\s*[^\W\d]\w*)*)\s*\)?\s+in\b")
_LONGEST_NAME = 20
_MOST = 3


@dataclass(frozen=True, slots=True)
class LoopStanding:
    """The progress of one loop.

    Attributes:
        name: Its ``name=``, or the variable of its ``for``, or its name in the checkpoint.
        done: Items done over all runs.
        total: None if unknown.
        is_around: Whether the next one runs inside its current item.
    """

    name: str
    done: int
    total: int | None
    is_around: bool = False

    def __str__(self) -> str:
        """``step 13/20``; for a loop around another, the number of its present item."""
        number = self.done + 1 if self.is_around else self.done
        return f"{self.name} {number:,}" if self.total is None else f"{self.name} {number:,}/{self.total:,}"


def standings(views: Iterable[LoopView]) -> list[LoopStanding]:
    """The last few loops outside of all others, in order, and those that run inside the last one."""
    begun = [view for view in views if view.has_begun and view.loop is not None and not view.is_gone]
    begun.sort(key=lambda view: view.number)
    found = [view for view in begun if view.outer is None][-_MOST:]
    chain = found[-1:]
    while chain and (inner := [view for view in begun if view.outer is chain[-1]]):
        chain.append(inner[-1])
    around = set(map(id, chain[:-1]))
    return [_standing(view, id(view) in around) for view in [*found[:-1], *chain]]


def where_it_is(views: Iterable[LoopView]) -> str:
    """The present items, from the inside out: ``step 14 of 20 (13), in epoch 2 of 4 (1)``.

    "" if no loop is at an item.
    """
    begun = [view for view in views if view.has_begun and not view.is_gone and not view.is_finished]
    at = max((view for view in begun if view.loop is not None and view.loop.is_at_item()), key=_made_last, default=None)
    return ", in ".join(_item(view) for view in at.line() if view.loop is not None) if at is not None else ""


def _made_last(view: LoopView) -> int:
    return view.number


def _item(view: LoopView) -> str:
    loop = view.loop
    assert loop is not None
    return f"{_name(view)} {loop.told_item()}"


def _standing(view: LoopView, is_around: bool) -> LoopStanding:
    loop = view.loop
    assert loop is not None
    return LoopStanding(_name(view), loop.position, loop.total, is_around)


def _name(view: LoopView) -> str:
    place = view.identity.place
    if place is not None and place.startswith("="):
        return place[1:]
    found = list(_FOR.finditer(linecache.getline(*view.made_at)))
    names = found[-1][1] if found else ""
    return names if 0 < len(names) <= _LONGEST_NAME and names.strip("_") else view.name


def share_of(found: Iterable[LoopStanding]) -> float | None:
    """The share of the first loop that is done, from 0 to 1, including the share of its present item.

    None if it has no total, or other loops follow it.
    """
    share: float | None = None
    for number, one in enumerate(reversed(list(found))):
        if number and not one.is_around:
            return None
        within = share or 0.0 if one.is_around else 0.0
        share = min(1.0, (one.done + within) / one.total) if one.total else None
    return share
