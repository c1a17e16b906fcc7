"""The bytes of open requests are counted and limited."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, b64, picture, vendor_at
from teacher_server.limits.memory_budget import MemoryBudget, MemoryBudgetExceeded

JSON = {"Content-Type": "application/json"}
BODY = b'{"model":"hash","input":"a"}'


def test_the_bytes_of_all_keys_are_counted_until_their_requests_end() -> None:
    budget = MemoryBudget(100)
    with budget.hold("a", 30), budget.hold("b", 40):
        with pytest.raises(MemoryBudgetExceeded, match="70 of 100 bytes"), budget.hold("c", 31):
            raise AssertionError
        with budget.hold("c", 30):
            assert budget.held == 100
    with pytest.raises(ZeroDivisionError), budget.hold("a", 30):
        _ = 1 // 0
    assert budget.held == 0


def test_one_key_gets_at_most_half_of_the_memory_budget() -> None:
    budget = MemoryBudget(100)
    with budget.hold("a", 30):
        with pytest.raises(MemoryBudgetExceeded, match="30 of 50 bytes"), budget.hold("a", 21):
            raise AssertionError
        with budget.hold("a", 20), budget.hold("b", 50):
            assert budget.held == 100
    assert budget.held == 0


def test_a_request_without_others_is_admitted_however_large_it_is() -> None:
    budget = MemoryBudget(100)
    with budget.hold("a", 1000), pytest.raises(MemoryBudgetExceeded), budget.hold("b", 1):
        raise AssertionError
    with budget.hold("b", 1000):
        assert budget.held == 1000


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(
        tmp_path, hashing, max_body_bytes=200, max_bytes_in_flight=2 * 200 + 2 * len(BODY)
    ) as running:
        yield running


def budget_of(vendor: Vendor) -> MemoryBudget:
    budget: MemoryBudget = vendor.app.state.services.memory_budget
    return budget


async def test_a_request_counts_its_declared_bytes_or_the_maximum_without_a_length(
    vendor: Vendor,
) -> None:
    held: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        held.append(budget_of(vendor).held)
        yield BODY

    chunked = await vendor.http.post("/v1/embeddings", content=body(), headers=JSON)
    declared = await vendor.http.post(
        "/v1/embeddings", content=body(), headers=JSON | {"Content-Length": str(len(BODY))}
    )
    # A body over the limit is never counted, and is refused as before.
    too_large = await vendor.http.post(
        "/v1/embeddings", content=body(), headers=JSON | {"Content-Length": "99999"}
    )
    assert [x.status_code for x in (chunked, declared, too_large)] == [200, 200, 413]
    assert held == [200, len(BODY), 200]
    assert budget_of(vendor).held == 0


async def test_a_request_over_the_memory_budget_is_429_before_its_body_is_read_and_free(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()
    others = [
        asyncio.create_task(
            vendor.http.post(
                "/v1/embeddings", content=BODY, headers=JSON | vendor.of(vendor.another_key())
            )
        )
        for _ in range(3)
    ]
    while budget_of(vendor).held < 3 * len(BODY):
        await asyncio.sleep(0)

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    headers = JSON | {"Content-Length": str(2 * 200 - len(BODY) + 1)}
    with budget_of(vendor).hold("another", 2 * 200 - len(BODY)):
        refused = await vendor.http.post("/v1/embeddings", content=unread(), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    hashing.may_encode.set()
    assert {answer.status_code for answer in await asyncio.gather(*others)} == {200}
    assert budget_of(vendor).held == 0
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)
    assert (await vendor.embed("a")).status_code == 200


async def test_a_request_that_waits_for_the_model_no_longer_holds_its_body(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing) as vendor:
        assert (await vendor.embed([{"image": b64(picture())}])).status_code == 200
        hashing.may_encode.clear()
        sizes: list[int] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/embeddings",
            "query_string": b"",
            "headers": [
                (b"authorization", f"Bearer {vendor.key.token}".encode()),
                (b"content-type", b"application/json"),
            ],
        }

        async def receive() -> dict[str, object]:
            if sizes:
                await asyncio.Event().wait()  # the client stays
            image = picture(size=(1000, 1000), form="BMP")
            body = b'{"model":"hash","input":[{"image":"%s"}]}' % b64(image).encode()
            sizes.extend([len(image), len(body)])
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(_message: Any) -> None:
            pass

        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            task = asyncio.create_task(vendor.app(scope, receive, send))
            while not vendor.account.reserved_units:
                await asyncio.sleep(0)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        hashing.may_encode.set()
        await task
        file, body = sizes
        assert after - before < file + body // 2
