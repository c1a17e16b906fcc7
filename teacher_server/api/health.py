"""Liveness, readiness and metrics; these routes need no key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.openapi import problem_responses
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.schemas import Liveness, Readiness

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Liveness", responses=problem_responses())
async def livez() -> Liveness:
    """200 as long as the event loop runs."""
    return Liveness()


@router.get("/readyz", summary="Readiness", responses=problem_responses(Code.NOT_READY))
async def readyz(services: ServicesDep) -> Readiness:
    """200 once a probe has passed through the model, while its worker runs and the database accepts
    as much as a sale writes."""
    health = await services.health()
    if not health.is_ready:
        failing = ", ".join(name for name, passes in health.checks.items() if not passes)
        raise Problem(Code.NOT_READY, f"these checks fail: {failing}")
    return Readiness(ready=True, checks=health.checks)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(),
    },
)
async def metrics(services: ServicesDep) -> Response:
    """The metrics in Prometheus' text format."""
    metered_encoder = services.metered_encoder
    page = services.metrics.page(
        depth=metered_encoder.depth, seconds_since_heartbeat=metered_encoder.seconds_since_heartbeat
    )
    return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")
