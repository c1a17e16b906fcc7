"""An account as the HTTP API shows it."""

from __future__ import annotations

from typing import Any

from teacher_server.api.rate_limits import key_limits
from teacher_server.ledger.account import Account
from teacher_server.settings import VendorSettings


def account_view(account: Account, settings: VendorSettings) -> dict[str, Any]:
    """The fields that a key and its administrator see; limits include the vendor's defaults."""
    limits = key_limits(account, settings)
    has_period = account.budget_period != "none"
    return {
        "id": account.id,
        "name": account.name,
        "budget_units": account.budget_units,
        "spent_units": account.spent_units,
        "reserved_units": account.reserved_units,
        "remaining_units": account.remaining_units,
        "created_ms": account.created_ms,
        "scopes": list(account.scopes),
        "expires_ms": account.expires_ms,
        "requests_per_minute": limits.requests_per_minute,
        "max_concurrent": limits.max_concurrent,
        "period": account.budget_period,
        "period_start_ms": account.period_start_ms if has_period else None,
        "allowance_units": account.allowance_units,
        "used_units": account.used_units,
    }


def admin_account_view(account: Account, settings: VendorSettings) -> dict[str, Any]:
    """The same with the fields that only an administrator sees."""
    return account_view(account, settings) | {
        "revoked_ms": account.revoked_ms,
        "last_used_ms": account.last_used_ms,
    }
