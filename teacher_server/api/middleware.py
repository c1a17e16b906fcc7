"""Pure ASGI layers: a request's id, its log line and metrics, and the cap on its body."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.api.problems import MEDIA_TYPE, Code, Problem
from teacher_server.operations.metrics import Metrics

_log = logging.getLogger("teacher_server.access")


class RequestContext:
    """Gives each request an id, answers what nobody caught with a 500, and counts the outcome.

    A request that a stopping server cuts off is told so, in the form of every refusal. Whatever
    the outcome is, an answer to a known key tells the key's limits.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        request_id = state["request_id"] = "req_" + secrets.token_hex(16)
        started = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if "limits" in state:
                    headers.update(state["limits"].headers())
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The grace of a shutdown has ended. Left to itself, uvicorn would answer in plain text.
            if status is None:
                state["problem_code"] = Code.NOT_READY
                response = _refusal(request_id, Code.NOT_READY, "the server is stopping")
                await response(scope, receive, send_with_id)
            raise
        except ClientDisconnect:
            # Nobody is left to answer, and nothing broke: the line below with its 499 says it all.
            state["problem_code"] = "client_disconnected"
        except Exception:
            _log.exception("request %s failed", request_id)
            state["problem_code"] = "internal_error"
            if status is not None:
                raise
            happened = "an unexpected failure stopped the request"
            response = _refusal(request_id, Code.INTERNAL_ERROR, happened)
            await response(scope, receive, send_with_id)
        finally:
            self._record(scope, state, status, time.perf_counter() - started)

    def _record(
        self, scope: Scope, state: dict[str, Any], status: int | None, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        code = state.get("problem_code", "")
        self._metrics.answered(
            # Only a route's own methods: a stranger must not choose labels.
            method=scope["method"] if status != 405 and route != "unmatched" else "other",
            route=route,
            status=status or 499,
            code=code,
            seconds=seconds,
        )
        _log.info(
            "%s %s %s %s %.1fms %s key=%s",
            state["request_id"],
            scope["method"],
            route,
            status or 499,
            seconds * 1000,
            code or "ok",
            state.get("key_id", "-"),
        )


def _refusal(request_id: str, code: Code, happened: str) -> JSONResponse:
    problem = Problem(code, happened)
    return JSONResponse(
        problem.document(request_id),
        status_code=problem.kind.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


class BodyLimit:
    """Refuses a body over `max_bytes`, by what really arrives and not by what was declared.

    The surplus is read and dropped, up to three times the limit, for a client that is still
    sending would see a broken connection instead of the 413.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        is_declared_too_large = declared.isdecimal() and int(declared) > self._max_bytes
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes or is_declared_too_large:
                    await self._drain(receive, message, received)
                    happened = f"the body is larger than {self._max_bytes} bytes"
                    raise Problem(Code.BODY_TOO_LARGE, happened)
            return message

        await self._app(scope, limited, send)

    async def _drain(self, receive: Receive, message: Message, received: int) -> None:
        while message.get("more_body") and received <= 4 * self._max_bytes:
            message = await receive()
            received += len(message.get("body", b""))
