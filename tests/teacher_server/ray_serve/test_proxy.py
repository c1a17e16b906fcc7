"""What clients see of Ray Serve's proxy: one request id, and nothing of Ray's own errors."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from teacher_server.ray_serve.proxy import middlewares

PROBLEM = "application/problem+json"


async def answer_of(app: ASGIApp) -> httpx.Response:
    """The answer of an app that stands for Serve's proxy, with our middleware around it."""
    for middleware in middlewares():
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as http:
        return await http.get("/v1/embeddings")


@pytest.mark.parametrize(("status", "seen"), [(500, 502), (503, 503)])
async def test_the_error_for_a_dead_replica_says_what_to_do_and_nothing_of_ray(
    status: int, seen: int
) -> None:
    answer = await answer_of(PlainTextResponse("ActorDied pid=7 10.0.0.7 /opt/x", status))
    assert answer.status_code == seen
    assert "under the same Idempotency-Key" in answer.text
    assert "may have been charged" in answer.text
    assert "10.0.0.7" not in answer.text
    assert answer.headers["Content-Length"] == str(len(answer.content))


@pytest.mark.parametrize(
    ("status", "kind"), [(500, PROBLEM), (503, PROBLEM), (503, "text/html"), (200, "text/plain")]
)
async def test_what_the_vendor_answers_stays(status: int, kind: str) -> None:
    answer = await answer_of(Response("{}", status, media_type=kind))
    assert (answer.status_code, answer.text) == (status, "{}")


async def test_the_vendors_request_id_is_the_only_one() -> None:
    response = Response("{}")
    response.headers.append("X-Request-Id", "req_of_the_vendor")
    response.headers.append("X-Request-Id", "of the proxy")
    answer = await answer_of(response)
    assert answer.headers.get_list("X-Request-Id") == ["req_of_the_vendor"]
