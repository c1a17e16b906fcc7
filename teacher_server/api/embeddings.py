"""POST /v1/embeddings: validate, reserve, embed, charge with the answer, send; or void."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from teacher_server.api.answer import render_head, with_receipt
from teacher_server.api.auth import Caller
from teacher_server.api.document import problems
from teacher_server.api.intake import Intake, Intaker, prepare
from teacher_server.api.problems import Code, Problem, request_id_of
from teacher_server.api.schemas import EmbeddingResponse
from teacher_server.api.services import Services, Serving, settled
from teacher_server.batcher import QueueFull
from teacher_server.ledger.charges import (
    Earlier,
    InFlight,
    KeyReused,
    Purchase,
    Refused,
    Replay,
    Reservation,
)

router = APIRouter(tags=["embeddings"])
_log = logging.getLogger("teacher_server.embeddings")
_REFUSALS = tuple(
    code
    for code in Code
    if code not in {Code.UNKNOWN_REQUEST, Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED}
)
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
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
            "headers": {
                "Idempotent-Replayed": {
                    "description": "`true` when this answer was paid for before.",
                    "schema": {"type": "string"},
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
    caller: Caller,
    idempotency_key: Annotated[
        str | None,
        Header(description="1..255 visible ASCII; a retry under it is the same purchase."),
    ] = None,
) -> Response:
    """One item is one query. 200 means charged, and charged means stored: the same
    Idempotency-Key and payload get the same bytes again, free. Anything else costs nothing."""
    request_id = request_id_of(request)
    if idempotency_key is not None and not _VISIBLE_ASCII.fullmatch(idempotency_key):
        happened = "the Idempotency-Key is not 1 to 255 visible ASCII characters"
        raise Problem(Code.INVALID_REQUEST, happened, param="Idempotency-Key")
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
    charges = services.ledger.charges
    if idempotency_key is not None:
        earlier = await asyncio.to_thread(charges.earlier, purchase)
        if earlier is not None:
            return _earlier_answer(earlier, services)
    if services.batcher.depth >= services.settings.max_queue:
        raise Problem(Code.OVERLOADED, "the queue of the model is full")
    return await _sell(intake, purchase, services)


async def _intake(request: Request, services: Services) -> Intake:
    info = services.encoder.info
    intaker = Intaker(services.settings, services.image_limits, info.id, info.dim)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        body = await request.body()
        return await asyncio.to_thread(intaker.from_json, body)
    if content_type == "multipart/form-data":
        return await intaker.from_form(request)
    raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"the content type is {content_type[:60]!r}")


async def _sell(intake: Intake, purchase: Purchase, services: Services) -> Response:
    async with services.decoding:
        prepared = await asyncio.to_thread(
            partial(prepare, encoder=services.encoder, limits=services.image_limits), intake.items
        )
    charges, info = services.ledger.charges, services.encoder.info
    may_hold_units = True
    try:
        outcome = await settled(partial(charges.reserve, purchase, services.settings.price))
        if not isinstance(outcome, Reservation):
            may_hold_units = False
            return _unsold(outcome, services)
        try:
            async with asyncio.timeout(services.settings.lease_seconds / 2):
                vectors = await services.batcher.encode(prepared)
        except QueueFull as error:
            raise Problem(Code.OVERLOADED, str(error)) from error
        except TimeoutError as error:
            raise Problem(Code.NOT_READY, "the model did not answer in time") from error
        tokens = sum(item.num_tokens for item in prepared)
        head = await asyncio.to_thread(render_head, vectors, intake, outcome, info, tokens)
        body = await settled(
            partial(
                charges.post,
                outcome,
                model=info.id,
                model_fingerprint=info.fingerprint,
                render=partial(with_receipt, head),
            )
        )
        may_hold_units = False
    finally:
        if may_hold_units:
            await _void(purchase.request_id, services)
    services.metrics.billed(images=intake.images, texts=intake.texts)
    return Response(body, media_type="application/json")


async def _void(request_id: str, services: Services) -> None:
    try:
        was_reserved = await settled(partial(services.ledger.charges.void, request_id))
    except Exception:
        # The lease gives the units back; what stopped the request is the error to report.
        _log.exception("request %s could not be voided; its lease will be", request_id)
        return
    if was_reserved:
        services.metrics.voided()


def _earlier_answer(earlier: Earlier, services: Services) -> Response:
    if isinstance(earlier, Replay):
        services.metrics.replayed()
        return replay_response(earlier.body)
    if isinstance(earlier, InFlight):
        raise Problem(Code.REQUEST_IN_FLIGHT, "one with this Idempotency-Key is at work")
    assert isinstance(earlier, KeyReused)
    raise Problem(Code.IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key came with another payload")


def replay_response(body: bytes) -> Response:
    """A stored answer, byte for byte."""
    return Response(body, media_type="application/json", headers={"Idempotent-Replayed": "true"})


def _unsold(outcome: Earlier | Refused, services: Services) -> Response:
    if isinstance(outcome, Refused):
        raise _refusal(outcome)
    return _earlier_answer(outcome, services)


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
