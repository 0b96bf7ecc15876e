"""Rows that a resumed program writes again: outside of all items, before an inner loop, or in an item that was left.

Such rows count as soon as the next item is handed out, yet the code that wrote them runs again on resume, because the
program and the bodies of outer items begin anew. So the positions of these rows are noted, and writing an equal row
again adds nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .._runtime.boundary import Boundary, Noting, Where
from .._runtime.interpreter import running_here
from .ledgers.by_position import ItemKey

if TYPE_CHECKING:
    from .view import LoopView

T = TypeVar("T")
_log = logging.getLogger("resumable")
LevelKey = tuple[str | None, ItemKey]
"""A loop's name and the item that something is inside; ``(None, 0)`` outside of all loops."""
_OUTSIDE: LevelKey = (None, 0)
_MOST_STRETCHES = 16


class Wrote(msgspec.Struct, frozen=True, omit_defaults=True):
    """The positions of rows that a resume writes again: ranges, by the file or collection.

    Attributes:
        before: Written before the loop began, by the item around it.
        compacted: Written before the compacted runs.
        after: Written after the loop, outside of all loops.
        item: The item at which the loop was left.
        rest: Written inside that item.
    """

    before: dict[str, Where] = {}
    compacted: dict[str, Where] = msgspec.field(default_factory=dict, name="folded")
    after: dict[str, Where] = {}
    item: ItemKey | None = None
    rest: dict[str, Where] = {}

    def up_to(self, ends: Mapping[str, int]) -> Wrote:
        """What lies before the *ends* of the files and collections. A save may note rows that it does not count."""
        parts = (_up_to(one, ends) for one in (self.before, self.compacted, self.after, self.rest))
        before, compacted, after, rest = parts
        return Wrote(before=before, compacted=compacted, after=after, item=self.item, rest=rest)

    def __bool__(self) -> bool:
        return bool(self.before or self.compacted or self.after or self.rest)


NOTHING = Wrote()


def _up_to(wrote: Mapping[str, Where], ends: Mapping[str, int]) -> dict[str, Where]:
    found: dict[str, Where] = {}
    for name, where in wrote.items():
        end = ends.get(name)
        left = where if end is None else [(start, min(stop, end)) for start, stop in where if start < end]
        if left:
            found[name] = left
    return found


def merged(some: Mapping[str, Where], others: Mapping[str, Where]) -> dict[str, Where]:
    """The ranges of both; ranges that touch become one."""
    both: dict[str, Where] = {}
    for name in {**some, **others}:
        where: Where = both.setdefault(name, [])
        for start, stop in sorted([*some.get(name, ()), *others.get(name, ())]):
            if where and start <= where[-1][1]:
                where[-1] = where[-1][0], max(stop, where[-1][1])
            else:
                where.append((start, stop))
        if len(where) > _MOST_STRETCHES:  # then one range covers the gaps, too
            where[: 1 - _MOST_STRETCHES] = [(where[0][0], where[-_MOST_STRETCHES][1])]
    return both


def spanned(some: Mapping[str, Where], others: Mapping[str, Where]) -> dict[str, Where]:
    """The ranges of both, each as one range that covers its gaps."""
    both = merged(some, others)
    return {name: [(where[0][0], where[-1][1])] for name, where in both.items()}


class WrittenAgain:
    """Knows the rows that a resumed program writes again.

    Args:
        here: Returns the item that the calling thread or task is inside.
        is_done: Returns whether an item is done.

    Attributes:
        boundary: The checkpoint's boundary; nothing is noted without it.
        has_expected: Whether any row is known that may be written again.
        writers: What the checkpoint's program can write to.
        open: What was written outside of all loops since the last one began there.
        last: The last loop that began there.
    """

    def __init__(self, here: Callable[[], LevelKey], is_done: Callable[[LevelKey], bool]) -> None:
        self._here, self._is_done = here, is_done
        self.boundary: Boundary | None = None
        self.has_expected = False
        self._expected: dict[LevelKey, dict[str, Where]] = {}
        self.writers: Sequence[Noting] = ()
        self.open: dict[str, Where] = {}
        self.last: LoopView | None = None
        self._left: set[LevelKey] = set()  # items that were left in the middle: they write more than before
        self._retried: tuple[int, dict[str, Where]] | None = None  # what a retry writes again before the next tick

    def is_comparing(self) -> bool:
        """Whether rows may be written, or written again, between two loops."""
        return bool(self.writers or self.has_expected or self.open)

    def attach(self, boundary: Boundary, views: Iterable[LoopView], ends: Mapping[str, int]) -> None:
        """Expect the rows that an earlier run noted at its loops.

        Args:
            ends: How long the files and collections were when this run began.
        """
        self.boundary, self.writers = boundary, boundary.writers
        for view in views:
            view.keep_up_to(ends)
            self._expect_around(view)
            if view.wrote.item is not None:
                self._left.add((view.name, view.wrote.item))
                self._expect((view.name, view.wrote.item), view.wrote.rest)
            self.open = merged(self.open, view.wrote.after)
        self.attend()

    def retry(self, views: Iterable[LoopView], unmet: Iterable[LoopView]) -> None:
        """A retry runs the loops of *views* again: expect the rows written around them, or before the first one.

        Args:
            unmet: Loops of an earlier run that this one has not made: the last attempt may have come to their rows.
        """
        self._pass_by_retried()
        begun = [view for view in views if view.has_begun]
        for view in [*begun, *unmet]:
            self._expect_around(view)
        if not begun and self._here() == _OUTSIDE and self.boundary is not None:
            self._retried = self.boundary.now(), self._found()
            self._expect(_OUTSIDE, self._retried[1])
        self.attend()

    def _pass_by_retried(self) -> None:
        """Once something has ticked, a row equal to one of a failed attempt is another item's."""
        if self._retried is not None and self.boundary is not None and self.boundary.now() != self._retried[0]:
            _pass_by(self._expected.get(_OUTSIDE, {}), self._retried[1])
            self._retried = None

    def _expect_around(self, view: LoopView) -> None:
        level = _level_of(view)
        self._expect(level, view.wrote.compacted)
        self._expect(level, view.wrote.before)
        self._expect(_OUTSIDE, view.wrote.after)

    def _expect(self, level: LevelKey, wrote: Mapping[str, Where]) -> None:
        if wrote:
            self.has_expected = True
            self._expected[level] = merged(self._expected.get(level, {}), wrote)

    # -- note

    def begins(self, view: LoopView, left: Callable[[Iterable[T]], Iterable[LoopView]], running: Iterable[T]) -> None:
        """*view* begins. Those of *running* that *left* returns were left at an item."""
        boundary = self.boundary
        if not (self.open or self._expected or self.writers):
            if view.within is None:
                self.last = view
            return
        found = self._found()
        level = _level_of(view)
        if self._expected and (expected := self._expected.get(level)) and not self._is_beside_others():
            _pass_by(expected, view.wrote.before)
        if found:
            for other in left(running):
                other.note_rest(found)
        if level == _OUTSIDE:
            if self.open and not (view.wrote.before or view.goes_on):  # else it stands before what is open
                found = merged(self.open, found)
                self.open = {}
                if self.last is not None:
                    self.last.note_after({})
            self.last = view
        if found:
            view.note_before(found)
        if boundary is not None and level != _OUTSIDE and view.loop is not None and view.loop.position:
            now = boundary.now()
            for path in chain.from_iterable(one.numbers_changed_since(now) for one in boundary.writers):
                _say_counted_again(path)

    def outside(self, since: int | None = None) -> None:
        """What was written is about to count, outside of all items as far as is known.

        Args:
            since: The count at the last write, if it has moved on.
        """
        if found := self._found(since):
            self.open = merged(self.open, found)
            if self.last is not None and not self.last.is_dropped:
                self.last.note_after(self.open)

    def has_found(self) -> bool:
        """Whether anything was written since the last item ended."""
        return bool(self._found())

    def _found(self, since: int | None = None) -> dict[str, Where]:
        if self.boundary is None:
            return {}
        now, found = self.boundary.now() if since is None else since, {}
        for writer in self.boundary.writers:
            if (where := writer.written_since(now)) is not None:
                found[writer.known_as] = [where]
        return found

    # -- compare

    def attend(self) -> None:
        """Compare every write from now on if rows may be written again here; otherwise none."""
        boundary = self.boundary
        if boundary is None or not (self._expected or boundary.again):
            self.has_expected = False
            return
        for level in [level for level in self._expected if self._is_done(level)]:
            del self._expected[level]
        name = self._here()[0]
        # A map learns later which item comes next, and which of several tasks will write.
        is_on = any(level[0] == name for level in self._expected) or bool(boundary.apart and self._expected)
        if is_on != (boundary.again is self):
            with boundary.lock:
                boundary.again = self if is_on else None
                for writer in boundary.writers:
                    writer.attend()

    def has(self, writer: Noting, row: Any) -> bool:
        """Whether *row* stands where *writer* would write it again."""
        here = self._here()
        expected = self._expected.get(here)
        if expected and self._retried is not None and here == _OUTSIDE:
            self._pass_by_retried()
        where = expected.get(writer.known_as) if expected else None
        if where is None or not len(where):
            return False
        in_order = not self._is_beside_others()
        is_there = writer.is_there(row, where, in_order=in_order)
        if in_order and not is_there and here != _OUTSIDE and here not in self._left:
            _say_differs(writer.known_as)
        return is_there

    def _is_beside_others(self) -> bool:
        """Whether other threads or tasks may write in between, so that rows come in any order."""
        boundary = self.boundary
        return boundary is not None and (bool(boundary.apart) or running_here() is not boundary.context)


@functools.lru_cache(maxsize=256)
def _say_counted_again(path: str) -> None:
    _log.warning(
        "%s: an item changed it a second time, because its inner loop goes on in the middle of the item. A counter "
        "would count twice: count in the inner loop, or after it.",
        path,
    )


@functools.lru_cache(maxsize=256)
def _say_differs(name: str) -> None:
    _log.warning(
        "%s: an item that goes on in an inner loop wrote another row before that loop than in the run before, so both "
        "are there. Write nothing there that differs between runs, such as the time or len(log).",
        name,
    )


def _level_of(view: LoopView) -> LevelKey:
    return _OUTSIDE if view.within is None else view.within


def _pass_by(expected: dict[str, Where], wrote: Mapping[str, Where]) -> None:
    """Expect neither *wrote* nor anything before it any more."""
    for name, where in wrote.items():
        if where and (left := expected.get(name)):
            end = where[-1][1]
            left[:] = [(max(start, end), stop) for start, stop in left if stop > end]
