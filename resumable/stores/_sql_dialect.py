"""The differences between databases: addresses, tables, clocks, syntax, errors, connections."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import mysql

from .._errors import StoreError
from .._text import HIDDEN, hidden

_log = logging.getLogger("resumable")
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
CONNECT_SECONDS, REQUEST_SECONDS = 5, 10
_TELL_WHERE = ("host", "hostaddr", "port", "service", "sslmode", "unix_socket", "target_session_attrs")
"""The parameters of a URL that people may see."""
_LONGEST_NAME, _LONGEST_ARTIFACT_NAME = 64, 80
_LEAST_SECRET = 3
_TRIES = 10
_MISSING_TABLE = ("42P01", "1146", "no such table")
_EXISTS = ("42P07", "23505", "1050", "already exists")
_FINAL_STATES = ("28", "3D", "42", "22", "23", "0A", "54")
"""Classes of SQLSTATE that are not transient: no permission, missing objects, wrong statements."""
_FINAL_NUMBERS = frozenset({1044, 1045, 1049, 1064, 1054, 1142, 1146, 1153, 1406})
_FINAL_WORDS = (
    *("authentication failed", "does not exist", "pg_hba.conf", "no such table", "unable to open", "readonly"),
    *("not a database", "disk is full", "malformed", "disk I/O", "no password supplied", "too big"),
)


def parsed(url: str) -> sa.URL:
    """*url* parsed by SQLAlchemy, with a default driver if it names none.

    Raises:
        ValueError: It cannot be the URL of a store. The text contains none of its secrets.
    """
    scheme, _, rest = url.partition("://")
    try:
        found = sa.make_url(f"{_DRIVERS.get(scheme.lower(), scheme)}://{rest}")
        found = found.set(port=found.port)
        is_async = found.get_dialect().is_async
    except (exc.ArgumentError, ValueError):
        raise ValueError(f"{hidden(url)} is not the URL of a database") from None
    if is_async:
        raise ValueError(
            f"{scheme}:// is a driver for async code only; write {scheme.partition('+')[0]}://, which works in async "
            "code, too"
        )
    if found.get_backend_name() != "sqlite":
        if not found.database:
            raise ValueError(f"{address(found)} names no database: {scheme}://user@host/database")
        return found
    if not found.database or found.database == ":memory:":
        raise ValueError("sqlite:// needs a file, sqlite:///file.db; to keep checkpoints in memory, use memory://name")
    return found.set(database=os.path.abspath(os.path.expanduser(found.database)))


def address(url: sa.URL) -> str:
    """The address of the database, without user, password and options."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    host = url.host or url.query.get("host") or url.query.get("unix_socket") or ""
    host = ",".join(host) if isinstance(host, tuple) else host
    host = f"[{host}]" if host.count(":") > 1 and "," not in host else host
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{host}{port}/{url.database}"


def address_to_open(url: sa.URL) -> str:
    """The address that opens the database again, without a password: with the user and the options that locate it."""
    if url.get_backend_name() == "sqlite":
        return address(url)
    told = {name: value for name, value in url.query.items() if name in _TELL_WHERE}
    driver = url.get_backend_name() if url.drivername in _DRIVERS.values() else url.drivername
    shown = sa.URL.create(driver, url.username, None, url.host, url.port, url.database, told)
    return hidden(shown.render_as_string())


class Tables:
    """The tables of a store; created if they are missing."""

    def __init__(self, prefix: str, quote: Callable[[str], str]) -> None:
        prefix = prefix or "resumable_"
        # Capitals, or a digit in front, are something else to a database unless they are quoted.
        self.operations, self.segments = quote(f"{prefix}operations"), quote(f"{prefix}segments")
        self.pieces, self.artifacts = quote(f"{prefix}pieces"), quote(f"{prefix}artifacts")
        self.wishes = quote(f"{prefix}wishes")
        # An owner that stood still for longer than its lease must remove nothing of the next one's.
        self.is_owned = f"EXISTS (SELECT 1 FROM {self.operations} WHERE id = ? AND nonce = ?)"
        self.metadata = sa.MetaData()
        # MySQL's defaults compare without case and trailing spaces, and its utf8 has only three bytes.
        options: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}
        data = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
        name, number = sa.String(_LONGEST_NAME), sa.BigInteger
        sa.Table(
            f"{prefix}operations",
            self.metadata,
            sa.Column("id", name, primary_key=True),
            sa.Column("name", data, nullable=False),
            *(sa.Column(each, number, nullable=False) for each in ("term", "renewals", "least", "base", "size")),
            *(sa.Column(each, number, nullable=False) for each in ("pieces", "previous_base", "previous_end")),
            *(sa.Column(each, sa.Float(53), nullable=False) for each in ("ttl", "lease_until")),
            *(sa.Column(each, name) for each in ("snapshot", "previous")),
            sa.Column("nonce", name, nullable=False),
            sa.Column("holder", sa.Text, nullable=False),
            sa.Column("summary", data, nullable=False),
            **options,
        )
        sa.Table(
            f"{prefix}segments",
            self.metadata,
            sa.Column("operation", name, primary_key=True),
            sa.Column("seq", number, primary_key=True, autoincrement=False),
            sa.Column("nonce", name, nullable=False),
            sa.Column("data", data, nullable=False),
            sa.Column("pieces", name),
            sa.Column("summary", data, nullable=False),
            **options,
        )
        sa.Table(
            f"{prefix}wishes",
            self.metadata,
            sa.Column("operation", name, primary_key=True),
            sa.Column("wish", data, nullable=False),
            **options,
        )
        for table, kind in (("pieces", name), ("artifacts", sa.String(_LONGEST_ARTIFACT_NAME))):
            sa.Table(
                f"{prefix}{table}",
                self.metadata,
                sa.Column("operation", name, primary_key=True),
                sa.Column("name", kind, primary_key=True),
                sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
                sa.Column("data", data, nullable=False),
                **options,
            )


class Held(NamedTuple):
    """A connection that one user holds, and its cursor."""

    connection: sa.Connection
    cursor: Any


class Database:
    """Connections to one database. Each statement is a transaction: a process that is suspended locks nothing.

    Attributes:
        address: Its address, for people.
        has_clock: Whether it has a clock that all its users share.
        share: A SELECT with this ending blocks changes of the rows it has read until the statement ends.
    """

    def __init__(self, url: sa.URL) -> None:
        self.address = address(url)
        self._secrets = [str(text) for text in (url.password, *_secrets_in(url)) if text]
        self.dialect = url.get_backend_name()
        self.has_clock = self.dialect != "sqlite"
        self.share = {"postgresql": "FOR SHARE OF o", "mysql": "LOCK IN SHARE MODE"}.get(self.dialect, "")
        self._mark = "?" if self.dialect == "sqlite" else "%s"
        self._file = Path(url.database or "") if self.dialect == "sqlite" else None
        self._pid = os.getpid()
        self._making = threading.Lock()
        self._engine = self._made(url)

    def _made(self, url: sa.URL) -> sa.Engine:
        arguments: dict[str, Any] = {}
        if self.dialect == "postgresql":
            # Prepared statements do not work through a pooler.
            arguments = {"prepare_threshold": None, "connect_timeout": CONNECT_SECONDS}
            arguments |= {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3}
            arguments |= {"tcp_user_timeout": REQUEST_SECONDS * 1000}
            arguments = {name: value for name, value in arguments.items() if name not in url.query}
        elif self.dialect == "mysql":
            arguments = {"connect_timeout": CONNECT_SECONDS, "charset": "utf8mb4"}
            arguments |= {"read_timeout": REQUEST_SECONDS, "write_timeout": REQUEST_SECONDS}
        elif self.dialect == "sqlite":
            arguments = {"timeout": REQUEST_SECONDS, "check_same_thread": False}
        engine = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=2,
            max_overflow=-1,
            pool_reset_on_return=None,
            skip_autocommit_rollback=True,
            hide_parameters=True,
            connect_args=arguments,
        )
        if self.dialect == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        elif engine.dialect.driver == "psycopg":
            event.listen(engine, "do_connect", _impatient_connect())
        return engine

    def now(self) -> str:
        """An SQL expression for the database's time in seconds; without a clock of its own, this machine's time."""
        if self.dialect == "postgresql":
            return "extract(epoch from clock_timestamp())::float8"
        if self.dialect == "mysql":
            return "(0e0 + unix_timestamp(now(6)))"
        return f"{time.time():.6f}"

    def whole(self, number: str) -> str:
        """An SQL expression for *number* without its fraction."""
        return f"cast({number} as {'signed' if self.dialect == 'mysql' else 'bigint'})"

    def sql(self, text: str) -> str:
        """*text*, whose parameters are ``?``, in the driver's syntax."""
        return text.replace("?", self._mark)

    def quoted(self, name: str) -> str:
        """The name of a table, as a statement needs it."""
        return self._engine.dialect.identifier_preparer.quote(name)

    # -- connections

    def connection(self) -> sa.Connection:
        """A connection from the pool.

        Raises:
            StoreError: The database cannot be reached, or this process was forked from the one that opened it.
        """
        if os.getpid() != self._pid:
            raise StoreError(
                f"{self.address} was opened by process {self._pid}, from which this one was forked; connections cannot "
                "be shared. Open the store after the fork, or start processes with spawn or forkserver."
            )
        with self.failing():
            if self._file is not None:
                _make_file(self._file)
            return self._engine.connect()

    @contextlib.contextmanager
    def _used(self) -> Iterator[sa.Connection]:
        """A connection for one statement."""
        connection = self.connection()
        try:
            with self.failing(connection):
                yield connection
        finally:
            with contextlib.suppress(Exception):  # the statement has ended, well or not
                connection.close()

    def run(self, text: str, *values: Any) -> int:
        """Run a statement that writes. Returns the number of affected rows.

        Raises:
            StoreError: It failed. If the error is transient, the write may have succeeded.
            sqlalchemy.exc.IntegrityError: The row exists already.
        """
        with self._used() as connection:
            return connection.exec_driver_sql(self.sql(text), values).rowcount

    def insert(self, text: str, *values: Any) -> bool:
        """Run an INSERT as :meth:`run` does. False if the row exists already."""
        try:
            return self.run(text, *values) > 0
        except exc.IntegrityError:
            return False

    def run_held(self, held: Held, statement: str, values: Sequence[Any]) -> int:
        """Run a *statement* from :meth:`sql` on a *held* connection. Returns the number of affected rows."""
        try:
            held.cursor.execute(statement, values)
        except self._driver.IntegrityError as error:
            raise exc.IntegrityError(statement, None, error) from None
        except Exception:
            with self.failing(held.connection):
                raise
        return int(held.cursor.rowcount)

    def held(self) -> Held:
        """A connection to hold. The driver's own cursor takes half the time of a pool and its wrappers."""
        connection = self.connection()
        with self.failing(connection):
            return Held(connection, connection.connection.cursor())

    def rows(self, text: str, *values: Any) -> list[Any]:
        """The rows of a query."""
        with self._used() as connection:
            return [*connection.exec_driver_sql(self.sql(text), values).all()]

    def make(self, tables: Tables) -> None:
        """Create the missing *tables*; others may be doing so at once."""
        with self._making:
            for attempt in range(_TRIES):
                try:
                    with self._used() as connection:
                        tables.metadata.create_all(connection)
                    return
                except (StoreError, exc.IntegrityError) as error:  # in PostgreSQL, two CREATE statements can collide
                    if attempt == _TRIES - 1 or not _says(error, _EXISTS):
                        raise

    def close(self) -> None:
        """Close all unused connections."""
        if os.getpid() == self._pid:
            self._engine.dispose()

    @property
    def _driver(self) -> Any:
        return self._engine.dialect.loaded_dbapi

    # -- errors

    @contextlib.contextmanager
    def failing(self, connection: sa.Connection | None = None) -> Iterator[None]:
        """Turn errors into a StoreError; a connection in doubt is not used again."""
        try:
            yield
        except exc.IntegrityError:
            raise
        except (exc.SQLAlchemyError, OSError) as error:
            self._drop(connection, error)
            raise self._translated(error) from None
        except Exception as error:
            # Errors at a checkout are not always wrapped.
            if not isinstance(error, self._driver.Error):
                raise
            self._drop(connection, error)
            raise self._translated(error) from None

    def _drop(self, connection: sa.Connection | None, error: BaseException) -> None:
        if connection is not None and not _says(error, _MISSING_TABLE):
            with contextlib.suppress(Exception):
                connection.invalidate()

    def _translated(self, error: BaseException) -> StoreError:
        original = getattr(error, "orig", None) or error
        text = " ".join(str(original).split())
        for secret in self._secrets:
            if len(secret) >= _LEAST_SECRET:
                text = text.replace(secret, HIDDEN)
        if _says(error, _MISSING_TABLE):
            return NoTablesError(f"{self.address} has no tables of checkpoints")
        if "statement pooling mode" in text:
            text = f"{text.rstrip('.')}. Set pool_mode = transaction, or session, in PgBouncer"
        if "unable to open database file" in text:
            text = f"{text}; this user must be able to write to it and to its folder"
        is_transient = _may_pass(original)
        stands = "" if is_transient else " What was saved before still stands."
        return StoreError(f"{self.address}: {hidden(text)[:300]}.{stands}", is_transient=is_transient)


class NoTablesError(StoreError):
    """Nothing has been saved in this database yet."""


def _secrets_in(url: sa.URL) -> Iterator[str]:
    for name, value in url.query.items():
        if "pass" in name or "key" in name or "token" in name or "secret" in name:
            yield from (value,) if isinstance(value, str) else value


def _codes(error: BaseException) -> tuple[str, str]:
    """SQLSTATE, and the number of a MySQL error; "" without one."""
    original = getattr(error, "orig", None) or error
    number = original.args[0] if original.args and isinstance(original.args[0], int) else ""
    return getattr(original, "sqlstate", None) or "", str(number)


def _says(error: BaseException, what: Sequence[str]) -> bool:
    return not {*_codes(error)}.isdisjoint(what) or any(" " in one and one in str(error) for one in what)


def _may_pass(error: BaseException) -> bool:
    state, number = _codes(error)
    if state:
        return not state.startswith(_FINAL_STATES)
    if number:
        return int(number) not in _FINAL_NUMBERS
    return not any(word in str(error) for word in _FINAL_WORDS)


# -- PostgreSQL
#
# libpq waits for ever if a server hangs while its machine answers. Neither a save nor the renewal of a lease can wait
# that long. A server's own time limit would have to be set in each session, which does not work through a pooler; and a
# server that hangs does not obey it.


def _impatient_connect() -> Callable[..., Any]:
    """A listener for SQLAlchemy's event ``do_connect``: its connections give up on a server that does not answer."""
    import psycopg

    class ImpatientConnection(psycopg.Connection[Any]):
        """Raises psycopg.OperationalError when the server says nothing for :data:`REQUEST_SECONDS`."""

        def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
            """Run *gen*, which yields what it waits for."""
            return super().wait(_impatient(gen, psycopg.OperationalError), *args, **kwargs)

    return lambda dialect, record, arguments, options: ImpatientConnection.connect(*arguments, **options)


def _impatient(steps: Generator[Any, Any, Any], error: type[Exception]) -> Generator[Any, Any, Any]:
    """Run *steps*, sending what is ready, or nothing after a while; raises *error* if that takes too long."""
    try:
        awaited, heard_at = next(steps), time.monotonic()
        while True:
            ready = yield awaited
            if ready:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > REQUEST_SECONDS:
                steps.close()
                raise error(f"the server has not answered for {REQUEST_SECONDS:g} s")
            awaited = steps.send(ready)
    except StopIteration as stop:
        return stop.value


# -- SQLite


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _make_file(path: Path) -> None:
    """Create the file and its folder, for their owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
