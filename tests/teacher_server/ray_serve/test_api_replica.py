"""Replicas of the API sell what encoders in other processes embed; here these are a function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from benchmarks.support.postgresql import empty
from benchmarks.support.vendor_in_process import HashEncoder, ledger_at
from teacher_server.inference.batcher import QueueFull, Vector
from teacher_server.inference.model_info import Preparation, Prepared
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.audit import Audit
from teacher_server.ray_serve.api_replica import ApiReplica
from tests.teacher_server.ledger.conftest import postgres_dsn

__all__ = ["postgres_dsn"]
PEPPER = "p" * 32
KEY = ApiKey.new()


class ProcessDied(Exception):
    """An encoder's process ended."""


@dataclass(slots=True)
class FarEnd:
    """Encoders in other processes, which may all end."""

    encoder: HashEncoder = field(default_factory=HashEncoder)
    failure: Exception | None = None

    async def preparation(self) -> Preparation:
        return self.encoder

    async def encode(self, items: list[Prepared]) -> list[Vector]:
        if self.failure is not None:
            raise self.failure
        return [vector for item in items for vector in self.encoder.encode([item])]


@pytest.fixture
def far_end() -> FarEnd:
    return FarEnd()


@pytest.fixture
def dsn(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A ledger in which KEY has 100 queries and 2 requests a minute; the environment names it."""
    empty(postgres_dsn)
    with ledger_at(tmp_path, dsn=postgres_dsn, pepper=PEPPER) as (_, ledger):
        ledger.keys.create(KEY, name="test", budget=100, price_version="p", requests_per_minute=2)
    monkeypatch.setenv("TEACHER_DATABASE", postgres_dsn)
    monkeypatch.setenv("TEACHER_PEPPER", PEPPER)
    return postgres_dsn


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncIterator[None]:
    """The app within its lifespan, which a server tells it of by messages."""
    received: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    running: asyncio.Task[None] = asyncio.create_task(
        app({"type": "lifespan"}, received.get, sent.put)  # type: ignore[arg-type]
    )
    await received.put({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    yield
    await received.put({"type": "lifespan.shutdown"})
    assert (await sent.get())["type"] == "lifespan.shutdown.complete"
    await running


@asynccontextmanager
async def replica(far_end: FarEnd) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that runs, and a client of it."""
    app = ApiReplica(far_end.preparation, far_end.encode)
    headers = {"Authorization": f"Bearer {KEY.token}"}
    async with (
        started(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://vendor", headers=headers
        ) as http,
    ):
        yield http


async def buy(http: httpx.AsyncClient, *texts: str, key: str) -> httpx.Response:
    body = {"model": "hash", "input": texts}
    return await http.post("/v1/embeddings", json=body, headers={"Idempotency-Key": key})


def books(dsn: str, folder: Path) -> tuple[Account, Audit]:
    with ledger_at(folder, dsn=dsn, pepper=PEPPER) as (_, ledger):
        return ledger.keys.get(KEY.id), ledger.records.verify()


async def test_what_one_replica_has_sold_another_replays(
    dsn: str, far_end: FarEnd, tmp_path: Path
) -> None:
    async with replica(far_end) as first, replica(far_end) as second:
        sold = await buy(first, "a", "b", key="k")
        again = await buy(second, "a", "b", key="k")
    assert (sold.status_code, again.status_code) == (200, 200)
    assert again.content == sold.content
    assert again.headers["Idempotent-Replayed"] == "true"
    account, audit = books(dsn, tmp_path)
    assert (account.spent_units, account.reserved_units, audit.faults) == (2, 0, ())


async def test_encoders_that_end_cost_nothing_and_the_same_purchase_may_be_tried_again(
    dsn: str, far_end: FarEnd, tmp_path: Path
) -> None:
    async with replica(far_end) as http:
        far_end.failure = ProcessDied()
        refused = await buy(http, "a", key="k")
        account, _ = books(dsn, tmp_path)
        far_end.failure = None
        sold = await buy(http, "a", key="k")
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
    assert refused.json()["charged_units"] == 0
    assert "Retry-After" in refused.headers
    assert (account.spent_units, account.reserved_units) == (0, 0)
    assert sold.status_code == 200
    assert books(dsn, tmp_path)[0].spent_units == 1


async def test_an_encoder_whose_queue_is_full_is_429_and_free(
    dsn: str, far_end: FarEnd, tmp_path: Path
) -> None:
    async with replica(far_end) as http:
        far_end.failure = QueueFull("9 items are already waiting")
        refused = await buy(http, "a", key="k")
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert books(dsn, tmp_path)[0].reserved_units == 0


async def test_the_limits_of_a_key_hold_over_all_replicas(dsn: str, far_end: FarEnd) -> None:
    async with replica(far_end) as first, replica(far_end) as second:
        sold = [await buy(http, "a", key=f"{n}") for n, http in enumerate((first, second) * 4)]
    assert sorted(answer.status_code for answer in sold) == [200] * 2 + [429] * 6


async def test_a_replica_is_ready_once_an_encoder_has_embedded_a_probe(
    dsn: str, far_end: FarEnd
) -> None:
    far_end.failure = ProcessDied()
    async with replica(far_end) as http:
        assert (await http.get("/readyz")).status_code == 503
    far_end.failure = None
    async with replica(far_end) as http:
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.01)


async def test_a_replica_answers_with_the_pages_of_the_vendor(dsn: str, far_end: FarEnd) -> None:
    async with replica(far_end) as http:
        page = await http.get("/", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
