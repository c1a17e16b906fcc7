"""Whether the process lives, whether it can sell, and its metrics. None needs a key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from teacher_server.api.dependencies import Serving
from teacher_server.api.openapi import problems
from teacher_server.api.problems import Code, Problem
from teacher_server.api.schemas import Liveness, Readiness

router = APIRouter(tags=["health"])


@router.get("/livez", summary="The process answers", responses=problems())
async def livez() -> Liveness:
    """200 as long as the event loop turns."""
    return Liveness()


@router.get("/readyz", summary="The vendor can sell", responses=problems(Code.NOT_READY))
async def readyz(services: Serving) -> Readiness:
    """200 once a canary went through the model, if its worker lives and the books take writes."""
    health = await services.health()
    if not health.is_ready:
        failing = ", ".join(name for name, holds in health.checks.items() if not holds)
        raise Problem(Code.NOT_READY, f"these checks do not hold: {failing}")
    return Readiness(ready=True, checks=health.checks)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(),
    },
)
async def metrics(services: Serving) -> Response:
    """The exposition text."""
    gate = services.gate
    page = services.metrics.page(depth=gate.depth, silence=gate.silence)
    return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")
