"""Opening the database: SQLite (embedded, durable) by default, PostgreSQL by its DSN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from teacher_server.errors import LedgerError

BUSY_TIMEOUT_MS = 10_000
_WRITES = "ledger_writes"
_EXPECTED = "cannot be read (expected sqlite:///PATH or postgresql://…)"


def open_engine(dsn: str) -> Engine:
    """An engine for the DSN; SQLite gets WAL, synchronous=FULL, foreign keys and a busy timeout.

    PostgreSQL waits as long for a lock, and ends a transaction that a stopped server left open.
    A SQLite file's `~` is the home folder, a link is followed, and its folder is made. Raises
    LedgerError when that cannot be, the DSN cannot be read or its driver is missing.
    """
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError) as error:
        message = f"the database DSN {_EXPECTED}"
        raise LedgerError(message) from error
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite and url.database in (None, "", ":memory:"):
        message = "the ledger needs a file: an in-memory database forgets what was paid"
        raise LedgerError(message)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if is_sqlite:
        url = url.set(database=str(_with_folder(Path(str(url.database)))))
    try:
        engine = create_engine(url, pool_pre_ping=not is_sqlite, hide_parameters=True)
    except ArgumentError as error:
        # Its own message may hold the DSN, and that a password.
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
        event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _with_folder(path: Path) -> Path:
    try:
        found = path.expanduser()
        if not str(path).startswith("file:"):  # a URI, where the DSN says `uri=true`
            # The lock and the pepper lie beside the file itself: under a link's name they would be
            # others, and two servers could run on one file.
            found = found.resolve()
        found.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"the folder of the ledger {path} cannot be made: {reason}"
        raise LedgerError(message) from error
    return found


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed at the end, rolled back on any exception.

    On SQLite it holds the write lock from its first statement, so nothing read in it can be stale.
    """
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction: a consistent snapshot that blocks nobody."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # Its default shows each statement of a transaction a newer state of the books.
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own transaction control sends a deferred BEGIN before DML only, and a deferred
    # transaction that turns into a writer fails with SQLITE_BUSY whatever the busy timeout is.
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


def _prepare_postgresql(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
    # A server that was stopped in the middle (SIGSTOP, a cut cable) would hold its row for ever.
    cursor.execute(f"SET idle_in_transaction_session_timeout = {3 * BUSY_TIMEOUT_MS}")
    cursor.close()
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
