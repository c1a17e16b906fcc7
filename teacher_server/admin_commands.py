"""What the command line does with keys and books; each function's answer is printed as it is."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from teacher_server.errors import SettingsError
from teacher_server.ledger.account import LAST_MS, Account, Limits
from teacher_server.ledger.books import Books
from teacher_server.ledger.keys import ApiKey, Keys
from teacher_server.ledger.ledger import opened, unix_ms
from teacher_server.ledger.pepper import load_pepper
from teacher_server.settings import VendorSettings

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """Text for stdout, a note for stderr, and the exit code."""

    text: str
    note: str = ""
    code: int = 0


def create(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Make a key; its token is shown now and never again."""
    key = ApiKey.new()
    with _keys(settings) as keys:
        account = keys.create(
            key,
            name=arguments.name,
            budget=arguments.budget,
            price_version=settings.price_version,
            period=arguments.period,
            **_limits(arguments),
        )
    each = "" if account.budget_period == "none" else f" each {account.budget_period}"
    return _shown_once(key, account, f"{arguments.budget} queries{each}", arguments)


def rotate(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Give a key a new secret; the old one is refused from now on."""
    with _keys(settings) as keys:
        key = keys.rotate(arguments.id)
        account = keys.get(key.id)
    return _shown_once(key, account, "the old secret is refused from now on", arguments)


def list_keys(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Every key and its standing."""
    with _keys(settings) as keys:
        found = keys.all()
    if arguments.json:
        return CommandOutput(json.dumps([_document(account) for account in found]))
    lines = [
        f"{'id':<20} {'budget':>10} {'spent':>10} {'reserved':>9} {'left':>10} "
        f"{'scopes':<16} {'expires':<10} {'last used':<16}  name"
    ]
    for account in found:
        notes = "" if account.budget_period == "none" else f"  (each {account.budget_period})"
        notes += "" if account.revoked_ms is None else "  (revoked)"
        lines.append(
            f"{account.id:<20} {account.budget_units:>10} {account.spent_units:>10} "
            f"{account.reserved_units:>9} {account.remaining_units:>10} "
            f"{','.join(account.scopes):<16} {_day(account.expires_ms):<10} "
            f"{_minute(account.last_used_ms):<16}  {account.name}{notes}"
        )
    return CommandOutput("\n".join(lines))


def change_limits(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Change what is given of a key's limits."""
    limits = _limits(arguments)
    if not limits:
        message = "nothing to change: give --scope, --expires-days or a limit"
        raise SettingsError(message)
    with _keys(settings) as keys:
        account = keys.set_limits(arguments.id, **limits)
    rate = account.requests_per_minute or settings.requests_per_minute
    at_once = account.max_concurrent or settings.max_concurrent
    return CommandOutput(
        f"key {account.id} ({account.name}): {','.join(account.scopes)}, expires "
        f"{_day(account.expires_ms)}, {rate} requests a minute, {at_once} at a time"
    )


def revoke(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Refuse a key from now on."""
    with _keys(settings) as keys:
        account = keys.revoke(arguments.id)
    return CommandOutput(
        f"key {account.id} ({account.name}) is revoked; {account.spent_units} queries were spent"
    )


def top_up(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Grant a key more queries."""
    with _keys(settings) as keys:
        account = keys.top_up(
            arguments.id,
            units=arguments.units,
            price_version=settings.price_version,
            grant_id=arguments.grant_id,
        )
    return CommandOutput(
        f"key {account.id} ({account.name}): {account.remaining_units} queries left"
    )


def verify(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Recompute every chain, balance and stored receipt; code 1 when something does not add up."""
    with opened(settings.database) as engine:
        audit = Books(engine).verify()
    lines = [f"FAULT {fault}" for fault in audit.faults]
    back = f" ({audit.units_corrected} given back)" if audit.units_corrected else ""
    verdict = f"{len(audit.faults)} faults" if audit.faults else "the books balance"
    lines.append(
        f"{audit.keys} keys, {audit.entries} entries, {audit.units_charged} queries charged{back}: "
        f"{verdict}"
    )
    return CommandOutput("\n".join(lines), code=1 if audit.faults else 0)


def purge(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Drop the bodies of old answers; their charges and Idempotency-Keys stay for ever."""
    now = unix_ms()
    oldest = now // _DAY_MS  # in 1970; the database counts no further back
    if not 0 <= arguments.older_than_days <= oldest:
        message = f"an age is a count of days from 0 to {oldest}, not {arguments.older_than_days}"
        raise SettingsError(message)
    with opened(settings.database) as engine:
        purged = Books(engine).purge(now - arguments.older_than_days * _DAY_MS)
    return CommandOutput(
        f"{purged} answers older than {arguments.older_than_days} days were purged"
    )


def correct(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Give back units or cost of a charge, as a new entry."""
    with opened(settings.database) as engine:
        entry = Books(engine).correct(
            arguments.request_id,
            units=arguments.units,
            cost_micro_usd=arguments.cost_micro_usd,
            reason=arguments.reason,
            actor=f"command line, uid {os.getuid()}",
            correction_id=arguments.correction_id,
        )
    return CommandOutput(
        f"{entry.request_id} gives back {-entry.units} queries and {-entry.cost_micro_usd} "
        f"micro-USD of {arguments.request_id}; {entry.balance_units} queries are unspent"
    )


def corrections(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """What was given back, of one charge or of all, by whom and why."""
    with opened(settings.database) as engine:
        found = Books(engine).corrections(arguments.request_id)
    return CommandOutput(
        "\n".join(
            f"{_minute(one.created_ms)}  {one.request_id} gives back {one.units} queries and "
            # Free text: quoted, so that it can neither break the line nor steer a terminal.
            f"{one.cost_micro_usd} micro-USD of {one.corrects}, by {one.actor}: {one.reason!r}"
            for one in found
        )
        or "nothing was given back"
    )


@contextmanager
def _keys(settings: VendorSettings) -> Iterator[Keys]:
    with opened(settings.database) as engine:
        yield Keys(engine, clock=unix_ms, pepper=load_pepper(engine, settings.given_pepper))


def _limits(arguments: argparse.Namespace) -> Limits:
    limits = Limits()
    if arguments.scope:
        limits["scopes"] = arguments.scope
    if arguments.key_expires_days is not None:
        days = arguments.key_expires_days
        limits["expires_ms"] = unix_ms() + days * _DAY_MS if days else None
    if arguments.key_requests_per_minute is not None:
        limits["requests_per_minute"] = arguments.key_requests_per_minute or None
    if arguments.key_max_concurrent is not None:
        limits["max_concurrent"] = arguments.key_max_concurrent or None
    return limits


def _shown_once(
    key: ApiKey, account: Account, what: str, arguments: argparse.Namespace
) -> CommandOutput:
    if arguments.json:
        return CommandOutput(json.dumps(_document(account) | {"key": key.token}))
    return CommandOutput(key.token, note=f"key {key.id}: {what}. It is shown only now.")


def _document(account: Account) -> dict[str, Any]:
    return asdict(account) | {
        "remaining_units": account.remaining_units,
        "allowance_units": account.allowance_units,
        "used_units": account.used_units,
    }


def _day(unix: int | None) -> str:
    return _written(unix, "%Y-%m-%d")


def _minute(unix: int | None) -> str:
    return _written(unix, "%Y-%m-%d %H:%M")


def _written(unix: int | None, form: str) -> str:
    if unix is None:
        return "never"
    if unix > LAST_MS:  # a key's expiry was not bounded before
        return "after 9999"
    return datetime.fromtimestamp(unix / 1000, UTC).strftime(form)
