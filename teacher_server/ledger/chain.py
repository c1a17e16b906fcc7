"""Verifies the chain of one key's entries, as a whole or from any entry on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from teacher_server.database.tables import accounts, entries
from teacher_server.errors import KeyUnknown
from teacher_server.ledger.entry import GENESIS, LedgerEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEntries:
    """Consecutive entries of one key, newest first, and each fault in them as a sentence.

    `older` is the seq to read on before, or None at the first entry of the key.
    """

    entries: tuple[LedgerEntry, ...]
    faults: tuple[str, ...]
    older: int | None


def link_faults(
    key_id: str, chain: Sequence[LedgerEntry], *, after: LedgerEntry | None = None
) -> list[str]:
    """Recompute the hash, the link and the balance of each entry; `chain` follows `after`, or is
    from the key's first entry on. Ends at the first entry that is missing."""
    faults = []
    seq, head, balance = (0, GENESIS, 0) if after is None else _state_after(after)
    for expected_seq, entry in enumerate(chain, start=seq + 1):
        where = f"key {key_id} seq {entry.seq}"
        if entry.seq != expected_seq:
            faults.append(f"{where}: expected seq {expected_seq}, an entry is missing")
            break
        if entry.prev_hash != head:
            faults.append(f"{where}: prev_hash is not the hash of the entry before it")
        if entry.hash != entry.expected_hash:
            faults.append(f"{where}: the entry was altered, its hash does not match its fields")
        balance += entry.units if entry.kind == "grant" else -entry.units
        if entry.balance_units != balance:
            faults.append(f"{where}: balance {entry.balance_units}, expected {balance}")
        head = entry.hash
    return faults


def newest_entries(
    connection: Connection, key_id: str, *, before: int | None, limit: int
) -> VerifiedEntries:
    """The newest entries with seq < `before`, at most `limit`, each verified against the entry
    before it, and the newest of all against the account's row. A `before` beyond them all is as
    None. Raises KeyUnknown."""
    account = connection.execute(select(accounts).where(accounts.c.id == key_id)).one_or_none()
    if account is None:
        message = f"no key has the id {key_id!r}"
        raise KeyUnknown(message)
    if before is not None and before > account.last_seq:
        before = None
    rows = connection.execute(
        select(entries)
        .where(entries.c.key_id == key_id, *(() if before is None else (entries.c.seq < before,)))
        .order_by(entries.c.seq.desc())
        .limit(limit + 1)  # the last is the one that the oldest shown entry links to
    )
    found = [entry_from_row(row) for row in rows]
    shown, rest = found[:limit], found[limit:]
    faults = link_faults(key_id, shown[::-1], after=rest[0] if rest else None)
    if before is None:
        head = (shown[0].seq, shown[0].hash) if shown else (0, GENESIS)
        if head != (account.last_seq, account.last_hash):
            faults.append(f"key {key_id}: the newest entry is not the one that the account names")
    elif not shown or shown[0].seq != before - 1:
        faults.append(f"key {key_id}: the entry with seq {before - 1} is missing")
    older = shown[-1].seq if rest else None
    return VerifiedEntries(entries=tuple(shown), faults=tuple(faults), older=older)


def entry_from_row(row: Row[Any]) -> LedgerEntry:
    """The entry in a row of `ledger_entries`."""
    fields = row._asdict()
    return LedgerEntry(**{k: v for k, v in fields.items() if k not in {"row", "key_id"}})


def _state_after(entry: LedgerEntry) -> tuple[int, str, int]:
    return entry.seq, entry.hash, entry.balance_units
