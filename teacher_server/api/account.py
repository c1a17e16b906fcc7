"""Routes about the calling key: its account, usage, ledger and paid answers."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from teacher_server.api.account_schemas import Bucket, KeyStanding, UsagePage, UsageResult
from teacher_server.api.account_view import account_view
from teacher_server.api.body import is_idempotency_key
from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.embeddings import earlier_answer
from teacher_server.api.openapi import problem_responses
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.schemas import EmbeddingResponse
from teacher_server.api.scopes import REFUSALS, Caller, Reader
from teacher_server.ledger.purchase import InFlight

router = APIRouter(tags=["account"])
_WIDTHS = {"1m": 60, "1h": 3600, "1d": 86400}
_LATEST = 2**40


@router.get("/v1/key", summary="The key's account", responses=problem_responses(*REFUSALS))
async def key(caller: Caller, services: ServicesDep) -> KeyStanding:
    """The budget, spending and limits of the calling key."""
    return KeyStanding(**account_view(caller, services.settings))


@router.get(
    "/v1/usage",
    summary="Usage by time buckets",
    responses=problem_responses(Code.INVALID_REQUEST, *REFUSALS),
)
async def usage(
    caller: Reader,
    services: ServicesDep,
    start_time: Annotated[
        int | None,
        Query(ge=0, le=_LATEST, description="Unix seconds; default: when the key was created."),
    ] = None,
    end_time: Annotated[
        int | None, Query(ge=0, le=_LATEST, description="Unix seconds, exclusive; default: now.")
    ] = None,
    bucket_width: Annotated[Literal["1m", "1h", "1d"], Query()] = "1d",
) -> UsagePage:
    """Buckets start at multiples of their width; buckets without charges or corrections are left
    out."""
    width = _WIDTHS[bucket_width]
    start = caller.created_ms // 1000 if start_time is None else start_time
    end = int(time.time()) + 1 if end_time is None else end_time
    if end <= start:
        raise Problem(
            Code.INVALID_REQUEST, "`end_time` must be after `start_time`", param="end_time"
        )
    start -= start % width
    buckets = await asyncio.to_thread(
        partial(
            services.ledger.records.usage, caller.id, start_time=start, end_time=end, width=width
        )
    )
    return UsagePage(
        data=[
            Bucket(
                start_time=bucket.start_time,
                end_time=bucket.end_time,
                results=[
                    UsageResult(
                        images=bucket.images,
                        texts=bucket.texts,
                        units=bucket.units,
                        cost_micro_usd=bucket.cost_micro_usd,
                        num_model_requests=bucket.num_model_requests,
                    )
                ],
            )
            for bucket in buckets
        ]
    )


@router.get(
    "/v1/ledger",
    summary="The key's ledger, as JSON Lines",
    response_class=Response,
    responses={
        200: {
            "description": "One ledger entry per line, in order of `seq`; empty after the last.",
            "content": {"application/jsonl": {"schema": {"$ref": "#/components/schemas/Receipt"}}},
        },
        **problem_responses(Code.INVALID_REQUEST, *REFUSALS),
    },
)
async def ledger(
    caller: Reader,
    services: ServicesDep,
    after: Annotated[int, Query(ge=0, le=2**62, description="The last `seq` that was read.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Append-only and hash-chained; the receipts of /v1/embeddings are these entries."""
    entries = await asyncio.to_thread(
        partial(services.ledger.records.entries, caller.id, after=after, limit=limit)
    )
    lines = [json.dumps(entry.document(), separators=(",", ":")) + "\n" for entry in entries]
    return Response("".join(lines), media_type="application/jsonl")


@router.get(
    "/v1/requests/{idempotency_key:path}",
    summary="A paid answer again",
    response_class=Response,
    responses={
        200: {"model": EmbeddingResponse},
        **problem_responses(
            Code.UNKNOWN_REQUEST, Code.REQUEST_IN_FLIGHT, Code.ANSWER_PURGED, *REFUSALS
        ),
    },
)
async def paid_answer(idempotency_key: str, caller: Caller, services: ServicesDep) -> Response:
    """The stored answer of a charged request, byte for byte, free of charge."""
    found = None
    if is_idempotency_key(idempotency_key):
        await services.storage.recover()
        found = await asyncio.to_thread(services.ledger.records.answer, caller.id, idempotency_key)
    if isinstance(found, InFlight):
        await services.storage.require_writable()
    if found is None:
        raise Problem(
            Code.UNKNOWN_REQUEST, "this key has no stored answer under that Idempotency-Key"
        )
    return earlier_answer(found, services)
