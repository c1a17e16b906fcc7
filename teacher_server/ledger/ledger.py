"""Opens the ledger: migrates the database, takes the server's lock, builds the parts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from alembic.util import CommandError
from sqlalchemy import Engine, insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from teacher_server.database.engine import open_engine, write_transaction
from teacher_server.database.migrate import migrate
from teacher_server.database.server_locks import ServerLock, hold_server_lock
from teacher_server.database.tables import boots
from teacher_server.database.write_faults import write_fault
from teacher_server.database.writer import open_writer
from teacher_server.errors import LedgerError
from teacher_server.ledger.charges import Charges
from teacher_server.ledger.clock import Clock, unix_ms
from teacher_server.ledger.ended_sessions import EndedSessions
from teacher_server.ledger.key_use import KeyUse
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.pepper import load_pepper
from teacher_server.ledger.records import Records


@dataclass(frozen=True, slots=True)
class Ledger:
    """The parts of an open ledger; `boot_id` identifies this run of the server.

    `key_use` is None with SQLite, where one server counts in memory what each key uses.
    """

    keys: Keys
    charges: Charges
    records: Records
    ended_sessions: EndedSessions
    boot_id: str
    server_lock: ServerLock
    key_use: KeyUse | None

    def sweep(self) -> int:
        """Void the reservations of dead servers and expired leases; returns how many.

        Call it every few seconds: it also renews this server's lock, and frees what the requests
        of dead servers hold of their keys' limits.
        """
        self.server_lock.renew()
        voided = self.charges.void_dead() + self.charges.void_expired()
        # Last: a server whose death shows in between must not keep its requests until next time.
        if self.key_use is not None:
            self.key_use.sweep()
        return voided


@contextmanager
def open_database(dsn: str) -> Iterator[Engine]:
    """Open the database and migrate it to the newest schema; raises LedgerError if that fails.

    Also if the block ends with an error because the database takes no writes.
    """
    engine = open_engine(dsn)
    try:
        try:
            migrate(engine)
        except (SQLAlchemyError, CommandError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            message = f"the ledger {engine.url.render_as_string()} cannot be opened: {reason}"
            raise LedgerError(message) from error
        try:
            yield engine
        except DBAPIError as error:
            fault = write_fault(error)
            if fault is None:
                raise
            message = f"the ledger {engine.url.render_as_string()} cannot be written: {fault}"
            raise LedgerError(message) from error
    finally:
        engine.dispose()


@contextmanager
def open_ledger(
    engine: Engine, *, lease_seconds: int, clock: Clock = unix_ms, pepper: str | None = None
) -> Iterator[Ledger]:
    """The ledger of a running server, after voiding the reservations of dead servers.

    With SQLite, one server owns the file at a time (LedgerError otherwise), so all reservations of
    other boots belong to dead servers. With PostgreSQL, replicas share the database: each holds a
    lock that is freed when it dies, and leases decide in other cases. `pepper` is TEACHER_PEPPER.
    """
    boot_id = "boot_" + secrets.token_hex(8)
    keys = Keys(engine, clock=clock, pepper=load_pepper(engine, pepper))
    with hold_server_lock(engine, boot_id) as server_lock, open_writer(engine) as writer:
        charges = Charges(
            engine, writer, boot_id=boot_id, lease_ms=lease_seconds * 1000, clock=clock
        )
        records = Records(engine, clock=clock, boot_id=boot_id)
        ended = EndedSessions(engine, clock=clock)
        is_shared = engine.dialect.name == "postgresql"
        key_use = KeyUse(engine, boot_id=boot_id) if is_shared else None
        ledger = Ledger(keys, charges, records, ended, boot_id, server_lock, key_use)
        with write_transaction(engine) as connection:
            connection.execute(insert(boots).values(boot_id=boot_id, started_ms=clock(), note=""))
        ledger.sweep()
        yield ledger
