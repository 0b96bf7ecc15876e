"""What a program holds besides its plain state, and saves with the checkpoint."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

if TYPE_CHECKING:
    from .._durable import DurableDict, DurableLog, DurableSet
    from .._engine.operation import Operation

T = TypeVar("T")
V = TypeVar("V")
F = TypeVar("F", bound=Callable[[], object])


class Holding:
    """Durable collections, tracked objects, and hooks before a save. For both checkpoints."""

    _is_async = False
    _operation: Operation

    # -- durable collections

    @overload
    def mapping(self, name: str) -> DurableDict: ...
    @overload
    def mapping(self, name: str, of: type[V]) -> DurableDict[V]: ...
    def mapping(self, name: str, of: type[Any] | None = None) -> DurableDict[Any]:
        """A durable dict in ``state[name]``: a save writes only what changed in it. See :class:`DurableDict`.

        Example:
            >>> cp.mapping("squares")["3"] = 9

        Args:
            of: The class of its values: a dataclass, ``msgspec.Struct`` or pydantic model, a date, UUID or the like. A
                value that could not be loaded is refused. A value that the program changes in place is saved with its
                content at that moment, even inside an unfinished item; an assignment counts with its item.

        Raises:
            InputChangedError: A saved value does not fit *of*. Values that are not checked here raise when they are
                read.
            TypeError: The state has something else under that name, or values of another class; a typed state has no
                field of that name; or values of this class cannot be loaded.
        """
        return cast("DurableDict[Any]", self._operation.parts.collection(name, "mapping", of))

    @overload
    def set(self, name: str) -> DurableSet: ...
    @overload
    def set(self, name: str, of: type[V]) -> DurableSet[V]: ...
    def set(self, name: str, of: type[Any] | None = None) -> DurableSet[Any]:
        """A durable set in ``state[name]``: a save writes only what was added and removed.

        Example:
            >>> cp.set("seen").add("https://example.org/")

        Args:
            of: The class of its members, such as ``UUID``: one whose JSON form is a string or a number.

        Raises what :meth:`mapping` raises.
        """
        return cast("DurableSet[Any]", self._operation.parts.collection(name, "set", of))

    @overload
    def log(self, name: str) -> DurableLog: ...
    @overload
    def log(self, name: str, of: type[V]) -> DurableLog[V]: ...
    def log(self, name: str, of: type[Any] | None = None) -> DurableLog[Any]:
        """A durable list in ``state[name]`` that only grows: a save writes only what was appended.

        Example:
            >>> cp.log("rows").append({"name": "a", "size": 1})

        Args:
            of: The class of its entries, as for :meth:`mapping`. An entry must not change after it was appended.

        Raises what :meth:`mapping` raises.
        """
        return cast("DurableLog[Any]", self._operation.parts.collection(name, "log", of))

    # -- objects of the program

    def track(self, obj: T, name: str | None = None) -> T:
        """Save the state of *obj* with each save, and restore it exactly on resume.

        Its state is read when an item ends, so that a save inside an item holds the state before that item. Of nested
        loops, each restores it to its state at the loop's own place. For a random generator, that takes some 20
        microseconds an item. Use it only in the loop's thread.

        Example:
            >>> import random
            >>> rng = cp.track(random.Random(1))
            >>> for number in cp.remaining(range(3)):
            ...     sample = rng.random()

        Args:
            obj: ``random.Random`` or the module ``random``; a ``Generator``, ``RandomState`` or bit generator of numpy,
                or ``numpy.random``; a ``torch.Generator``, or ``torch``; or an object with ``state_dict()`` and
                ``load_state_dict()`` whose state is plain JSON: loaders, schedulers.
            name: Identifies the object, in every run; by default the name of its class or module.

        Returns:
            *obj*, restored to its saved state.

        Raises:
            StateEncodeError: Its state is not plain JSON, but for instance a tensor. It is not tracked.
            TypeError: Its state cannot be read and set.
            ValueError: Another object has the name, or the saved state does not fit *obj*.
        """
        parts = self._operation.parts
        parts.tracking().track(obj, name, parts.attempt)
        self._wake()
        return obj

    def before_save(self, fn: F) -> F:
        """Call ``fn()`` in the loop's thread before each save, once, to bring the state up to date.

        It is called at an item's end. If an error, a retry or ``cp.save()`` saves inside an item, it is called there,
        and
        sees unfinished work: do the work first, then change what *fn* reads by one assignment. Its time counts as part
            of the save's cost. If it raises, the save fails with that error, and nothing is written.

        Example:
            >>> totals = {"words": 0}
            >>> @cp.before_save
            ... def keep_totals():
            ...     cp.state["totals"] = dict(totals)

        Args:
            fn: A plain function, also with an async checkpoint. It may write to the state and to collections.

        Returns:
            *fn*, so that this is a decorator, too.

        Raises:
            TypeError: *fn* is an ``async def``, or cannot be called.
        """
        if not callable(fn) or inspect.iscoroutinefunction(fn):
            raise TypeError(f"cp.before_save takes a plain function, not {fn!r:.80}")
        self._operation.parts.add_hook(fn)
        return fn

    def _wake(self) -> None:
        raise NotImplementedError

    # -- its report

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the operation's report to the file *path*: one HTML page with charts, which needs no network.

        It shows items over time with the stops, speed, quota and waits, the cost of saves and the work at risk, earlier
        forecasts of the time left, errors and failed items. In plain code it saves first; in async code, call
        ``await cp.save()`` before it.

        Example:
            >>> cp.report("run.html")

        Raises:
            CheckpointNotFoundError: Nothing is saved yet, in async code.
            StoreError, StateEncodeError: The checkpoint cannot be saved or read.
            OSError: The file cannot be written; its old content stands.
        """
        from .._report.pages.page import write_report

        if not self._is_async:
            saver: Any = self
            saver.save("Report")
        write_report(self._operation.options.store, self._operation.operation_id, Path(path))
