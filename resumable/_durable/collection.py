"""What the engine sees of the durable dict, set and list: a save begins, then commits or rolls back.

Writers take no lock. A mutator notes the dirty key, then changes the collection by one call into C. CPython switches
threads and runs signal handlers only after a call, at a backward jump and at the start of a function, so nothing runs
between the two. Only saves take the lock. On interpreters without a GIL, :func:`mutator` makes writers lock, too.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from .._json import encode
from .._runtime.boundary import Boundary, Noting
from .._runtime.interpreter import has_gil
from .changes import Snapshot, about_bytes

if TYPE_CHECKING:
    import typing_extensions

    V = typing_extensions.TypeVar("V", default=Any)
else:
    V = TypeVar("V")
F = TypeVar("F", bound=Callable[..., Any])

FREEZE_MEANWHILE = 100  # loaded values to freeze while the disk writes a save, which takes as long at least
FREEZE_AT_READING = 32  # and when the program reads one, so that reading all soon has a builtin's speed
_FREEZE_AT_ONCE = 1000  # and at each step where all are frozen

DURABLE_SLOTS = ("_at", "_boundary", "_given", "_lock", "_nan", "_path", "_pending", "_seen", "_ticks")
"""The attributes of :class:`Durable`, for the classes that use it."""

_KINDS: dict[str, Callable[..., Durable]] = {}


class Durable(Noting):
    """A dict, set or list that tracks its changes since the last save.

    One save at a time: it begins, hands the change to the store, and commits while the store writes. If the store
    fails, it rolls back. Later changes belong to the next save. Each save must begin, even if ``changed_bytes`` is 0:
    a change inside a value that the program still holds is found only by comparing.

    A save that makes writers wait (``hold``, ``settle``) leaves out what the unfinished item has written, for the
    next save. Any other save includes all.

    Attributes:
        kind: Its name in the checkpoint: ``mapping``, ``set`` or ``log``.
    """

    if not TYPE_CHECKING:  # A mixin needs empty slots; the attributes below are slots of the classes that use it.
        __slots__ = ()

    kind: ClassVar[str]
    is_json_native = True

    _path: str
    _lock: threading.RLock
    _nan: bool  # Whether it takes NaN and the infinities.
    _given: Any  # Typed values that the program has read; None for a collection of plain values.
    _dirty: Any  # What changed since the last save began.
    _pending: Any  # The change of the save under way; None between saves, falsy if nothing changed.

    def __init_subclass__(cls, kind: str = "") -> None:
        super().__init_subclass__()
        cls._for_users = frozenset().union(*(dir(base) for base in cls.__mro__ if base.__module__ == "builtins"))
        if kind:
            cls.kind = kind
            _KINDS[kind] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Lets a pydantic field hold a collection as it is. From JSON, it is made of plain values."""
        from pydantic_core import core_schema

        plain = core_schema.dict_schema() if issubclass(cls, dict) else core_schema.list_schema()
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls, plain),
            python_schema=core_schema.is_instance_schema(cls),
        )

    def _set_up(self, loaded: Any, plain: type[Any], path: str) -> Any:
        """Set the common attributes. Returns *loaded*, which must be a *plain*; a new *plain* for None."""
        if loaded is not None and type(loaded) is not plain:
            found, wanted = type(loaded).__name__, plain.__name__
            raise TypeError(f"{path} holds a {found}, not a {wanted}; give the {self.kind} another name")
        self._path = path
        self._pending, self._given, self._nan = None, None, False
        self.attach(Boundary())
        return plain() if loaded is None else loaded

    def attach(self, boundary: Boundary) -> None:
        super().attach(boundary)
        self._lock = boundary.lock

    def allow_nan(self) -> None:
        """Accept NaN and the infinities from now on; whoever encodes them must spell them out."""
        self._nan = True

    # -- typed values

    @property
    def given(self) -> Any:
        """The typed values that the program has read; None if the values are plain."""
        return self._given

    def become(self, kind: type[Durable], given: Any) -> None:
        """Hold values of a class from now on. *kind* is a subclass of this class without further attributes."""
        with self._lock:
            self._given = given
            self.__class__ = kind  # pyright: ignore

    # -- saves

    def begin(self, *, leaves: bool = True, is_whole: bool = False) -> dict[str, Any] | None:
        """Begin a save. Returns the change since the last one, to be encoded at once; None if nothing changed.

        Args:
            leaves: See :meth:`begin_snapshot`.
            is_whole: Whether a snapshot is written instead of the change, which is not returned then.

        Raises:
            StateEncodeError: JSON cannot hold the change. Nothing has begun.
            RuntimeError: An earlier save is neither committed nor rolled back.
        """
        with self._lock:
            if self._pending:
                raise RuntimeError("an earlier save is neither committed nor rolled back")
            self._settle_unless_held()
            pending = self._pending = self._collected(leaves=leaves)
            return self._change(pending) if pending and not is_whole else None

    def begin_snapshot(self, *, leaves: bool = True) -> Snapshot:
        """Begin a save that writes the whole collection. Raises what :meth:`begin` raises.

        Args:
            leaves: Whether many new values that nobody else holds may go into the snapshot without a copy; the snapshot
                then checks them. Not allowed if the save may be rolled back and the snapshot written all the same.
        """
        with self._lock:
            self.begin(leaves=leaves, is_whole=True)
            return self._copied()

    def commit(self, *, has_time: bool = False) -> None:
        """End the save: the store has the change, or is writing it. Does nothing if no save has begun.

        Args:
            has_time: Whether the caller must wait for the store anyway.
        """
        with self._lock:
            if self._pending is not None:
                self._committed(self._pending)
                self._pending = None
                if has_time:
                    self._use_time()

    def rollback(self) -> None:
        """End a save that failed: its change belongs to the next save. Does nothing if no save has begun."""
        with self._lock:
            if self._pending:
                self._take_back(self._pending)
            self._pending = None

    def snapshot(self) -> Snapshot:
        """All that saves have begun with, to be encoded later in any thread; may include newer, replayable changes.

        Raises:
            StateEncodeError: JSON cannot hold it.
        """
        with self._lock:
            return self._copied()

    def look_at_all(self) -> None:
        """Make the next save, which is the last one, search all frozen lists for changes by C code."""

    def changed_bytes(self) -> int:
        """The approximate size of what :meth:`begin` would return, in bytes of JSON, estimated from a few changes."""
        with self._lock:
            return about_bytes(len(self._dirty), self._dirty.items()) if self._dirty else 0

    @property
    def waiting(self) -> int:
        """How many new values :meth:`take_ahead` may take, at most."""
        return 0

    def take_ahead(self) -> bool:
        """Take some new values of done items for the next save, so that it begins quickly. Returns whether more wait.

        The program sees what it sees after a save: the values are frozen. Call it where a save may begin.

        Raises:
            StateEncodeError: JSON cannot hold a value; it waits for the save.
        """
        return False

    def look_closely(self, change: dict[str, Any]) -> None:
        """Raise StateEncodeError with the path if JSON cannot hold *change*, with which the save has begun."""
        for part in change.values():
            encode(part, self._path)

    # -- where the kinds differ; each is called under the lock

    def _settle_unless_held(self) -> None:
        if self._seen is not None:
            self._note()

    def _collected(self, *, leaves: bool) -> Any:
        """Everything dirty that counts; it is clean afterwards. Falsy if there is nothing.

        Args:
            leaves: Whether values may go in without a copy; see :meth:`begin_snapshot`.
        """
        raise NotImplementedError

    def _check_left(self, check: Callable[[], None]) -> None:
        """Call *check*, which raises if JSON cannot hold a value that went in without a copy. Nothing has begun then.

        The values were good when they came, but may have changed since.
        """
        try:
            check()
        except BaseException:
            self.rollback()
            raise

    def _change(self, pending: Any) -> dict[str, Any]:
        """*pending* in the form that :class:`Replay` reads."""
        raise NotImplementedError

    def _committed(self, pending: Any) -> None:
        """The store has *pending*."""

    def _use_time(self) -> None:
        """Do a little of what must be done some time."""

    def _take_back(self, pending: Any) -> None:
        """Make everything in *pending* dirty again; what has become dirty since is newer, and stays."""
        raise NotImplementedError

    def _copied(self) -> Snapshot:
        raise NotImplementedError


class Loaded(Durable):
    """Mixin for a collection with unfrozen values: they were loaded, or many were saved at once.

    Freezing all at once takes 1.5 to 4 times as long as decoding them. So a value is frozen when the program first
    reads it, and some more while a disk writes a save. After the last one, the collection drops this mixin.
    """

    if not TYPE_CHECKING:
        __slots__ = ()

    def _use_time(self) -> None:
        self._freeze_some(FREEZE_MEANWHILE)

    def _wholly_frozen(self) -> Self:
        with self._lock:
            while isinstance(self, Loaded):
                self._freeze_some(_FREEZE_AT_ONCE)
        return self

    def _freeze_some(self, count: int) -> None:
        """Freeze the last *count* unfrozen values; after the last one, change the class."""
        raise NotImplementedError


# -- kinds ------------------------------------------------------------------------------------------------------------


def make(kind: str, loaded: Any, path: str) -> Durable:
    """Make a collection of that *kind* from the *loaded* value; an empty one from None.

    Raises:
        ValueError: The kind is unknown.
        TypeError: The loaded value does not fit the kind.
    """
    if kind not in _KINDS:
        raise ValueError(f"{path} is a collection of unknown kind {kind!r}")
    return _KINDS[kind](loaded, path=path)


# -- mutators ---------------------------------------------------------------------------------------------------------


def locked(method: F) -> F:
    """Decorate a method to run under the lock of its object."""

    @functools.wraps(method)
    def under_lock(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return under_lock  # type: ignore[return-value]


def mutator(method: F) -> F:
    """Decorate a method that notes a dirty key and makes the change: it locks where threads may switch anywhere."""
    return method if has_gil() else locked(method)
