"""The places where loops are made: all runs of one loop at one place, and all places inside one item of a loop.

When there are many runs that have ended, they are compacted: only their number is kept, with digests of their inputs,
so that a later run over other items is detected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import CodeType
from typing import Any, Final, TypeGuard
from zlib import crc32

from .._errors import InputChangedError
from .._runtime.boundary import Where
from .._runtime.interpreter import references_to
from .._text import command_for
from .again import spanned
from .inputs import fingerprint
from .ledgers.by_position import ItemKey
from .loop import Ends, Loop, Over
from .places import place
from .view import NEVER_BEGUN, Identity, LoopView, read, written

KEPT = 4
"""The last runs at one place that are kept whole."""
_MOST_TRIED = 64
"""After this many names that are taken, they are not tried again."""
_MANY_NAMES = 8
"""From this many sites in a level on, those that are not used any more are forgotten."""
_LAST_MARK = 64
_ENDED: Final = 3
"""Length of the ends of an input, without a position."""
_CRC_DIGITS = 8
_NOBODY_ELSE = 3
"""References to a loop that only its view holds, with those of the function that asks."""


class Site:
    """All runs of one loop inside one item of the loop around.

    Attributes:
        key: Its place in the program, or ``=`` and its name.
        is_named: Whether the user gave the name.
        count: Number of runs that this run of the program has begun.
        compacted: Number of compacted runs; these are the first ones.
        left: The compacted runs that were left before their end, each with its position; the others ended.
        runs: The other runs, by number.
        context: The thread or task that made the newest one.
        spare: The view of a run inside an earlier item, for reuse.
        wrote: What was written before the compacted runs began.
        gone_through_by: Code that has iterated over a run, and takes no items ahead.
        body: A digest of the loop's body, as in :class:`~.view.Identity`.
    """

    __slots__ = (
        *(
            "_early",
            "_passed",
            "_sum",
            "body",
            "context",
            "count",
            "compacted",
            "gone_through_by",
            "is_named",
            "key",
            "left",
        ),
        *("runs", "spare", "wrote"),
    )

    def __init__(self, key: str) -> None:
        self.rename(key)
        self.context: object = None
        self.spare: LoopView | None = None
        self.body = ""
        self.gone_through_by: CodeType | None = None
        self.wrote: dict[str, Where] = {}
        self.runs: dict[int, LoopView] = {}
        self.count = self.compacted = 0
        self.left: dict[int, int] = {}
        self._early: dict[str, str] = {}
        self._sum: _Sum | None = (0, 0, [])
        self._passed: tuple[int, int] | None = (0, 0)

    def restart(self) -> None:
        """Nothing has run here, and the view of the last run may show the next one."""
        runs = self.runs
        if runs:
            for view in runs.values():  # one with a name of its own may not be made again
                view.is_dropped = True
            self.spare = runs[max(runs)] if len(runs) > 1 else runs.popitem()[1]
            runs.clear()
        self.count = 0
        self._passed = 0, 0
        if self.compacted or self.left:
            self.left, self._early, self._sum = {}, {}, (0, 0, [])
            self.compacted = 0
        if self.wrote:
            self.wrote.clear()

    def is_blank(self) -> bool:
        """Whether nothing has run here since it restarted."""
        return not (self.count or self.runs or self.compacted or self.left or self.wrote)

    def keep_written(self, view: LoopView) -> None:
        """Keep what was written before the run of *view*, which is compacted."""
        if view.wrote.before:
            self.wrote.update(spanned(self.wrote, view.wrote.before))

    def rename(self, key: str) -> None:
        """Identify it by *key* from now on."""
        self.key, self.is_named = key, key.startswith("=")

    def add(self, view: LoopView) -> None:
        """Add *view*, a run read from a checkpoint."""
        identity = view.identity
        self.runs[identity.run] = view
        self.body = identity.body
        self.wrote.update(spanned(self.wrote, view.wrote.compacted))
        if (
            identity.compacted and identity.compacted == self.compacted
        ):  # rows written since then are in only one of them
            left = read(identity.left)
            self.left = {run: max(at, left[run]) for run, at in self.left.items() if run in left}
        if identity.compacted > self.compacted:
            self.compacted, self._early = identity.compacted, dict(identity.marks)
            last = self._early.pop(str(self.compacted), "")
            # Older releases kept other digests.
            self._sum = (self.compacted, int(last, 16), []) if len(last) == _CRC_DIGITS else None
            self.left = read(identity.left)

    def unmet(self) -> Iterator[LoopView]:
        """Runs of the earlier program run that this one has not made."""
        return (view for view in self.runs.values() if not view.was_met and not view.is_gone)

    def has_left(self) -> bool:
        """Whether this run has made a compacted run that was left."""
        runs = self.runs
        return any(at != NEVER_BEGUN and run <= self.count and run not in runs for run, at in self.left.items())

    def told_of_unmet(self) -> str:
        """Describe the compacted runs that were left and not made again; "" if there are none."""
        unmet = [run for run, at in self.left.items() if run > self.count and at > 0]
        return f"{len(unmet):,} runs of the loop {place.shown(self.key)} that were left" if unmet else ""

    def identity(self, within: tuple[str, ItemKey] | None, run: int, turn: str = "") -> Identity:
        """The identity of a *run* that is made now, in that *turn* of the plain loops around."""
        if run <= self.compacted and run not in self.left:  # the next run takes its view, while a thread saves
            run = self.compacted + 1
        left = written(self.left)
        return Identity(within, self.key, run, self.compacted, self.marks, left=left, turn=turn, body=self.body)

    def saved(self, run: int) -> dict[str, Any] | None:
        """The position of a compacted *run*; None if it begins anew."""
        at = self.left.get(run, 0)
        return {"by": "position", "position": at} if at > 0 else None

    @property
    def marks(self) -> dict[str, str]:
        """Digests over the inputs of the first runs."""
        if not self.compacted or (summed := self._summed()) is None:
            return {}
        return {**self._early, str(summed[0]): f"{summed[1]:0{_CRC_DIGITS}x}"}

    def _summed(self) -> tuple[int, int] | None:
        """The number of compacted runs, and the checksum over their inputs. Any thread may ask."""
        while True:
            compacted = self.compacted  # read first, because the list is read next
            if self._sum is None:
                return None
            runs, crc, seen = self._sum
            if runs <= compacted:
                return compacted, crc32(_written_out(seen[: compacted - runs]), crc)

    # -- compact

    def compact(self, is_kept: Callable[[LoopView], bool], kept: int = KEPT) -> LoopView | None:
        """Compact the oldest run if there are many and it has ended. Returns its view for reuse.

        Args:
            is_kept: Whether a loop must be kept whole.
            kept: How many runs stay whole.
        """
        if len(self.runs) < kept:
            return None
        run = min(self.runs)
        view = self.runs[run]
        if run > self.compacted + 1 or view.loop is None or is_kept(view) or not has_ended(view):
            return None
        self.compact_run(run, view.loop, has_begun=view.has_begun)
        self.keep_written(view)
        del self.runs[run]
        return view

    def compact_run(self, run: int, loop: Loop[Any], *, has_begun: bool) -> None:
        """Keep only the position and a digest of the input of *run*, which was *loop* and has ended."""
        if loop.is_finished:
            if self.left:
                self.left.pop(run, None)
        else:
            self.left[run] = loop.position if has_begun else NEVER_BEGUN
            loop.is_compacted = True
        ends = loop.ends
        self._compact_ended(run, _seen(loop) if ends is None else ends)

    def _sum_up(self, run: int) -> None:
        summed = self._summed()
        assert summed is not None
        self._sum = (*summed, [])
        if run <= _LAST_MARK and not run & (run - 1):
            self._early[str(run)] = f"{summed[1]:0{_CRC_DIGITS}x}"

    def next_run(self, view: LoopView, before: Loop[Any]) -> int:
        """Begin another run, which *view* shows, as it did the run *before*; compact that one. Returns its number."""
        last = self.count
        # First: a save would not know a run that is neither compacted nor whole, and it would be done again.
        self.count = run = last + 1
        if last:
            del self.runs[last]
            self.compact_run(last, before, has_begun=view.has_begun)
        self.runs[run] = view
        return run

    def next_in_row(self, view: LoopView, before: Loop[Any]) -> int:
        """A faster :meth:`next_run`, where *before* is the only run that is whole, or there was none."""
        last, summed, ends = self.count, self._sum, before.ends
        if summed is None or ends is None or self.left or not before.is_finished or last <= _LAST_MARK:
            return self.next_run(view, before)
        self.count = run = last + 1
        seen, runs = summed[2], self.runs
        seen.append(ends)
        self.compacted = last
        if len(seen) >= _LAST_MARK:
            self._sum_up(last)
        del runs[last]
        runs[run] = view
        return run

    def next_runs(self, view: LoopView, over: Sequence[Over]) -> int:
        """Begin a run after each of those that are *over*, or the first one. Returns the number of the newest one.

        As in :meth:`next_in_row`, the run before is the only one that is whole, or there was none.
        """
        first = self.count or 1
        run = first + len(over)
        seen = None if self._sum is None else self._sum[2]
        if (
            over
            and first > max(_LAST_MARK, self.compacted)
            and seen is not None
            and not self.left
            and _have_ended(over)
        ):
            self.count = run
            seen.extend(over)
            self.compacted = run - 1
            self._sum_up(run - 1)
        else:
            for last, one in enumerate(over, first):
                self.count = last + 1
                self._note_over(last, one)
        self.count = run
        self.runs = {run: view}
        return run

    def _note_over(self, run: int, over: Over) -> None:
        if len(over) == _ENDED:
            if self.left:
                self.left.pop(run, None)
            self._compact_ended(run, over)
        else:
            self.left[run] = over[3]
            self._compact_ended(run, over[:3])

    def _compact_ended(self, run: int, ends: Ends | bytes) -> None:
        if run <= self.compacted:  # made again
            return
        if self._sum is None:
            self.compacted = run
            return
        seen = self._sum[2]
        seen.append(ends)
        self.compacted = run
        if run <= _LAST_MARK or len(seen) >= _LAST_MARK:
            self._sum_up(run)

    def is_other_input(self, run: int, loop: Loop[Any]) -> bool:
        """Whether a compacted *run*, made again as *loop*, has another input than before.

        This is known for runs 1, 2, 4, … 64, and for the last one.
        """
        if run == 1:
            self._passed = 0, 0
        if self._passed is None or run != self._passed[0] + 1:
            self._passed = None  # they came out of order: nothing more is known
            return False
        self._passed = run, crc32(_seen(loop), self._passed[1])
        summed = self._summed()
        mark = (summed and summed[1]) if run == self.compacted else self._early.get(str(run))
        return mark is not None and mark not in (self._passed[1], f"{self._passed[1]:0{_CRC_DIGITS}x}")

    def other_input(self, operation_id: str, run: int, what: str = "has other items than before") -> InputChangedError:
        """The error for a run with another input."""
        return InputChangedError(
            operation_id,
            [f"run {run:,} of the loop {place.shown(self.key)} {what}"],
            [
                "put the loop around it into cp.remaining, too, so that each run belongs to one of its items",
                'give it a name with the item in it, as name=f"pages of {repo}"',
                f"start over:  {command_for('rm', operation_id)}",
            ],
        )


def _have_ended(over: Sequence[Over]) -> TypeGuard[Sequence[Ends]]:
    return max(map(len, over)) == _ENDED


def has_ended(view: LoopView, *, held: int = 0) -> bool:
    """Whether nothing more of it can happen in this run, so that it can be compacted.

    Args:
        held: How many references to its loop the caller has.
    """
    loop = view.loop
    if loop is None or loop.is_finished:
        return loop is not None
    if loop.is_halted or not loop.can_be_compacted:
        return False
    if view.has_begun:
        return loop.is_left
    return not loop.position and references_to(loop) <= _NOBODY_ELSE + held


_Sum = tuple[int, int, list[Ends | bytes]]
"""Number of runs, the checksum over their inputs, and the inputs of the next ones."""


def _written_out(seen: Sequence[Ends | bytes]) -> bytes:
    if bytes in set(map(type, seen)):
        return b"".join(one if isinstance(one, bytes) else fingerprint.canonical(one) for one in seen)
    return fingerprint.canonical_all(seen)


def _seen(loop: Loop[Any]) -> bytes:
    """A run's input: its length, first and last item; its keys if items are identified by key."""
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
    # Other samples may depend on where the run was interrupted. Without samples, inputs are not compared.
    seen = [length, samples.get(0), samples.get(length - 1), saved.get("rolled")] if samples or not length else []
    return repr(seen).encode()


class Level:
    """The loops inside one item of a loop, or outside of all loops.

    Attributes:
        outer: The loop around; None outside of all loops.
        item: Its item.
        can_serve: Whether it may be reused for another item: nothing in it comes from an earlier run of the program,
            and nothing in it has failed.
        is_over: Whether the item is done, whatever its loop says, because another loop has taken the view.
        made: Number of loops without a name made here in this run; older releases identified them by it.
    """

    __slots__ = ("can_serve", "is_over", "item", "made", "outer", "sites", "within")

    def __init__(self, outer: LoopView | None = None, item: ItemKey = 0) -> None:
        self.outer = outer
        self.item = item
        self.within = None if outer is None else (outer.name, item)
        self.made = 0
        self.can_serve, self.is_over = True, False
        self.sites: dict[str, Site] = {}

    def recycle(self, item: ItemKey) -> None:
        """Reuse it for another *item* of the loop around, in which no loop was made yet."""
        assert self.outer is not None
        self.item, self.within, self.made, self.is_over = item, (self.outer.name, item), 0, False
        for site in self.sites.values():
            site.restart()

    def names(self, site: Site, taken: dict[str, int]) -> Iterator[str]:
        """Names for a loop that is made at *site*; they are for people only.

        Args:
            taken: The highest number per name that is known to be taken; kept up to date.
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
        """Raise ValueError if *loop* has a limit, but the loops around it cannot stop with it."""
        around = self.outer.line() if self.outer is not None else ()
        if any(view.loop is not None and not view.loop.can_be_held for view in around):
            raise ValueError(
                f"limit={loop.limit} does not work inside a map: its items would count as done without the rest; "
                "give the map fewer items, or loop over cp.remaining(items) around it"
            )

    @property
    def is_gone(self) -> bool:
        """Whether the item is done."""
        return self.is_over or (self.outer is not None and (self.outer.is_gone or self.outer.is_through(self.item)))

    def site(self, key: str) -> Site:
        """The site with that key, made if necessary."""
        site = self.sites.get(key)
        if site is None:
            site = self.sites[key] = Site(key)
        return site

    def take(self, site: Site, key: str) -> Site:
        """Identify *site* by another *key* from now on."""
        self.sites.pop(site.key, None)
        site.rename(key)
        self.sites[key] = site
        return site

    def unused(self) -> list[Site]:
        """Sites with a name at which no loop was made in the present item, if there are more than a few."""
        if len(self.sites) < _MANY_NAMES:
            return []
        return [site for site in self.sites.values() if site.is_named and site.is_blank()]

    def not_made(self) -> Iterator[Site]:
        """Sites of an earlier run of the program at which this one has made no loop yet."""
        return (site for site in self.sites.values() if not site.count and any(site.unmet()))
