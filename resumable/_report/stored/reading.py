"""``resumable.read``: what a checkpoint holds, for other programs, also while its job runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._errors import CheckpointCorruptError, CheckpointNotFoundError
from ..._format.restore import Restored
from ..._format.sections import Run, Sections
from ..._models import CheckpointMetadata
from ..._text import close_to, printable, shortened
from ...stores import CheckpointStore, SimpleStore, open_store
from ...stores.defaults import default_place
from .contents import ArtifactKept, LoopPlace, artifacts_in, failed_by_key, history_in, loops_in
from .scan import ids_in, read_all
from .table import KEY, Table

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]
    import polars

_MADE_OF = {"mapping": dict, "log": list, "set": set}
_KIND_OF: dict[type, str] = {dict: "mapping", list: "log", set: "set"}


def read(
    operation_id: str, store: str | os.PathLike[str] | CheckpointStore | SimpleStore | None = None
) -> CheckpointView:
    """What the checkpoint of an operation holds, as of its last save. Nothing is changed, claimed or executed.

    The operation may run meanwhile. The result is one whole save, and does not change; read again for a newer one.

    Example:
        >>> cp.state["page"] = 7
        >>> cp.save()
        >>> read("example").state["page"]
        7

    Args:
        store: A directory, a URL or a store. By default ``$CHECKPOINT_STORE``, ``$CHECKPOINT_DIR``, the ``dir`` in
            pyproject.toml, or the current directory. An encrypted checkpoint needs its
            :class:`~resumable.stores.EncryptedStore`.

    Raises:
        CheckpointNotFoundError: There is none: the operation never began, has not saved yet, or has finished. The
            error names similar ids.
        CheckpointCorruptError: The checkpoint is damaged, encrypted, or a newer release wrote it.
        StoreError: It cannot be read.
        ValueError: *store* has an unknown scheme, or *operation_id* is not valid Unicode.
    """
    place = open_store(store if store is not None else default_place())
    restored = read_all(place, operation_id)
    if restored is None:
        raise CheckpointNotFoundError(operation_id, str(place.describe()), close_to(operation_id, ids_in(place)))
    return view_of(restored)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CheckpointView:
    """The contents of a checkpoint. They are copies: changing them does not change the checkpoint.

    Example:
        >>> cp.log("rows").extend([1, 2])
        >>> cp.save()
        >>> read("example").collections["rows"]
        [1, 2]

    Attributes:
        operation_id: The operation.
        state: The whole state, as in ``cp.state``, collections included. Typed values are plain JSON.
        collections: What ``cp.mapping``, ``cp.log`` and ``cp.set`` hold, by name: a dict, a list, a set.
        loops: The progress of each loop, by name: ``processed_items``, ``total_items`` or None, and ``by``, which says
            how done items are counted: ``key``, ``position``, ``scattered`` (by position, in any order) or ``pages``.
        artifacts: The files and directories of ``cp.artifact``, by name: ``bytes``, ``sha256``, ``written_at`` (UTC,
            ISO 8601) and ``published``, the path to which it was published before the save, or None.
        failed: The failed items, in the form of ``cp.failed``: the error by key, or by position.
        history: The last runs, oldest first: ``run``, ``began``, ``ended``, ``items``, ``reason``, ``error`` and more.
        metadata: Counts and facts besides the state.
        created_at: When it was first saved (UTC).
        last_updated: When it was last saved (UTC).
        location: Where the checkpoint lies.
    """

    operation_id: str
    state: dict[str, Any]
    collections: dict[str, dict[str, Any] | list[Any] | set[Any]]
    loops: dict[str, LoopPlace]
    artifacts: dict[str, ArtifactKept]
    failed: dict[str | int, str]
    history: list[Run]
    metadata: CheckpointMetadata
    created_at: datetime
    last_updated: datetime
    location: Path | str

    @property
    def processed_items(self) -> int:
        """Items that are done, over all runs and loops."""
        return self.metadata.processed_items

    @property
    def total_items(self) -> int | None:
        """The number of all items; None if unknown."""
        return self.metadata.total_items

    def __repr__(self) -> str:
        total = "" if self.total_items is None else f" of {self.total_items:,}"
        holds = ", ".join(
            f"{printable(name)} ({_KIND_OF[type(held)]} of {len(held):,})" for name, held in self.collections.items()
        )
        return (
            f"<checkpoint of '{printable(self.operation_id)}': {self.processed_items:,}{total} items, "
            f"saved {self.last_updated:%Y-%m-%d %H:%M:%S} UTC{f'; {holds}' if holds else ''}>"
        )

    def _repr_html_(self) -> str:
        """A card for notebooks, which stays correct when the kernel is gone."""
        from ..card import card_of_save

        held = {name: f"{_KIND_OF[type(each)]} of {len(each):,}" for name, each in self.collections.items()}
        return card_of_save(self.operation_id, self.metadata, self.last_updated, self.history, self.failed, held)

    def to_pandas(self, name: str | None = None, *, key_column: str | None = KEY) -> pandas.DataFrame:
        """A mapping, log or set of the checkpoint as a DataFrame of pandas: a row for each entry.

        - A mapping of records, that is dicts, such as ``{"a": {"size": 1, "ok": True}}``: ``key``, ``size``, ``ok``.
        - A mapping of other values, such as ``{"a": 1, "b": 2}``: ``key``, ``value``.
        - A log of records, such as ``[{"size": 1, "ok": True}]``: ``size``, ``ok``.
        - A log of other values, such as ``["b", "a"]``: ``value``.
        - A set, such as ``{"b", "a"}``: ``value``, sorted.

        Records may lack fields, and may be None; their fields stand in the order in which they first occur. Dicts with
        more than a thousand different fields, of which each has few, are no records.

        Whole numbers are ``int64``, or ``Int64`` where some are missing; with others among them they are ``float64``.
        True and false are ``bool`` or ``boolean``, texts what pandas makes of them; all else are objects.

        Example:
            >>> cp.mapping("files")["a.py"] = {"size": 1}
            >>> cp.save()
            >>> read("example").to_pandas("files").shape
            (1, 2)

        Args:
            name: The collection, or a dict or list in the plain state. May be left out if there is only one.
            key_column: The name of the column of keys; None leaves it out.

        Raises:
            ValueError: Nothing has that name, or it is not a mapping, log or set, or its records have a field with the
                name of the column of keys.
            ModuleNotFoundError: pandas is not installed.
        """
        from . import frames

        return frames.to_pandas(table_in(self, name, key_column))

    def to_polars(self, name: str | None = None, *, key_column: str | None = KEY) -> polars.DataFrame:
        """A mapping, log or set of the checkpoint as a DataFrame of polars: a row for each entry.

        Columns are those of :meth:`to_pandas`: ``key`` of a mapping; the fields of records, or ``value``.
        ``{"a": {"size": 1, "tags": ["x"]}}`` has ``key`` (String), ``size`` (Int64) and ``tags`` (List of String);
        a dict in a field is a Struct. Values without a common type are a String: texts as they are, others as JSON.

        Example:
            >>> cp.mapping("files")["a.py"] = {"size": 1}
            >>> cp.save()
            >>> read("example").to_polars("files").row(0)
            ('a.py', 1)

        Args:
            name: The collection, or a dict or list in the plain state. May be left out if there is only one.
            key_column: The name of the column of keys; None leaves it out.

        Raises:
            ValueError: Nothing has that name, or it is not a mapping, log or set, or its records have a field with the
                name of the column of keys.
            ModuleNotFoundError: polars is not installed.
        """
        from . import frames

        return frames.to_polars(table_in(self, name, key_column))


def view_of(restored: Restored) -> CheckpointView:
    """What *restored* holds.

    Raises:
        CheckpointCorruptError: Its loops are damaged.
    """
    data, sections = restored.data, restored.sections
    try:
        loops = {loop.name: loop for loop in loops_in(sections)}
    except ValueError as error:
        raise CheckpointCorruptError(data.operation_id, str(restored.location), str(error)) from None
    collections = _collections_in(data.state, sections)
    return CheckpointView(
        operation_id=data.operation_id,
        state=data.state | {name: held for name, held in collections.items() if name in data.state},
        collections=collections,
        loops=loops,
        artifacts={one.name: one for one in artifacts_in(sections)},
        failed=failed_by_key(sections),
        history=history_in(sections),
        metadata=data.metadata,
        created_at=data.created_at,
        last_updated=data.last_updated,
        location=restored.location,
    )


def _collections_in(state: Mapping[str, Any], sections: Sections) -> dict[str, Any]:
    """Each durable collection as its own type; in the document a set is a list."""
    made = {name: (_MADE_OF[kind], state.get(name)) for name, kind in sections.collections.items()}
    return {name: held if type(held) is kind else kind(held or ()) for name, (kind, held) in made.items()}


# -- tables -----------------------------------------------------------------------------------------------------------


def tables_of(view: CheckpointView) -> dict[str, Any]:
    """The candidates if no name is given: the collections; without any, the dicts and lists in the state."""
    return view.collections or {name: held for name, held in view.state.items() if type(held) in _KIND_OF}


def held_in(view: CheckpointView, name: str | None = None) -> Any:
    """A mapping, log or set of *view*, or a dict or list in its state; without *name* the only one.

    Raises:
        ValueError: There is none of that name, or there is more than one.
    """
    tables = tables_of(view)
    if name is None and len(tables) == 1:
        return next(iter(tables.values()))
    of = f"the checkpoint of '{printable(view.operation_id)}'"
    if name is None:
        names = ", ".join(map(printable, tables))
        raise ValueError(
            f"{of} has several collections; say which one: {names}" if names else f"{of} has no mapping, log or set"
        )
    held = {**view.state, **view.collections}
    if name not in held:
        close = close_to(name, tables) or list(tables)
        hint = f". Did you mean: {', '.join(map(printable, close))}?" if close else ""
        raise ValueError(f"{of} has nothing named '{printable(name)}'{hint}")
    if type(held[name]) not in _KIND_OF:
        raise ValueError(f"'{printable(name)}' in {of} is not a mapping, log or set: {shortened(held[name])}")
    return held[name]


def table_in(view: CheckpointView, name: str | None = None, key_column: str | None = KEY) -> Table:
    """What :func:`held_in` gives, as a table.

    Raises:
        ValueError: See :func:`held_in`; or it cannot be a :class:`Table`.
    """
    return Table(held_in(view, name), key_column)
