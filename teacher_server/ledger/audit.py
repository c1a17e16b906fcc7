"""Audits the ledger; each fault is a sentence that names the row.

The audit cannot detect changes of what no chained entry covers: the hash of a request's payload,
and the embeddings in an answer whose entry has no digest of them, because it is from before that.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from teacher_server.database.prepared import Record
from teacher_server.database.tables import accounts, alerts, answers, corrections, entries, requests
from teacher_server.ledger.answers import purged_before
from teacher_server.ledger.chain import entry_from_row, link_faults
from teacher_server.ledger.embeddings_digest import digest_of_answer
from teacher_server.ledger.entry import GENESIS, LedgerEntry

# Answers are about 200 kB each; all of them together may be larger than the memory.
_ANSWERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How much was checked, and each fault as a sentence that names the row.

    `units_charged` is the sum of all charges; corrections refunded `units_corrected` of it.
    `charges_without_digest` do not commit to their embeddings: they are from before the digest.
    """

    keys: int
    entries: int
    units_charged: int
    units_corrected: int
    charges_without_digest: int
    faults: tuple[str, ...]


def audit_ledger(connection: Connection) -> Audit:
    """Recompute all hash chains and balances, and compare all requests and stored answers, with
    their receipts and embeddings, with their entries. The caller's transaction is one snapshot."""
    faults: list[str] = []
    num_entries = charged = corrected = without_digest = 0
    keys = connection.execute(select(accounts).order_by(accounts.c.id)).all()
    kept_since_ms = purged_before(connection)
    reasons = {
        row.request_id: row.corrects
        for row in connection.execute(select(corrections.c.request_id, corrections.c.corrects))
    }
    for account in keys:
        rows = connection.execute(
            select(entries).where(entries.c.key_id == account.id).order_by(entries.c.seq)
        )
        chain = [entry_from_row(row) for row in rows]
        num_entries += len(chain)
        charged += sum(entry.units for entry in chain if entry.kind == "charge")
        corrected -= sum(entry.units for entry in chain if entry.kind == "correction")
        without_digest += sum(
            entry.kind == "charge" and entry.embeddings_sha256 is None for entry in chain
        )
        faults += _chain_faults(account, chain)
        faults += _period_faults(account, chain)
        faults += _correction_faults(account, chain, reasons)
        faults += _request_faults(connection, account, chain, kept_since_ms)
        faults += _answer_faults(connection, account, chain)
        faults += _alert_faults(connection, account)
    faults += [
        f"correction {request_id} of {corrects}: its reason is recorded, but its entry is missing"
        for request_id, corrects in sorted(reasons.items())
    ]
    faults += _stray_answers(connection)
    return Audit(
        keys=len(keys),
        entries=num_entries,
        units_charged=charged,
        units_corrected=corrected,
        charges_without_digest=without_digest,
        faults=tuple(faults),
    )


def _chain_faults(account: Row[Any], chain: list[LedgerEntry]) -> list[str]:
    faults = link_faults(account.id, chain)
    granted = sum(entry.units for entry in chain if entry.kind == "grant")
    spent = sum(entry.units for entry in chain if entry.kind != "grant")
    head = chain[-1].hash if chain else GENESIS
    totals = (account.budget_units, account.spent_units, account.last_seq, account.last_hash)
    if totals != (granted, spent, len(chain), head):
        faults.append(
            f"key {account.id}: the account row says budget {account.budget_units}, spent "
            f"{account.spent_units}, seq {account.last_seq}; the entries say {granted}, {spent}, "
            f"{len(chain)}"
        )
    return faults


def _period_faults(account: Row[Any], chain: list[LedgerEntry]) -> list[str]:
    # Charges up to the period's first entry, minus what was refunded of them since.
    before = {
        entry.request_id: entry.units
        for entry in chain
        if entry.kind == "charge" and entry.seq <= account.period_base_seq
    }
    given = sum(
        entry.units
        for entry in chain
        if entry.kind == "correction" and entry.idempotency_key in before
    )
    spent = sum(before.values()) + given
    if spent == account.period_base_units:
        return []
    return [
        f"key {account.id}: the account row says that {account.period_base_units} units were spent "
        f"before its period, the entries say {spent}"
    ]


def _correction_faults(
    account: Row[Any], chain: list[LedgerEntry], reasons: dict[str, str]
) -> list[str]:
    """Removes what it finds from `reasons`; what remains has no entry."""
    faults = []
    units_left: Counter[str] = Counter()
    cost_left: Counter[str] = Counter()
    for entry in chain:
        if entry.kind == "charge":
            units_left[entry.request_id] += entry.units
            cost_left[entry.request_id] += entry.cost_micro_usd
        if entry.kind != "correction":
            continue
        charge = entry.idempotency_key
        where = f"key {account.id} seq {entry.seq}"
        if reasons.pop(entry.request_id, None) != charge:
            faults.append(f"{where}: corrects {charge!r}, but no reason is recorded")
        units_left[charge] += entry.units
        cost_left[charge] += entry.cost_micro_usd
        if entry.units > 0 or entry.cost_micro_usd > 0:
            faults.append(f"{where}: a correction that charges instead of refunding")
        if units_left[charge] < 0 or cost_left[charge] < 0:
            faults.append(f"{where}: refunds more than the charge {charge!r}")
    return faults


def _request_faults(
    connection: Connection, account: Row[Any], chain: list[LedgerEntry], kept_since_ms: int
) -> list[str]:
    rows = connection.execute(
        select(
            requests.c.request_id,
            requests.c.idempotency_key,
            requests.c.state,
            requests.c.images,
            requests.c.texts,
            requests.c.units,
            requests.c.micro_usd_per_unit,
            requests.c.price_version,
            requests.c.resolved_ms,
            requests.c.purged_ms,
            answers.c.request_id.label("answered_id"),
        )
        .select_from(requests.outerjoin(answers, answers.c.request_id == requests.c.request_id))
        .where(requests.c.key_id == account.id, requests.c.state != "voided")
    ).all()
    posted = {row.request_id: row for row in rows if row.state == "posted"}
    charged = {entry.request_id: entry for entry in chain if entry.kind == "charge"}
    faults = []
    for request_id in sorted(posted.keys() | charged.keys()):
        where = f"key {account.id} request {request_id}"
        row, entry = posted.get(request_id), charged.get(request_id)
        units = None if entry is None else entry.units
        answered = None if row is None else row.units
        if units != answered:
            faults.append(f"{where}: charged {units} units in the ledger, {answered} by its answer")
        elif row is not None and entry is not None:
            price = (row.units * row.micro_usd_per_unit, row.price_version)
            if (entry.cost_micro_usd, entry.price_version) != price:
                faults.append(f"{where}: charged at another price than it was reserved at")
            if entry.idempotency_key != row.idempotency_key:
                faults.append(f"{where}: charged under another Idempotency-Key than it has now")
            if (entry.images, entry.texts) != (row.images, row.texts):
                faults.append(f"{where}: charged for other images and texts than it has now")
            if _is_lost(row, kept_since_ms):
                faults.append(f"{where}: its stored answer is missing, and was not purged")
    reserved = sum(row.units for row in rows if row.state == "reserved")
    if reserved != account.reserved_units:
        faults.append(
            f"key {account.id}: the account row has {account.reserved_units} reserved units, "
            f"its open requests {reserved}"
        )
    return faults


def _is_lost(row: Record, kept_since_ms: int) -> bool:
    """Whether the answer of a charged request is gone although it was not deleted."""
    if row.answered_id is not None or row.purged_ms is not None:
        return False
    return row.resolved_ms is None or row.resolved_ms >= kept_since_ms


def _stray_answers(connection: Connection) -> list[str]:
    rows = connection.scalars(
        select(answers.c.request_id)
        .outerjoin_from(answers, requests, requests.c.request_id == answers.c.request_id)
        .where(requests.c.request_id.is_(None) | (requests.c.state != "posted"))
        .order_by(answers.c.request_id)
    )
    return [f"answer {request_id}: it belongs to no charged request" for request_id in rows]


def _answer_faults(
    connection: Connection, account: Row[Any], chain: list[LedgerEntry]
) -> list[str]:
    charged = {entry.request_id: entry for entry in chain if entry.kind == "charge"}
    rows = connection.execute(
        select(answers.c.request_id, answers.c.body)
        .join_from(requests, answers, answers.c.request_id == requests.c.request_id)
        .where(requests.c.key_id == account.id, requests.c.state != "voided")
        # In the order of the index, so that nothing is sorted and only this key's rows are read.
        .order_by(requests.c.idempotency_key),
        execution_options={"yield_per": _ANSWERS_AT_ONCE},
    )
    faults = []
    for row in rows:
        entry = charged.get(row.request_id)
        fault = None if entry is None else _answer_fault(row.body, entry)
        if fault is not None:
            faults.append(f"key {account.id} request {row.request_id}: {fault}")
    return faults


def _answer_fault(body: bytes, entry: LedgerEntry) -> str | None:
    """How a stored answer, as a customer reads it, contradicts its entry; None if it does not."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.get("receipt") != entry.document():
        return "the receipt in its stored answer is not its ledger entry"
    if entry.embeddings_sha256 is None:
        return None
    if digest_of_answer(answer) != entry.embeddings_sha256:
        return "the embeddings in its stored answer are not those that were charged"
    if (answer.get("model"), answer.get("model_fingerprint")) != (
        entry.model,
        entry.model_fingerprint,
    ):
        return "its stored answer names another model than its ledger entry"
    return None


def _alert_faults(connection: Connection, account: Row[Any]) -> list[str]:
    rows = connection.execute(select(alerts).where(alerts.c.key_id == account.id))
    return [
        f"alert {row.id}: {row.used_units} units are not {row.percent}% of {row.allowance_units}"
        for row in rows
        if not row.used_units * 100 >= row.percent * row.allowance_units > 0
    ]
