"""A key's account: its balance and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from sqlalchemy import Row

from teacher_server.errors import LedgerError
from teacher_server.ledger.append import MAX_UNITS
from teacher_server.ledger.period import PERIODS, Period, period_label, period_start

Scope = Literal["embed", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_SCOPES: tuple[Scope, ...] = ("embed", "read")
# The end of the year 9999 in Unix milliseconds, the last date that can be formatted.
LAST_MS = 253_402_300_799_999
_BOUNDS = {
    "requests_per_minute": ("a number", MAX_UNITS),
    "max_concurrent": ("a number", MAX_UNITS),
    "expires_ms": ("a time up to the year 9999 in Unix milliseconds,", LAST_MS),
}


class Limits(TypedDict, total=False):
    """The limits of a key that can be changed; None restores the vendor's default or removes it."""

    scopes: Sequence[str]
    expires_ms: int | None
    requests_per_minute: int | None
    max_concurrent: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A key's balance in queries and its limits; `remaining` is neither spent nor reserved.

    `allowance` and `used` are of the current period; without a period, they are the whole budget
    and all spending. A limit of None means the vendor's default. Times are Unix milliseconds.
    """

    id: str
    name: str
    budget_units: int
    spent_units: int
    reserved_units: int
    created_ms: int
    revoked_ms: int | None
    scopes: tuple[str, ...]
    expires_ms: int | None
    last_used_ms: int | None
    requests_per_minute: int | None
    max_concurrent: int | None
    budget_period: Period
    period_units: int | None
    period_start_ms: int
    period_base_units: int
    period_label: str

    @property
    def remaining_units(self) -> int:
        return self.budget_units - self.spent_units - self.reserved_units

    @property
    def allowance_units(self) -> int:
        return self.budget_units - self.period_base_units

    @property
    def used_units(self) -> int:
        return self.spent_units - self.period_base_units

    def period_has_ended(self, now: int) -> bool:
        """Whether the period of these figures is over at `now`."""
        return period_start(self.budget_period, now) > self.period_start_ms


def account_from_row(row: Row[Any]) -> Account:
    """The account in a row of `accounts`."""
    return Account(
        id=row.id,
        name=row.name,
        budget_units=row.budget_units,
        spent_units=row.spent_units,
        reserved_units=row.reserved_units,
        created_ms=row.created_ms,
        revoked_ms=row.revoked_ms,
        scopes=tuple(row.scopes.split(",")),
        expires_ms=row.expires_ms,
        last_used_ms=row.last_used_ms,
        requests_per_minute=row.requests_per_minute,
        max_concurrent=row.max_concurrent,
        budget_period=row.budget_period,
        period_units=row.period_units,
        period_start_ms=row.period_start_ms,
        period_base_units=row.period_base_units,
        period_label=period_label(row),
    )


def limit_columns(limits: Limits) -> dict[str, Any]:
    """The limits as columns of `accounts`; raises LedgerError that names an invalid limit."""
    values: dict[str, Any] = dict(limits)
    if "scopes" in limits:
        values["scopes"] = ",".join(_checked_scopes(limits["scopes"]))
    for name, (what, largest) in _BOUNDS.items():
        limit = values.get(name)
        if limit is not None and not 0 < limit <= largest:
            message = f"{name} must be {what} from 1 to {largest}, not {limit}"
            raise LedgerError(message)
    return values


def checked_period(period: str) -> Period:
    """The period with this name; raises LedgerError that lists the valid names."""
    for known in PERIODS:
        if period == known:
            return known
    message = f"a budget's period must be one of {', '.join(PERIODS)}, not {period!r}"
    raise LedgerError(message)


def _checked_scopes(scopes: Sequence[str]) -> list[Scope]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        message = f"a key's scopes must be among {', '.join(SCOPES)}, not {unknown or 'none'}"
        raise LedgerError(message)
    return [scope for scope in SCOPES if scope in scopes]
