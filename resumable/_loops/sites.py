"""Where loops are made: all runs of one loop at one place, and all such places within one item of the loop around.

Runs that came to their end are folded once there are many: their number is kept, and digests of what they went
through, so that a run over other items is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import CodeType
from typing import Any
from zlib import crc32

from .._errors import InputChangedError
from .._runtime.boundary import Where
from .._runtime.interpreter import references_to
from .._text import command_for
from . import fingerprint, place
from .again import spanned
from .by_position import ItemKey
from .loop import Ends, Loop
from .view import NEVER_BEGUN, Identity, LoopView, read, written

KEPT = 4
"""The last runs at one place that are kept whole."""
_MOST_TRIED = 64
"""After this many names that are taken, they are not tried again."""
_LAST_MARK = 64
_CRC_DIGITS = 8
_NOBODY_ELSE = 3
"""References to a loop that only its view holds, with those of the function that asks."""


class Site:
    """All runs of one loop within one item of the loop around.

    Attributes:
        key: Its place in the program, or ``=`` and its name.
        is_named: Whether the user gave it that.
        count: How many runs this run has begun.
        folded: The first runs, of which little is kept.
        left: Those of them that were left before their end, each with its position; the others came to it.
        runs: The others, by their number.
        context: The thread or task that made the newest one.
        spare: A view that showed a run of an item before.
        wrote: What was written before the folded ones were begun.
        gone_through_by: Code that has gone through a run, and takes no items ahead.
    """

    __slots__ = (
        *("_early", "_passed", "_sum", "context", "count", "folded", "gone_through_by", "is_named", "key", "left"),
        *("runs", "spare", "wrote"),
    )

    def __init__(self, key: str) -> None:
        self.rename(key)
        self.context: object = None
        self.spare: LoopView | None = None
        self.gone_through_by: CodeType | None = None
        self.wrote: dict[str, Where] = {}
        self.runs: dict[int, LoopView] = {}
        self.count = self.folded = 0
        self.left: dict[int, int] = {}
        self._early: dict[str, str] = {}
        self._sum: _Sum | None = (0, 0, [])
        self._passed: tuple[int, int] | None = (0, 0)

    def restart(self) -> None:
        """Nothing was run here."""
        self.runs.clear()
        self.count = 0
        self._passed = 0, 0
        if self.folded or self.left:
            self.left, self._early, self._sum = {}, {}, (0, 0, [])
            self.folded = 0
        if self.wrote:
            self.wrote.clear()

    def keep_written(self, view: LoopView) -> None:
        """The run that *view* shows is folded."""
        if view.wrote.before:
            self.wrote.update(spanned(self.wrote, view.wrote.before))

    def rename(self, key: str) -> None:
        """Know it by *key* from now on."""
        self.key, self.is_named = key, key.startswith("=")

    def add(self, view: LoopView) -> None:
        """*view* is one of its runs, read from a checkpoint."""
        identity = view.identity
        self.runs[identity.run] = view
        self.wrote.update(spanned(self.wrote, view.wrote.folded))
        if identity.folded and identity.folded == self.folded:  # what was made again since stands in one of them only
            left = read(identity.left)
            self.left = {run: max(at, left[run]) for run, at in self.left.items() if run in left}
        if identity.folded > self.folded:
            self.folded, self._early = identity.folded, dict(identity.marks)
            last = self._early.pop(str(self.folded), "")
            # Older releases marked in another way.
            self._sum = (self.folded, int(last, 16), []) if len(last) == _CRC_DIGITS else None
            self.left = read(identity.left)

    def unmet(self) -> Iterator[LoopView]:
        """Runs of an earlier run of the program that this one has not made."""
        return (view for view in self.runs.values() if not view.was_met and not view.is_gone)

    def has_left(self) -> bool:
        """Whether this run has made a folded one that was left."""
        runs = self.runs
        return any(at != NEVER_BEGUN and run <= self.count and run not in runs for run, at in self.left.items())

    def told_of_unmet(self) -> str:
        """Say which folded runs were left, and are not made again; "" if there are none."""
        unmet = [run for run, at in self.left.items() if run > self.count and at > 0]
        return f"{len(unmet):,} runs of the loop {place.shown(self.key)} that were left" if unmet else ""

    def identity(self, within: tuple[str, ItemKey] | None, run: int, turn: str = "") -> Identity:
        """Of a *run* that is made now, in that *turn* of the plain loops around."""
        return Identity(within, self.key, run, self.folded, self.marks, left=written(self.left), turn=turn)

    def saved(self, run: int) -> dict[str, Any] | None:
        """What a folded *run* goes on from; None if it begins anew."""
        at = self.left.get(run, 0)
        return {"by": "position", "position": at} if at > 0 else None

    @property
    def marks(self) -> dict[str, str]:
        """Digests over the first runs."""
        if not self.folded or (summed := self._summed()) is None:
            return {}
        return {**self._early, str(summed[0]): f"{summed[1]:0{_CRC_DIGITS}x}"}

    def _summed(self) -> tuple[int, int] | None:
        """How many runs are folded, and the sum over what they went through. Any thread may ask."""
        while True:
            folded = self.folded  # read first: what it counts is in the list that is read then
            if self._sum is None:
                return None
            runs, crc, seen = self._sum
            if runs <= folded:
                return folded, crc32(_written_out(seen[: folded - runs]), crc)

    # -- folding

    def fold(self, is_kept: Callable[[LoopView], bool], kept: int = KEPT) -> LoopView | None:
        """Fold the oldest run, if there are many and it has ended; the caller may use its view.

        Args:
            is_kept: Whether that loop is to be kept whole.
            kept: How many runs stay whole.
        """
        if len(self.runs) < kept:
            return None
        run = min(self.runs)
        view = self.runs[run]
        if run > self.folded + 1 or view.loop is None or is_kept(view) or not has_ended(view):
            return None
        self.fold_run(run, view.loop, has_begun=view.has_begun)
        self.keep_written(view)
        del self.runs[run]
        return view

    def fold_run(self, run: int, loop: Loop[Any], *, has_begun: bool) -> None:
        """Keep of *run*, which was *loop* and has ended, where it was left, and a digest of its input."""
        if loop.is_finished:
            if self.left:
                self.left.pop(run, None)
        else:
            self.left[run] = loop.position if has_begun else NEVER_BEGUN
            loop.is_folded = True
        if run <= self.folded:  # made again
            return
        if self._sum is not None:
            seen = self._sum[2]
            seen.append(_seen(loop) if loop.ends is None else loop.ends)
            self.folded = run
            if run <= _LAST_MARK or len(seen) >= _LAST_MARK:
                self._sum_up(run)
        self.folded = run

    def _sum_up(self, run: int) -> None:
        summed = self._summed()
        assert summed is not None
        self._sum = (*summed, [])
        if run <= _LAST_MARK and not run & (run - 1):
            self._early[str(run)] = f"{summed[1]:0{_CRC_DIGITS}x}"

    def next_run(self, loop: Loop[Any], *, has_begun: bool) -> int:
        """Another run begins; the one before, which was *loop*, is folded if it was of these. Returns its number."""
        # First: of a run that is neither folded nor whole, a save knows nothing, and it is done again.
        self.count = run = self.count + 1
        if run > 1:
            self.fold_run(run - 1, loop, has_begun=has_begun)
        return run

    def is_other_input(self, run: int, loop: Loop[Any]) -> bool:
        """Whether a folded *run*, which is made again as *loop*, goes through other items than it did.

        Known for the first, the second, the fourth, … the 64th, and the last one.
        """
        if run == 1:
            self._passed = 0, 0
        if self._passed is None or run != self._passed[0] + 1:
            self._passed = None  # they did not come in order: nothing can be said any more
            return False
        self._passed = run, crc32(_seen(loop), self._passed[1])
        summed = self._summed()
        mark = (summed and summed[1]) if run == self.folded else self._early.get(str(run))
        return mark is not None and mark not in (self._passed[1], f"{self._passed[1]:0{_CRC_DIGITS}x}")

    def other_input(
        self, operation_id: str, run: int, what: str = "goes through other items than it did"
    ) -> InputChangedError:
        """The error for that."""
        return InputChangedError(
            operation_id,
            [f"run {run:,} of the loop {place.shown(self.key)} {what}"],
            [
                "put the loop around it into cp.remaining, too, so that each run belongs to an item of that",
                'give it a name with the item in it, as name=f"pages of {repo}"',
                f"start over:  {command_for('rm', operation_id)}",
            ],
        )


def has_ended(view: LoopView) -> bool:
    """Whether nothing more of it can happen in this run, and its place can be kept as a number."""
    loop = view.loop
    if loop is None or loop.is_finished:
        return loop is not None
    if loop.is_halted or not loop.is_foldable:
        return False
    if view.has_begun:
        return loop.is_left
    return not loop.position and references_to(loop) <= _NOBODY_ELSE


_Sum = tuple[int, int, list[Ends | bytes]]
"""So many runs, the checksum over what they went through, and what the next ones went through."""


def _written_out(seen: Sequence[Ends | bytes]) -> bytes:
    if bytes in set(map(type, seen)):
        return b"".join(one if isinstance(one, bytes) else fingerprint.canonical(one) for one in seen)
    return fingerprint.canonical_all(seen)


def _seen(loop: Loop[Any]) -> bytes:
    """What a run goes through: its length, first and last item; its keys, if it is known by them."""
    if loop.ends is not None:
        return fingerprint.canonical(loop.ends)
    keys = loop.keys()
    if keys is not None:
        return repr(sorted(map(repr, keys))).encode("utf-8", "surrogatepass")
    saved = loop.to_dict()
    if saved["by"] == "pages":
        return repr(saved.get("start")).encode("utf-8", "surrogatepass")  # nothing was fetched again
    samples = {position: digest for position, digest, _ in saved["samples"]}
    length: Any = saved.get("position", saved.get("head"))
    # Other samples may depend on where the run was interrupted. Without any, the input is not to be compared.
    seen = [length, samples.get(0), samples.get(length - 1), saved.get("rolled")] if samples or not length else []
    return repr(seen).encode()


class Level:
    """What is made within one item of a loop, or outside of all loops.

    Attributes:
        outer: The loop around; None outside of all loops.
        item: Its item.
        can_serve: Whether it may serve another item: nothing of it comes from an earlier run of the program, and
            nothing in it has failed.
        is_over: Whether the item is done, whatever its loop says: another loop has taken the view.
        made: How many loops without a name were made here in this run: how older releases told them apart.
    """

    __slots__ = ("can_serve", "is_over", "item", "made", "outer", "sites")

    def __init__(self, outer: LoopView | None = None, item: ItemKey = 0) -> None:
        self.outer = outer
        self.item = item
        self.made = 0
        self.can_serve, self.is_over = True, False
        self.sites: dict[str, Site] = {}

    def recycle(self, item: ItemKey) -> None:
        """Serve another *item* of the loop around: nothing was made in it."""
        self.item, self.made, self.is_over = item, 0, False
        for site in self.sites.values():
            if runs := site.runs:
                site.spare = runs[max(runs)] if len(runs) > 1 else next(iter(runs.values()))
            site.restart()

    @property
    def within(self) -> tuple[str, ItemKey] | None:
        """How its loops name it when they are saved."""
        return None if self.outer is None else (self.outer.name, self.item)

    def names(self, site: Site, taken: dict[str, int]) -> Iterator[str]:
        """Names for a loop that is made at *site*; they are shown to people, and tell nothing.

        Args:
            taken: How many numbers behind a name are not tried any more; kept up to date.
        """
        outer = "loop-" if self.outer is None else f"{self.outer.name}/"
        if site.is_named:
            yield site.key[1:]
            outer = f"{site.key[1:]}/"
        for number in count(taken.get(outer, 0) + 1):
            yield f"{outer}{number}"
            if number % _MOST_TRIED == 0:
                taken[outer] = number

    def check_may_halt(self, loop: Loop[Any]) -> None:
        """Raise ValueError if *loop*, which has a limit, cannot have the loops around it stop with it."""
        around = self.outer.line() if self.outer is not None else ()
        if any(view.loop is not None and not view.loop.can_be_held for view in around):
            raise ValueError(
                f"limit={loop.limit} cannot be kept inside a map, whose items would count as done without the rest: "
                "give the map fewer items, or loop over cp.remaining(items) around it"
            )

    @property
    def is_gone(self) -> bool:
        """Whether the item is done."""
        return self.is_over or (self.outer is not None and (self.outer.is_gone or self.outer.is_through(self.item)))

    def site(self, key: str) -> Site:
        """The site with that key, made if there is none."""
        site = self.sites.get(key)
        if site is None:
            site = self.sites[key] = Site(key)
        return site

    def take(self, site: Site, key: str) -> Site:
        """Know *site* by another *key* from now on."""
        self.sites.pop(site.key, None)
        site.rename(key)
        self.sites[key] = site
        return site

    def not_made(self) -> Iterator[Site]:
        """Sites of an earlier run of the program at which this one has made no loop yet."""
        return (site for site in self.sites.values() if not site.count and any(site.unmet()))
