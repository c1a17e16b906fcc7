"""What an administrator does over HTTP: keys, top-ups, corrections, and the check of the books."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teacher_server.api.account_view import record_of
from teacher_server.api.admin_schemas import (
    KeyChange,
    KeyList,
    KeyRecord,
    KeyWithSecret,
    NewCorrection,
    NewKey,
    TopUp,
    Verification,
)
from teacher_server.api.body import VISIBLE_ASCII, checked_idempotency_key, json_body, reads
from teacher_server.api.dependencies import Services, Serving
from teacher_server.api.openapi import problems
from teacher_server.api.problems import Code, Problem
from teacher_server.api.schemas import Receipt
from teacher_server.api.scopes import REFUSALS, Admin
from teacher_server.api.uncancelled import run_uncancelled
from teacher_server.errors import (
    ChargeUnknown,
    CorrectionReused,
    GrantReused,
    KeyUnknown,
    LedgerError,
)
from teacher_server.ledger.account import Account
from teacher_server.ledger.keys import ApiKey

T = TypeVar("T")
_KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
router = APIRouter(prefix="/admin", tags=["admin"])
_BODY_REFUSALS = (Code.INVALID_REQUEST, Code.UNSUPPORTED_MEDIA_TYPE, Code.BODY_TOO_LARGE, *REFUSALS)
_LINKS: dict[str, Any] = {
    name: {"operationId": operation, "parameters": {"key_id": "$response.body#/id"}}
    for name, operation in (
        ("Key", "get_key"),
        ("Change", "change_key"),
        ("TopUp", "top_up_key"),
        ("Rotate", "rotate_key"),
        ("Revoke", "revoke_key"),
    )
}

_ONCE: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": "1..255 visible ASCII: a retry under it moves nothing more.",
            "schema": {"type": "string", **VISIBLE_ASCII},
        }
    ]
}


async def _key_id(key_id: str) -> str:
    # What cannot be an id need not be looked up; PostgreSQL would choke on some of it.
    if not _KEY_ID.fullmatch(key_id):
        raise Problem(Code.UNKNOWN_KEY, f"no key has the id {key_id[:64]!r}")
    return key_id


KeyId = Annotated[str, Depends(_key_id)]


@router.get("/keys", summary="Every key", responses=problems(*REFUSALS))
async def list_keys(admin: Admin, services: Serving) -> KeyList:
    """Oldest first; no secrets, for none is stored."""
    accounts = await asyncio.to_thread(services.ledger.keys.all)
    return KeyList(data=[_record(account, services) for account in accounts])


@router.post(
    "/keys",
    summary="Make a key",
    status_code=201,
    response_model=KeyWithSecret,
    responses={201: {"links": _LINKS}, **problems(*_BODY_REFUSALS)},
    openapi_extra=reads(NewKey),
)
async def create_key(request: Request, admin: Admin, services: Serving) -> Response:
    """The token is in this answer and nowhere else."""
    body = await json_body(request, NewKey)
    key = ApiKey.new()
    made = partial(
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
    return _with_secret(await _done(made), key, services, status=201)


@router.get("/keys/{key_id}", summary="One key", responses=problems(Code.UNKNOWN_KEY, *REFUSALS))
async def get_key(admin: Admin, key_id: KeyId, services: Serving) -> KeyRecord:
    """Its standing as of its last use."""
    return _record(await _done(partial(services.ledger.keys.get, key_id)), services)


@router.patch(
    "/keys/{key_id}",
    summary="Change a key's limits",
    responses=problems(Code.UNKNOWN_KEY, *_BODY_REFUSALS),
    openapi_extra=reads(KeyChange),
)
async def change_key(admin: Admin, key_id: KeyId, request: Request, services: Serving) -> KeyRecord:
    """From its next request on."""
    body = await json_body(request, KeyChange)
    changes = body.model_dump(include=body.model_fields_set)
    change = partial(services.ledger.keys.set_limits, key_id, **changes)
    return _record(await _done(change), services)


@router.post(
    "/keys/{key_id}/topup",
    summary="Grant a key more units",
    responses=problems(Code.UNKNOWN_KEY, Code.IDEMPOTENCY_KEY_REUSED, *_BODY_REFUSALS),
    openapi_extra=reads(TopUp) | _ONCE,
)
async def top_up_key(
    admin: Admin,
    key_id: KeyId,
    request: Request,
    services: Serving,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> KeyRecord:
    """Under one Idempotency-Key a key is granted its units once, however often it is asked."""
    grant_id = _required(idempotency_key)
    body = await json_body(request, TopUp)
    top_up = partial(
        services.ledger.keys.top_up,
        key_id,
        units=body.units,
        price_version=services.settings.price_version,
        grant_id=grant_id,
    )
    return _record(await _done(top_up), services)


@router.post(
    "/keys/{key_id}/revoke",
    summary="Refuse a key from now on",
    responses=problems(Code.UNKNOWN_KEY, *REFUSALS),
)
async def revoke_key(admin: Admin, key_id: KeyId, services: Serving) -> KeyRecord:
    """For good; what it bought stays on record."""
    return _record(await _done(partial(services.ledger.keys.revoke, key_id)), services)


@router.post(
    "/keys/{key_id}/rotate",
    summary="Give a key a new secret",
    response_model=KeyWithSecret,
    responses=problems(Code.INVALID_REQUEST, Code.UNKNOWN_KEY, *REFUSALS),
)
async def rotate_key(admin: Admin, key_id: KeyId, services: Serving) -> Response:
    """The old secret is refused at once; the new token is in this answer and nowhere else."""
    keys = services.ledger.keys
    key = await _done(partial(keys.rotate, key_id))
    return _with_secret(await _done(partial(keys.get, key_id)), key, services)


@router.post(
    "/corrections",
    summary="Give back what was charged wrongly",
    status_code=201,
    responses=problems(Code.UNKNOWN_REQUEST, Code.IDEMPOTENCY_KEY_REUSED, *_BODY_REFUSALS),
    openapi_extra=reads(NewCorrection) | _ONCE,
)
async def correct_charge(
    request: Request,
    admin: Admin,
    services: Serving,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Receipt:
    """A new entry of the charge's key with negative figures, once for an Idempotency-Key; nothing
    written is changed."""
    correction_id = _required(idempotency_key)
    body = await json_body(request, NewCorrection)
    correct = partial(
        services.ledger.books.correct,
        body.request_id,
        units=body.units,
        cost_micro_usd=body.cost_micro_usd,
        reason=body.reason,
        actor=f"key {admin.id}",
        correction_id=correction_id,
    )
    return Receipt(**(await _done(correct)).document())


@router.get("/ledger/verify", summary="Check the books", responses=problems(*REFUSALS))
async def verify_ledger(admin: Admin, services: Serving) -> Verification:
    """Recomputes every chain, balance and stored receipt of every key, in one snapshot."""
    audit = await asyncio.to_thread(services.ledger.books.verify)
    return Verification(
        balanced=not audit.faults,
        keys=audit.keys,
        entries=audit.entries,
        units_charged=audit.units_charged,
        units_corrected=audit.units_corrected,
        faults=list(audit.faults),
    )


def _required(idempotency_key: str | None) -> str:
    # Documented as required: its absence gets a better answer than FastAPI's.
    if idempotency_key is None:
        happened = "this needs an Idempotency-Key, so that a retry cannot do it twice"
        raise Problem(Code.INVALID_REQUEST, happened, param="Idempotency-Key")
    return checked_idempotency_key(idempotency_key)


async def _done(change: Callable[[], T]) -> T:
    """The change, made whole even when the caller is gone; the ledger's refusals as Problems."""
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


def _record(account: Account, services: Services) -> KeyRecord:
    return KeyRecord(**record_of(account, services.settings))


def _with_secret(
    account: Account, key: ApiKey, services: Services, *, status: int = 200
) -> Response:
    shown = KeyWithSecret(**record_of(account, services.settings), key=key.token)
    return JSONResponse(
        shown.model_dump(mode="json"), status, headers={"Cache-Control": "no-store"}
    )
