"""`teacher-server keys`: create, list, change, revoke, rotate and top up API keys."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from teacher_server.commands.output import DAY_MS, CommandOutput, format_day, format_minute
from teacher_server.errors import SettingsError
from teacher_server.ledger.account import Account, Limits
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.ledger import open_database
from teacher_server.ledger.pepper import load_pepper
from teacher_server.settings import VendorSettings


def create(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Create a key; its token is printed now and never again."""
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
    return _token_output(key, account, f"{arguments.budget} queries{each}", arguments)


def rotate(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Replace a key's secret; the old one is refused from now on."""
    with _keys(settings) as keys:
        key = keys.rotate(arguments.id)
        account = keys.get(key.id)
    return _token_output(key, account, "the old secret is refused from now on", arguments)


def list_keys(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """List all keys with their balances and limits."""
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
            f"{','.join(account.scopes):<16} {format_day(account.expires_ms):<10} "
            f"{format_minute(account.last_used_ms):<16}  {account.name}{notes}"
        )
    return CommandOutput("\n".join(lines))


def change_limits(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Change the given limits of a key."""
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
        f"{format_day(account.expires_ms)}, {rate} requests per minute, {at_once} concurrent"
    )


def revoke(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Revoke a key permanently."""
    with _keys(settings) as keys:
        account = keys.revoke(arguments.id)
    return CommandOutput(
        f"key {account.id} ({account.name}) is revoked; it spent {account.spent_units} queries"
    )


def top_up(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Add queries to a key's budget."""
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


@contextmanager
def _keys(settings: VendorSettings) -> Iterator[Keys]:
    with open_database(settings.database) as engine:
        yield Keys(engine, clock=unix_ms, pepper=load_pepper(engine, settings.given_pepper))


def _limits(arguments: argparse.Namespace) -> Limits:
    limits = Limits()
    if arguments.scope:
        limits["scopes"] = arguments.scope
    if arguments.key_expires_days is not None:
        days = arguments.key_expires_days
        limits["expires_ms"] = unix_ms() + days * DAY_MS if days else None
    if arguments.key_requests_per_minute is not None:
        limits["requests_per_minute"] = arguments.key_requests_per_minute or None
    if arguments.key_max_concurrent is not None:
        limits["max_concurrent"] = arguments.key_max_concurrent or None
    return limits


def _token_output(
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
