"""What Ray Serve's proxy answers by itself, in words that are true of a purchase.

The proxy adds a request id of its own to each answer, and answers for a replica that died with
the text of Ray's error, which names processes, addresses and paths.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The variable by which Serve's proxy finds `middlewares`.
VARIABLE: Final = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
VALUE: Final = "teacher_server.ray_serve.proxy.middlewares"
_TEXT: Final = (
    "No replica of the vendor has answered this request. If it is a purchase, it may have been "
    "charged: send it again under the same Idempotency-Key, which charges it once.\n"
)


def middlewares() -> list[Middleware]:
    """What the proxy wraps around its answers."""
    return [Middleware(OwnAnswers)]


class OwnAnswers:
    """Leaves the vendor's request id alone, and replaces the proxy's errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_replaced = False

        async def sending(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                request_ids = headers.getlist("X-Request-Id")
                if len(request_ids) > 1:
                    headers["X-Request-Id"] = request_ids[0]
                # The vendor's own errors are problems, or pages.
                is_plain = headers.get("Content-Type", "").startswith("text/plain")
                if message["status"] >= 500 and is_plain:
                    is_replaced = True
                    # 500 is the proxy's for a replica that died; 503 where there is none.
                    status = 502 if message["status"] == 500 else message["status"]
                    await _send_text(status, send)
            if not is_replaced:
                await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


async def _send_text(status: int, send: Send) -> None:
    body = _TEXT.encode()
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Retry-After": "1",
    }
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
