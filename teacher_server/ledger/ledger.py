"""Opening the books: migrate, take the server's lock, and hand out the parts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, insert
from sqlalchemy.exc import SQLAlchemyError

from teacher_server.database.engine import open_engine, writing
from teacher_server.database.migrate import migrate
from teacher_server.database.server_locks import Life, alive
from teacher_server.database.tables import boots
from teacher_server.errors import LedgerError
from teacher_server.ledger.books import Books
from teacher_server.ledger.charges import Charges
from teacher_server.ledger.clock import Clock, unix_ms
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.pepper import load_pepper

__all__ = ["Ledger", "opened", "serving", "unix_ms"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The parts of the books that a server needs; `boot_id` names this run of it."""

    keys: Keys
    charges: Charges
    books: Books
    boot_id: str
    life: Life

    def sweep(self) -> int:
        """Give back what dead servers and late requests hold; how many reservations.

        To be called every few seconds: it also keeps this server known as alive.
        """
        self.life.renew()
        return self.charges.void_dead() + self.charges.void_expired()


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
def serving(
    engine: Engine, *, lease_seconds: int, clock: Clock = unix_ms, pepper: str | None = None
) -> Iterator[Ledger]:
    """The ledger of a running server, with nothing left reserved by a server that died.

    On SQLite one server owns the file at a time (LedgerError otherwise), so every reservation of
    another boot is of a dead one. On PostgreSQL replicas share it: each holds a lock that its death
    frees, and leases decide where that cannot tell. `pepper` is TEACHER_PEPPER, if set.
    """
    boot_id = "boot_" + secrets.token_hex(8)
    keys = Keys(engine, clock=clock, pepper=load_pepper(engine, pepper))
    charges = Charges(engine, boot_id=boot_id, lease_ms=lease_seconds * 1000, clock=clock)
    with alive(engine, boot_id) as life:
        with writing(engine) as connection:
            connection.execute(insert(boots).values(boot_id=boot_id, started_ms=clock(), note=""))
        ledger = Ledger(keys, charges, Books(engine, clock=clock), boot_id, life)
        ledger.sweep()
        yield ledger
