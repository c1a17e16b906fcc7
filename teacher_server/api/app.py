"""The app is a constructor call: collaborators in, ASGI out, nothing global."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from teacher_server.api import account, catalogue, document, embeddings, health
from teacher_server.api.middleware import BodyLimit, RequestContext
from teacher_server.api.problems import Code, Problem, respond
from teacher_server.api.services import Services
from teacher_server.batcher import Batcher, QueueFull
from teacher_server.health import STUCK_SECONDS, Canary
from teacher_server.ledger.ledger import Ledger
from teacher_server.metrics import Metrics
from teacher_server.model.info import Encoder
from teacher_server.settings import VendorSettings

_log = logging.getLogger("teacher_server")
_WATCH_SECONDS = 30.0


def create_app(*, encoder: Encoder, ledger: Ledger, settings: VendorSettings) -> FastAPI:
    """The vendor as an ASGI app; its lifespan runs the model's thread and the canary."""
    metrics = Metrics()
    batcher = Batcher(
        encoder,
        max_batch=settings.max_batch,
        max_delay=settings.max_delay_ms / 1000,
        max_queue=settings.max_queue,
        observe=metrics.batch,
    )
    services = Services(
        encoder=encoder,
        ledger=ledger,
        batcher=batcher,
        canary=Canary(encoder, batcher, ledger.books.probe),
        metrics=metrics,
        settings=settings,
        decoding=asyncio.Semaphore(os.cpu_count() or 1),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        watch = asyncio.create_task(_watch(services))
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await asyncio.to_thread(batcher.stop)

    app = _routed(lifespan=lifespan)
    app.state.services = services
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestContext, metrics=metrics)
    return app


def openapi_document() -> dict[str, Any]:
    """The wire contract, without a model or a ledger."""
    return _routed().openapi()


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return document.complete(super().openapi())


def _routed(**options: Any) -> FastAPI:
    app = _Api(
        title="teacher-server",
        version="1",
        summary="CLIP embeddings by the query.",
        description=(
            "One item is one query. 200 means charged and stored; everything else is free. "
            "402 is never worth a retry, 429 always is."
        ),
        redoc_url=None,
        **options,
    )
    for module in (embeddings, account, catalogue, health):
        app.include_router(module.router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem = Problem(Code.METHOD_NOT_ALLOWED, f"{request.method} is not answered here")
    elif error.status_code == 404:
        problem = Problem(Code.NOT_FOUND, "no route has this path")
    elif error.status_code < 500:
        problem = Problem(Code.INVALID_REQUEST, "the request is malformed")
    else:
        problem = Problem(Code.INTERNAL_ERROR, "an unexpected failure stopped the request")
    response = respond(request, problem)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _on_invalid_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    problem = Problem(Code.INVALID_REQUEST, f"`{name}`: {first['msg'].lower()}", param=name)
    return respond(request, problem)


async def _watch(services: Services) -> None:
    """Keep the canary fresh and leases honest for as long as the server runs."""
    while True:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await services.canary.run()
            await asyncio.to_thread(services.ledger.charges.void_expired)
        except (QueueFull, TimeoutError):
            # Customers come first; a worker that is really stuck is seen by its silence.
            _log.warning("the queue is long: the canary found no turn")
        except Exception:
            services.canary.fail()
            _log.exception("the canary failed")
        await asyncio.sleep(_WATCH_SECONDS)
