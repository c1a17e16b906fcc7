"""Opening the books: migrate, take the server's lock, and hand out the parts."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, insert
from sqlalchemy.exc import SQLAlchemyError

from teacher_server.errors import LedgerError
from teacher_server.ledger.books import Books
from teacher_server.ledger.charges import Charges, Clock
from teacher_server.ledger.engine import open_engine, writing
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.migrate import migrate
from teacher_server.ledger.tables import boots


def unix_ms() -> int:
    """The time on every line of the ledger: Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Ledger:
    """The parts of the books that a server needs; `boot_id` names this run of it."""

    keys: Keys
    charges: Charges
    books: Books
    boot_id: str


@contextmanager
def opened(dsn: str) -> Iterator[Engine]:
    """The database at its newest schema, closed at the end; LedgerError says why it cannot be."""
    engine = open_engine(dsn)
    try:
        try:
            migrate(engine)
        except (SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            message = f"the ledger {engine.url.render_as_string()} cannot be opened: {reason}"
            raise LedgerError(message) from error
        yield engine
    finally:
        engine.dispose()


@contextmanager
def serving(engine: Engine, *, lease_seconds: int, clock: Clock = unix_ms) -> Iterator[Ledger]:
    """The ledger of a running server, with nothing left reserved by a server that died.

    On SQLite one server owns the file at a time (LedgerError otherwise), so every reservation of
    another boot is of a dead one. On PostgreSQL replicas share it, and leases decide.
    """
    boot_id = "boot_" + secrets.token_hex(8)
    charges = Charges(engine, boot_id=boot_id, lease_ms=lease_seconds * 1000, clock=clock)
    is_sole = engine.dialect.name == "sqlite"
    lock = _locked(Path(f"{engine.url.database}.server-lock")) if is_sole else None
    try:
        with writing(engine) as connection:
            connection.execute(insert(boots).values(boot_id=boot_id, started_ms=clock(), note=""))
        if is_sole:
            charges.void_dead()
        charges.void_expired()
        yield Ledger(Keys(engine, clock=clock), charges, Books(engine), boot_id)
    finally:
        if lock is not None:
            os.close(lock)


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
