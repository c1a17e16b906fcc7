"""Lengthening a key's chain: the one place that writes ledger entries."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Connection, Row, insert, update

from teacher_server.database.tables import accounts, entries
from teacher_server.errors import KeyUnknown, LedgerError
from teacher_server.ledger.entry import Kind, LedgerEntry

# What a counter may hold.
MAX_UNITS = 2**62
# What may be granted to a key in all, but for renewals: these bring back what was sold, and have
# room for 127 such budgets sold to the last unit.
MAX_GRANTED = 2**55


def drafted(
    account: Row[Any],
    *,
    kind: Kind,
    request_id: str,
    units: int,
    price_version: str,
    now: int,
    idempotency_key: str = "",
    model: str = "",
    model_fingerprint: str = "",
    images: int = 0,
    texts: int = 0,
    cost_micro_usd: int = 0,
) -> LedgerEntry:
    """The sealed entry that follows the head of the account's chain.

    `account` is its row after the movement: balance and `last_seq` are already the entry's.
    """
    return LedgerEntry(
        seq=account.last_seq,
        kind=kind,
        request_id=request_id,
        idempotency_key=idempotency_key,
        model=model,
        model_fingerprint=model_fingerprint,
        images=images,
        texts=texts,
        units=units,
        cost_micro_usd=cost_micro_usd,
        price_version=price_version,
        balance_units=account.budget_units - account.spent_units,
        created_ms=now,
        prev_hash=account.last_hash,
    ).sealed()


def append(connection: Connection, key_id: str, entry: LedgerEntry) -> None:
    """Write a sealed entry and make it the head of its key's chain (`last_seq` is the caller's)."""
    connection.execute(insert(entries).values(key_id=key_id, **entry.document()))
    connection.execute(update(accounts).where(accounts.c.id == key_id).values(last_hash=entry.hash))


def grant(
    connection: Connection,
    key_id: str,
    *,
    units: int,
    price_version: str,
    now: int,
    request_id: str | None = None,
    most: int = MAX_GRANTED,
) -> None:
    """Raise the key's budget by so many units, with the entry that says so.

    Raises KeyUnknown, and LedgerError when the budget would become larger than `most`.
    """
    account = connection.execute(
        update(accounts)
        .where(accounts.c.id == key_id)
        .values(budget_units=accounts.c.budget_units + units, last_seq=accounts.c.last_seq + 1)
        .returning(accounts)
    ).one_or_none()
    if account is None:
        raise unknown(key_id)
    if account.budget_units > most:
        message = f"a key can be granted {most} units in all, and this would be more"
        raise LedgerError(message)
    entry = drafted(
        account,
        kind="grant",
        request_id=request_id or "req_" + secrets.token_hex(16),
        units=units,
        price_version=price_version,
        now=now,
    )
    append(connection, key_id, entry)


def unknown(key_id: str) -> KeyUnknown:
    """The error that names an id which no key has."""
    return KeyUnknown(f"no key has the id {key_id!r}")
