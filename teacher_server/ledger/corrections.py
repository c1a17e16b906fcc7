"""Corrections: a wrong charge is refunded by a new entry; entries are never changed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, true, update

from teacher_server.database.tables import accounts, corrections, entries
from teacher_server.errors import ChargeUnknown, CorrectionRefused, CorrectionReused
from teacher_server.ledger.answers import delete_answer
from teacher_server.ledger.append import append_entry, draft_entry
from teacher_server.ledger.chain import entry_from_row
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.period import renew_period


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A refund and its reason; `request_id` is that of the correcting entry."""

    request_id: str
    corrects: str
    units: int
    cost_micro_usd: int
    reason: str
    actor: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRequest:
    """What to refund of which charge, why, and by whom.

    `correction_id` identifies repetitions; None makes each request a new correction.
    """

    charge_id: str
    units: int
    cost_micro_usd: int
    reason: str
    actor: str
    correction_id: str | None


def correct(connection: Connection, wanted: CorrectionRequest, now: int) -> LedgerEntry:
    """Append the entry that refunds units and cost of a charge; see `Records.correct`."""
    charge = connection.execute(
        select(entries).where(entries.c.request_id == wanted.charge_id, entries.c.kind == "charge")
    ).one_or_none()
    if charge is None:
        message = f"the ledger has no charge with the request id {wanted.charge_id!r}"
        raise ChargeUnknown(message)
    # Renewed first: a later renewal would take the refund for unspent queries of the old period.
    # This locks the account's row, so two corrections cannot both refund the whole charge.
    renew_period(connection, charge.key_id, now)
    account = connection.execute(select(accounts).where(accounts.c.id == charge.key_id)).one()
    correcting_id = _correcting_id(wanted)
    known = _earlier_correction(connection, wanted, correcting_id)
    if known is not None:
        return known
    _check_correction(connection, charge, wanted)
    is_of_an_earlier_period = charge.seq <= account.period_base_seq
    account = connection.execute(
        update(accounts)
        .where(accounts.c.id == charge.key_id)
        .values(
            spent_units=accounts.c.spent_units - wanted.units,
            period_base_units=accounts.c.period_base_units
            - (wanted.units if is_of_an_earlier_period else 0),
            last_seq=accounts.c.last_seq + 1,
        )
        .returning(accounts)
    ).one()
    entry = draft_entry(
        account,
        now,
        kind="correction",
        request_id=correcting_id,
        idempotency_key=wanted.charge_id,
        model=charge.model,
        model_fingerprint=charge.model_fingerprint,
        units=-wanted.units,
        cost_micro_usd=-wanted.cost_micro_usd,
        price_version=charge.price_version,
    )
    append_entry(connection, charge.key_id, entry)
    connection.execute(
        insert(corrections).values(
            request_id=entry.request_id,
            corrects=wanted.charge_id,
            reason=wanted.reason,
            actor=wanted.actor,
            created_ms=now,
        )
    )
    return entry


def refund_unsent(connection: Connection, charge: LedgerEntry, now: int) -> None:
    """Refund a whole charge whose answer was never sent, and delete that answer.

    Otherwise a customer could hang up, be refunded, and fetch the stored answer for free.
    """
    wanted = CorrectionRequest(
        charge_id=charge.request_id,
        units=charge.units,
        cost_micro_usd=charge.cost_micro_usd,
        reason="the client closed the connection before its answer was sent",
        actor="teacher-server",
        correction_id="unsent",
    )
    correct(connection, wanted, now)
    delete_answer(connection, charge.request_id, now)


def corrections_of(connection: Connection, request_id: str | None) -> list[Correction]:
    """All corrections, or those of one charge, oldest first."""
    of_charge = true() if request_id is None else corrections.c.corrects == request_id
    rows = connection.execute(
        select(
            corrections,
            (-entries.c.units).label("units"),
            (-entries.c.cost_micro_usd).label("cost_micro_usd"),
        )
        .join(entries, entries.c.request_id == corrections.c.request_id)
        .where(of_charge)
        .order_by(entries.c.row)
    )
    return [Correction(**row._asdict()) for row in rows]


def _correcting_id(wanted: CorrectionRequest) -> str:
    if wanted.correction_id is None:
        return "corr_" + secrets.token_hex(16)
    digest = hashlib.sha256(f"{wanted.charge_id}\0{wanted.correction_id}".encode()).hexdigest()
    return f"corr_{digest[:48]}"


def _earlier_correction(
    connection: Connection, wanted: CorrectionRequest, correcting_id: str
) -> LedgerEntry | None:
    known = connection.execute(
        select(entries).where(entries.c.request_id == correcting_id)
    ).one_or_none()
    if known is None:
        return None
    if (known.units, known.cost_micro_usd) != (-wanted.units, -wanted.cost_micro_usd):
        message = (
            f"this correction was made before and refunded {-known.units} queries and "
            f"{-known.cost_micro_usd} micro-USD instead of {wanted.units} and "
            f"{wanted.cost_micro_usd}"
        )
        raise CorrectionReused(message)
    return entry_from_row(known)


def _check_correction(connection: Connection, charge: Row[Any], wanted: CorrectionRequest) -> None:
    given = connection.execute(
        select(
            func.coalesce(func.sum(entries.c.units), 0).label("units"),
            func.coalesce(func.sum(entries.c.cost_micro_usd), 0).label("cost"),
        )
        .join_from(entries, corrections, corrections.c.request_id == entries.c.request_id)
        .where(corrections.c.corrects == charge.request_id)
    ).one()
    units, cost = wanted.units, wanted.cost_micro_usd
    left_units, left_cost = charge.units + int(given.units), charge.cost_micro_usd + int(given.cost)
    message = ""
    if not (0 <= units <= left_units and 0 <= cost <= left_cost):
        message = (
            f"{left_units} queries and {left_cost} micro-USD of the charge {charge.request_id!r} "
            f"can be refunded, not {units} and {cost}"
        )
    elif units == 0 and cost == 0:
        message = "a correction must refund queries or cost"
    elif not wanted.reason.strip() or not wanted.actor.strip():
        message = "a correction needs a reason and the name of who makes it"
    elif len(wanted.actor) > 200:
        message = "the name of who makes a correction can have 200 characters at most"
    if message:
        raise CorrectionRefused(message)
