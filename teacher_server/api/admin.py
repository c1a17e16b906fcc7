"""Admin routes for keys: create, list, change, top up, revoke and rotate."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teacher_server.api import admin_changes
from teacher_server.api.account_view import admin_account_view
from teacher_server.api.admin_changes import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY_HEADER,
    apply_change,
    required_idempotency_key,
)
from teacher_server.api.admin_schemas import (
    KeyChange,
    KeyList,
    KeyRecord,
    KeyWithSecret,
    NewKey,
    TopUp,
)
from teacher_server.api.body import read_json, request_body
from teacher_server.api.dependencies import Services, ServicesDep
from teacher_server.api.openapi import problem_responses
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.scopes import REFUSALS, Admin
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey, is_key_id

T = TypeVar("T")
router = APIRouter(prefix="/admin", tags=["admin"])
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


async def _key_id(key_id: str) -> str:
    if not is_key_id(key_id):
        raise Problem(Code.UNKNOWN_KEY, f"no key has the id {key_id[:64]!r}")
    return key_id


KeyId = Annotated[str, Depends(_key_id)]


@router.get("/keys", summary="Every key", responses=problem_responses(*REFUSALS))
async def list_keys(admin: Admin, services: ServicesDep) -> KeyList:
    """Oldest first, without secrets, which are not stored."""
    accounts = await asyncio.to_thread(services.ledger.keys.all)
    return KeyList(data=[_record(account, services) for account in accounts])


@router.post(
    "/keys",
    summary="Create a key",
    status_code=201,
    response_model=KeyWithSecret,
    responses={201: {"links": _LINKS}, **problem_responses(*BODY_PROBLEMS)},
    openapi_extra=request_body(NewKey),
)
async def create_key(request: Request, admin: Admin, services: ServicesDep) -> Response:
    """The token is only in this answer."""
    body = await read_json(request, NewKey)
    key, account = await admin_changes.create_key(services, body)
    return _with_secret(account, key, services, status=201)


@router.get(
    "/keys/{key_id}", summary="One key", responses=problem_responses(Code.UNKNOWN_KEY, *REFUSALS)
)
async def get_key(admin: Admin, key_id: KeyId, services: ServicesDep) -> KeyRecord:
    """Its account as of its last use."""
    return _record(await apply_change(partial(services.ledger.keys.get, key_id)), services)


@router.patch(
    "/keys/{key_id}",
    summary="Change a key's limits",
    responses=problem_responses(Code.UNKNOWN_KEY, *BODY_PROBLEMS),
    openapi_extra=request_body(KeyChange),
)
async def change_key(
    admin: Admin, key_id: KeyId, request: Request, services: ServicesDep
) -> KeyRecord:
    """The change applies from the key's next request on."""
    body = await read_json(request, KeyChange)
    changes = body.model_dump(include=body.model_fields_set)
    change = partial(services.ledger.keys.set_limits, key_id, **changes)
    return _record(await apply_change(change), services)


@router.post(
    "/keys/{key_id}/topup",
    summary="Add queries to a key's budget",
    responses=problem_responses(Code.UNKNOWN_KEY, Code.IDEMPOTENCY_KEY_REUSED, *BODY_PROBLEMS),
    openapi_extra=request_body(TopUp) | IDEMPOTENCY_KEY_HEADER,
)
async def top_up_key(
    admin: Admin,
    key_id: KeyId,
    request: Request,
    services: ServicesDep,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> KeyRecord:
    """A repetition with the same Idempotency-Key adds nothing."""
    grant_id = required_idempotency_key(idempotency_key)
    body = await read_json(request, TopUp)
    top_up = partial(
        services.ledger.keys.top_up,
        key_id,
        units=body.units,
        price_version=services.settings.price_version,
        grant_id=grant_id,
    )
    return _record(await apply_change(top_up), services)


@router.post(
    "/keys/{key_id}/revoke",
    summary="Revoke a key",
    responses=problem_responses(Code.UNKNOWN_KEY, *REFUSALS),
)
async def revoke_key(admin: Admin, key_id: KeyId, services: ServicesDep) -> KeyRecord:
    """Permanent; what the key bought stays in the ledger."""
    return _record(await apply_change(partial(services.ledger.keys.revoke, key_id)), services)


@router.post(
    "/keys/{key_id}/rotate",
    summary="Replace a key's secret",
    response_model=KeyWithSecret,
    responses=problem_responses(Code.INVALID_REQUEST, Code.UNKNOWN_KEY, *REFUSALS),
)
async def rotate_key(admin: Admin, key_id: KeyId, services: ServicesDep) -> Response:
    """The old secret stops working at once; the new token is only in this answer."""
    keys = services.ledger.keys
    key = await apply_change(partial(keys.rotate, key_id))
    return _with_secret(await apply_change(partial(keys.get, key_id)), key, services)


def _record(account: Account, services: Services) -> KeyRecord:
    return KeyRecord(**admin_account_view(account, services.settings))


def _with_secret(
    account: Account, key: ApiKey, services: Services, *, status: int = 200
) -> Response:
    shown = KeyWithSecret(**admin_account_view(account, services.settings), key=key.token)
    return JSONResponse(
        shown.model_dump(mode="json"), status, headers={"Cache-Control": "no-store"}
    )
