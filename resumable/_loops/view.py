"""One loop as a save sees it, and the part of its saved form that identifies it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from .._runtime.boundary import Where
from .again import NOTHING, Wrote, merged
from .ledgers.by_position import ItemKey
from .loop import Loop, Over
from .places import place


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Identifies a loop. The other part of a saved form belongs to its ledger.

    Attributes:
        within: The name of the loop around, and its item; None outside of all loops.
        place: Its place in the program, or ``=`` and the user's name for it; None if an older release saved it.
        run: Its number among the runs at that place.
        compacted: Number of earlier runs that were compacted.
        marks: Digests over the inputs of the first 1, 2, 4, … 64 and of all these runs, by number.
        over: Whether it has ended.
        left: The compacted runs that were left before their end, as :func:`written` encodes them; the others ended.
        turn: The turn of the plain loops around it, as :func:`~.place.turn_of` returns it.
        body: If its line is there several times, a digest of its body.
    """

    within: tuple[str, ItemKey] | None = None
    place: str | None = None
    run: int = 1
    compacted: int = msgspec.field(default=0, name="folded")
    marks: dict[str, str] = {}
    over: bool = False
    left: str = ""
    turn: str = ""
    body: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The saved form."""
        form: dict[str, Any] = msgspec.to_builtins(self)
        return {"within": None, **form}


FIELDS = frozenset((*Identity.__struct_encode_fields__, "wrote"))


def identity_of(saved: Mapping[str, Any]) -> Identity:
    """Read the identity in a saved form.

    Raises:
        ValueError: It is malformed.
    """
    fields = FIELDS & saved.keys() - {"wrote"}
    identity = msgspec.convert({name: saved[name] for name in fields}, Identity)
    left = read(identity.left)
    if any(run > identity.compacted for run in left):
        raise ValueError(f"run {max(left)} cannot have been left before run {identity.compacted}")
    if identity.run < 1 or identity.compacted < 0 or (identity.compacted >= identity.run and identity.run not in left):
        raise ValueError(f"run {identity.run} cannot follow {identity.compacted} others")
    return identity


NEVER_BEGUN = -1
"""Stands for the position of a run that was asked for no item."""


def written(left: Mapping[int, int]) -> str:
    """Encode the positions at which runs were *left*, by number: ``499*1 2 - 7``.

    That is 499 runs at position 1, one at 2, one that was not left, and one at 7. One that never began is ``?``.
    """
    words: list[str] = []
    many, before, last = 0, "", 0
    for run in sorted(left):
        word = "?" if left[run] == NEVER_BEGUN else str(left[run])
        for times, next_word in ((run - last - 1, "-"), (1, word)):
            if times and next_word != before:
                words += _repeated(many, before)
                many, before = 0, next_word
            many += times
        last = run
    return " ".join([*words, *_repeated(many, before)])


def _repeated(many: int, word: str) -> list[str]:
    return [] if not many else [word if many == 1 else f"{many}*{word}"]


def read(text: str) -> dict[int, int]:
    """Decode what :func:`written` returned. Raises ValueError if it is malformed."""
    left: dict[int, int] = {}
    run = 0
    for part in text.split():
        times, _, word = part.rpartition("*")
        count = int(times or 1)
        if word != "-":
            at = NEVER_BEGUN if word == "?" else int(word)
            left.update(dict.fromkeys(range(run + 1, run + count + 1), at))
        run += count
    return left


class RunsAtOnePlace(Protocol):
    """The place where a loop is made again and again."""

    def next_run(self, view: LoopView, before: Loop[Any], /) -> int:
        """Begin another run after *before*. Returns its number."""
        ...

    def next_in_row(self, view: LoopView, before: Loop[Any], /) -> int:
        """A faster :meth:`next_run`, where the run before is the last one, and was begun by one of the two."""
        ...

    def next_runs(self, view: LoopView, over: Sequence[Over], /) -> int:
        """Begin a run after each of those that are *over*. Returns the number of the newest one."""
        ...

    def identity(self, within: tuple[str, ItemKey] | None, run: int, turn: str, /) -> Identity:
        """The identity of a *run* that is made now."""
        ...


class LoopView:
    """One loop, whether it has begun in this run or not.

    Args:
        holds: Whether something failed inside an item of the loop with that name.

    Attributes:
        name: Its name in the checkpoint.
        within: The name of the loop around, and its item.
        site: The place where it is made.
        outer: The loop around; None outside of all loops.
        loop: The newest loop made here; None until this run has made one.
        context: The thread or task that made it.
        number: Number of loops that this run had made by then.
        made_at: The file and line that made it.
        wrote: The rows that a resume writes again.
        wrote_before_compacted: The rows written before the compacted runs at its place.
        has_inner: Whether this run has made a loop inside it.
        goes_on: Whether its loop continues one of an earlier run or attempt.
        is_abandoned: A retry gave it up; the next loop made here continues at its position.
        is_dropped: Nothing of it is kept, because another loop has its place, or the item around is done.
    """

    def __init__(
        self,
        name: str,
        saved: Mapping[str, Any] | None = None,
        holds: Callable[[str, ItemKey], bool] = lambda name, item: False,
    ) -> None:
        self.name = name
        self._holds = holds
        self._identity: Identity | None = Identity() if saved is None else identity_of(saved)
        self._run, self._turn = 1, ""
        self.within = self.identity.within
        self.wrote = msgspec.convert((saved or {}).get("wrote", {}), Wrote)
        self.wrote_before_compacted: Mapping[str, Where] = self.wrote.compacted
        self._saved = {} if saved is None else {key: saved[key] for key in saved.keys() - FIELDS}
        self._is_stored = saved is not None
        self._is_new = self._is_settled = False
        self._committed: dict[str, Any] | None = None
        # What a save contains of a loop in a worker's item: its state before that item wrote anything.
        self._kept_form: Callable[[], dict[str, Any] | None] = lambda: None
        self._kept_changes: dict[str, Any] | None = None
        self.outer: LoopView | None = None
        self.site: RunsAtOnePlace | None = None
        self.loop: Loop[Any] | None = None
        self.context: object = None
        self.number = 0
        self.made_at: tuple[str, int] = "", 0
        self.has_begun = self.is_abandoned = self.is_dropped = False
        self.goes_on = self.has_inner = False

    @property
    def identity(self) -> Identity:
        """Which loop it is."""
        identity = self._identity
        if identity is None:
            assert self.site is not None
            run = self._run
            identity = self.site.identity(self.within, run, self._turn)
            if run == self._run:  # another thread, which saves, asks while the next run begins
                self._identity = identity
        return identity

    def line(self) -> Iterator[LoopView]:
        """This loop and the loops around it, from the inside out."""
        view: LoopView | None = self
        while view is not None:
            yield view
            view = view.outer

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is kept, also because the item around is done."""
        if self.is_dropped or self.outer is None:
            return self.is_dropped
        assert self.within is not None
        return self.outer.is_gone or self.outer.is_through(self.within[1])

    def has_done(self, item: ItemKey) -> bool:
        """Whether *item* of it is done; False until this run has come to the loop."""
        return self.loop is not None and self.loop.has_done(item)

    def is_through(self, item: ItemKey) -> bool:
        """Whether *item* is done and nothing inside it has failed, so that the loops inside are not needed any more."""
        return self.has_done(item) and not self._holds(self.name, item)

    @property
    def is_finished(self) -> bool:
        """Whether it has ended: in this run, or in an earlier one if this run has not made it again."""
        return self.identity.over if self.loop is None else self.loop.is_finished

    @property
    def was_met(self) -> bool:
        """Whether this run has made it."""
        return self.loop is not None

    @property
    def is_numbered(self) -> bool:
        """Whether its name was generated."""
        outer = "loop-" if self.within is None else f"{self.within[0]}/"
        return self.name.startswith(outer) and self.name[len(outer) :].isdecimal()

    @property
    def is_unmet(self) -> bool:
        """Whether an earlier run has left it, and this one has not made it."""
        done, total = self.progress()
        if self.was_met or self.identity.over or not done:
            return False
        if self.identity.place is not None:
            return True
        return not self.is_by_key and (total is None or done < total)  # older releases did not save what was over

    def told(self) -> str:
        """What it is and where it was left, for people."""
        where, (done, total) = self.identity.place, self.progress()
        if where is None:
            name = repr(self.name)
        else:
            name = place.shown(where) if where.startswith("=") else f"{self.name!r}, {place.shown(where)},"
        return f"the loop {name} left after {done:,} items" + ("" if total is None else f" of {total:,}")

    def saved(self) -> dict[str, Any] | None:
        """What a loop made here continues from; None if it begins anew."""
        form = self.loop.to_dict() if self.loop is not None and self.is_abandoned else self._saved
        return form or None

    @property
    def is_by_key(self) -> bool:
        """Whether an earlier run identified its items by key."""
        return self._saved.get("by") == "key"

    def progress(self) -> tuple[int, int | None]:
        """The numbers of done items and of all items, as an earlier run left them."""
        saved = self._saved
        if self.is_by_key:
            sizes = [len(one) for one in (saved.get("keys"), saved.get("ranges")) if isinstance(one, list)]
            return sum(sizes), None
        done, total = saved.get("position", saved.get("handed")), saved.get("total")
        return done if isinstance(done, int) else 0, total if isinstance(total, int) else None

    def begin(
        self,
        loop: Loop[Any],
        saved: Mapping[str, Any] | None,
        where: tuple[tuple[str, ItemKey] | None, int, str],
        outer: LoopView | None,
        context: object,
        number: int,
    ) -> None:
        """Show *loop*, made from *saved*, from now on."""
        if saved is None:
            self.wrote = NOTHING
        # The store holds *saved* itself only if it came from the loaded checkpoint.
        self._is_new = saved is None or self.loop is not None
        self.goes_on = saved is not None
        self._saved = {}  # a second loop that takes this view starts from its first item
        self._identity, self.outer = None, outer
        self.within, self._run, self._turn = where
        self.loop, self.context, self.number = loop, context, number
        self.has_begun = self.is_abandoned = self.is_dropped = self._is_settled = False
        self._committed = None
        if loop.is_in_worker and not loop.is_held_back:
            whole = None if saved is None else {**saved, **self._about(is_over=False)}
            self._kept_form, self._kept_changes = lambda: whole, None

    def begin_again(
        self, loop: Loop[Any], before: Loop[Any], site: RunsAtOnePlace, within: tuple[str, ItemKey] | None, number: int
    ) -> None:
        """Show *loop*, made at *site* after the loop *before*; it begins anew."""
        self._forget()
        self.is_abandoned = self.is_dropped = False
        self.loop = loop
        self.within, self.number, self._turn = within, number, ""
        # A save in between mistakes it for the one before, which repeats it at worst.
        self._run = site.next_run(self, before)
        self._identity, self.has_begun = None, False

    def follow(self, loop: Loop[Any], before: Loop[Any], site: RunsAtOnePlace, number: int) -> None:
        """Show *loop*, which follows *before* as that followed another one, by :meth:`begin_again`."""
        if not self._is_new or self._committed is not None or self.wrote is not NOTHING:
            self._forget()
        self.loop, self.is_dropped = loop, False
        # As in begin_again().
        self._run = site.next_in_row(self, before)
        self._identity, self.number, self.has_begun = None, number, False

    def follow_many(self, loop: Loop[Any], over: Sequence[Over], site: RunsAtOnePlace, number: int) -> None:
        """Show *loop*, which follows runs that are *over*."""
        self._forget()
        self.loop, self.is_dropped = loop, False
        self._run = site.next_runs(self, over)
        self._identity, self.number, self.has_begun = None, number, False

    def _forget(self) -> None:
        """The next loop begins anew."""
        self._is_new = True
        self.goes_on = False
        self._is_settled = False
        self._committed = None
        if self._saved:
            self._saved = {}
        self.wrote = NOTHING

    def done(self) -> int:
        """Number of items that its loop has done in this run."""
        return self.loop.done() if self.loop is not None else 0

    # -- rows written again

    def keep_up_to(self, ends: Mapping[str, int]) -> None:
        """Forget rows that lie behind the *ends* of the files and collections: they were cut off."""
        if self.wrote is not NOTHING:
            self.wrote = self.wrote.up_to(ends)
            self.wrote_before_compacted = self.wrote.compacted

    def note_before(self, found: Mapping[str, Where]) -> None:
        """*found* was written before it began; what an earlier run has written there stays."""
        first = {name: where[0][0] for name, where in found.items()}
        before = {
            name: [one for one in where if one[1] <= first.get(name, one[1])]
            for name, where in self.wrote.before.items()
        }
        self.wrote = msgspec.structs.replace(self.wrote, before=merged(before, found))

    def note_rest(self, found: Mapping[str, Where]) -> None:
        """*found* was written inside the item at which it was left."""
        if self.loop is not None:
            item = self.loop.current_item()
            rest = merged(self.wrote.rest, found) if self.wrote.item == item else dict(found)
            self.wrote, self._is_settled = msgspec.structs.replace(self.wrote, item=item, rest=rest), False

    def note_after(self, found: Mapping[str, Where]) -> None:
        """*found* was written after it."""
        self.wrote, self._is_settled = msgspec.structs.replace(self.wrote, after=dict(found)), False

    def _about_writes(self) -> dict[str, Any]:
        wrote = self.wrote
        is_done = self.loop is not None and wrote.item is not None and wrote.item != self.loop.current_item()
        if is_done:
            wrote = self.wrote = msgspec.structs.replace(wrote, item=None, rest={})
        if wrote.compacted != self.wrote_before_compacted:
            wrote = msgspec.structs.replace(wrote, compacted=dict(self.wrote_before_compacted))
        return {"wrote": msgspec.to_builtins(wrote)} if wrote else {}

    # -- saved form

    def _about(self, *, is_over: bool) -> dict[str, Any]:
        about = self.identity.to_dict()
        about.pop("over", None)
        if self.wrote is not NOTHING or self.wrote_before_compacted:
            about |= self._about_writes()
        return about | {"over": True} if is_over else about

    def as_now(self) -> Callable[[], dict[str, Any] | None]:
        """A function that returns the saved form of this moment later, whatever is done meanwhile; None without one."""
        if self.is_gone:
            return lambda: None
        if self.loop is None:
            saved = {**self._saved, **self._about(is_over=self.identity.over)}
            return lambda: saved
        if self.has_inner:
            self.loop.note_inner()
        about = self._about(is_over=self.loop.is_finished)  # before the position, which may only be behind it
        form = self.loop.as_now()
        # Asked after the position, because a worker writes first and then goes on.
        if self.loop.is_held_back:
            return self._kept_form
        now: Callable[[], dict[str, Any] | None] = lambda: {**form(), **about}  # noqa: E731
        if self.loop.is_in_worker:
            self._kept_form = now
        return now

    def changes(self) -> dict[str, Any] | None:
        """The changes since the last :meth:`commit`; None without any."""
        if self.is_gone:
            return {"gone": True} if self._is_stored else None
        if self.loop is None or self._is_settled:
            return None
        changes = self._changes_of(self.loop)
        if self.loop.is_held_back:  # asked after the position
            return self._kept_changes
        if self.loop.is_in_worker:
            self._kept_changes = changes
        return changes

    def _changes_of(self, loop: Loop[Any]) -> dict[str, Any] | None:
        if self.has_inner:
            loop.note_inner()
        about = self._about(is_over=loop.is_finished)
        if self._is_new:
            return {**loop.to_dict(), **about, "new": True}
        changes = {**loop.changes(), **about}
        return None if changes == self._committed else changes

    def committer(self) -> Callable[[Mapping[str, Any]], None]:
        """A function for :meth:`commit` later; it does nothing once another loop has taken the name."""
        loop = self.loop
        return lambda changes: self.commit(changes) if self.loop is loop else None

    def commit(self, changes: Mapping[str, Any]) -> None:
        """*changes* are stored."""
        self._is_stored = not changes.get("gone")
        self._kept_changes = None
        if not self._is_stored:
            self._is_new = True  # if it is back, nothing of it is stored
            return
        assert self.loop is not None
        if changes.get("new"):
            changes = {**self.loop.changes(), **changes}
        self._is_new, self._committed = False, dict(changes)
        self._is_settled = bool(changes.get("over"))
        self.loop.commit(changes)
