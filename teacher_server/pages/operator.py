"""The operator's pages: keys, budgets, corrections, and how busy this server is."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teacher_server.api import admin_changes
from teacher_server.api.account_view import admin_account_view
from teacher_server.api.admin import KeyId
from teacher_server.api.admin_changes import apply_change
from teacher_server.api.admin_schemas import KeyChange, NewCorrection, NewKey, TopUp
from teacher_server.api.body import checked_idempotency_key
from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.ledger.account import LAST_MS, SCOPES, Account
from teacher_server.ledger.period import PERIODS
from teacher_server.pages.key_holder import sign_in_page
from teacher_server.pages.rendering.render import render
from teacher_server.pages.security.access import (
    Operator,
    PageRoute,
    Visitor,
    operator_of,
    require_browser,
)
from teacher_server.pages.security.forms import checked, read_form, whole_number

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_SALES: Final = "/v1/embeddings"
_SHOWN_CORRECTIONS: Final = 20
_LIMITS: Final = ("requests_per_minute", "max_concurrent")


@router.get("/admin")
async def overview(request: Request, visitor: Visitor, services: ServicesDep) -> Response:
    """All keys, how busy this server is, the corrections, and the form to create a key."""
    require_browser(request)
    if visitor is None:
        return sign_in_page(request, area="/admin")
    session = await operator_of(visitor)
    accounts = await asyncio.to_thread(services.ledger.keys.all)
    corrections = await asyncio.to_thread(services.ledger.records.corrections)
    metrics, queue = services.metrics, services.metered_encoder
    return render(
        "operator.html",
        session=session,
        accounts=[admin_account_view(account, services.settings) for account in accounts],
        corrections=corrections[: -_SHOWN_CORRECTIONS - 1 : -1],
        num_corrections=len(corrections),
        depth=queue.depth,
        silence=queue.seconds_since_heartbeat,
        latency=metrics.distribution("request_seconds", _SALES),
        batches={name: metrics.distribution("batch_items", name) for name in ("image", "text")},
        scopes=SCOPES,
        periods=PERIODS,
    )


@router.get("/admin/pages/keys/{key_id}")
async def key(
    key_id: KeyId,
    session: Operator,
    services: ServicesDep,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    done: str = "",
    refund: str = "",
) -> Response:
    """One key: its account, its ledger, and the forms that change it or refund a charge."""
    account = await apply_change(partial(services.ledger.keys.get, key_id))
    found = await asyncio.to_thread(services.ledger.records.newest, key_id, before=before)
    return render(
        "key.html",
        session=session,
        account=admin_account_view(account, services.settings),
        own={name: getattr(account, name) for name in _LIMITS},
        defaults={name: getattr(services.settings, name) for name in _LIMITS},
        expires=_date_field(account.expires_ms),
        ledger=found,
        before=before,
        done=done,
        refund=refund,
        scopes=SCOPES,
        form_id=secrets.token_urlsafe(16),
    )


@router.post("/admin/pages/keys")
async def create_key(request: Request, session: Operator, services: ServicesDep) -> Response:
    """Create a key; its token is shown on this page alone."""
    fields = await read_form(request, session)
    body = checked(
        NewKey,
        {
            "name": fields.get("name", [""])[0],
            "budget_units": whole_number(fields, "budget_units"),
            "period": fields.get("period", ["none"])[0],
            "scopes": fields.get("scopes", []),
            "expires_ms": _moment(fields.get("expires", [""])[0]),
            **{name: whole_number(fields, name) for name in _LIMITS},
        },
    )
    made, account = await admin_changes.create_key(services, body)
    return render("new_key.html", session=session, account=account, token=made.token)


@router.post("/admin/pages/keys/{key_id}/topup")
async def top_up(
    request: Request, key_id: KeyId, session: Operator, services: ServicesDep
) -> Response:
    """Add queries to the budget; the same form sent twice adds them once."""
    fields = await read_form(request, session)
    body = checked(TopUp, {"units": whole_number(fields, "units")})
    change = partial(
        services.ledger.keys.top_up,
        key_id,
        units=body.units,
        price_version=services.settings.price_version,
        grant_id=checked_idempotency_key(fields.get("form_id", [""])[0]),
    )
    await apply_change(change)
    return _done(key_id, "topped-up")


@router.post("/admin/pages/keys/{key_id}/limits")
async def change_limits(
    request: Request, key_id: KeyId, session: Operator, services: ServicesDep
) -> Response:
    """Change the limits that differ from the key's."""
    fields = await read_form(request, session)
    keys = services.ledger.keys
    account = await apply_change(partial(keys.get, key_id))
    body = checked(KeyChange, _changes(fields, account))
    changes = body.model_dump(include=body.model_fields_set)
    await apply_change(partial(keys.set_limits, key_id, **changes))
    return _done(key_id, "limits-changed")


@router.post("/admin/pages/keys/{key_id}/rotate")
async def rotate(
    request: Request, key_id: KeyId, session: Operator, services: ServicesDep
) -> Response:
    """Replace the key's secret; the new token is shown on this page alone."""
    _require_confirmation(await read_form(request, session))
    keys = services.ledger.keys
    rotated = await apply_change(partial(keys.rotate, key_id))
    account = await apply_change(partial(keys.get, key_id))
    return render("new_key.html", session=session, account=account, token=rotated.token)


@router.post("/admin/pages/keys/{key_id}/revoke")
async def revoke(
    request: Request, key_id: KeyId, session: Operator, services: ServicesDep
) -> Response:
    """Revoke the key permanently."""
    _require_confirmation(await read_form(request, session))
    await apply_change(partial(services.ledger.keys.revoke, key_id))
    return _done(key_id, "revoked")


@router.post("/admin/pages/corrections")
async def correct(request: Request, session: Operator, services: ServicesDep) -> Response:
    """Refund a charge in part or in full; the same form sent twice refunds it once."""
    fields = await read_form(request, session)
    body = checked(
        NewCorrection,
        {
            "request_id": fields.get("request_id", [""])[0],
            "units": whole_number(fields, "units") or 0,
            "cost_micro_usd": whole_number(fields, "cost_micro_usd") or 0,
            "reason": fields.get("reason", [""])[0],
        },
    )
    entry = await admin_changes.correct_charge(
        services,
        body,
        operator=session.account,
        correction_id=checked_idempotency_key(fields.get("form_id", [""])[0]),
    )
    return render("corrected.html", session=session, entry=entry)


@router.get("/admin/pages/verify")
async def verify(session: Operator, services: ServicesDep) -> Response:
    """The audit of the whole ledger, stored answers included."""
    audit = await asyncio.to_thread(services.ledger.records.verify)
    return render("verified.html", session=session, audit=audit)


def _changes(fields: dict[str, list[str]], account: Account) -> dict[str, Any]:
    wanted: dict[str, Any] = {name: whole_number(fields, name) for name in _LIMITS}
    changes = {name: limit for name, limit in wanted.items() if limit != getattr(account, name)}
    if set(fields.get("scopes", [])) != set(account.scopes):
        changes["scopes"] = fields.get("scopes", [])
    expires = fields.get("expires", [""])[0]
    # The field shows minutes: an expiry that was not touched keeps its milliseconds.
    if expires != _date_field(account.expires_ms):
        changes["expires_ms"] = _moment(expires)
    return changes


def _date_field(unix_ms: int | None) -> str:
    if unix_ms is None or unix_ms > LAST_MS:
        return ""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M")


def _moment(text: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
    except ValueError as error:
        reason = "`expires` is not a date and a time"
        raise Problem(Code.INVALID_REQUEST, reason, param="expires") from error
    return round(moment.timestamp() * 1000)


def _require_confirmation(fields: dict[str, list[str]]) -> None:
    if "confirm" not in fields:
        reason = "the box that confirms this was not ticked, so nothing was changed"
        raise Problem(Code.INVALID_REQUEST, reason)


def _done(key_id: str, what: str) -> Response:
    return RedirectResponse(f"/admin/pages/keys/{key_id}?done={what}", 303)
