"""What all admin routes that change the ledger share: bodies, repetitions and problems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from teacher_server.api.admin_schemas import NewCorrection, NewKey
from teacher_server.api.body import VISIBLE_ASCII, checked_idempotency_key
from teacher_server.api.cancellation import run_uncancelled
from teacher_server.api.dependencies import Services
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.scopes import REFUSALS
from teacher_server.errors import (
    ChargeUnknown,
    CorrectionReused,
    GrantReused,
    KeyUnknown,
    LedgerError,
)
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.entry import LedgerEntry

T = TypeVar("T")
BODY_PROBLEMS = (Code.INVALID_REQUEST, Code.UNSUPPORTED_MEDIA_TYPE, Code.BODY_TOO_LARGE, *REFUSALS)
IDEMPOTENCY_KEY_HEADER: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": "1 to 255 visible ASCII characters; a retry with it changes nothing.",
            "schema": {"type": "string", **VISIBLE_ASCII},
        }
    ]
}


def required_idempotency_key(idempotency_key: str | None) -> str:
    """Return a valid Idempotency-Key; raises a Problem if it is missing or not valid."""
    # Documented as required, but checked here for a better message than FastAPI's.
    if idempotency_key is None:
        reason = "this request needs an Idempotency-Key, so that a retry cannot apply it twice"
        raise Problem(Code.INVALID_REQUEST, reason, param="Idempotency-Key")
    return checked_idempotency_key(idempotency_key)


async def apply_change(change: Callable[[], T]) -> T:
    """Finish the change even if the caller disconnects; LedgerErrors become Problems."""
    try:
        return await run_uncancelled(change)
    except KeyUnknown as error:
        raise Problem(Code.UNKNOWN_KEY, str(error)) from error
    except ChargeUnknown as error:
        raise Problem(Code.UNKNOWN_REQUEST, str(error)) from error
    except (GrantReused, CorrectionReused) as error:
        raise Problem(Code.IDEMPOTENCY_KEY_REUSED, str(error)) from error
    except LedgerError as error:
        raise Problem(Code.INVALID_REQUEST, str(error)) from error


async def create_key(services: Services, body: NewKey) -> tuple[ApiKey, Account]:
    """Create a key as the operator asks; return it with its secret, and its account."""
    key = ApiKey.new()
    create = partial(
        services.ledger.keys.create,
        key,
        name=body.name,
        budget=body.budget_units,
        price_version=services.settings.price_version,
        scopes=body.scopes,
        expires_ms=body.expires_ms,
        requests_per_minute=body.requests_per_minute,
        max_concurrent=body.max_concurrent,
        period=body.period,
    )
    return key, await apply_change(create)


async def correct_charge(
    services: Services, body: NewCorrection, *, operator: Account, correction_id: str
) -> LedgerEntry:
    """Correct a charge as the operator asks; the same `correction_id` again changes nothing."""
    correct = partial(
        services.ledger.records.correct,
        body.request_id,
        units=body.units,
        cost_micro_usd=body.cost_micro_usd,
        reason=body.reason,
        actor=f"key {operator.id}",
        correction_id=correction_id,
    )
    return await apply_change(correct)
