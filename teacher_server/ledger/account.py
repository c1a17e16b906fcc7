"""A key's standing and its limits, as the rest of the vendor sees them."""

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
# The end of the year 9999 in Unix milliseconds: no date can be written for a later moment.
LAST_MS = 253_402_300_799_999
_BOUNDS = {
    "requests_per_minute": ("a count", MAX_UNITS),
    "max_concurrent": ("a count", MAX_UNITS),
    "expires_ms": ("a moment up to the year 9999 in Unix milliseconds,", LAST_MS),
}


class Limits(TypedDict, total=False):
    """What can be changed of a key; None puts a limit back to the vendor's default or lifts it."""

    scopes: Sequence[str]
    expires_ms: int | None
    requests_per_minute: int | None
    max_concurrent: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A key's standing. Units; `remaining` is what is neither spent nor reserved.

    `allowance` and `used` are of the current period; without one, they are the budget and all that
    was spent. Limits that are None are the vendor's defaults; times are Unix milliseconds.
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

    def has_ended(self, now: int) -> bool:
        """Whether these figures are of a period that is over at `now`."""
        return period_start(self.budget_period, now) > self.period_start_ms


def account_of(row: Row[Any]) -> Account:
    """The standing in a row of `accounts`."""
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


def columns_of(limits: Limits) -> dict[str, Any]:
    """The limits as columns of `accounts`; LedgerError names the one that makes no sense."""
    values: dict[str, Any] = dict(limits)
    if "scopes" in limits:
        values["scopes"] = ",".join(_ordered(limits["scopes"]))
    for name, (what, largest) in _BOUNDS.items():
        limit = values.get(name)
        if limit is not None and not 0 < limit <= largest:
            message = f"{name} is {what} from 1 to {largest}, not {limit}"
            raise LedgerError(message)
    return values


def checked_period(period: str) -> Period:
    """The period of that name; LedgerError says which there are."""
    for known in PERIODS:
        if period == known:
            return known
    message = f"a budget's period is one of {', '.join(PERIODS)}, not {period!r}"
    raise LedgerError(message)


def _ordered(scopes: Sequence[str]) -> list[Scope]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        message = f"a key's scopes are some of {', '.join(SCOPES)}, not {unknown or 'none'}"
        raise LedgerError(message)
    return [scope for scope in SCOPES if scope in scopes]
