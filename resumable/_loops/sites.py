"""Where loops are made: all runs of one loop at one place, and all such places within one item of the loop around.

Runs that came to their end are folded once there are many: their number is kept, and digests of what they went
through, so that a run over other items is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from .by_key import keys_from
from .by_position import ItemKey
from .view import Identity, LoopView

KEPT = 4
"""So many runs at one place are kept whole."""
_LAST_MARK = 64


class Site:
    """All runs of one loop within one item of the loop around.

    Attributes:
        key: Its place in the program, or ``=`` and its name.
        count: How many runs this run of the program has begun.
        folded: The first runs, of which only the number is kept.
        runs: The others, by their number.
        context: The thread or task that made the newest one.
    """

    __slots__ = ("_left_out", "_left_out_digest", "context", "count", "folded", "key", "marks", "runs")

    def __init__(self, key: str) -> None:
        self.key = key
        self.count = self.folded = 0
        self.marks: dict[str, str] = {}
        self.runs: dict[int, LoopView] = {}
        self.context: object = None
        self._left_out: int | None = 0
        self._left_out_digest = ""

    @property
    def is_named(self) -> bool:
        """Whether the user gave it a name."""
        return self.key.startswith("=")

    def add(self, view: LoopView) -> None:
        """*view* is one of its runs, read from a checkpoint."""
        self.runs[view.identity.run] = view
        if view.identity.folded > self.folded:
            self.folded, self.marks = view.identity.folded, dict(view.identity.marks)

    def unmet(self) -> Iterator[LoopView]:
        """Runs of an earlier run of the program that this one has not made."""
        return (view for view in self.runs.values() if not view.was_met and not view.is_gone)

    def identity(self, within: tuple[str, ItemKey] | None) -> Identity:
        """Of the run that is made next."""
        return Identity(within, self.key, self.count + 1, self.folded, dict(self.marks))

    # -- folding

    def fold(self, is_kept: Callable[[str], bool]) -> LoopView | None:
        """Fold the oldest run, if there are many and it came to its end; the caller may use its name.

        Args:
            is_kept: Whether the loop with that name is to be kept whole.
        """
        oldest = self.runs.get(self.folded + 1)
        if self.is_named or len(self.runs) < KEPT or oldest is None or is_kept(oldest.name):
            return None
        if oldest.loop is None or not oldest.loop.is_finished:
            return None
        del self.runs[self.folded + 1]
        last = self.marks.get(str(self.folded), "")
        if self.folded > _LAST_MARK or self.folded & (self.folded - 1):  # those at 1, 2, 4, … stay
            self.marks.pop(str(self.folded), None)
        self.folded += 1
        self.marks[str(self.folded)] = _digest(last, oldest.loop.to_dict())
        return oldest

    def is_other_input(self, run: int, saved: Mapping[str, Any]) -> bool:
        """Whether a folded *run*, which is left out again, went through other items than it did.

        Known for the first, the second, the fourth, … the 64th, and the last one.
        """
        if self._left_out is None or run != self._left_out + 1:
            self._left_out = None  # they did not come in order: nothing can be said any more
            return False
        self._left_out, self._left_out_digest = run, _digest(self._left_out_digest, saved)
        return self.marks.get(str(run), self._left_out_digest) != self._left_out_digest


def _digest(before: str, saved: Mapping[str, Any]) -> str:
    """Digest what a run that came to its end has gone through: its keys, its length, first and last item,
    or where its pages began."""
    seen: Any
    if saved["by"] == "key":
        seen = sorted(map(repr, keys_from(saved)))
    elif saved["by"] == "pages":
        seen = saved.get("start")  # nothing was fetched again
    else:
        samples = {position: digest for position, digest, _ in saved["samples"]}
        length = saved.get("position", saved.get("head"))
        # Other samples may depend on where the run was interrupted. Without any, the input is not to be compared.
        seen = [length, samples.get(0), samples.get(length - 1), saved.get("rolled")] if samples or not length else []
    return sha256(repr((before, seen)).encode()).hexdigest()[:12]


class Level:
    """What is made within one item of a loop, or outside of all loops.

    Attributes:
        outer: The loop around; None outside of all loops.
        item: Its item.
        made: How many loops without a name were made here in this run: how older releases told them apart.
    """

    __slots__ = ("item", "made", "outer", "sites")

    def __init__(self, outer: LoopView | None = None, item: ItemKey = 0) -> None:
        self.outer = outer
        self.item = item
        self.made = 0
        self.sites: dict[str, Site] = {}

    @property
    def within(self) -> tuple[str, ItemKey] | None:
        """How its loops name it when they are saved."""
        return None if self.outer is None else (self.outer.name, self.item)

    @property
    def is_gone(self) -> bool:
        """Whether the item is done."""
        return self.outer is not None and (self.outer.is_gone or self.outer.has_done(self.item))

    def site(self, key: str) -> Site:
        """The site with that key, made if there is none."""
        site = self.sites.get(key)
        if site is None:
            site = self.sites[key] = Site(key)
        return site

    def take(self, site: Site, key: str) -> Site:
        """Know *site* by another *key* from now on."""
        self.sites.pop(site.key, None)
        site.key = key
        self.sites[key] = site
        return site

    def not_made(self) -> Iterator[Site]:
        """Sites of an earlier run of the program at which this one has made no loop yet."""
        return (site for site in self.sites.values() if not site.count and any(site.unmet()))
