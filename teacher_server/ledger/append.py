"""Appends entries to a key's hash chain; no other module writes ledger entries."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Required, TypedDict, Unpack

from sqlalchemy import Connection, bindparam, insert, update

from teacher_server.database.prepared import Prepared, Record
from teacher_server.database.tables import accounts, entries
from teacher_server.errors import KeyUnknown, LedgerError
from teacher_server.ledger.entry import FIELDS, Kind, LedgerEntry

# The largest value of a counter.
MAX_UNITS = 2**62
# The largest total that may be granted to a key, apart from renewals. Those restore what was spent,
# and MAX_UNITS leaves room for 127 such budgets.
MAX_GRANTED = 2**55
_APPEND = Prepared(insert(entries), columns=("key_id", *FIELDS))
_LINK = Prepared(
    update(accounts).where(accounts.c.id == bindparam("of_key")).values(last_hash=bindparam("head"))
)


class EntryFields(TypedDict, total=False):
    """The fields of an entry that do not follow from the account."""

    kind: Required[Kind]
    request_id: Required[str]
    units: Required[int]
    price_version: Required[str]
    idempotency_key: str
    model: str
    model_fingerprint: str
    images: int
    texts: int
    embeddings_sha256: str | None
    cost_micro_usd: int


def draft_entry(account: Record, now: int, **fields: Unpack[EntryFields]) -> LedgerEntry:
    """The entry that follows the head of the account's chain, with its hash.

    `account` is its row after the change: balance and `last_seq` already are those of the entry.
    """
    return LedgerEntry(
        seq=account.last_seq,
        balance_units=account.budget_units - account.spent_units,
        created_ms=now,
        prev_hash=account.last_hash,
        **fields,
    ).sealed()


def append_entry(connection: Connection, key_id: str, entry: LedgerEntry) -> None:
    """Write an entry and its hash as the head of its key's chain; callers update `last_seq`."""
    row = {"key_id": key_id, "embeddings_sha256": None, **entry.document()}
    _APPEND.change(connection, row)
    _LINK.change(connection, {"of_key": key_id, "head": entry.hash})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Units to add to a budget; a `request_id` of None becomes a random one.

    `maximum` is the largest budget that the key may have afterwards.
    """

    units: int
    price_version: str
    request_id: str | None = None
    maximum: int = MAX_GRANTED


def append_grant(connection: Connection, key_id: str, grant: Grant, now: int) -> None:
    """Add units to the key's budget and append the entry for it.

    Raises KeyUnknown, or LedgerError if the budget would exceed the grant's maximum.
    """
    account = connection.execute(
        update(accounts)
        .where(accounts.c.id == key_id)
        .values(
            budget_units=accounts.c.budget_units + grant.units, last_seq=accounts.c.last_seq + 1
        )
        .returning(accounts)
    ).one_or_none()
    if account is None:
        raise unknown_key(key_id)
    if account.budget_units > grant.maximum:
        message = f"the total budget of a key cannot exceed {grant.maximum} queries"
        raise LedgerError(message)
    entry = draft_entry(
        account,
        now,
        kind="grant",
        request_id=grant.request_id or "req_" + secrets.token_hex(16),
        units=grant.units,
        price_version=grant.price_version,
    )
    append_entry(connection, key_id, entry)


def unknown_key(key_id: str) -> KeyUnknown:
    """The error for an id that no key has."""
    return KeyUnknown(f"no key has the id {key_id!r}")
