"""Which servers are alive: each holds a lock that its death frees, however it dies."""

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


class Life(Protocol):
    """The lock of a running server."""

    def renew(self) -> None:
        """Take the lock again if it was lost on the way."""


@contextmanager
def alive(engine: Engine, boot_id: str) -> Iterator[Life]:
    """Be known as alive to the other servers of this database until the end.

    On SQLite there are no others: one server owns the file at a time, LedgerError otherwise.
    """
    if engine.dialect.name == "sqlite":
        lock = _locked(Path(f"{engine.url.database}.server-lock"))
        try:
            yield _Sole()
        finally:
            os.close(lock)
        return
    session = _Session(engine, boot_id)
    session.renew()
    try:
        yield session
    finally:
        session.close()


def is_dead(connection: Connection, boot_id: str) -> bool:
    """Whether that boot, not this one, is gone; on PostgreSQL it cannot come back meanwhile."""
    if connection.dialect.name == "sqlite":
        return True  # whoever asks holds the file's lock, so that it is the only one alive
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(lock_number(boot_id)))))


class _Sole:
    def renew(self) -> None:
        """The file's lock is the process's own; it cannot be lost."""


class _Session:
    """A PostgreSQL session of its own that holds an advisory lock; the server frees it at its end.

    A lock that is lost for a while costs no money: another server may then void what this one
    has reserved, and this one's posts find their reservation gone and charge nothing.
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
            self._connection = self._taken()

    def close(self) -> None:
        if self._connection is None:
            return
        # The database notices a moment later that a session ended; a server that starts at once
        # is to find this one gone. If the session broke, its lock is free or will be.
        with suppress(SQLAlchemyError):
            self._connection.scalar(select(func.pg_advisory_unlock(lock_number(self._boot_id))))
        self._connection.close()
        self._connection = None

    def _taken(self) -> Connection | None:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # Held for hours: the pool, whose connections are for requests, is not to count it.
        connection.detach()
        number = lock_number(self._boot_id)
        if connection.scalar(select(func.pg_try_advisory_lock(number))):
            return connection
        # The session that broke off still stands on the database's side; the next round sees.
        connection.close()
        return None


def lock_number(boot_id: str) -> int:
    """The number of a boot's advisory lock on PostgreSQL."""
    return int.from_bytes(hashlib.sha256(boot_id.encode()).digest()[:8], "big", signed=True)


def _locked(path: Path) -> int:
    # The lock belongs to the open file, so the kernel frees it when the process dies in any way.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another server is using this ledger (it holds {path})"
        raise LedgerError(message) from error
    return descriptor
