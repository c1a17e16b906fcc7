"""Detects dead servers: each server holds a lock that is freed however its process ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from teacher_server.errors import LedgerError

# For this transaction only; PostgreSQL 17 has the second one.
_NO_TIME_LIMITS = (
    "SELECT set_config(name, '0', true) FROM pg_settings "
    "WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
)


class ServerLock(Protocol):
    """The lock of a running server."""

    def renew(self) -> None:
        """Acquire the lock again if it was lost."""


@contextmanager
def hold_server_lock(engine: Engine, boot_id: str) -> Iterator[ServerLock]:
    """Hold this server's lock until the block ends, so that others know that it is running.

    With SQLite, one server owns the file at a time; raises LedgerError if there is another server.
    """
    if engine.dialect.name == "sqlite":
        lock = _lock_file(Path(f"{engine.url.database}.server-lock"))
        try:
            yield _FileLock()
        finally:
            os.close(lock)
        return
    session = _AdvisoryLock(engine, boot_id)
    session.renew()
    try:
        yield session
    finally:
        session.close()


def server_is_dead(connection: Connection, boot_id: str) -> bool:
    """Whether another server is dead; with PostgreSQL, it stays so for this transaction."""
    if connection.dialect.name == "sqlite":
        return True  # the caller holds the file's lock, so all other servers are dead
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(lock_number(boot_id)))))


class _FileLock:
    def renew(self) -> None:
        """Nothing to do: a process cannot lose the lock on a file."""


class _AdvisoryLock:
    """An advisory lock in a PostgreSQL transaction of its own, which stays open.

    It is freed when the transaction ends: with the connection, however the process dies. A lock of
    the session would not do, because behind PgBouncer in transaction mode a session belongs to
    nobody. Losing the lock for a while costs no money: another server may then void what this
    server has reserved, and the charges of this server then fail with ReservationGone.
    """

    def __init__(self, engine: Engine, boot_id: str) -> None:
        self._engine = engine
        self._boot_id = boot_id
        self._connection: Connection | None = None

    def renew(self) -> None:
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
            except DBAPIError:
                self.close()
        if self._connection is None:
            self._connection = self._acquire()

    def close(self) -> None:
        if self._connection is None:
            return
        # Rolled back explicitly, because the database takes a moment to notice that a connection
        # ended, and a server that starts now must find the lock free. A broken one frees its lock.
        with suppress(SQLAlchemyError):
            self._connection.rollback()
        self._connection.close()
        self._connection = None

    def _acquire(self) -> Connection | None:
        # In this level, a transaction that waits keeps no snapshot, which would hold up VACUUM.
        connection = self._engine.connect().execution_options(isolation_level="READ COMMITTED")
        # Held for hours, so it must not count as one of the pool's connections for requests.
        connection.detach()
        connection.exec_driver_sql(_NO_TIME_LIMITS)
        number = lock_number(self._boot_id)
        if connection.scalar(select(func.pg_try_advisory_xact_lock(number))):
            return connection
        # The broken connection still exists in the database; the next sweep tries again.
        connection.close()
        return None


def lock_number(boot_id: str) -> int:
    """The number of a server's advisory lock in PostgreSQL."""
    return int.from_bytes(hashlib.sha256(boot_id.encode()).digest()[:8], "big", signed=True)


def _lock_file(path: Path) -> int:
    # The lock belongs to the open file, so the kernel frees it however the process ends.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another server is using this ledger (it holds {path})"
        raise LedgerError(message) from error
    return descriptor
