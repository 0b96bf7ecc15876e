"""Checkpoints in a database: SQLite, PostgreSQL, MySQL and MariaDB.

A few tables hold any number of operations. A save is one row in ``segments``, written by one statement that also checks
the ownership: the primary key lets a number be used once, and the statement holds a shared lock on the row of the
operation, which blocks a take-over meanwhile. A snapshot is rows in ``pieces`` under a unique name, and is current when
the row in ``operations`` names it. No transaction has more than one statement, so a process that is suspended between
two statements locks nobody out.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from sqlalchemy.exc import IntegrityError

from .._errors import CheckpointCorruptError, StaleCheckpointError, StoreBehindError, StoreError
from .._runtime.processes import passed_seconds
from ._base import Entry, Holder, Stored, Traits
from ._medium import HeldError, Parameters, Staged, Unchanged, decoded, encoded, row_key, stale
from ._sql_dialect import Database, Held, NoTablesError, Tables, address_to_open, parsed
from ._sql_wishes import SQLWishes

_log = logging.getLogger("resumable")
_PIECE = 1 << 20
"""A size in bytes that every server accepts in one statement, whatever its settings."""
_LARGEST_SEGMENT = _PIECE
"""Larger segments are first written in pieces."""
_TRIES = 20
_LOOK_SECONDS = 1.0
"""How often, besides once on each new connection, a save checks that the last save still stands. This detects a server
that fails over, which ends connections, and a backup that is restored while a run is active."""


def open_url(url: str, parameters: Parameters) -> SQLStore:
    """The store in the database that *url* names.

    Raises:
        ValueError: It is not the URL of a database.
        ImportError: Its driver is missing.
    """
    found = parsed(url)
    database, place = Database(found), parameters.added_to(address_to_open(found))
    return SQLStore(
        database, Tables(parameters.table_prefix, database.quoted), place, parameters.added_to(database.address)
    )


class _Row(NamedTuple):
    """The columns of ``operations`` for one operation."""

    term: int
    nonce: str
    holder: str
    ttl: float
    lease_left: float
    renewals: int
    least: int
    snapshot: str | None
    base: int
    pieces: int
    previous: str | None
    previous_base: int
    previous_end: int


class SQLStore:
    """A :class:`~resumable.stores._medium.Medium` in a database.

    Args:
        place: The address that opens it again, without a password.
        site: The address without a user, for comparison.
    """

    def __init__(self, database: Database, tables: Tables, place: str, site: str) -> None:
        self.database = database
        self.tables = tables
        self._place, self._site = place, site
        self._unchanged = Unchanged()
        self.traits = Traits(
            is_remote=database.has_clock,
            keeps_summary=True,
            largest_piece=_PIECE,
            keeps_artifacts=True,
            looks_every=2.0,
        )
        wishes = SQLWishes(database, tables)
        self.wish, self.put_wish, self.clear_wish = wishes.get, wishes.put, wishes.clear

    def __repr__(self) -> str:
        return f"SQLStore({self._place!r})"

    def claim(self, key: str, me: Holder, *, ttl: float, take_over: bool | Holder = False) -> SQLLease:
        """Own *key*. See :meth:`Medium.claim`."""
        try:
            return self._claimed(key, me, ttl, take_over)
        except NoTablesError:
            self.database.make(self.tables)
            return self._claimed(key, me, ttl, take_over)

    def _claimed(self, key: str, me: Holder, ttl: float, take_over: bool | Holder) -> SQLLease:
        operation = row_key(key)
        for _ in range(_TRIES):  # retry as often as others interfere
            row = self.row(operation)
            if row is None:
                self._insert(operation, key, me, ttl)
            elif row.nonce == me.nonce:
                return self._lease(key, operation, row, me, ttl)
            else:
                self._take(key, operation, row, me, ttl, take_over)
        raise StoreError(f"too many processes try to take over {self.describe(key)} at once", is_transient=True)

    def _insert(self, operation: str, key: str, me: Holder, ttl: float) -> None:
        """Insert an owned row. Its numbers begin above those of any row that was removed."""
        now = self.database.now()
        millis, micros = (self.database.whole(f"{number} * {now}") for number in (1000, 1000000))
        with contextlib.suppress(IntegrityError):  # another process was first
            self.database.run(
                f"INSERT INTO {self.tables.operations} (id, name, term, renewals, least, base, size, pieces, "
                "previous_base, previous_end, ttl, lease_until, nonce, holder, summary) "
                f"VALUES (?, ?, {micros}, 0, {millis}, 0, 0, 0, 0, 0, ?, {now} + ?, ?, ?, ?)",
                *(operation, key.encode(), ttl, ttl, me.nonce, encoded(me), b""),
            )

    def _take(self, key: str, operation: str, row: _Row, me: Holder, ttl: float, take_over: bool | Holder) -> None:
        """Take the operation over from the state *row* if it has no owner, or the lease has expired. The caller checks.

        Raises:
            HeldError: Another owner has it.
        """
        holder, now = decoded(row.holder), self.database.now()
        is_free = not row.nonce or take_over is True
        is_free |= isinstance(take_over, Holder) and take_over.nonce == row.nonce
        if not is_free:
            lease, left = f"{row.nonce} {row.renewals}", row.lease_left
            if not self.database.has_clock:
                left = row.ttl - self._unchanged.seconds(key, lease)
            if left > 0:
                raise HeldError(holder, left, row.ttl - left, lease)
        micros = self.database.whole(f"1000000 * {self.database.now()}")
        self.database.run(
            f"UPDATE {self.tables.operations} "
            f"SET term = CASE WHEN term + 1 > {micros} THEN term + 1 ELSE {micros} END, "
            f"nonce = ?, holder = ?, ttl = ?, lease_until = {now} + ?, renewals = 0 "
            "WHERE id = ? AND nonce = ? AND renewals = ?",
            *(me.nonce, encoded(me), ttl, ttl, operation, row.nonce, row.renewals),
        )

    def _lease(self, key: str, operation: str, row: _Row, me: Holder, ttl: float) -> SQLLease:
        ((last, has_artifacts),) = self.database.rows(
            f"SELECT max(seq), EXISTS (SELECT 1 FROM {self.tables.artifacts} WHERE operation = ?) "
            f"FROM {self.tables.segments} WHERE operation = ?",
            *(operation, operation),
        )
        first = max(row.least, row.base + 1, (last or 0) + 1)
        self.remove_staged(operation, row)
        lease = SQLLease(self, key, operation, row.term, first, me, ttl)
        lease.has_artifacts = bool(has_artifacts)
        return lease

    def remove_staged(self, operation: str, row: _Row) -> None:
        """Remove pieces that nothing names, because their writer has ended."""
        kept = [name for name in (row.snapshot, row.previous) if name is not None]
        self.database.run(
            f"DELETE FROM {self.tables.pieces} WHERE operation = ? {'AND name <> ? ' * len(kept)}"
            f"AND name NOT IN (SELECT pieces FROM {self.tables.segments} WHERE operation = ? AND pieces IS NOT NULL) "
            f"AND {self.tables.is_owned}",
            *(operation, *kept, operation, operation, row.nonce),
        )

    def row(self, operation: str) -> _Row | None:
        """The row of *operation*; None if there is none."""
        rows = self.database.rows(
            f"SELECT term, nonce, holder, ttl, lease_until - {self.database.now()}, renewals, least, snapshot, base, "
            f"pieces, previous, previous_base, previous_end FROM {self.tables.operations} WHERE id = ?",
            operation,
        )
        return _Row(*rows[0]) if rows else None

    def read(self, key: str, *, previous: bool = False) -> Stored | None:
        """One consistent state of *key*, None if there is none. See :meth:`Medium.read`."""
        with contextlib.suppress(NoTablesError):
            return self._read(key, row_key(key), previous=previous)
        return None

    def _read(self, key: str, operation: str, *, previous: bool) -> Stored | None:
        problem = ""
        for _ in range(_TRIES):
            row = self.row(operation)
            name = row and (row.previous if previous else row.snapshot)
            if row is None or name is None:
                return None
            base, end = (row.previous_base, row.previous_end) if previous else (row.base, None)
            snapshot, journal = self._pieces(operation, name), self._journal(operation, base, end)
            again = self.row(operation)
            if again is not None and name == (again.previous if previous else again.snapshot):
                if previous or len(snapshot) == row.pieces:
                    return Stored(b"".join(snapshot), journal, self.describe(key))
                problem = f"{row.pieces - len(snapshot)} of its {row.pieces} pieces are missing"
                break
        if not problem:
            raise StoreError(f"{self.describe(key)} changes faster than it can be read", is_transient=True)
        raise CheckpointCorruptError(key, self.describe(key), problem, store=self._place)

    def _pieces(self, operation: str, name: str) -> list[bytes]:
        query = f"SELECT data FROM {self.tables.pieces} WHERE operation = ? AND name = ? ORDER BY number"
        return [bytes(data) for (data,) in self.database.rows(query, operation, name)]

    def _journal(self, operation: str, base: int, end: int | None) -> bytes:
        query = f"SELECT data, pieces FROM {self.tables.segments} WHERE operation = ? AND seq > ? "
        query += "ORDER BY seq" if end is None else "AND seq <= ? ORDER BY seq"
        rows = self.database.rows(query, operation, base, *(() if end is None else (end,)))
        return b"".join([bytes(data) if name is None else self.segment(operation, name) for data, name in rows])

    def segment(self, operation: str, name: str) -> bytes:
        """A segment that was too large for a row."""
        return b"".join(self._pieces(operation, name))

    def list(self, pattern: str = "*") -> Iterator[Entry]:
        """The operations whose id matches *pattern* (see :mod:`fnmatch`), by one query."""
        rows = []
        with contextlib.suppress(NoTablesError):
            rows = self.database.rows(
                f"SELECT o.name, o.size, o.term, o.nonce, o.holder, o.lease_until - {self.database.now()}, o.summary, "
                f"(SELECT s.summary FROM {self.tables.segments} s WHERE s.operation = o.id AND s.seq > o.base "
                f"ORDER BY s.seq DESC LIMIT 1) FROM {self.tables.operations} o WHERE o.snapshot IS NOT NULL"
            )
        for name, size, term, nonce, holder, left, older, newer in rows:
            key = bytes(name).decode()
            if fnmatchcase(key, pattern):
                is_held = bool(nonce) and left > 0
                summary = bytes(newer or older)  # an empty summary means: unchanged
                who = decoded(holder) if is_held else None
                yield Entry(key, self.describe(key), summary, size, term, who, left if is_held else None)

    def artifact_piece(self, key: str, name: str, number: int) -> bytes | None:
        """A piece of an artifact; None if there is none with that number."""
        query = f"SELECT data FROM {self.tables.artifacts} WHERE operation = ? AND name = ? AND number = ?"
        with contextlib.suppress(NoTablesError):
            for (data,) in self.database.rows(query, row_key(key), name, number):
                return bytes(data)
        return None

    def list_artifacts(self, key: str) -> Iterator[tuple[str, int]]:
        """Name and size of each artifact of *key*."""
        query = f"SELECT name, sum(length(data)) FROM {self.tables.artifacts} WHERE operation = ? GROUP BY name"
        with contextlib.suppress(NoTablesError):
            yield from [(name, int(size)) for name, size in self.database.rows(query, row_key(key))]

    def describe(self, key: str | None = None) -> str:
        """The address that opens the database again, without a password; with *key*, the operation's place in it."""
        return self._place if key is None else f"{self._site}#{key}"

    def close(self) -> None:
        """Close the unused connections."""
        self.database.close()


class SQLLease:
    """A :class:`~resumable.stores._medium.MediumLease` in a database.

    Saves use one connection that is held; everything else takes one from the pool, so it never waits for a save.
    """

    def __init__(
        self, store: SQLStore, key: str, operation: str, term: int, first: int, me: Holder, ttl: float
    ) -> None:
        self.term = term
        self.next = first
        self._store = store
        self._database = store.database
        self._key = key
        self._operation = operation
        self._nonce = me.nonce
        self._ttl = ttl
        self._held: Held | None = None
        self._large: dict[int, str] = {}
        self.has_artifacts = False
        tables, share = store.tables, self._database.share
        stands = f"(o.base >= ? OR EXISTS (SELECT 1 FROM {tables.segments} s WHERE s.operation = ? AND s.seq = ?))"
        insert = (
            f"INSERT INTO {tables.segments} (operation, seq, nonce, data, pieces, summary) "
            f"SELECT o.id, ?, ?, ?, ?, ? FROM {tables.operations} o "
            "WHERE o.id = ? AND o.nonce = ? AND o.snapshot IS NOT NULL"
        )
        self._append = self._database.sql(f"{insert} {share}")
        self._append_behind = self._database.sql(f"{insert} AND {stands} {share}")
        self._looked_at = float("-inf")

    def read(self) -> Stored | None:
        """What is stored."""
        return self._store.read(self._key)

    # -- saves

    def append(self, sequence: int, last: int | None, data: bytes, summary: bytes) -> None:
        """Add save *sequence* to the journal, by one statement. See :meth:`MediumLease.append`."""
        name, row = None, data
        if len(data) > _LARGEST_SEGMENT:
            name, row = self._put_large(sequence, data), b""
        known = last if last is not None else -1
        values: tuple[Any, ...] = (sequence, self._nonce, row, name, summary, self._operation, self._nonce)
        now = passed_seconds()
        statement, looks = self._append, self._held is None or now - self._looked_at > _LOOK_SECONDS
        if looks or not self._database.has_clock:
            statement, values = self._append_behind, (*values, known, self._operation, known)
        try:
            if self._run_held(statement, values) == 1:
                self._looked_at = now if looks else self._looked_at
                return
        except IntegrityError:
            pass  # perhaps an earlier attempt of ours
        self._look(sequence, last, row, name)

    def _run_held(self, statement: str, values: Sequence[Any]) -> int:
        try:
            self._held = self._held or self._database.held()
            return self._database.run_held(self._held, statement, values)
        except StoreError:
            self._let_go()
            raise

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with contextlib.suppress(Exception):
                held.connection.close()

    def _put_large(self, sequence: int, data: bytes) -> str:
        """Write a segment in pieces, outside of the rows. Returns the name of the pieces."""
        name = self._large.setdefault(sequence, f"large-{os.urandom(12).hex()}")
        for number, start in enumerate(range(0, len(data), _PIECE)):
            self.put_piece(name, number, data[start : start + _PIECE])
        return name

    def _look(self, sequence: int, last: int | None, data: bytes, name: str | None) -> None:
        """Save *sequence* was not added: return if it is there already, otherwise raise the reason."""
        rows = self._database.rows(
            f"SELECT nonce, data, pieces FROM {self._store.tables.segments} WHERE operation = ? AND seq = ?",
            *(self._operation, sequence),
        )
        if rows and (rows[0][0], bytes(rows[0][1]), rows[0][2]) == (self._nonce, data, name):
            return
        row = self._owned()
        if row.snapshot is None and last is None:
            raise StoreError(f"{self._key!r} has no snapshot that a save could be added to")
        if rows:  # another save has this number
            raise StaleCheckpointError(self._key)
        raise StoreBehindError(self._key)

    def _owned(self) -> _Row:
        """The operation's row, if this lease owns it.

        Raises:
            StaleCheckpointError: Another owner has it, or had it since.
            StoreBehindError: The database does not know of this claim any more.
        """
        row = self._store.row(self._operation)
        if row is None or row.term < self.term:
            raise StoreBehindError(self._key)
        if row.nonce != self._nonce:
            raise stale(self._key, decoded(row.holder))
        return row

    # -- snapshots

    def put_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece. See :meth:`MediumLease.put_piece`."""
        with contextlib.suppress(IntegrityError):  # an earlier attempt
            self._database.run(
                f"INSERT INTO {self._store.tables.pieces} (operation, name, number, data) VALUES (?, ?, ?, ?)",
                *(self._operation, name, number, data),
            )

    def put_artifact_piece(self, name: str, number: int, data: bytes) -> None:
        """Write a piece of an artifact. See :meth:`ArtifactMediumLease.put_artifact_piece`."""
        self._owned()
        with contextlib.suppress(IntegrityError):  # an earlier attempt
            self._database.run(
                f"INSERT INTO {self._store.tables.artifacts} (operation, name, number, data) VALUES (?, ?, ?, ?)",
                *(self._operation, name, number, data),
            )

    def keep_artifacts(self, names: Collection[str]) -> None:
        """Remove all artifacts except those with these *names*."""
        self._owned()
        query = f"SELECT DISTINCT name FROM {self._store.tables.artifacts} WHERE operation = ?"
        for (name,) in self._database.rows(query, self._operation):
            if name not in names:
                self._database.run(
                    f"DELETE FROM {self._store.tables.artifacts} WHERE operation = ? AND name = ?",
                    *(self._operation, name),
                )

    def commit(self, staged: Staged, last: int | None, summary: bytes) -> None:
        """Make *staged* the snapshot, by one statement. See :meth:`MediumLease.commit`."""
        is_compaction = last is not None and staged.sequence <= last
        end = last if is_compaction else staged.sequence
        before = self._owned()
        if before.snapshot != staged.name:
            self._check_last(before, last)
            self._put_in_place(staged, end, summary, keeps_summary=is_compaction and not summary)
            before_last = before.previous
        else:
            before_last = None
        with contextlib.suppress(StoreError):  # the next owner removes what stays
            self._remove_older(before_last)

    def _check_last(self, row: _Row, last: int | None) -> None:
        """Check that the segments after a new snapshot are all there; nobody else can change them meanwhile."""
        if last is None or row.base >= last:
            return
        query = f"SELECT 1 FROM {self._store.tables.segments} WHERE operation = ? AND seq = ?"
        if not self._database.rows(query, self._operation, last):
            raise StoreBehindError(self._key)

    def _put_in_place(self, staged: Staged, end: int | None, summary: bytes, *, keeps_summary: bool) -> None:
        tables = self._store.tables
        told = "" if keeps_summary else ", summary = ?"
        # In this order, because MySQL assigns from left to right.
        done = self._database.run(
            f"UPDATE {tables.operations} SET previous = snapshot, previous_base = base, previous_end = ?, "
            f"snapshot = ?, base = ?, pieces = ?, size = ?{told} WHERE id = ? AND nonce = ? "
            f"AND (SELECT count(*) FROM {tables.pieces} WHERE operation = ? AND name = ?) = ? "
            "AND (snapshot IS NULL OR snapshot <> ?)",
            *(end, staged.name, staged.sequence, staged.pieces, staged.size),
            *(() if keeps_summary else (summary,)),
            *(self._operation, self._nonce, self._operation, staged.name, staged.pieces, staged.name),
        )
        if done != 1 and self._owned().snapshot != staged.name:
            raise StoreBehindError(self._key)  # some of its pieces are lost

    def _remove_older(self, name: str | None) -> None:
        """Remove what neither the snapshot nor the previous one needs; *name* was the one before these."""
        tables, row = self._store.tables, self._owned()
        large = f"SELECT pieces FROM {tables.segments} WHERE operation = ? AND seq <= ? AND pieces IS NOT NULL"
        names = [one for (one,) in self._database.rows(large, self._operation, row.previous_base)]
        for one in {*names, name} - {None, row.snapshot, row.previous}:
            self._database.run(f"DELETE FROM {tables.pieces} WHERE operation = ? AND name = ?", self._operation, one)
        self._large = {number: one for number, one in self._large.items() if number > row.previous_base}
        self._database.run(
            f"DELETE FROM {tables.segments} WHERE operation = ? AND seq <= ?", self._operation, row.previous_base
        )

    # -- the claim

    def renew(self) -> None:
        """Extend the lease by its ttl. See :meth:`MediumLease.renew`."""
        done = self._database.run(
            f"UPDATE {self._store.tables.operations} SET lease_until = {self._database.now()} + ?, "
            "renewals = renewals + 1 WHERE id = ? AND nonce = ?",
            *(self._ttl, self._operation, self._nonce),
        )
        if done != 1:
            self._owned()

    def delete(self) -> bool:
        """Remove everything but the claim. Returns whether there was a snapshot."""
        tables, row = self._store.tables, self._owned()
        done = self._database.run(
            f"UPDATE {tables.operations} SET least = ?, snapshot = NULL, previous = NULL, base = 0, previous_base = 0, "
            "previous_end = 0, size = 0, pieces = 0 WHERE id = ? AND nonce = ?",
            *(self._least(row), self._operation, self._nonce),
        )
        if done != 1:
            self._owned()
        mine = (self._operation, self._operation, self._nonce)
        for table in (tables.segments, tables.pieces, tables.artifacts):
            self._database.run(f"DELETE FROM {table} WHERE operation = ? AND {tables.is_owned}", *mine)
        return row.snapshot is not None

    def _least(self, row: _Row) -> int:
        """One more than any number that was used."""
        query = f"SELECT max(seq) FROM {self._store.tables.segments} WHERE operation = ?"
        ((last,),) = self._database.rows(query, self._operation)
        return max(row.least, row.base + 1, (last or 0) + 1, self.next)

    def release(self) -> None:
        """End the claim; an operation without a snapshot leaves no row."""
        self._let_go()
        tables, row = self._store.tables, self._store.row(self._operation)
        if row is None or row.nonce != self._nonce:
            return
        self._store.remove_staged(self._operation, row)
        if row.snapshot is None:
            self._database.run(
                f"DELETE FROM {tables.operations} WHERE id = ? AND nonce = ? AND snapshot IS NULL",
                *(self._operation, self._nonce),
            )
        else:
            self._database.run(
                f"UPDATE {tables.operations} SET nonce = '', lease_until = 0 WHERE id = ? AND nonce = ?",
                *(self._operation, self._nonce),
            )
