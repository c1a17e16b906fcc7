"""Stored answers: written with their charge, deleted because of their age in small transactions.

The charge stays, and its Idempotency-Key with it. An answer that is missing although it is too
young to have been deleted is a fault; up to which age answers were deleted is recorded before they
are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.prepared import Prepared
from teacher_server.database.tables import answers, purges, requests
from teacher_server.ledger.clock import Clock

# With PostgreSQL, nobody waits for a deletion. With SQLite every other write does, and an answer
# may have 200 kB.
_AT_ONCE = {"postgresql": 500, "sqlite": 50}
# A write to SQLite that waits for another one looks again after 100 ms, at the latest.
_SQLITE_PAUSE_SECONDS = 0.1
_WHAT = "answers"
_STORE = Prepared(insert(answers), columns=("request_id", "charged_ms", "body"))
_RECORD_AGE = text(
    "INSERT INTO purges (what, before_ms) VALUES (:what, :before_ms) "
    "ON CONFLICT (what) DO UPDATE SET before_ms = excluded.before_ms "
    "WHERE purges.before_ms < excluded.before_ms"
)


def store_answer(connection: Connection, request_id: str, body: bytes, now: int) -> None:
    """Store the answer of a request, before the request itself is marked as charged."""
    _STORE.change(connection, {"request_id": request_id, "charged_ms": now, "body": body})


def delete_answer(connection: Connection, request_id: str, now: int) -> None:
    """Delete the answer of one charged request, whatever its age, and record that in its row."""
    connection.execute(
        update(requests).where(requests.c.request_id == request_id).values(purged_ms=now)
    )
    connection.execute(delete(answers).where(answers.c.request_id == request_id))


def purged_before(connection: Connection) -> int:
    """Answers charged before this time (Unix milliseconds) may have been deleted; 0 is never."""
    found = connection.scalar(select(purges.c.before_ms).where(purges.c.what == _WHAT))
    return 0 if found is None else found


def purge_in_batches(
    engine: Engine, older_than_ms: int, *, clock: Clock, at_once: int | None = None
) -> Iterator[int]:
    """Delete the answers charged before this time, oldest first; yields how many, by transaction.

    Between two steps nothing is locked, so it may be left at any of them. With PostgreSQL, sales
    do not wait for it, and what another server is deleting is left to that. With SQLite, there is
    a pause between two transactions in which the writes that wait for it are made.
    """
    # Not beyond now: the audit excuses whatever is missing from before this time.
    before = min(older_than_ms, clock() + 1)
    with read_transaction(engine) as connection:
        since = connection.scalar(select(func.min(answers.c.charged_ms)))
    if since is None or since >= before:
        return
    with write_transaction(engine) as connection:
        connection.execute(_RECORD_AGE, {"what": _WHAT, "before_ms": before})
    size = at_once or _AT_ONCE[engine.dialect.name]
    while True:
        deleted, last = _purge(engine, since, before, size)
        if deleted:
            yield deleted
        if deleted < size:
            return
        # Not from the start again: PostgreSQL's index holds what was deleted until VACUUM.
        since = last
        if engine.dialect.name == "sqlite":
            time.sleep(_SQLITE_PAUSE_SECONDS)


def _purge(engine: Engine, since: int, before: int, size: int) -> tuple[int, int]:
    """Delete a batch; returns how many it had, and when the last of them was charged."""
    # Not synced: without power, answers that were to be deleted are there again.
    with write_transaction(engine, is_synced=False) as connection:
        old = connection.execute(
            select(answers.c.request_id, answers.c.charged_ms)
            .where(answers.c.charged_ms >= since, answers.c.charged_ms < before)
            .order_by(answers.c.charged_ms)
            .limit(size)
            .with_for_update(skip_locked=True)
        ).all()
        if not old:
            return 0, since
        connection.execute(
            delete(answers).where(answers.c.request_id.in_([row.request_id for row in old]))
        )
    return len(old), old[-1].charged_ms
