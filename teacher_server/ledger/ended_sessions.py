"""Remembers the sessions of the web pages that were ended: a copy of their cookie is refused."""

from __future__ import annotations

import hashlib

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.tables import ended_sessions
from teacher_server.ledger.clock import Clock


class EndedSessions:
    """The ended sessions of a ledger, for all servers that share it; only digests are stored."""

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def end(self, token: str, *, seconds: int) -> None:
        """End the session of this token, whose cookie is too old after `seconds` at the latest.

        Ending it twice changes nothing. Rows of cookies that are too old by now are deleted.
        """
        now = self._clock()
        row = {"token_sha256": _digest(token), "until_ms": now + seconds * 1000}
        try:
            with write_transaction(self._engine) as connection:
                connection.execute(delete(ended_sessions).where(ended_sessions.c.until_ms < now))
                connection.execute(insert(ended_sessions).values(row))
        except IntegrityError:
            return  # it was ended before, or at the same moment by another request

    def has(self, token: str) -> bool:
        """Whether the session of this token was ended."""
        row = ended_sessions.c.token_sha256
        with read_transaction(self._engine) as connection:
            return connection.scalar(select(row).where(row == _digest(token))) is not None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
