"""Opens the database, SQLite or PostgreSQL, and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from teacher_server.errors import LedgerError

T = TypeVar("T")
BUSY_TIMEOUT_MS = 10_000
_WRITES = "ledger_writes"
_SYNCED = "ledger_synced"
_LEVEL = "ledger_synchronous"
_EXPECTED = "is not valid (expected sqlite:///PATH or postgresql://…)"


def open_engine(dsn: str) -> Engine:
    """An engine for the DSN; SQLite gets WAL, synchronous=FULL, foreign keys and a busy timeout.

    PostgreSQL gets the same lock timeout, and ends transactions that a stopped server left open.
    Nothing outlives its transaction there, so a pooler may give each transaction another session.
    For SQLite, `~` is the home folder, links are followed, and the folder is created. Raises
    LedgerError if that fails, the DSN is not valid or its driver is not installed.
    """
    url = database_url(dsn)
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        _create_folder(Path(str(url.database)))
    try:
        engine = create_engine(
            url,
            pool_pre_ping=not is_sqlite,
            hide_parameters=True,
            connect_args={} if is_sqlite else postgresql_arguments(),
        )
    except ArgumentError as error:
        # The original message may contain the DSN with its password.
        message = f"the database DSN {url.drivername}://… {_EXPECTED}"
        raise LedgerError(message) from error
    except ImportError as error:
        reason = str(error).splitlines()[0]
        message = f"the driver for {url.drivername} is not installed: {reason}"
        raise LedgerError(message) from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def postgresql_arguments() -> dict[str, Any]:
    """What each connection to PostgreSQL is opened with."""
    return {
        # Of a database without an encoding (SQL_ASCII), the driver would return bytes.
        "client_encoding": "utf8",
        # A prepared statement belongs to a session, and behind PgBouncer in transaction mode the
        # next transaction may have another one.
        "prepare_threshold": None,
    }


def database_url(dsn: str) -> URL:
    """The DSN as it is opened: with its driver, and SQLite's path with `~` and links followed.

    Raises LedgerError if it is not valid.
    """
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError) as error:
        message = f"the database DSN {_EXPECTED}"
        raise LedgerError(message) from error
    if url.drivername == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        return url
    if url.database in (None, "", ":memory:"):
        message = "the ledger needs a file: an in-memory database would lose what was paid"
        raise LedgerError(message)
    path = Path(str(url.database))
    try:
        found = path.expanduser()
        if not str(path).startswith("file:"):  # a URI, where the DSN says `uri=true`
            # The lock and the pepper are beside the file itself. Beside a link, there would be
            # others, and two servers could use one file.
            found = found.resolve()
    except (OSError, RuntimeError) as error:
        raise _no_folder(path, error) from error
    return url.set(database=str(found))


def _create_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(path, error) from error


def _no_folder(path: Path, error: Exception) -> LedgerError:
    reason = getattr(error, "strerror", None) or error
    return LedgerError(f"the folder of the ledger {path} cannot be created: {reason}")


@contextmanager
def write_transaction(engine: Engine, *, is_synced: bool = True) -> Iterator[Connection]:
    """One write transaction: committed at the end, rolled back on any exception.

    With SQLite, it holds the write lock from the start, so that nothing read in it can be stale.
    `is_synced=False` leaves it to the next synced commit to put this one on the disk, too: the loss
    of power may undo it, the end of the process does not. PostgreSQL syncs every commit.
    """
    options = {_WRITES: True, _SYNCED: is_synced or engine.dialect.name != "sqlite"}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def is_synced(connection: Connection) -> bool:
    """Whether the transaction of this connection is on the disk once it is committed."""
    return bool(connection.get_execution_options().get(_SYNCED, True))


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """One read transaction: a consistent snapshot that does not block others."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # By default, each statement of a transaction would see a newer state.
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver itself would only send a deferred BEGIN before writes. A deferred transaction that
    # starts to write fails with SQLITE_BUSY, whatever the busy timeout is.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get(_WRITES, False):
        return
    # For this transaction only. A server that was suspended or disconnected in a transaction would
    # hold its row locks forever.
    connection.exec_driver_sql(
        f"SELECT set_config('lock_timeout', '{BUSY_TIMEOUT_MS}', true), "
        f"set_config('idle_in_transaction_session_timeout', '{3 * BUSY_TIMEOUT_MS}', true)"
    )


def by_driver(call: Callable[..., T], *arguments: Any) -> T:
    """What `call`, of SQLite's driver, returns; its errors become those of SQLAlchemy."""
    try:
        return call(*arguments)
    except sqlite3.Error as error:
        raise DBAPIError.instance(None, None, error, sqlite3.Error, True) from error


def _begin_sqlite(connection: Connection) -> None:
    pooled = connection.connection
    cursor = pooled.cursor()
    try:
        if not connection.get_execution_options().get(_WRITES, False):
            by_driver(cursor.execute, "BEGIN")
            return
        # Set by each transaction, because the pool's connections serve both kinds.
        level = "FULL" if is_synced(connection) else "NORMAL"
        if pooled.info.get(_LEVEL) != level:
            by_driver(cursor.execute, f"PRAGMA synchronous = {level}")
            pooled.info[_LEVEL] = level
        by_driver(cursor.execute, "BEGIN IMMEDIATE")
    finally:
        cursor.close()
