"""Budgets that are renewed every day or month (UTC); open reservations are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, or_, select, update

from teacher_server.database.tables import accounts, entries
from teacher_server.ledger.append import MAX_UNITS, Grant, append_grant, unknown_key

Period = Literal["none", "day", "month"]
_DAY_MS = 86_400_000
_MAX_REQUEST_ID = 64  # size of the column; a key's id alone may be that long
PERIODS: tuple[Period, ...] = get_args(Period)


def period_start(period: str, now: int) -> int:
    """Start of the period that contains `now`, in Unix milliseconds; 0 without a period."""
    if period == "none":
        return 0
    moment = datetime.fromtimestamp(now / 1000, UTC)
    first = moment.day if period == "day" else 1
    return int(datetime(moment.year, moment.month, first, tzinfo=UTC).timestamp()) * 1000


def period_label(account: Row[Any]) -> str:
    """Names the allowance that a threshold belongs to: the period's first day, or the budget."""
    if account.budget_period == "none":
        return f"budget:{account.budget_units}"
    return _day(account.period_start_ms)


IS_CURRENT: ColumnElement[bool] = or_(
    accounts.c.budget_period == "none",
    *(
        and_(
            accounts.c.budget_period == period,
            accounts.c.period_start_ms >= bindparam(f"{period}_start_ms"),
        )
        for period in ("day", "month")
    ),
)
"""SQL condition: no renewal of the account is due. Its parameters are those of `starts_at`."""


def starts_at(now: int) -> Mapping[str, int]:
    """The parameters of IS_CURRENT at this time."""
    return _starts_on(now // _DAY_MS)


@lru_cache(maxsize=2)
def _starts_on(day: int) -> Mapping[str, int]:
    now = day * _DAY_MS
    return {f"{period}_start_ms": period_start(period, now) for period in ("day", "month")}


def is_due(account: Row[Any], now: int) -> bool:
    """Whether a new period has begun. A clock that is set back causes no second grant."""
    return period_start(account.budget_period, now) > int(account.period_start_ms)


def renew_period(connection: Connection, key_id: str, now: int) -> None:
    """Start the period that contains `now`, unless it has already started.

    Grants what is missing to a full allowance, so unspent units do not accumulate. Reservations
    stay; they count towards the period in which they are charged. Raises KeyUnknown.
    """
    account = connection.execute(
        select(accounts).where(accounts.c.id == key_id).with_for_update()
    ).one_or_none()
    if account is None:
        raise unknown_key(key_id)
    if not is_due(account, now):
        return
    start = period_start(account.budget_period, now)
    missing = account.period_units - (account.budget_units - account.spent_units)
    # A key with a larger allowance than is granted today must not fail here on each request.
    units = min(missing, MAX_UNITS - account.budget_units)
    if units > 0:
        # If another replica does the same, the UNIQUE request_id of entries stops one of them.
        grant = Grant(
            units=units,
            price_version=_last_price_version(connection, key_id),
            request_id=_grant_id(key_id, start),
            maximum=MAX_UNITS,
        )
        append_grant(connection, key_id, grant, now)
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
