"""ASGI middleware: the span of a request, under which are those of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teacher_server.tracing import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class RequestTrace:
    """Makes one span for each request, with its id, route and status; never a key or an input."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        from opentelemetry.trace import SpanKind

        self._app = app
        self._tracer = tracer
        self._kind = SpanKind.SERVER

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        attributes = {
            "http.request.method": method,
            "teacher.request_id": scope["state"]["request_id"],
        }
        with (
            tracing(self._tracer),
            self._tracer.start_as_current_span(
                method,
                kind=self._kind,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as request,
        ):

            async def send_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, send_status)
            finally:
                # The template, so that names stay few.
                route = getattr(scope.get("route"), "path", "unmatched")
                request.update_name(f"{method} {route}")
                request.set_attribute("http.route", route)
