"""POST /v1/embeddings: validate, reserve, embed, charge and store the answer, send it; or void."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from teacher_server.api.body import (
    VISIBLE_ASCII,
    body_size_limit,
    checked_idempotency_key,
    media_type,
    read_body,
)
from teacher_server.api.dependencies import Services, ServicesDep
from teacher_server.api.openapi import ANSWER_HEADERS, problem_responses
from teacher_server.api.parse_request import ParsedRequest, RequestParser, texts_cut
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem, request_id_of
from teacher_server.api.rate_limits import LimitHeaders
from teacher_server.api.render_response import render_head
from teacher_server.api.sale import CompletedSale
from teacher_server.api.schemas import EmbeddingResponse
from teacher_server.api.scopes import Buyer
from teacher_server.inference.model_info import Prepared
from teacher_server.ledger.account import Account
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.purchase import (
    Earlier,
    InFlight,
    KeyReused,
    Purchase,
    Purged,
    Refused,
    Replay,
)
from teacher_server.limits.fair_semaphore import QueueTimeout
from teacher_server.limits.memory_budget import MemoryBudgetExceeded
from teacher_server.tracing import span

T = TypeVar("T")
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
                    "truncate": {"type": "string", "enum": ["true", "false"]},
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
            "headers": ANSWER_HEADERS,
            "links": {
                "PaidAnswer": {
                    "operationId": "paid_answer",
                    "description": "The same answer again, free of charge.",
                    "parameters": {"idempotency_key": "$request.header.Idempotency-Key"},
                }
            },
        },
        **problem_responses(*_REFUSALS),
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def embed(
    request: Request,
    services: ServicesDep,
    caller: Buyer,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 visible ASCII characters; a retry with it is the same purchase.",
            json_schema_extra=VISIBLE_ASCII,
        ),
    ] = None,
) -> Response:
    """One item is one query. 200 means charged and stored: the same Idempotency-Key and payload
    return the same bytes again, free of charge. Any other status costs nothing."""
    if idempotency_key is not None:
        checked_idempotency_key(idempotency_key)
    num_bytes = body_size_limit(request, services.settings.max_body_bytes)
    try:
        with services.memory_budget.hold(caller.id, num_bytes):
            return await _buy(request, services, caller, idempotency_key)
    except MemoryBudgetExceeded as error:
        raise Problem(Code.OVERLOADED, str(error)) from error


async def _buy(
    request: Request, services: Services, caller: Account, idempotency_key: str | None
) -> Response:
    request_id, charges = request_id_of(request), services.ledger.charges

    def searched(parsed: ParsedRequest) -> tuple[ParsedRequest, Purchase, Earlier | None]:
        purchase = Purchase(
            request_id=request_id,
            key_id=caller.id,
            # Without a key from the client, the request's id takes its place, so that the paid
            # answer can still be found by its ledger entry.
            idempotency_key=idempotency_key or request_id,
            payload_sha256=parsed.payload_sha256,
            images=parsed.images,
            texts=parsed.texts,
        )
        is_named = idempotency_key is not None
        return parsed, purchase, charges.find_earlier(purchase) if is_named else None

    # Before the search: it may find a reservation that could not be released on a full disk.
    await services.storage.recover()
    parsed, purchase, earlier = await parse(request, services, searched)
    refused = None
    if earlier is None:
        refused = await _check_budget(caller, purchase, services)
        if refused is not None and idempotency_key is not None:
            # Since the search, this request's own first attempt may have spent the budget.
            earlier = await asyncio.to_thread(charges.find_earlier, purchase)
    if isinstance(earlier, InFlight):
        await services.storage.require_writable()
    if earlier is not None:
        return earlier_answer(earlier, services)
    if refused is not None:
        raise _budget_problem(refused)
    await services.storage.require_writable()
    services.metered_encoder.check_queue()
    return await _complete_sale(request, parsed, purchase, services)


async def parse(request: Request, services: Services, then: Callable[[ParsedRequest], T]) -> T:
    """What `then` makes of an embeddings request, in the worker thread that has parsed its body.

    Raises Problem if the body is not valid.
    """
    info = services.info
    parser = RequestParser(services.settings, services.image_limits, info.id, info.dim)
    content_type = media_type(request)
    if content_type == "application/json":
        body = await read_body(request)
        return await asyncio.to_thread(lambda: then(parser.from_json(body)))
    if content_type == "multipart/form-data":
        return await asyncio.to_thread(then, await parser.from_form(request))
    raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"the content type is {content_type[:60]!r}")


async def _check_budget(caller: Account, purchase: Purchase, services: Services) -> Refused | None:
    """Whether a reservation would be refused now, before anything is decoded or tokenized.

    Returns None also if the reservation might succeed because it starts a new budget period.
    """
    needed = services.settings.price.units(images=purchase.images, texts=purchase.texts)
    if needed <= caller.remaining_units:
        return None
    # The key may have been topped up while the body arrived.
    account = await asyncio.to_thread(services.ledger.keys.get, caller.id)
    if needed <= account.remaining_units or account.period_has_ended(unix_ms()):
        return None
    unspent = account.budget_units - account.spent_units
    return Refused(needed=needed, remaining=unspent, is_temporary=needed <= unspent)


async def _complete_sale(
    request: Request, parsed: ParsedRequest, purchase: Purchase, services: Services
) -> Response:
    with span("decode"):
        prepared = await _prepare(parsed, purchase.key_id, services)
    tokens = sum(item.num_tokens for item in prepared)
    cut = texts_cut(prepared, truncate=parsed.truncate, context_length=services.info.context_length)
    head = partial(render_head, parsed=parsed, info=services.info, tokens=tokens, cut=cut)
    # With a key, a client that has left asks again and gets the stored answer. Without one, each
    # of its attempts is a purchase of its own (docs/decisions/0017).
    is_named = purchase.idempotency_key != purchase.request_id
    has_left = None if is_named else partial(_has_left, request)
    outcome = await services.metered_encoder.complete_sale(purchase, prepared, head, has_left)
    if isinstance(outcome, Refused):
        raise _budget_problem(outcome)
    if not isinstance(outcome, CompletedSale):
        return earlier_answer(outcome, services)
    limits: LimitHeaders = request.scope["state"]["limits"]
    limits.unspent_units = outcome.entry.balance_units
    return Response(outcome.body, media_type="application/json")


async def _has_left(request: Request) -> bool:
    """Whether the client has closed the connection, by all that has arrived until now."""
    # The event loop reads the sockets once between two steps of a task.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return _is_disconnect_known(request)


def _is_disconnect_known(request: Request) -> bool:
    """Whether the server has noticed that the client has closed the connection.

    `Request.is_disconnected` gives the event loop back while it asks. A client that leaves then is
    not noticed, and is charged for an answer that goes nowhere. This takes the first step of
    receiving, which returns a message that is there, and does not wait for another.
    """
    receiving = cast("Coroutine[Any, Any, Message]", request.receive())
    try:
        receiving.send(None)
    except StopIteration as received:
        return bool(received.value["type"] == "http.disconnect")
    receiving.close()
    return False


async def _prepare(parsed: ParsedRequest, key_id: str, services: Services) -> list[Prepared]:
    work = partial(services.prepare, parsed.items)
    if not parsed.images:
        # Tokenizing is as quick as reading, so texts do not wait for the images of other requests.
        return await asyncio.to_thread(work)
    try:
        async with services.decoding_slots.slot(key_id):
            return await asyncio.to_thread(work)
    except QueueTimeout as error:
        raise Problem(Code.OVERLOADED, f"the images were not decoded: {error}") from error


def earlier_answer(earlier: Earlier, services: Services) -> Response:
    """The answer stored under the Idempotency-Key, byte for byte. Raises a Problem if none."""
    if isinstance(earlier, Replay):
        services.metrics.replayed()
        headers = {"Idempotent-Replayed": "true"}
        return Response(earlier.body, media_type="application/json", headers=headers)
    if isinstance(earlier, Purged):
        raise Problem(
            Code.ANSWER_PURGED, "the answer stored under this Idempotency-Key was deleted"
        )
    if isinstance(earlier, InFlight):
        raise Problem(Code.REQUEST_IN_FLIGHT, "a request with this Idempotency-Key is in progress")
    assert isinstance(earlier, KeyReused)
    raise Problem(Code.IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used with another payload")


def _budget_problem(refused: Refused) -> Problem:
    needed, remaining = refused.needed, refused.remaining
    if refused.is_temporary:
        code, reason = Code.BUDGET_IN_FLIGHT, "open requests have reserved what this request needs"
    elif remaining == 0:
        code, reason = (
            Code.BUDGET_EXHAUSTED,
            f"the request needs {needed} queries and none are left",
        )
    else:
        code = Code.REQUEST_EXCEEDS_BUDGET
        reason = f"the request needs {needed} queries and {remaining} are left"
    return Problem(code, reason, needed=needed, remaining=remaining)
