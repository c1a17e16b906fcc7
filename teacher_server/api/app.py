"""Builds the FastAPI app from its parts; there is no global state."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from teacher_server.api import account, admin, admin_ledger, embeddings, health, tokens
from teacher_server.api import models as models_route
from teacher_server.api import openapi as document
from teacher_server.api.dependencies import Services
from teacher_server.api.middleware import BodyLimit, RequestContext
from teacher_server.api.parse_request import prepare
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem, problem_response
from teacher_server.api.request_trace import RequestTrace
from teacher_server.api.sale import MeteredEncoder
from teacher_server.errors import StorageUnavailable
from teacher_server.inference.batcher import Batcher, EncoderQueue
from teacher_server.inference.decode_image import ImageLimits
from teacher_server.inference.model_info import Encoder, Preparation
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.ledger import Ledger
from teacher_server.limits.fair_semaphore import FairSemaphore
from teacher_server.limits.memory_budget import MemoryBudget
from teacher_server.limits.rate_limiter import RateLimiter
from teacher_server.limits.shared_rate_limiter import SharedRateLimiter
from teacher_server.operations.background import BackgroundTasks
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.readiness import ReadinessProbe
from teacher_server.operations.storage import Storage, unavailable
from teacher_server.operations.webhook import Webhook
from teacher_server.settings import VendorSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


def create_app(
    *,
    encoder: Encoder,
    ledger: Ledger,
    settings: VendorSettings,
    tracer: Tracer | None = None,
) -> FastAPI:
    """The vendor as an ASGI app; its lifespan runs the encoder's thread and background tasks.

    Requests are traced by `tracer`, if there is one.
    """
    metrics = Metrics()
    batcher = Batcher(
        encoder,
        max_batch=settings.max_batch,
        max_delay=settings.max_delay_ms / 1000,
        max_queue=settings.max_queue,
        observe=metrics.batch,
    )
    return create_app_with_queue(
        batcher,
        preparation=encoder,
        ledger=ledger,
        settings=settings,
        metrics=metrics,
        tracer=tracer,
    )


def create_app_with_queue(
    queue: EncoderQueue,
    *,
    preparation: Preparation,
    ledger: Ledger,
    settings: VendorSettings,
    metrics: Metrics,
    tracer: Tracer | None = None,
) -> FastAPI:
    """The vendor as an ASGI app whose items are embedded by `queue`, wherever its encoder runs.

    `preparation` makes the input of that encoder's model.
    """
    storage = Storage(
        partial(ledger.records.probe, _largest_answer(settings, preparation)), ledger.charges.void
    )
    probe = ReadinessProbe(preparation, queue, storage)
    background = BackgroundTasks(
        probe,
        ledger,
        metrics,
        storage=storage,
        answer_days=settings.answer_days,
        alert_sender=_alert_sender(ledger, settings),
        clock_ms=unix_ms,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        queue.start()
        background_task = asyncio.create_task(background.run())
        try:
            yield
        finally:
            background_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await background_task
            await asyncio.to_thread(queue.stop)

    app = _routed(lifespan=lifespan)
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    app.state.services = Services(
        info=preparation.info,
        image_limits=limits,
        prepare=partial(prepare, preparation=preparation, limits=limits),
        ledger=ledger,
        metered_encoder=MeteredEncoder(
            queue,
            ledger.charges,
            metrics,
            storage=storage,
            info=preparation.info,
            settings=settings,
        ),
        storage=storage,
        rate_limiter=(
            RateLimiter() if ledger.key_use is None else SharedRateLimiter(ledger.key_use)
        ),
        health=probe.health,
        metrics=metrics,
        settings=settings,
        decoding_slots=FairSemaphore(os.cpu_count() or 1, timeout=settings.lease_seconds / 2),
        memory_budget=MemoryBudget(settings.max_bytes_in_flight),
    )
    # The middleware that is added last is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if tracer is not None:
        app.add_middleware(RequestTrace, tracer=tracer)
    app.add_middleware(RequestContext, metrics=metrics)
    return app


def _largest_answer(settings: VendorSettings, preparation: Preparation) -> int:
    """The size of the largest answer in base64, in bytes: what a sale may write."""
    return settings.max_items * preparation.info.dim * 16 // 3


def _alert_sender(ledger: Ledger, settings: VendorSettings) -> Webhook | None:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    return Webhook(
        str(settings.webhook_url), settings.webhook_secret, ledger.records, clock_ms=unix_ms
    )


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, made without a model or a ledger."""
    return _routed().openapi()


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return document.complete_document(super().openapi())


def _routed(**options: Any) -> FastAPI:
    app = _Api(
        title="teacher-server",
        version="1",
        summary="CLIP embeddings by the query.",
        description=(
            "One item is one query. 200 means charged and stored; any other status is free. "
            "Never retry a 402; retry a 429 after its Retry-After."
        ),
        # FastAPI's pages load their script and style from other hosts.
        docs_url=None,
        redoc_url=None,
        # Starlette would redirect to whatever host the request names.
        redirect_slashes=False,
        # Links and generated clients refer to an operation by its function name.
        generate_unique_id_function=lambda route: route.name,
        **options,
    )
    for module in (embeddings, tokens, account, models_route, admin, admin_ledger, health):
        app.include_router(module.router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(StorageUnavailable, _on_storage_unavailable)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(request, error)


async def _on_storage_unavailable(request: Request, error: Exception) -> Response:
    return problem_response(request, Problem(Code.STORAGE_UNAVAILABLE, str(error)))


async def _on_database_error(request: Request, error: Exception) -> Response:
    services: Services = request.app.state.services
    fault = services.storage.note(error)
    if fault is None:
        raise error
    return await _on_storage_unavailable(request, unavailable(fault))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem = Problem(Code.METHOD_NOT_ALLOWED, f"this path does not support {request.method}")
    elif error.status_code == 404:
        problem = Problem(Code.NOT_FOUND, "no route has this path")
    elif error.status_code < 500:
        problem = Problem(Code.INVALID_REQUEST, "the request is malformed")
    else:
        problem = Problem(Code.INTERNAL_ERROR, "an unexpected error stopped the request")
    response = problem_response(request, problem)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    if error.status_code == 405:
        # Each function is a route of its own, so Starlette's header lists only those of the first.
        path = request.app.openapi()["paths"].get(getattr(request.scope.get("route"), "path", ""))
        if path is not None:
            methods = {method.upper() for method in path}
            methods |= {"HEAD"} if "GET" in methods else set()
            response.headers["Allow"] = ", ".join(sorted(methods))
    return response


async def _on_invalid_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    problem = Problem(Code.INVALID_REQUEST, f"`{name}`: {first['msg'].lower()}", param=name)
    return problem_response(request, problem)
