"""POST /v1/embeddings: validate, reserve, embed, charge with the answer, send; or void."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from teacher_server.api.body import (
    VISIBLE_ASCII,
    checked_idempotency_key,
    media_type,
    most_bytes,
    whole_body,
)
from teacher_server.api.dependencies import Services, Serving
from teacher_server.api.openapi import HEADERS, problems
from teacher_server.api.parse_request import ParsedRequest, RequestParser
from teacher_server.api.problems import Code, Problem, request_id_of
from teacher_server.api.rate_limits import Limits
from teacher_server.api.render_response import render_head
from teacher_server.api.sale import CompletedSale
from teacher_server.api.schemas import EmbeddingResponse
from teacher_server.api.scopes import Buyer
from teacher_server.inference.info import Prepared
from teacher_server.ledger.charges import (
    Earlier,
    InFlight,
    KeyReused,
    Purchase,
    Purged,
    Refused,
    Replay,
)
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.keys import Account
from teacher_server.limits.fair_semaphore import QueueTimeout
from teacher_server.limits.memory_budget import MemoryBudgetExceeded

router = APIRouter(tags=["embeddings"])
_REFUSALS = tuple(
    code
    for code in Code
    if code not in {Code.UNKNOWN_REQUEST, Code.UNKNOWN_KEY, Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED}
)
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/EmbeddingRequest"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["model"],
                "additionalProperties": False,
                "properties": {
                    "model": {"type": "string"},
                    "encoding_format": {"type": "string", "enum": ["float", "base64"]},
                    "image": {
                        "type": "array",
                        "items": {"type": "string", "contentMediaType": "image/*"},
                    },
                    "text": {"type": "array", "items": {"type": "string"}},
                },
            }
        },
    },
}


@router.post(
    "/v1/embeddings",
    summary="Embed texts and images",
    response_class=Response,
    responses={
        200: {
            "model": EmbeddingResponse,
            "headers": HEADERS,
            "links": {
                "PaidAnswer": {
                    "operationId": "paid_answer",
                    "description": "The same answer, again, for nothing.",
                    "parameters": {"idempotency_key": "$request.header.Idempotency-Key"},
                }
            },
        },
        **problems(*_REFUSALS),
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def embed(
    request: Request,
    services: Serving,
    caller: Buyer,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1..255 visible ASCII; a retry under it is the same purchase.",
            json_schema_extra=VISIBLE_ASCII,
        ),
    ] = None,
) -> Response:
    """One item is one query. 200 means charged, and charged means stored: the same
    Idempotency-Key and payload get the same bytes again, free. Anything else costs nothing."""
    if idempotency_key is not None:
        checked_idempotency_key(idempotency_key)
    num_bytes = most_bytes(request, services.settings.max_body_bytes)
    try:
        with services.room.of(caller.id, num_bytes):
            return await _bought(request, services, caller, idempotency_key)
    except MemoryBudgetExceeded as error:
        raise Problem(Code.OVERLOADED, str(error)) from error


async def _bought(
    request: Request, services: Services, caller: Account, idempotency_key: str | None
) -> Response:
    request_id = request_id_of(request)
    intake = await _intake(request, services)
    purchase = Purchase(
        request_id=request_id,
        key_id=caller.id,
        # Without a key of the client's the request's own id serves, so that the paid answer can
        # still be found by the ledger's line.
        idempotency_key=idempotency_key or request_id,
        payload_sha256=await asyncio.to_thread(lambda: intake.payload_sha256),
        images=intake.images,
        texts=intake.texts,
    )
    # Looked at before the Idempotency-Key is: what a retry finds spent may be its own purchase.
    refused = await _beyond_budget(caller, purchase, services)
    if idempotency_key is not None:
        earlier = await asyncio.to_thread(services.ledger.charges.earlier, purchase)
        if earlier is not None:
            return earlier_answer(earlier, services)
    if refused is not None:
        raise _refusal(refused)
    services.gate.check_room()
    return await _sell(request, intake, purchase, services)


async def _intake(request: Request, services: Services) -> ParsedRequest:
    info = services.info
    intaker = RequestParser(services.settings, services.image_limits, info.id, info.dim)
    content_type = media_type(request)
    if content_type == "application/json":
        return await asyncio.to_thread(intaker.from_json, await whole_body(request))
    if content_type == "multipart/form-data":
        return await intaker.from_form(request)
    raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"the content type is {content_type[:60]!r}")


async def _beyond_budget(caller: Account, purchase: Purchase, services: Services) -> Refused | None:
    """What a reservation would say now, so that nothing is decoded or tokenized to be refused.

    None where it may say otherwise: it also begins a key's new period, this only looks.
    """
    needed = services.settings.price.units(images=purchase.images, texts=purchase.texts)
    if needed <= caller.remaining_units:
        return None
    # The key may have been topped up while the body came.
    account = await asyncio.to_thread(services.ledger.keys.get, caller.id)
    if needed <= account.remaining_units or account.has_ended(unix_ms()):
        return None
    unspent = account.budget_units - account.spent_units
    return Refused(needed=needed, remaining=unspent, is_temporary=needed <= unspent)


async def _sell(
    request: Request, intake: ParsedRequest, purchase: Purchase, services: Services
) -> Response:
    prepared = await _prepared(intake, purchase.key_id, services)
    tokens = sum(item.num_tokens for item in prepared)
    head = partial(render_head, intake=intake, info=services.info, tokens=tokens)
    outcome = await services.gate.sell(purchase, prepared, head)
    if isinstance(outcome, Refused):
        raise _refusal(outcome)
    if not isinstance(outcome, CompletedSale):
        return earlier_answer(outcome, services)
    limits: Limits = request.scope["state"]["limits"]
    limits.unspent_units = outcome.entry.balance_units
    return Response(outcome.body, media_type="application/json")


async def _prepared(intake: ParsedRequest, key_id: str, services: Services) -> list[Prepared]:
    work = partial(services.prepare, intake.items)
    if not intake.images:
        # Texts are tokenized in the time that it takes to read them: they wait for nobody's images.
        return await asyncio.to_thread(work)
    try:
        async with services.decoding.turn(key_id):
            return await asyncio.to_thread(work)
    except QueueTimeout as error:
        raise Problem(Code.OVERLOADED, f"the images were not decoded: {error}") from error


def earlier_answer(earlier: Earlier, services: Services) -> Response:
    """What the Idempotency-Key gave before: the stored answer, byte for byte, or its Problem."""
    if isinstance(earlier, Replay):
        services.metrics.replayed()
        headers = {"Idempotent-Replayed": "true"}
        return Response(earlier.body, media_type="application/json", headers=headers)
    if isinstance(earlier, Purged):
        raise Problem(Code.ANSWER_PURGED, "the answer stored under this Idempotency-Key is gone")
    if isinstance(earlier, InFlight):
        raise Problem(Code.REQUEST_IN_FLIGHT, "one with this Idempotency-Key is at work")
    assert isinstance(earlier, KeyReused)
    raise Problem(Code.IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key came with another payload")


def _refusal(refused: Refused) -> Problem:
    needed, remaining = refused.needed, refused.remaining
    if refused.is_temporary:
        code, happened = Code.BUDGET_IN_FLIGHT, "requests in flight hold what this one needs"
    elif remaining == 0:
        code, happened = Code.BUDGET_EXHAUSTED, f"{needed} units are needed and none is left"
    else:
        code = Code.REQUEST_EXCEEDS_BUDGET
        happened = f"{needed} units are needed and {remaining} are left"
    return Problem(code, happened, needed=needed, remaining=remaining)
