"""What a checkpoint offers that needs no waiting: the common part of ``Checkpoint`` and ``AsyncCheckpoint``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, overload

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ._done import Done
    from ._items import Loop
    from ._log import DurableLog
    from ._mapping import DurableDict
    from ._models import CheckpointMetadata
    from ._options import Options
    from ._set import DurableSet

    S = TypeVar("S", default=dict[str, Any])
else:
    from typing import TypeVar

    S = TypeVar("S")

Key = Callable[[Any], str | int] | str | None
"""What gives an item's identity: a function, or the name of a field; None counts positions."""

_ALWAYS = -1.0


class Shell(Generic[S]):
    """Counts items, and compares the count with the one number at which something may be due.

    Not made by users: :class:`checkpointed` and :func:`resumable` hand it out.
    """

    def __init__(self, options: Options) -> None:
        from ._core import Core  # all the rest, loaded with the first operation: `import resumable` stays light

        self._ticked = 0
        self._limit = _ALWAYS
        self._was_woken = False
        self._total: int | None = None
        self._core = Core(options, self._wake, lambda: self._ticked)

    # -- what it holds

    @property
    def state(self) -> S:
        """What is saved and comes back: a dict, or what ``state=`` asked for. May be replaced by another one."""
        state: S = self._core.state
        return state

    @state.setter
    def state(self, state: S) -> None:
        self._core.state = state

    @property
    def operation_id(self) -> str:
        """Names the operation."""
        return self._core.options.operation_id

    @property
    def resumed(self) -> bool:
        """Whether an earlier run's checkpoint was restored."""
        return self._core.resumed

    @property
    def metadata(self) -> CheckpointMetadata:
        """What is known besides the state; fields may be set, and ``extra`` is kept."""
        self._core.sync()
        return self._core.session.metadata

    @property
    def processed_items(self) -> int:
        """Items that were ticked, over all runs."""
        return self._core.processed_items

    # -- what the user tells

    @overload
    def observe(self, response: object, /) -> None: ...
    @overload
    def observe(
        self, /, *, remaining: int, limit: int | None = ..., reset_at: float | None = ..., resource: str = ...
    ) -> None: ...
    def observe(
        self,
        response: object = None,
        /,
        *,
        remaining: int | None = None,
        limit: int | None = None,
        reset_at: float | None = None,
        resource: str = "",
    ) -> None:
        """Learn what is left of the API's quota; before the next item, what is due because of it is done.

        Args:
            response: A response or an error of httpx, requests, aiohttp, urllib3, PyGithub, githubkit or gidgethub,
                a mapping of headers, or a decoded GraphQL answer. What tells nothing changes nothing.
            remaining: Instead of a response: how many requests are left,
            limit: of how many,
            reset_at: until when, in seconds since the epoch,
            resource: and of which quota.
        """
        if remaining is not None:
            from .ratelimit._headers import RateLimit

            response = RateLimit(resource, limit, remaining, reset_at)
        self._core.observe(response)

    def error(self) -> None:
        """Count an error that the loop survived."""
        with count_lock:
            self._core.session.metadata.error_count += 1

    def finalize(self) -> None:
        """The operation is done, though a loop has items to go: a clean exit will remove the checkpoint."""
        self._core.is_finalized = True

    def keep(self, reason: str = "") -> None:
        """A clean exit will save and keep the checkpoint, so that the next run goes on from here.

        The last save's reason will be ``Kept``, or ``Kept: `` and the *reason* given.
        """
        self._core.keep_reason = f"Kept: {reason}" if reason else "Kept"

    @property
    def failed(self) -> dict[str | int, str]:
        """The items that ``map`` gave up, each with the text of its error: by key, or by position.

        A key that two maps have is given as ``name/key``, with the name of each.

        While there are any, a clean exit keeps the checkpoint; ``map(..., retry_failed=True)`` tries them again.
        """
        return self._core.failed.all()

    # -- durable collections

    def mapping(self, name: str) -> DurableDict:
        """A durable dict in ``state[name]``: a save writes only what changed in it. See :class:`DurableDict`.

        Raises:
            TypeError: The state holds something else under that name, or is of a type of its own.
        """
        collection: DurableDict = self._core.collection(name, "mapping")
        return collection

    def set(self, name: str) -> DurableSet:
        """A durable set in ``state[name]``: a save writes only what was added and removed."""
        collection: DurableSet = self._core.collection(name, "set")
        return collection

    def log(self, name: str) -> DurableLog:
        """A durable list in ``state[name]`` that only grows: a save writes only what was appended."""
        collection: DurableLog = self._core.collection(name, "log")
        return collection

    # -- being woken

    def _wake(self) -> None:
        """Something may be due. From any thread, and from signal handlers."""
        self._was_woken = True
        self._limit = _ALWAYS
        self._core.loops.wake()

    def _rearm(self, items: float) -> None:
        """*items* may pass. Who was woken meanwhile stays so."""
        self._limit = self._ticked + items
        if self._was_woken:
            self._limit = _ALWAYS

    def has_quota(self, in_flight: int | None, more: int = 1) -> bool:
        """For maps: whether *more* requests may be out than those *in_flight*; None while no more will be."""
        return self._core.has_quota(in_flight, more)

    @property
    def is_metered(self) -> bool:
        """For maps: whether any quota is known."""
        return self._core.quota._budget is not None

    # -- loops

    def register(self, loop: Loop[Any]) -> None:
        """For loops: one begins."""
        self._core.loops.begun(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        """For loops: one came to its end."""
        self._core.loops.ended(loop)

    def continuing(self) -> Callable[[Any], None]:
        """For retries: a ``before`` hook; loops of an attempt go on where the attempt before left them."""
        return self._core.loops.continuing()

    def _done_loop(
        self, items: Any, key: Any, name: str | None, retry_failed: bool, *, is_async: bool = False
    ) -> Done[Any]:
        from ._done import Done, done_loop

        owner: Any = self

        def make(name: str, saved: dict[str, Any] | None) -> Done[Any]:
            options: Any = {"failed": self._core.failed, "retry_failed": retry_failed, "is_async": is_async}
            return done_loop(items, owner, name=name, key=key, saved=saved, **options)

        loop = self._core.loops.begin(name, make)
        self._note_total()
        assert isinstance(loop, Done)
        return loop

    def _note_total(self) -> None:
        """A loop has begun: bring the total up to date, unless the program, or an earlier run, knows of more."""
        metadata, total = self._core.session.metadata, self._core.loops.total()
        known = metadata.total_items
        if self._core.options.total is None and (known in (None, self._total) or (total or 0) > known):
            metadata.total_items = self._total = total


count_lock = threading.Lock()
