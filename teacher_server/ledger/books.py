"""Reading the books: entries, stored answers, usage, and the check that they add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select, text

from teacher_server.ledger.charges import InFlight, Replay
from teacher_server.ledger.engine import reading, writing
from teacher_server.ledger.entry import GENESIS, LedgerEntry
from teacher_server.ledger.tables import accounts, entries, requests


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBucket:
    """What a key bought in one span of time (Unix seconds, the end not included)."""

    start_time: int
    end_time: int
    images: int
    texts: int
    units: int
    cost_micro_usd: int
    num_model_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What `verify` walked, and each fault as a sentence that names the row."""

    keys: int
    entries: int
    units_charged: int
    faults: tuple[str, ...]


class Books:
    """Read-only; a key only ever sees its own lines."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entries(self, key_id: str, *, after: int = 0, limit: int = 1000) -> list[LedgerEntry]:
        """The key's entries with seq > after, in order, at most `limit`."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(entries)
                .where(entries.c.key_id == key_id, entries.c.seq > after)
                .order_by(entries.c.seq)
                .limit(limit)
            )
            return [_entry(row) for row in rows]

    def answer(self, key_id: str, idempotency_key: str) -> Replay | InFlight | None:
        """The stored answer of a paid request, InFlight while it is worked on, or None."""
        with reading(self._engine) as connection:
            row = connection.execute(
                select(requests.c.state, requests.c.body).where(
                    requests.c.key_id == key_id,
                    requests.c.idempotency_key == idempotency_key,
                    requests.c.state != "voided",
                )
            ).one_or_none()
        if row is None:
            return None
        return Replay(row.body) if row.state == "posted" else InFlight()

    def usage(
        self, key_id: str, *, start_time: int, end_time: int, width: int
    ) -> list[UsageBucket]:
        """Charges by buckets of `width` seconds from `start_time`; empty buckets are left out."""
        number = (entries.c.created_ms // 1000 - start_time) // width
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(
                    number.label("number"),
                    func.sum(entries.c.images).label("images"),
                    func.sum(entries.c.texts).label("texts"),
                    func.sum(entries.c.units).label("units"),
                    func.sum(entries.c.cost_micro_usd).label("cost"),
                    func.count().label("calls"),
                )
                .where(
                    entries.c.key_id == key_id,
                    entries.c.kind == "charge",
                    entries.c.created_ms >= start_time * 1000,
                    entries.c.created_ms < end_time * 1000,
                )
                .group_by(number)
                .order_by(number)
            ).all()
        return [
            UsageBucket(
                start_time=start_time + int(row.number) * width,
                end_time=min(start_time + (int(row.number) + 1) * width, end_time),
                images=int(row.images),
                texts=int(row.texts),
                units=int(row.units),
                cost_micro_usd=int(row.cost),
                num_model_requests=int(row.calls),
            )
            for row in rows
        ]

    def probe(self) -> None:
        """Prove that the database takes writes; raises what the driver raises when it does not."""
        with writing(self._engine) as connection:
            connection.execute(text("UPDATE boots SET note = note"))

    def verify(self) -> Audit:
        """Recompute every chain and every balance, in one snapshot of the database."""
        faults: list[str] = []
        num_entries = charged = 0
        with reading(self._engine) as connection:
            keys = connection.execute(select(accounts).order_by(accounts.c.id)).all()
            for account in keys:
                rows = connection.execute(
                    select(entries).where(entries.c.key_id == account.id).order_by(entries.c.seq)
                )
                walked = [_entry(row) for row in rows]
                num_entries += len(walked)
                charged += sum(e.units for e in walked if e.kind == "charge")
                faults += _chain_faults(account, walked)
                faults += _request_faults(connection, account, walked)
        return Audit(
            keys=len(keys), entries=num_entries, units_charged=charged, faults=tuple(faults)
        )


def _entry(row: Row[Any]) -> LedgerEntry:
    fields = row._asdict()
    return LedgerEntry(**{k: v for k, v in fields.items() if k not in {"row", "key_id"}})


def _chain_faults(account: Row[Any], walked: list[LedgerEntry]) -> list[str]:
    faults = []
    granted = spent = 0
    head = GENESIS
    for expected_seq, entry in enumerate(walked, start=1):
        where = f"key {account.id} seq {entry.seq}"
        if entry.seq != expected_seq:
            faults.append(f"{where}: expected seq {expected_seq}, an entry is missing")
            break
        if entry.prev_hash != head:
            faults.append(f"{where}: prev_hash is not the hash of the entry before it")
        if entry.hash != entry.expected_hash:
            faults.append(f"{where}: the entry was altered, its hash does not match its fields")
        granted += entry.units if entry.kind == "grant" else 0
        spent += entry.units if entry.kind == "charge" else 0
        if entry.balance_units != granted - spent:
            faults.append(f"{where}: balance {entry.balance_units}, expected {granted - spent}")
        head = entry.hash
    totals = (account.budget_units, account.spent_units, account.last_seq, account.last_hash)
    if totals != (granted, spent, len(walked), head):
        faults.append(
            f"key {account.id}: the account row says budget {account.budget_units}, spent "
            f"{account.spent_units}, seq {account.last_seq}; the entries say {granted}, {spent}, "
            f"{len(walked)}"
        )
    return faults


def _request_faults(
    connection: Connection, account: Row[Any], walked: list[LedgerEntry]
) -> list[str]:
    rows = connection.execute(
        select(requests.c.request_id, requests.c.state, requests.c.units).where(
            requests.c.key_id == account.id, requests.c.state != "voided"
        )
    ).all()
    posted = {row.request_id: row.units for row in rows if row.state == "posted"}
    charged = {entry.request_id: entry.units for entry in walked if entry.kind == "charge"}
    faults = [
        f"key {account.id} request {request_id}: charged {charged.get(request_id)} units in the "
        f"ledger, {posted.get(request_id)} by its answer"
        for request_id in sorted(posted.keys() | charged.keys())
        if posted.get(request_id) != charged.get(request_id)
    ]
    reserved = sum(row.units for row in rows if row.state == "reserved")
    if reserved != account.reserved_units:
        faults.append(
            f"key {account.id}: the account row holds {account.reserved_units} reserved units, "
            f"its open requests {reserved}"
        )
    return faults
