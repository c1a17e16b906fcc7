"""Giving back what was charged wrongly: a new entry, never a changed one."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, true, update

from teacher_server.database.tables import accounts, corrections, entries
from teacher_server.errors import ChargeUnknown, CorrectionRefused, CorrectionReused
from teacher_server.ledger.append import append, drafted
from teacher_server.ledger.audit import entry_of
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.period import renew


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Why an entry gives back what another charged; `request_id` is the correcting entry's."""

    request_id: str
    corrects: str
    units: int
    cost_micro_usd: int
    reason: str
    actor: str
    created_ms: int


def correct(
    connection: Connection,
    request_id: str,
    *,
    units: int,
    cost_micro_usd: int,
    reason: str,
    actor: str,
    correction_id: str | None,
    now: int,
) -> LedgerEntry:
    """Append the entry that gives units and cost of a charge back; `Books.correct` tells more."""
    charge = connection.execute(
        select(entries).where(entries.c.request_id == request_id, entries.c.kind == "charge")
    ).one_or_none()
    if charge is None:
        message = f"the ledger has no charge with the request id {request_id!r}"
        raise ChargeUnknown(message)
    # First, or the renewal would take what is given back for units left over. It holds the
    # account's row from here on: two corrections of one charge cannot both see all of it left.
    renew(connection, charge.key_id, now)
    account = connection.execute(select(accounts).where(accounts.c.id == charge.key_id)).one()
    correcting_id = _correcting_id(request_id, correction_id)
    known = connection.execute(
        select(entries).where(entries.c.request_id == correcting_id)
    ).one_or_none()
    if known is not None:
        if (known.units, known.cost_micro_usd) != (-units, -cost_micro_usd):
            message = (
                f"this correction was made before and gave back {-known.units} units and "
                f"{-known.cost_micro_usd} micro-USD instead of {units} and {cost_micro_usd}"
            )
            raise CorrectionReused(message)
        return entry_of(known)
    _check(connection, charge, units, cost_micro_usd, reason, actor)
    is_of_an_earlier_period = charge.seq <= account.period_base_seq
    account = connection.execute(
        update(accounts)
        .where(accounts.c.id == charge.key_id)
        .values(
            spent_units=accounts.c.spent_units - units,
            period_base_units=accounts.c.period_base_units
            - (units if is_of_an_earlier_period else 0),
            last_seq=accounts.c.last_seq + 1,
        )
        .returning(accounts)
    ).one()
    entry = drafted(
        account,
        kind="correction",
        request_id=correcting_id,
        idempotency_key=request_id,
        model=charge.model,
        model_fingerprint=charge.model_fingerprint,
        units=-units,
        cost_micro_usd=-cost_micro_usd,
        price_version=charge.price_version,
        now=now,
    )
    append(connection, charge.key_id, entry)
    connection.execute(
        insert(corrections).values(
            request_id=entry.request_id,
            corrects=request_id,
            reason=reason,
            actor=actor,
            created_ms=now,
        )
    )
    return entry


def corrections_of(connection: Connection, request_id: str | None) -> list[Correction]:
    """Every correction, of this charge or of all, oldest first."""
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


def _correcting_id(request_id: str, correction_id: str | None) -> str:
    if correction_id is None:
        return "corr_" + secrets.token_hex(16)
    digest = hashlib.sha256(f"{request_id}\0{correction_id}".encode()).hexdigest()
    return f"corr_{digest[:48]}"


def _check(
    connection: Connection, charge: Row[Any], units: int, cost: int, reason: str, actor: str
) -> None:
    given = connection.execute(
        select(
            func.coalesce(func.sum(entries.c.units), 0).label("units"),
            func.coalesce(func.sum(entries.c.cost_micro_usd), 0).label("cost"),
        )
        .join_from(entries, corrections, corrections.c.request_id == entries.c.request_id)
        .where(corrections.c.corrects == charge.request_id)
    ).one()
    left_units, left_cost = charge.units + int(given.units), charge.cost_micro_usd + int(given.cost)
    message = ""
    if not (0 <= units <= left_units and 0 <= cost <= left_cost):
        message = (
            f"of the charge {charge.request_id!r} {left_units} units and {left_cost} micro-USD are "
            f"left to give back, not {units} and {cost}"
        )
    elif units == 0 and cost == 0:
        message = "a correction gives units or cost back, and this gives nothing"
    elif not reason.strip() or not actor.strip():
        message = "a correction needs a reason and who makes it"
    elif len(actor) > 200:
        message = "the name of who makes a correction has 200 characters at most"
    if message:
        raise CorrectionRefused(message)
