"""Two vendors on one PostgreSQL database hold a key to its limits together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from benchmarks.support.postgresql import empty
from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.ledger.account import Limits
from tests.support.ledger_operations import PEPPER
from tests.support.structured_fields import parse_list
from tests.teacher_server.ledger.conftest import postgres_dsn

__all__ = ["postgres_dsn"]


class Replicas:
    """Two vendors, and requests to either with the key of the first."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder
        self._stack = AsyncExitStack()
        self.vendors: list[Vendor] = []
        self.encoders = [HashEncoder(), HashEncoder()]

    async def start(self, limits: Limits) -> None:
        for encoder in self.encoders:
            vendor = await self._stack.enter_async_context(
                vendor_at(self._folder, encoder, limits=limits, dsn=self._dsn, pepper=PEPPER)
            )
            self.vendors.append(vendor)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def embed(self, number: int, text: str) -> httpx.Response:
        return await self.vendors[number].http.post(
            "/v1/embeddings",
            json={"model": "hash", "input": text},
            headers=self.vendors[0].of(self.vendors[0].key),
        )


@pytest.fixture
async def replicas(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    empty(postgres_dsn)
    made = Replicas(postgres_dsn, tmp_path)
    try:
        yield made
    finally:
        await made.stop()


async def test_a_key_may_send_its_rate_over_both_and_not_to_each(replicas: Replicas) -> None:
    await replicas.start({"requests_per_minute": 4})
    answers = [await replicas.embed(number % 2, f"t{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["3", "2", "1", "0"]
    for number in range(2):
        refused = await replicas.embed(number, "one more")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 15
    assert replicas.vendors[0].account.spent_units == 4


async def test_a_request_at_one_counts_as_concurrent_at_the_other(replicas: Replicas) -> None:
    await replicas.start({"max_concurrent": 1})
    replicas.encoders[0].may_encode.clear()
    held = asyncio.create_task(replicas.embed(0, "a"))
    while replicas.vendors[0].account.reserved_units == 0:
        await asyncio.sleep(0.01)
    refused = await replicas.embed(1, "b")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_concurrent")
    assert parse_list(refused.headers["RateLimit"])["concurrent"] == {"r": 0}
    replicas.encoders[0].may_encode.set()
    assert (await held).status_code == 200
    assert (await replicas.embed(1, "b")).status_code == 200


async def test_a_client_that_waits_for_each_answer_is_never_one_too_many(
    replicas: Replicas,
) -> None:
    await replicas.start({"max_concurrent": 1})
    for number in range(12):
        answer = await replicas.embed(number % 2, f"t{number}")
        assert answer.status_code == 200, answer.text


async def test_a_cancelled_and_a_refused_request_no_longer_count(replicas: Replicas) -> None:
    await replicas.start({"max_concurrent": 1})
    replicas.encoders[0].may_encode.clear()
    held = asyncio.create_task(replicas.embed(0, "a"))
    while replicas.vendors[0].account.reserved_units == 0:
        await asyncio.sleep(0.01)
    held.cancel()
    await asyncio.wait({held})
    replicas.encoders[0].may_encode.set()
    failed = await replicas.embed(1, replicas.encoders[1].failing_text)
    assert failed.status_code == 500
    assert (await replicas.embed(0, "b")).status_code == 200
