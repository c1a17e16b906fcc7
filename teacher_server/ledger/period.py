"""Budgets that come back every day or month (UTC), without losing what is in flight."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from teacher_server.database.tables import accounts, entries
from teacher_server.ledger.append import MAX_UNITS, grant, unknown

Period = Literal["none", "day", "month"]
_MAX_REQUEST_ID = 64  # what the column holds; a key's id alone may be that long
PERIODS: tuple[Period, ...] = get_args(Period)


def period_start(period: str, now: int) -> int:
    """When the period that `now` lies in began, in Unix milliseconds; 0 without a period."""
    if period == "none":
        return 0
    moment = datetime.fromtimestamp(now / 1000, UTC)
    first = moment.day if period == "day" else 1
    return int(datetime(moment.year, moment.month, first, tzinfo=UTC).timestamp()) * 1000


def period_label(account: Row[Any]) -> str:
    """What a threshold is crossed once for: the period's first day, or the budget itself."""
    if account.budget_period == "none":
        return f"budget:{account.budget_units}"
    return _day(account.period_start_ms)


def is_current(now: int) -> ColumnElement[bool]:
    """The condition that no renewal of the account is due."""
    return or_(
        accounts.c.budget_period == "none",
        *(
            and_(
                accounts.c.budget_period == period,
                accounts.c.period_start_ms >= period_start(period, now),
            )
            for period in ("day", "month")
        ),
    )


def is_due(account: Row[Any], now: int) -> bool:
    """Whether a new period began. A clock that went back brings no second grant."""
    return period_start(account.budget_period, now) > int(account.period_start_ms)


def renew(connection: Connection, key_id: str, now: int) -> None:
    """Begin the period that `now` lies in, unless it began already.

    Grants what is missing to a full allowance: unspent units do not pile up, and reservations stay,
    to be charged to the period in which they are posted. Raises KeyUnknown.
    """
    account = connection.execute(
        select(accounts).where(accounts.c.id == key_id).with_for_update()
    ).one_or_none()
    if account is None:
        raise unknown(key_id)
    if not is_due(account, now):
        return
    start = period_start(account.budget_period, now)
    missing = account.period_units - (account.budget_units - account.spent_units)
    # A key of an allowance that is no longer given must not fail here with each of its requests.
    units = min(missing, MAX_UNITS - account.budget_units)
    if units > 0:
        # A replica that gets here too is stopped by the entries' UNIQUE request_id.
        grant(
            connection,
            key_id,
            units=units,
            price_version=_last_price_version(connection, key_id),
            now=now,
            request_id=_grant_id(key_id, start),
            most=MAX_UNITS,
        )
    connection.execute(
        update(accounts)
        .where(accounts.c.id == key_id)
        .values(
            period_start_ms=start,
            period_base_seq=accounts.c.last_seq,
            period_base_units=accounts.c.spent_units,
        )
    )


def _last_price_version(connection: Connection, key_id: str) -> str:
    found = connection.scalar(
        select(entries.c.price_version)
        .where(entries.c.key_id == key_id, entries.c.kind == "grant")
        .order_by(entries.c.seq.desc())
        .limit(1)
    )
    return str(found)


def _grant_id(key_id: str, start: int) -> str:
    day = _day(start)
    whole = f"period_{key_id}_{day}"
    if len(whole) <= _MAX_REQUEST_ID:
        return whole
    return f"period_{hashlib.sha256(key_id.encode()).hexdigest()[:40]}_{day}"


def _day(start: int) -> str:
    return datetime.fromtimestamp(start / 1000, UTC).date().isoformat()
