"""ASGI middleware: request ids, the access log, metrics, and the limit on the body's size."""

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

from teacher_server.api.problem_types import Code
from teacher_server.api.problems import MEDIA_TYPE, Problem
from teacher_server.operations.metrics import Metrics

_log = logging.getLogger("teacher_server.access")


class RequestContext:
    """Assigns request ids, turns uncaught exceptions into 500, and records each outcome.

    A request that is cut off when the server stops is answered with a problem, too. Each answer to
    an authenticated key carries the key's limits in its headers. A HEAD is handled as a GET; the
    server leaves out the body of its answer.
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
        method = scope["method"]
        # A copy, because the server looks at its own scope to see that it must not send a body.
        scope = dict(scope, method="GET" if method == "HEAD" else method)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if "limits" in state:
                    headers.update(state["limits"].headers())
                    await state["limits"].give_back()
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The time for a graceful shutdown is over; uvicorn would answer in plain text.
            if status is None:
                state["problem_code"] = Code.NOT_READY
                response = _problem_response(request_id, Code.NOT_READY, "the server is stopping")
                await response(scope, receive, send_with_id)
            raise
        except ClientDisconnect:
            # There is nobody to answer and nothing failed; the log line shows a 499.
            state["problem_code"] = "client_disconnected"
        except Exception:
            _log.exception("request %s failed", request_id)
            state["problem_code"] = "internal_error"
            if status is not None:
                raise
            reason = "an unexpected error stopped the request"
            response = _problem_response(request_id, Code.INTERNAL_ERROR, reason)
            await response(scope, receive, send_with_id)
        finally:
            self._record(dict(scope, method=method), state, status, time.perf_counter() - started)

    def _record(
        self, scope: Scope, state: dict[str, Any], status: int | None, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        code = state.get("problem_code", "")
        self._metrics.answered(
            # Only methods of real routes: clients must not be able to create labels.
            method=scope["method"] if status != 405 and route != "unmatched" else "other",
            route=route,
            status=status or 499,
            code=code,
            seconds=seconds,
        )
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status or 499,
            "milliseconds": round(seconds * 1000, 1),
            "code": code or "ok",
            "key_id": state.get("key_id", "-"),
        }
        _log.info("%s %s %s %s %.1fms %s key=%s", *fields.values(), extra=fields)


def _problem_response(request_id: str, code: Code, reason: str) -> JSONResponse:
    problem = Problem(code, reason)
    return JSONResponse(
        problem.document(request_id),
        status_code=problem.problem_type.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


class BodyLimit:
    """Refuses a body over `max_bytes`, counting received bytes as well as the Content-Length.

    The rest of the body is read and dropped, up to three more times the limit: a client that is
    still sending would otherwise see a broken connection instead of the 413.
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
                    reason = f"the body is larger than {self._max_bytes} bytes"
                    raise Problem(Code.BODY_TOO_LARGE, reason)
            return message

        await self._app(scope, limited, send)

    async def _drain(self, receive: Receive, message: Message, received: int) -> None:
        while message.get("more_body") and received <= 4 * self._max_bytes:
            message = await receive()
            received += len(message.get("body", b""))
