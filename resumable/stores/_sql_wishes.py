"""Wishes in a database: one row for each operation whose owner has a pending request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .._errors import StoreError
from ._medium import row_key
from ._sql_dialect import Database, NoTablesError, Tables

T = TypeVar("T")
_TRIES = 20


class SQLWishes:
    """The table of wishes. See :class:`~resumable.stores.WishStore`.

    It is created if it is missing: databases of older releases have none.

    Args:
        database: The database with the table.
        tables: The names of the tables.
    """

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    def get(self, key: str) -> bytes | None:
        """The wish for *key*; None if there is none."""
        query = f"SELECT wish FROM {self._tables.wishes} WHERE operation = ?"
        rows = self._with_table(lambda: self._database.rows(query, row_key(key)))
        return bytes(rows[0][0]) if rows else None

    def put(self, key: str, wish: bytes) -> None:
        """Replace the wish for *key*.

        Raises:
            StoreError: The database cannot be written, or others keep replacing the wish. An older wish may stand.
        """
        self._with_table(lambda: self._put(row_key(key), wish))

    def _put(self, operation: str, wish: bytes) -> None:
        for _ in range(_TRIES):  # retry as often as others interfere
            query = f"UPDATE {self._tables.wishes} SET wish = ? WHERE operation = ?"
            if self._database.run(query, wish, operation):
                return
            query = f"INSERT INTO {self._tables.wishes} (operation, wish) VALUES (?, ?)"
            if self._database.insert(query, operation, wish):
                return
        raise StoreError(f"{self._database.address}: too many requests to one operation at once", is_transient=True)

    def clear(self, key: str, wish: bytes) -> None:
        """Remove *wish*."""
        query = f"DELETE FROM {self._tables.wishes} WHERE operation = ? AND wish = ?"
        self._with_table(lambda: self._database.run(query, row_key(key), wish))

    def _with_table(self, verb: Callable[[], T]) -> T:
        try:
            return verb()
        except NoTablesError:
            self._database.make(self._tables)
            return verb()
