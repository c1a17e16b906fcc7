"""The budget is hard: to the last unit, at its edges, and under concurrency."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks.support.vendor_in_process import HashEncoder, b64, ledger_at, picture, vendor_at
from teacher_server.api import parse_request as intake
from teacher_server.api.app import create_app
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from teacher_server.settings import VendorSettings

PRICE = Price(version="p", micro_usd_per_unit=1)


async def test_the_last_unit_can_be_spent_and_the_next_request_is_exhausted(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=3) as vendor:
        assert (await vendor.embed(["a", "b"])).status_code == 200
        last = await vendor.embed(["c"])
        assert last.json()["receipt"]["balance_units"] == 0
        refused = await vendor.embed(["d"])
        assert (refused.status_code, refused.json()["code"]) == (402, "budget_exhausted")
        assert (refused.json()["needed"], refused.json()["remaining"]) == (1, 0)
        assert refused.headers["x-should-retry"] == "false"
        assert "Retry-After" not in refused.headers
        assert vendor.account.spent_units == 3


async def test_a_request_over_the_remaining_budget_is_refused_with_the_remainder(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=5) as vendor:
        await vendor.embed(["a", "b"])
        refused = await vendor.embed(["a", "b", "c", "d"])
        assert (refused.status_code, refused.json()["code"]) == (402, "request_exceeds_budget")
        assert (refused.json()["needed"], refused.json()["remaining"]) == (4, 3)
        shrunk = await vendor.embed(["a", "b", "c"])
        assert shrunk.json()["receipt"]["balance_units"] == 0


async def test_402_comes_before_anything_is_tokenized_decoded_or_embedded(
    tmp_path: Path, hashing: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []

    def counted(data: bytes, limits: ImageLimits) -> Image.Image:
        decoded.append(data)
        return decode_image(data, limits)

    monkeypatch.setattr(intake, "decode_image", counted)
    image = {"image": b64(picture())}
    async with vendor_at(tmp_path, hashing, budget=1) as vendor:
        for given in (["a", "b"], [image, image], ["c", image]):
            assert (await vendor.embed(given)).json()["code"] == "request_exceeds_budget"
        assert (await vendor.embed([image])).status_code == 200
        assert (await vendor.embed("d")).json()["code"] == "budget_exhausted"
        assert (await vendor.embed([image])).json()["code"] == "budget_exhausted"
    assert len(decoded) == 1
    # The readiness probe's own text and image, and the paid text.
    assert set(hashing.texts.values()) <= {"a canary"}
    assert sum(hashing.batches) <= 3


async def test_402_comes_before_an_invalid_image_is_detected(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=0) as vendor:
        refused = await vendor.embed([{"image": b64(b"no image")}])
        assert (refused.status_code, refused.json()["code"]) == (402, "budget_exhausted")


async def test_a_paid_answer_is_replayed_to_a_key_with_an_exhausted_budget(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=1) as vendor:
        bought = await vendor.embed("a", idempotency_key="k")
        again = await vendor.embed("a", idempotency_key="k")
        assert (again.status_code, again.content) == (200, bought.content)


async def test_a_top_up_while_the_body_arrives_counts(tmp_path: Path, hashing: HashEncoder) -> None:
    async with vendor_at(tmp_path, hashing, budget=0) as vendor:

        async def body() -> AsyncIterator[bytes]:
            yield b'{"model": "hash", '
            vendor.ledger.keys.top_up(vendor.key.id, units=1, price_version="p")
            yield b'"input": "a"}'

        headers = {"Content-Type": "application/json"}
        answer = await vendor.http.post("/v1/embeddings", content=body(), headers=headers)
        assert answer.status_code == 200


async def test_a_period_that_begins_while_the_body_arrives_counts(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    now = [20_000 * 86_400_000 - 5_000]
    with ledger_at(tmp_path, clock=lambda: now[0]) as (_, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="k", budget=1, price_version="p", period="day")
        settings = VendorSettings(max_delay_ms=0)
        app = create_app(encoder=hashing, ledger=ledger, settings=settings)

        async def body() -> AsyncIterator[bytes]:
            yield b'{"model": "hash", '
            now[0] += 10_000
            yield b'"input": "b"}'

        headers = {"Authorization": f"Bearer {key.token}", "Content-Type": "application/json"}
        wire = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=wire, base_url="http://v", headers=headers) as http,
        ):
            spent = await http.post("/v1/embeddings", json={"model": "hash", "input": "a"})
            renewed = await http.post("/v1/embeddings", content=body())
        assert (spent.status_code, renewed.status_code) == (200, 200)


async def test_a_retry_that_finds_the_budget_spent_by_its_own_purchase_is_answered_by_it(
    tmp_path: Path, hashing: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a client would be refused for good although it has the budget."""
    async with vendor_at(tmp_path, hashing, budget=1) as vendor:
        keys, charges = vendor.ledger.keys, vendor.ledger.charges
        names = {"request_id": "other", "idempotency_key": "other", "payload_sha256": "0" * 64}
        purchase = Purchase(key_id=vendor.key.id, images=0, texts=1, **names)
        assert isinstance(charges.reserve(purchase, PRICE), Reservation)
        loop, get = asyncio.get_running_loop(), keys.get

        def bought_meanwhile(key_id: str) -> Account:
            charges.void("other")
            first = vendor.embed("a", idempotency_key="k")
            assert asyncio.run_coroutine_threadsafe(first, loop).result(30).status_code == 200
            return get(key_id)

        monkeypatch.setattr(keys, "get", bought_meanwhile)
        again = await vendor.embed("a", idempotency_key="k")
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


async def test_a_budget_reserved_by_open_requests_is_worth_a_retry(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=3) as vendor:
        hashing.may_encode.clear()
        held = asyncio.create_task(vendor.embed(["a", "b"]))
        while vendor.account.reserved_units == 0:
            await asyncio.sleep(0)
        refused = await vendor.embed(["c", "d"])
        assert (refused.status_code, refused.json()["code"]) == (429, "budget_in_flight")
        assert (refused.headers["x-should-retry"], refused.headers["Retry-After"]) == ("true", "1")
        hashing.may_encode.set()
        assert (await held).status_code == 200
        assert (vendor.account.spent_units, vendor.account.reserved_units) == (2, 0)


async def test_concurrent_requests_never_overshoot_a_small_cap(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=50) as vendor:
        answers = await asyncio.gather(*(vendor.embed([f"t{i}", f"u{i}"]) for i in range(150)))
        outcomes = Counter(answer.status_code for answer in answers)
        while outcomes[429] and vendor.account.remaining_units:
            outcomes[(await vendor.embed(["x", "y"])).status_code] += 1
        assert outcomes[200] == 25
        assert set(outcomes) <= {200, 402, 429}
        assert vendor.account.spent_units == 50
        assert vendor.account.reserved_units == 0
        assert vendor.audit.units_charged == 50
        assert vendor.audit.faults == ()


async def test_a_top_up_opens_an_exhausted_key_again(tmp_path: Path, hashing: HashEncoder) -> None:
    async with vendor_at(tmp_path, hashing, budget=0) as vendor:
        assert (await vendor.embed("a")).json()["code"] == "budget_exhausted"
        vendor.ledger.keys.top_up(vendor.key.id, units=1, price_version="p")
        assert (await vendor.embed("a")).status_code == 200
        assert vendor.audit.faults == ()
