"""A load counts every answer, and is not fooled by a server that refuses."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.embedding_servers.load import Load, send_here
from benchmarks.embedding_servers.servers import photos
from benchmarks.support.raw_http import LONG_TIMEOUTS, serving_in_thread


def app(keys: list[str], *, status: int = 200) -> Starlette:
    async def embed(request: Request) -> JSONResponse:
        await request.body()
        keys.append(request.headers["Idempotency-Key"])
        return JSONResponse({}, status_code=status)

    return Starlette(routes=[Route("/v1/embeddings", embed, methods=["POST"])])


def load_on(port: int) -> Load:
    return Load(
        port=port, path="/v1/embeddings", bodies=[b"{}", b"[]"], items=3, clients=4, requests=10
    )


def test_each_request_is_sent_once_under_a_key_of_its_own() -> None:
    keys: list[str] = []
    with serving_in_thread(app(keys), LONG_TIMEOUTS) as server:
        measured = send_here(load_on(server.port))
    assert len(set(keys)) == len(keys) == len(measured.latencies) == 10
    assert measured.items_per_second == pytest.approx(30 / measured.seconds)
    assert measured.percentile(0) == min(measured.latencies)
    assert measured.percentile(0.99) == max(measured.latencies)


def test_an_answer_other_than_200_ends_the_load() -> None:
    with (
        serving_in_thread(app([], status=429), LONG_TIMEOUTS) as server,
        pytest.raises(RuntimeError, match="429"),
    ):
        send_here(load_on(server.port))


def test_the_photos_of_a_load_are_all_different_and_always_the_same() -> None:
    assert len(set(photos(20, 32))) == 20
    assert photos(3, 32) == photos(3, 32)
