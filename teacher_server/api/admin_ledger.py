"""Admin routes for the ledger: corrections, and the check of all entries."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.requests import Request

from teacher_server.api import admin_changes
from teacher_server.api.admin_changes import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY_HEADER,
    required_idempotency_key,
)
from teacher_server.api.admin_schemas import NewCorrection, Verification
from teacher_server.api.body import read_json, request_body
from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.openapi import problem_responses
from teacher_server.api.problem_types import Code
from teacher_server.api.schemas import Receipt
from teacher_server.api.scopes import REFUSALS, Admin

router = APIRouter(prefix="/admin", tags=["admin"])


@router.post(
    "/corrections",
    summary="Refund a wrong charge",
    status_code=201,
    # The entry as it was hashed: a correction has no digest, not an empty one.
    response_model_exclude_unset=True,
    responses=problem_responses(Code.UNKNOWN_REQUEST, Code.IDEMPOTENCY_KEY_REUSED, *BODY_PROBLEMS),
    openapi_extra=request_body(NewCorrection) | IDEMPOTENCY_KEY_HEADER,
)
async def correct_charge(
    request: Request,
    admin: Admin,
    services: ServicesDep,
    idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Receipt:
    """Appends an entry with negative figures to the ledger of the charge's key; a repetition with
    the same Idempotency-Key appends nothing."""
    correction_id = required_idempotency_key(idempotency_key)
    body = await read_json(request, NewCorrection)
    entry = await admin_changes.correct_charge(
        services, body, operator=admin, correction_id=correction_id
    )
    return Receipt(**entry.document())


@router.get("/ledger/verify", summary="Check the ledger", responses=problem_responses(*REFUSALS))
async def verify_ledger(admin: Admin, services: ServicesDep) -> Verification:
    """Recomputes the hash chain, balance and stored answers of all keys, in one snapshot."""
    audit = await asyncio.to_thread(services.ledger.records.verify)
    return Verification(
        balanced=not audit.faults,
        keys=audit.keys,
        entries=audit.entries,
        units_charged=audit.units_charged,
        units_corrected=audit.units_corrected,
        charges_without_digest=audit.charges_without_digest,
        faults=list(audit.faults),
    )
