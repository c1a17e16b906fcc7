"""Requests as rows of the ledger: what became of an earlier one, a refusal, a release.

Each function but one works in the transaction of its connection.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, select, update

from teacher_server.database.prepared import Prepared, Record
from teacher_server.database.tables import accounts, answers, requests
from teacher_server.ledger.append import unknown_key
from teacher_server.ledger.purchase import (
    Earlier,
    InFlight,
    KeyReused,
    Purchase,
    Purged,
    Refused,
    Replay,
)

_EARLIER = Prepared(
    select(requests.c.request_id, requests.c.payload_sha256, requests.c.state, answers.c.body)
    .select_from(requests.outerjoin(answers, answers.c.request_id == requests.c.request_id))
    .where(
        requests.c.key_id == bindparam("of_key"),
        requests.c.idempotency_key == bindparam("named"),
        requests.c.state != "voided",
    )
)


def find_earlier(connection: Connection, purchase: Purchase) -> Earlier | None:
    return _earlier(_EARLIER.row(connection, _named(purchase)), purchase)


def find_earlier_now(engine: Engine, purchase: Purchase) -> Earlier | None:
    """`find_earlier`, in a transaction of its own."""
    return _earlier(_EARLIER.row_now(engine, _named(purchase)), purchase)


def _named(purchase: Purchase) -> dict[str, str]:
    return {"of_key": purchase.key_id, "named": purchase.idempotency_key}


def _earlier(row: Record | None, purchase: Purchase) -> Earlier | None:
    if row is None:
        return None
    return outcome_of(row) if row.payload_sha256 == purchase.payload_sha256 else KeyReused()


def outcome_of(row: Record) -> Replay | Purged | InFlight:
    """The outcome of a request that was not voided; its row has request_id, state and body."""
    if row.state != "posted":
        return InFlight()
    return Purged(row.request_id) if row.body is None else Replay(row.body)


def refused(connection: Connection, key_id: str, units: int) -> Refused:
    row = connection.execute(
        select(accounts.c.budget_units, accounts.c.spent_units).where(accounts.c.id == key_id)
    ).one_or_none()
    if row is None:
        raise unknown_key(key_id)
    remaining = row.budget_units - row.spent_units
    return Refused(needed=units, remaining=remaining, is_temporary=units <= remaining)


def void(connection: Connection, which: ColumnElement[bool], now: int) -> int:
    # Ordered by account, and skipping requests that are being posted, so that sweeps and posts
    # cannot deadlock.
    rows = connection.execute(
        select(requests.c.request_id, requests.c.key_id, requests.c.units)
        .where(which, requests.c.state == "reserved")
        .order_by(requests.c.key_id, requests.c.request_id)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        connection.execute(
            update(requests)
            .where(requests.c.request_id == row.request_id)
            .values(state="voided", resolved_ms=now)
        )
        connection.execute(
            update(accounts)
            .where(accounts.c.id == row.key_id)
            .values(reserved_units=accounts.c.reserved_units - row.units)
        )
    return len(rows)
