"""Budget alerts: recorded with the charge that crosses a threshold, leased until delivered."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from teacher_server.database.tables import alerts
from teacher_server.ledger.period import period_label

PERCENTS = (80, 100)
# A server has this long to deliver an alert before another server may try.
LEASE_MS = 60_000
_MAX_WAIT_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A key has used `percent` of its allowance; `label` names the period, `id` never changes."""

    id: str
    key_id: str
    percent: int
    label: str
    used_units: int
    allowance_units: int
    created_ms: int
    delivered_ms: int | None
    attempts: int


def record_thresholds(connection: Connection, account: Row[Any], now: int) -> None:
    """Record an alert for each threshold that this account has reached, once per label.

    The caller holds the lock on the account's row, so no other charge of the key interferes.
    """
    used = account.spent_units - account.period_base_units
    allowance = account.budget_units - account.period_base_units
    crossed = {percent for percent in PERCENTS if used * 100 >= percent * allowance > 0}
    if not crossed:
        return
    label = period_label(account)
    crossed -= set(
        connection.scalars(
            select(alerts.c.percent).where(alerts.c.key_id == account.id, alerts.c.label == label)
        )
    )
    for percent in sorted(crossed):
        connection.execute(
            insert(alerts).values(
                id="alert_" + secrets.token_hex(16),
                key_id=account.id,
                percent=percent,
                label=label,
                used_units=used,
                allowance_units=allowance,
                created_ms=now,
                attempts=0,
                retry_ms=now,
            )
        )


def lease_alerts(connection: Connection, *, limit: int, now: int) -> list[Alert]:
    """Lease the undelivered alerts that are due, oldest first, to this caller alone."""
    rows = connection.execute(
        select(alerts)
        .where(alerts.c.delivered_ms.is_(None), alerts.c.retry_ms <= now)
        .order_by(alerts.c.created_ms, alerts.c.percent, alerts.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    connection.execute(
        update(alerts)
        .where(alerts.c.id.in_([row.id for row in rows]))
        .values(retry_ms=now + LEASE_MS)
    )
    return [alert_from_row(row) for row in rows]


def mark_delivered(connection: Connection, alert_id: str, now: int) -> None:
    """Record that this alert was delivered; it is never leased again."""
    connection.execute(
        update(alerts)
        .where(alerts.c.id == alert_id, alerts.c.delivered_ms.is_(None))
        .values(delivered_ms=now, attempts=alerts.c.attempts + 1)
    )


def mark_failed(connection: Connection, alert_id: str, now: int) -> None:
    """Schedule the next attempt: after 2 s, 4 s, 8 s, … up to an hour."""
    attempts = connection.scalar(
        select(alerts.c.attempts).where(alerts.c.id == alert_id).with_for_update()
    )
    if attempts is None:
        return
    wait = min(1000 * 2 ** min(attempts + 1, 20), _MAX_WAIT_MS)
    connection.execute(
        update(alerts)
        .where(alerts.c.id == alert_id)
        .values(attempts=attempts + 1, retry_ms=now + wait)
    )


def alert_from_row(row: Row[Any]) -> Alert:
    """The alert in a row."""
    return Alert(
        id=row.id,
        key_id=row.key_id,
        percent=row.percent,
        label=row.label,
        used_units=row.used_units,
        allowance_units=row.allowance_units,
        created_ms=row.created_ms,
        delivered_ms=row.delivered_ms,
        attempts=row.attempts,
    )
