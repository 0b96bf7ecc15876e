"""Done items as a position in the pages of a server: a page's cursor, and how many of its items are done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar

import msgspec

from ..._errors import CursorExpiredError, InputChangedError
from ..._json import check, encode
from ..._text import command_for, hidden
from ..inputs import fingerprint
from ..inputs.values import ValuelessError
from .by_key import KeyLedger
from .by_position import ItemKey, Ledger, Saved, count_from, opened

T = TypeVar("T")
Changed = Literal["raise", "again"]
"""What to do if the saved position no longer exists."""
_KEPT_ITEMS = 512
"""Keep a page until this many items have followed, because a save in another thread may need it."""


@dataclass(slots=True)
class Page:
    """One page, before and after it is fetched.

    Attributes:
        cursor: Its cursor, as JSON.
        number: How many pages come before it.
        first: The position of the first item that it hands out.
        index: How many of its items were already done.
        rolls: By value: the digest of those *index* items, then of one more each.
        size: Number of its items; None until it is fetched.
        following: The cursor of the next page, as JSON; None if there is none.
        is_end: Whether it stands for the end after the last page.
    """

    cursor: bytes
    number: int
    first: int
    index: int = 0
    rolls: list[str] = field(default_factory=lambda: [""])
    size: int | None = None
    following: bytes | None = None
    is_end: bool = False

    @property
    def was_fetched(self) -> bool:
        return self.size is not None


class PageLedger(Ledger):
    """The done items in the pages of one server.

    Args:
        start: The cursor of the first page.
        key: Returns an item's key: items whose key is done are skipped, on any page. None: when a page is fetched
            again, its done items are compared by value.
        changed: ``"again"``: a page that has changed is handed out from its first item, and after an expired cursor the
            first page follows.

    Raises:
        InputChangedError: *saved* belongs to other pages, or was followed in another way.
        StateEncodeError: JSON cannot hold *start*.
        ValueError: *saved* is malformed.
    """

    def __init__(
        self,
        operation_id: str,
        saved: Saved | None = None,
        *,
        start: Any = None,
        key: Callable[[Any], Any] | str | None = None,
        changed: Changed = "raise",
    ) -> None:
        if changed not in ("raise", "again"):
            raise ValueError(f"changed must be 'raise' or 'again', not {changed!r}")
        saved = opened(operation_id, saved, "pages")
        self._operation_id = operation_id
        self._changed = changed
        self._start = cursor_of(start)
        self._digest = None if start is None else fingerprint.digest(msgspec.json.decode(self._start))
        if saved:
            self._check_same(saved, start, has_key=key is not None)
        keys = {"by": "key", "keys": saved.get("keys", []), "ranges": saved.get("ranges", [])}
        self._keys = None if key is None else KeyLedger(operation_id, None, keys, key)
        self.start = count_from(saved, "position") if self._keys is None else self._keys.start
        self._offered = self.start
        page: Page = Page(self._start, count_from(saved, "pages"), self.start, is_end=saved.get("ended") is True)
        if "cursor" in saved:
            page.cursor, page.index = cursor_of(saved["cursor"]), count_from(saved, "index")
            page.rolls = [str(saved.get("rolled", ""))]
        if page.index > self.start:
            raise ValueError(f"{page.index} items of a page cannot be done, but only {self.start} in all")
        self._pages: tuple[Page, ...] = (page,)
        self._is_resumed = bool(saved)
        self._has_restarted = False

    def _check_same(self, saved: Saved, start: Any, *, has_key: bool) -> None:
        if ("keys" in saved) != has_key:
            was, way = ("by key", "with key=...") if "keys" in saved else ("by value", "without key")
            now = "by key" if has_key else "by value"
            self._fail(
                f"earlier runs counted done items {was}; this call counts them {now}", f"go on as before:  {way}"
            )
        if saved.get("start") != self._digest:
            self._fail(
                f"the pages began with another start than {fingerprint.show(start)}",
                'keep the start in the checkpoint:  start=cp.state.setdefault("start", …)',
                "put the loop around it into cp.remaining, too, so that these pages belong to one of its items",
            )

    # -- pages

    @property
    def cursor(self) -> Any:
        """The cursor of the current page; a new value each time."""
        return msgspec.json.decode(self._pages[-1].cursor)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.is_left_out or self._pages[-1].is_end

    def turn(self) -> None:
        """Move to the next page if all items of this one were handed out."""
        page = self._pages[-1]
        if not page.was_fetched:
            return
        offered = self._offered if self._keys is None else self._keys.done
        last = page.following is None
        self._pages = (*self._recent(offered), Page(page.following or b"null", page.number + 1, offered, is_end=last))

    def _recent(self, offered: int) -> list[Page]:
        """The pages that a save may still need, without those that handed out nothing."""
        pages = self._pages
        ends = [*(page.first for page in pages[1:]), offered]
        kept = [page for page, end in zip(pages, ends, strict=True) if end > max(page.first, offered - _KEPT_ITEMS)]
        return kept or [pages[-1]]

    def open(self, items: Sequence[Any], following: Any) -> Sequence[Any]:
        """The page was fetched and has *items*. Returns those to examine.

        Raises:
            InputChangedError: By value: its done items have changed.
            StateEncodeError: JSON cannot hold the cursor *following*; nothing of the page is handed out.
            ValueError: *following* is the cursor of this very page.
        """
        page = self._pages[-1]
        after = None if following is None or following == "" else cursor_of(following)
        if after == page.cursor and items:
            raise ValueError(
                f"the page at the cursor {self._shown} names itself as the next page, so the loop would never end"
            )
        skipped = 0
        if self._keys is None and page.index:
            skipped = page.index if self._is_as_it_was(page, items) else self._give_again(page, len(items))
        # Set the size last: a save in another thread takes a page without a size for not fetched.
        page.following, page.size = after, len(items)
        return items[skipped:]

    def _is_as_it_was(self, page: Page, items: Sequence[Any]) -> bool:
        rolled = ""
        for item in items[: page.index]:
            rolled = fingerprint.roll(rolled, digest_of(item))
        return len(items) >= page.index and rolled == page.rolls[0]

    def _give_again(self, page: Page, size: int) -> int:
        """Go back to the first item of *page*. Returns how many of its items to skip."""
        if self._changed == "raise":
            self._fail(
                f"the first {page.index:,} items of page {page.number + 1:,} (cursor {self._shown}) are done, but they "
                f"have changed; the page has {size:,} items now",
                'do this page again from its first item:  changed="again"',
                "start over, and allow items to change, come and go from then on:  key=...",
            )
        self.start -= page.index
        self._offered = page.first = self.start
        page.index, page.rolls = 0, [""]
        return 0

    @property
    def _shown(self) -> str:
        return fingerprint.show(self.cursor)

    # -- expired cursors

    @property
    def is_at_saved(self) -> bool:
        """Whether an earlier run was left at this cursor, and this run has not tried it yet."""
        page = self._pages[-1]
        is_first = len(self._pages) == 1 and not page.was_fetched
        return self._is_resumed and is_first and page.cursor != self._start

    def restart(self, reason: str) -> None:
        """The cursor has expired: go back to the first page, if the user wants that.

        Raises:
            CursorExpiredError: The user does not want that, or this run has already done so.
        """
        if self._changed == "raise" or self._has_restarted:
            raise self._expired(reason)
        self._has_restarted = True
        offered = self._offered if self._keys is None else self._keys.done
        self._pages = (*self._recent(offered), Page(self._start, 0, offered))

    def _expired(self, reason: str) -> CursorExpiredError:
        page, reason = self._pages[-1], hidden(reason)
        if self._keys is not None:
            again = 'go through all pages again, without the items whose keys are done:  changed="again"'
        else:
            again = 'do all pages again from the first one:  changed="again"'
        return CursorExpiredError(
            reason,
            self._operation_id,
            [f"page {page.number + 1:,} cannot be fetched with the cursor {self._shown}: {reason}"],
            [again, f"start over:  {command_for('rm', self._operation_id)}"],
        )

    def _fail(self, difference: str, *ways_out: str) -> NoReturn:
        start_over = f"start over, which does all items again:  {command_for('rm', self._operation_id)}"
        raise InputChangedError(self._operation_id, [difference], [*ways_out, start_over])

    # -- items

    def offer(self, item: Any) -> bool:
        """Examine the next *item* before the loop's body can change it; False if its key is done."""
        return any(True for _ in self.offered((item,)))

    def offered(self, items: Iterable[T]) -> Generator[T]:
        """Hand out *items*, and examine each before; those whose key is done are skipped."""
        if self._keys is not None:
            yield from self._keys.offered(items)
            return
        for item in items:
            rolls = self._pages[-1].rolls
            rolls.append(fingerprint.roll(rolls[-1], digest_of(item)))
            self._offered += 1
            yield item

    def item_at(self, position: int) -> ItemKey:
        return position if self._keys is None else self._keys.item_at(position)

    def has_done(self, item: ItemKey, position: int) -> bool:
        if self._keys is not None:
            return self._keys.has_done(item, position)
        return isinstance(item, int) and item < position

    def count_left(self, position: int) -> int | None:
        return 0 if self.is_over else None

    # -- saved form

    def as_now(self, position: int) -> Callable[[], dict[str, Any]]:
        form = self._place_at(position)
        keys = None if self._keys is None else self._keys.as_now(position)
        return lambda: form if keys is None else {**form, "keys": [], **keys(), "by": "pages"}

    def _place_at(self, position: int) -> dict[str, Any]:
        pages = self._pages
        page = next((page for page in reversed(pages) if page.first <= position), pages[0])
        done = max(position - page.first, 0)
        form: dict[str, Any] = {"by": "pages", "position": position, "pages": page.number}
        form |= {"cursor": msgspec.json.decode(page.cursor), "index": page.index + done}
        if self._keys is None and form["index"]:
            form["rolled"] = page.rolls[min(done, len(page.rolls) - 1)]
        if self._digest is not None:
            form["start"] = self._digest
        if page.is_end:
            form |= {"ended": True, "total": position}
        return form | {"samples": []}

    def changes(self, position: int) -> dict[str, Any]:
        form = self._place_at(position)
        return form if self._keys is None else {**form, **self._keys.changes(position), "by": "pages"}

    def commit(self, changes: Mapping[str, Any]) -> None:
        if self._keys is not None:
            self._keys.commit(changes)


def cursor_of(cursor: Any) -> bytes:
    """*cursor* as JSON. Raises StateEncodeError if JSON cannot hold it."""
    check(cursor, "the cursor")
    return encode(cursor, "the cursor")


def digest_of(item: Any) -> str:
    """The digest of a page's item.

    Raises:
        ValuelessError: It has no comparable value. The text says what to do.
    """
    try:
        return fingerprint.digest(item)
    except ValuelessError as error:
        raise ValuelessError(
            f"an item of a page is or holds a {error}, which has no value that another run could compare. Give "
            "key=..., which names each item, as in key=lambda item: item.id."
        ) from None
