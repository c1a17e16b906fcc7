"""Every route to the model is metered: all routes of the app are tried, not a fixed list.

LiteLLM served embeddings on routes that its meter did not know: every embedding missed the budget
(#26701), a passthrough `/v1/embeddings` answered 200 and wrote no row (#36646), and newer routes
beside the first one were never counted (#38176).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine, select
from starlette.requests import Request

import teacher_server
from benchmarks.support.vendor_in_process import HashEncoder, Vendor, picture, vendor_at
from teacher_server.api.scopes import Buyer
from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import requests
from teacher_server.inference.model_info import Prepared, Vectors
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from tests.support.vendor_routes import routes_of

ALL = ("embed", "read", "admin")


@dataclass(slots=True)
class WatchedEncoder(HashEncoder):
    """Records for each batch its number of items, and the requests with reserved units."""

    engines: list[Engine] = field(default_factory=list)
    runs: list[tuple[int, dict[str, int]]] = field(default_factory=list)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        if self.engines:
            with read_transaction(self.engines[0]) as connection:
                held = connection.execute(
                    select(requests.c.request_id, requests.c.units).where(
                        requests.c.state == "reserved"
                    )
                ).all()
            self.runs.append((len(items), {row.request_id: row.units for row in held}))
        return HashEncoder.encode(self, items)


@pytest.fixture
def watched() -> WatchedEncoder:
    return WatchedEncoder()


@pytest.fixture
async def vendor(tmp_path: Path, watched: WatchedEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, watched, limits={"scopes": ALL}) as running:
        while (await running.http.get("/readyz")).status_code != 200:
            continue
        # The readiness probe is idle from here on, so every batch is caused by a request.
        watched.engines.append(running.engine)
        yield running


async def unmetered(vendor: Vendor, watched: WatchedEncoder) -> list[str]:
    """Call every route and method with a valid key; return those that ran the model unreserved."""
    guilty = []
    payloads: list[dict[str, Any]] = [
        {"json": {"model": vendor.model, "input": ["a text"]}},
        {"json": {"units": 1}},
        {"data": {"model": vendor.model}, "files": {"image": ("a.png", picture())}},
    ]
    for method, path in routes_of(vendor.app):
        target = re.sub(r"\{[^}]*\}", vendor.key.id, path)
        if path.endswith("/revoke") or path.endswith("/rotate"):
            target = re.sub(r"\{[^}]*\}", "nobody", path)  # the key is needed for further routes
        for number, payload in enumerate(payloads):
            watched.runs.clear()
            headers = {"Idempotency-Key": f"{method}{path}{number}"}
            answer = await vendor.http.request(method, target, headers=headers, **payload)
            asked = answer.headers["X-Request-Id"]
            if any(held.get(asked) != items for items, held in watched.runs):
                guilty.append(f"{method} {path}")
    return sorted(set(guilty))


async def test_no_route_reaches_the_model_without_a_reservation_of_its_own(
    vendor: Vendor, watched: WatchedEncoder
) -> None:
    assert await unmetered(vendor, watched) == []
    assert vendor.account.spent_units == 2
    assert vendor.audit.faults == ()


async def test_the_walk_reaches_every_route_that_the_document_names(vendor: Vendor) -> None:
    reached = {(method, re.sub(r":path\}", "}", path)) for method, path in routes_of(vendor.app)}
    named = {
        (method.upper(), path)
        for path, operations in vendor.app.openapi()["paths"].items()
        for method in operations
    }
    assert ("POST", "/v1/embeddings") in named
    assert named <= reached


def test_only_the_metered_encoder_and_its_probe_import_the_batcher() -> None:
    package = Path(teacher_server.__file__).parent
    knowing = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "teacher_server.inference.batcher" in path.read_text(encoding="utf-8")
    }
    # render_response.py needs the type; app.py builds it, readiness.py probes, background.py
    # waits for it. On Ray Serve, encoder_replica.py runs it, and the others carry items to it.
    assert knowing == {
        "api/app.py",
        "api/render_response.py",
        "api/sale.py",
        "operations/background.py",
        "operations/readiness.py",
        "ray_serve/application.py",
        "ray_serve/encoder_replica.py",
        "ray_serve/remote_batcher.py",
    }


def add_route(app: FastAPI, vendor: Vendor, encoder: WatchedEncoder) -> None:
    @app.post("/v1/embeddings/again")
    async def again(caller: Buyer) -> int:
        return len(encoder.encode([encoder.prepare_text("free")]))


def add_passthrough(app: FastAPI, vendor: Vendor, encoder: WatchedEncoder) -> None:
    inner = FastAPI()

    @inner.post("/{endpoint:path}")
    async def passthrough(endpoint: str) -> int:
        return len(encoder.encode([encoder.prepare_text("free")]))

    app.mount("/openai_passthrough", inner)


def add_bypass(app: FastAPI, vendor: Vendor, encoder: WatchedEncoder) -> None:
    router = APIRouter()

    @router.get("/v1/similarity")
    async def similarity(request: Request) -> int:
        batcher = request.app.state.services.metered_encoder._queue
        return len(await batcher.encode([encoder.prepare_text("free")]))

    app.include_router(router)


@pytest.mark.parametrize(
    ("add", "guilty"),
    [
        pytest.param(add_route, ["POST /v1/embeddings/again"], id="litellm_26701"),
        pytest.param(
            add_passthrough,
            ["POST /openai_passthrough/{endpoint:path}"],
            id="litellm_36646",
        ),
        pytest.param(add_bypass, ["GET /v1/similarity"], id="litellm_38176"),
    ],
)
async def test_the_walk_catches_a_route_that_reaches_the_model_past_the_meter(
    vendor: Vendor, watched: WatchedEncoder, add: object, guilty: list[str]
) -> None:
    assert callable(add)
    add(vendor.app, vendor, watched)
    assert await unmetered(vendor, watched) == guilty


async def test_a_reservation_of_another_request_does_not_count(
    vendor: Vendor, watched: WatchedEncoder
) -> None:
    other = Purchase(
        request_id="req_other",
        key_id=vendor.key.id,
        idempotency_key="other",
        payload_sha256="f" * 64,
        images=0,
        texts=1,
    )
    price = Price(version="p", micro_usd_per_unit=1)
    assert isinstance(vendor.ledger.charges.reserve(other, price), Reservation)
    add_route(vendor.app, vendor, watched)
    assert await unmetered(vendor, watched) == ["POST /v1/embeddings/again"]
