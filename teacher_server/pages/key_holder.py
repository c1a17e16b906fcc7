"""The pages of a key holder: sign in, balance, usage, ledger."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from teacher_server.api.account_view import account_view
from teacher_server.api.dependencies import Services, ServicesDep
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.pages.rendering.render import count, dollars, render
from teacher_server.pages.security.access import (
    KeyHolder,
    PageRoute,
    Visitor,
    admitted_address,
    require_browser,
)
from teacher_server.pages.security.forms import read_form
from teacher_server.pages.security.session import (
    end_session,
    remove_cookie,
    start_session,
)
from teacher_server.pages.usage import DAY, HOUR, total_usage, usage_rows

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_AREAS: Final = ("/", "/admin")


@router.get("/")
async def overview(request: Request, visitor: Visitor, services: ServicesDep) -> Response:
    """The balance, the usage and the newest ledger entries of the key that signed in."""
    require_browser(request)
    if visitor is None:
        return sign_in_page(request, area="/")
    context = await asyncio.to_thread(_overview, visitor.account, services)
    return render("overview.html", session=visitor, base_url=str(request.base_url)[:-1], **context)


def _overview(account: Account, services: Services) -> dict[str, Any]:
    records, now = services.ledger.records, int(time.time())
    context: dict[str, Any] = {
        "account": account_view(account, services.settings),
        "figures": _live_figures(account, services),
        "price": services.settings.price,
        "model": services.info.id,
        "may_read": "read" in account.scopes,
    }
    if not context["may_read"]:
        return context
    return context | {
        "hours": usage_rows(records, account.id, width=HOUR, now=now),
        "days": usage_rows(records, account.id, width=DAY, now=now),
        "total": total_usage(records, account.id, now=now),
        "ledger": records.newest(account.id, limit=10),
    }


@router.get("/spend")
async def spend(visitor: Visitor, services: ServicesDep) -> Response:
    """The figures that an open page shows anew every few seconds; 204 without a session."""
    headers = {"Cache-Control": "no-store"}
    if visitor is None:
        return Response(status_code=204, headers=headers)
    figures = await asyncio.to_thread(_live_figures, visitor.account, services)
    return JSONResponse(figures, headers=headers)


def _live_figures(account: Account, services: Services) -> dict[str, str]:
    figures = {
        "remaining": count(account.remaining_units),
        "used": count(account.used_units),
        "reserved": count(account.reserved_units),
    }
    if "read" in account.scopes:
        now = int(time.time())
        today = services.ledger.records.usage(
            account.id, start_time=now - now % DAY, end_time=now + 1, width=DAY
        )
        figures["today"] = dollars(sum(bucket.cost_micro_usd for bucket in today))
    return figures


@router.get("/ledger")
async def ledger(
    visitor: KeyHolder,
    services: ServicesDep,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:
    """Fifty ledger entries, newest first, each verified against the one before it."""
    if "read" not in visitor.account.scopes:
        raise Problem(Code.INSUFFICIENT_SCOPE, "the ledger needs a key with the scope `read`")
    records = services.ledger.records
    found = await asyncio.to_thread(records.newest, visitor.account.id, before=before)
    return render("ledger.html", session=visitor, ledger=found, before=before)


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Start a session for the holder of a valid key."""
    with admitted_address(request):
        fields = await read_form(request, None)
        area = fields.get("area", ["/"])[0]
        area = area if area in _AREAS else "/"
        key = ApiKey.parse(fields.get("key", [""])[0])
        keys = services.ledger.keys
        account = None if key is None else await asyncio.to_thread(keys.authenticate, key)
        secret = (
            None if account is None else await asyncio.to_thread(keys.session_secret, account.id)
        )
    if account is None or secret is None:
        return sign_in_page(request, area=area, is_refused=True)
    request.scope["state"]["key_id"] = account.id
    # The holder of a key for administration alone has nothing to see on the other page.
    response = RedirectResponse("/admin" if account.scopes == ("admin",) else area, 303)
    start_session(response, request, key_id=account.id, secret=secret)
    return response


@router.post("/sign-out")
async def sign_out(request: Request, visitor: Visitor, services: ServicesDep) -> Response:
    """End the session, for copies of its cookie too."""
    if visitor is not None:
        await read_form(request, visitor)
        await asyncio.to_thread(end_session, visitor, services.ledger.ended_sessions)
    response = RedirectResponse("/", 303)
    remove_cookie(response)
    return response


def sign_in_page(request: Request, *, area: str, is_refused: bool = False) -> Response:
    """The form to sign in with; `area` is the page to go to then."""
    if is_refused:
        request.scope["state"]["problem_code"] = Code.INVALID_KEY
    return render(
        "sign_in.html",
        status=401 if is_refused else 200,
        area=area,
        is_refused=is_refused,
        has_ended="ended" in request.query_params,
    )
