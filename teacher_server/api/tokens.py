"""POST /v1/tokens: how long texts are for the model, so that nobody buys to find out."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from teacher_server.api.body import body_size_limit
from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.embeddings import parse
from teacher_server.api.openapi import problem_responses
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.schemas import ResponseModel
from teacher_server.api.scopes import REFUSALS, Caller
from teacher_server.limits.memory_budget import MemoryBudgetExceeded

router = APIRouter(tags=["catalogue"])
_REFUSALS = (
    Code.EMPTY_INPUT,
    Code.UNKNOWN_MODEL,
    Code.BODY_TOO_LARGE,
    Code.IMAGE_TOO_LARGE,
    Code.BATCH_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.INVALID_IMAGE,
    Code.OVERLOADED,
    *REFUSALS,
)
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/EmbeddingRequest"}}},
}


class TokenCounts(ResponseModel):
    """The tokens of each text, in their order; the model reads `context_length` of them."""

    model: str
    context_length: int
    tokens: list[int] = Field(description="With the model's marks, before any cut.")


@router.post(
    "/v1/tokens",
    summary="Count the tokens of texts",
    responses=problem_responses(*_REFUSALS),
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def count_tokens(request: Request, services: ServicesDep, caller: Caller) -> TokenCounts:
    """Free of charge. The body is that of /v1/embeddings, with texts only: what is refused there
    is refused here, except that a text may be longer than the model reads."""
    num_bytes = body_size_limit(request, services.settings.max_body_bytes)
    try:
        with services.memory_budget.hold(caller.id, num_bytes):
            parsed = await parse(request, services, lambda parsed: parsed)
            if parsed.images:
                raise Problem(Code.INVALID_REQUEST, "images have no tokens", param="input")
            prepared = await asyncio.to_thread(partial(services.prepare, parsed.items))
    except MemoryBudgetExceeded as error:
        raise Problem(Code.OVERLOADED, str(error)) from error
    return TokenCounts(
        model=services.info.id,
        context_length=services.info.context_length,
        tokens=[item.num_tokens + item.cut_tokens for item in prepared],
    )
