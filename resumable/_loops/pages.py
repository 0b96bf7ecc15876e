"""The pages of a server as one loop over their items. Each page is fetched when its first item is asked for."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urljoin

from .._errors import CursorExpiredError
from .._runtime.interpreter import has_gil
from .._runtime.steps import Exchange, exchange, exchange_async
from .._text import shortened
from .apart import is_apart
from .ledgers.by_page import Changed, PageLedger
from .ledgers.by_position import Saved
from .loop import LoopOwner
from .remaining import PassingRemaining, Remaining, SteppingRemaining
from .remaining_async import AsyncRemaining

T = TypeVar("T")
Items_co = TypeVar("Items_co", covariant=True)

ItemsOf = Callable[[Any], Any] | str | None
"""How to find the items in a response: a function, or the name of a JSON field; None: the whole JSON."""

_GONE = frozenset({400, 404, 410, 416, 422})
"""Statuses by which servers refuse an expired cursor."""
_PARAMETER = r'\s*;\s*([^\s=;,]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,]*)))?'
_LINK = re.compile(rf"<([^<>]*)>((?:{_PARAMETER})*)")


class PagesOwner(LoopOwner[Items_co], Protocol[Items_co]):
    """What pages need of their checkpoint."""

    @property
    def has_observed(self) -> bool:
        """Whether the program has observed a response itself: then its items send requests, too."""
        ...

    @has_observed.setter
    def has_observed(self, has_observed: bool) -> None: ...

    def check_in(self, *, waits: bool = True) -> Items_co:
        """Save or raise, if due; wait for a quota only if a request may follow."""
        ...

    def observe_page(self, response: object) -> bool:
        """Learn from *response* how much of the quota is left. Returns whether it is a refusal to wait for."""
        ...


class _WithinPages(Generic[Items_co]):
    """Owns the loop over the items. Between the items of a page nothing is fetched, so it does not wait for a quota."""

    def __init__(self, owner: PagesOwner[Items_co]) -> None:
        self._owner = owner
        self.operation_id, self.boundary = owner.operation_id, owner.boundary
        self.register, self.unregister, self.halt = owner.register, owner.unregister, owner.halt

    def check_in(self) -> Items_co:
        """Save or raise, if due; wait for a quota only if the program's own items send requests."""
        return self._owner.check_in(waits=self._owner.has_observed)


class _Pages:
    """Fetches one page after the other, for plain and async code."""

    def __init__(
        self, fetch: Callable[[Any], Any], owner: PagesOwner[Any], ledger: PageLedger, items_of: ItemsOf
    ) -> None:
        self._fetch = fetch
        self._owner = owner
        self._ledger = ledger
        self._items_of = items_of

    def turn(self) -> Exchange[Any]:
        """The items of the next page that are not known to be done; None after the last page."""
        ledger = self._ledger
        ledger.turn()
        if ledger.is_over:
            return None
        answer = yield from self._answer()
        items, following = yield from self._read(answer)
        return ledger.open(items, following)

    def _answer(self) -> Exchange[Any]:
        """What ``fetch`` returns for the page, once that is not a refusal."""
        ledger = self._ledger
        while True:
            yield self._owner.check_in()  # saves if due, and waits for the quota
            was_left_here = ledger.is_at_saved
            try:
                answer = yield from self._fetched()
                if not self._is_refused(answer):
                    return answer
            except CursorExpiredError as error:
                ledger.restart(error.reason or str(error))
            except Exception as error:
                self._owner.observe_page(error)
                if not was_left_here or _status_of(error) not in _GONE:
                    raise
                ledger.restart(f"{type(error).__name__}: {error}".partition("\n")[0])

    def _fetched(self) -> Exchange[Any]:
        """What ``fetch`` returns. Responses that it observes itself, or by a client's hook, belong to no item."""
        had_observed = self._owner.has_observed
        try:
            return (yield self._fetch(self._ledger.cursor))
        finally:
            self._owner.has_observed = had_observed

    def _is_refused(self, answer: Any) -> bool:
        """Whether to ask again once there is quota. Raises for an answer that is an error."""
        response: Any = answer[0] if isinstance(answer, tuple) and len(answer) == 2 else answer
        if not _is_response(response):
            return False
        if self._owner.observe_page(response):
            return True
        status = _status_of(response)
        if status is None or status < 400:
            return False
        getattr(response, "raise_for_status", lambda: None)()  # urllib3's responses have none
        raise RuntimeError(f"the server answered the request for a page with status {status}")

    def _read(self, answer: Any) -> Exchange[tuple[list[Any], Any]]:
        """The items in an answer, and the cursor of the next page."""
        if isinstance(answer, tuple) and len(answer) == 2:
            items, following = answer
            if _is_response(items):
                items = yield from self._read_items(items)
            return _listed(items), following
        if not _is_response(answer):
            raise TypeError(f"fetch must return (items, next_cursor), or a response; not {answer!r:.80}")
        items = yield from self._read_items(answer)
        return _listed(items), next_link(answer)

    def _read_items(self, response: Any) -> Exchange[Any]:
        if callable(self._items_of):
            return (yield self._items_of(response))
        content = yield response.json()
        if self._items_of is not None:
            return _field(content, self._items_of)
        if not isinstance(content, list):
            raise TypeError(
                f"the response's JSON is not a list, but a {type(content).__name__}; say where its items are, as in "
                'items="items" or items=lambda response: response.json()["data"]["items"]'
            )
        return content


class PlainPages(_Pages):
    """For ``for``."""

    def __iter__(self) -> Iterator[Any]:
        while (items := exchange(self.turn())) is not None:
            yield from items


class AsyncPages(_Pages, AsyncIterator[Any]):
    """For ``async for``. After an error of ``fetch``, iteration may continue."""

    def __init__(
        self, fetch: Callable[[Any], Any], owner: PagesOwner[Any], ledger: PageLedger, items_of: ItemsOf
    ) -> None:
        super().__init__(fetch, owner, ledger, items_of)
        self._ahead: deque[Any] = deque()

    async def __anext__(self) -> Any:
        while not self._ahead:
            items = await exchange_async(self.turn())
            if items is None:
                raise StopAsyncIteration
            self._ahead.extend(items)
        return self._ahead.popleft()


def pages(
    fetch: Callable[[Any], Any],
    owner: PagesOwner[int],
    *,
    name: str,
    start: Any = None,
    key: Callable[[Any], object] | str | None = None,
    items: ItemsOf = None,
    changed: Changed = "raise",
    saved: Saved | None = None,
) -> Remaining[Any]:
    """Make a loop over the items of all pages, without those that *saved* names as done. See ``Checkpoint.pages``."""
    ledger: Any = PageLedger(owner.operation_id, saved, start=start, key=key, changed=changed)
    _check(fetch)
    kind = PassingRemaining if has_gil() and not is_apart(owner.boundary) else SteppingRemaining
    return kind(PlainPages(fetch, owner, ledger, items), _WithinPages(owner), ledger, name)


def pages_async(
    fetch: Callable[[Any], Any],
    owner: PagesOwner[Awaitable[int]],
    *,
    name: str,
    start: Any = None,
    key: Callable[[Any], object] | str | None = None,
    items: ItemsOf = None,
    changed: Changed = "raise",
    saved: Saved | None = None,
) -> AsyncRemaining[Any]:
    """Make a loop for ``async for``. See :func:`pages`."""
    ledger = PageLedger(owner.operation_id, saved, start=start, key=key, changed=changed)
    _check(fetch)
    return AsyncRemaining(AsyncPages(fetch, owner, ledger, items), _WithinPages(owner), ledger, name)


def _check(fetch: object) -> None:
    if not callable(fetch):
        raise TypeError(f"pages() needs a function that fetches a page, not {fetch!r:.80}")


def _field(content: Any, name: str) -> Any:
    """The field *name* of a response's JSON. Servers write null for no items."""
    if not isinstance(content, Mapping) or name not in content:
        found = f"the fields {shortened([*content])}" if isinstance(content, Mapping) else type(content).__name__
        raise TypeError(f"the response's JSON has no field {name!r}, which items= names; it is or has {found}")
    return [] if content[name] is None else content[name]


def _listed(items: Any) -> list[Any]:
    if items is None or isinstance(items, (str, bytes, Mapping)):
        raise TypeError(f"a page's items must be a list of them, not a {type(items).__name__}")
    return list(items)


# -- responses of any client


def _is_response(answer: Any) -> bool:
    return hasattr(getattr(answer, "headers", None), "items")


def _status_of(answer: Any) -> int | None:
    """The status of a response, or of the response inside an error."""
    for source in (getattr(answer, "response", None), answer):
        for name in ("status_code", "status", "code"):
            with suppress(Exception):
                value = getattr(source, name, None)
                if type(value) is int or isinstance(value, int):  # http.HTTPStatus is an int, too
                    return int(value)
    return None


def next_link(response: Any) -> str | None:
    """The target of ``rel="next"`` in the ``Link`` header of a response, as a whole URL; None without one."""
    headers = response.headers
    all_of = getattr(headers, "getall", None) or getattr(headers, "get_all", None)
    texts = all_of("Link", ()) if all_of else [text for name, text in headers.items() if name.lower() == "link"]
    for link in _LINK.finditer(", ".join(texts or ())):
        parameters = re.findall(_PARAMETER, link[2])
        relations = next((quoted or bare for name, quoted, bare in parameters if name.lower() == "rel"), "")
        if "next" in relations.lower().split():
            return str(urljoin(str(getattr(response, "url", "")), link[1]))
    return None
