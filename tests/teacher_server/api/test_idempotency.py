"""A retry under the same Idempotency-Key is the same purchase."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from benchmarks.support.vendor_in_process import (
    HashEncoder,
    Vendor,
    b64,
    data_uri,
    picture,
    vendor_at,
)
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


async def test_a_replay_is_byte_identical_and_free(vendor: Vendor) -> None:
    first = await vendor.embed(["a", "b"], idempotency_key="k")
    again = await vendor.embed(["a", "b"], idempotency_key="k")
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert vendor.account.spent_units == 2


async def test_a_replay_runs_no_model(vendor: Vendor, hashing: HashEncoder) -> None:
    await vendor.embed(["a"] * 7, idempotency_key="k")
    before = list(hashing.batches)
    await vendor.embed(["a"] * 7, idempotency_key="k")
    assert hashing.batches == before


async def test_a_replay_is_served_when_the_budget_is_spent(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path / "small", hashing, budget=1) as vendor:
        first = await vendor.embed("a", idempotency_key="k")
        assert (await vendor.embed("b")).status_code == 402
        assert (await vendor.embed("a", idempotency_key="k")).content == first.content


async def test_the_same_purchase_in_another_wire_form_is_a_replay(vendor: Vendor) -> None:
    file = picture()
    first = await vendor.embed([{"image": b64(file)}, "t"], idempotency_key="k")
    uri = await vendor.embed([{"image": data_uri(file)}, {"text": "t"}], idempotency_key="k")
    form = await vendor.http.post(
        "/v1/embeddings",
        data={"model": "hash", "text": "t"},
        files={"image": ("a.png", file, "image/png")},
        headers={"Idempotency-Key": "k"},
    )
    assert first.content == uri.content == form.content
    assert vendor.account.spent_units == 2


@pytest.mark.parametrize(
    "other", [{"input": ["b"]}, {"input": ["a", "a"]}, {"encoding_format": "base64"}]
)
async def test_a_key_reused_for_another_payload_is_refused(
    vendor: Vendor, other: dict[str, object]
) -> None:
    await vendor.embed(["a"], idempotency_key="k")
    response = await vendor.http.post(
        "/v1/embeddings",
        json={"model": "hash", "input": ["a"]} | other,
        headers={"Idempotency-Key": "k"},
    )
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert response.headers["x-should-retry"] == "false"
    assert vendor.account.spent_units == 1


async def in_flight(vendor: Vendor, hashing: HashEncoder) -> asyncio.Task[httpx.Response]:
    hashing.may_encode.clear()
    task = asyncio.create_task(vendor.embed(["slow"], idempotency_key="k"))
    while vendor.account.reserved_units == 0:
        await asyncio.sleep(0)
    return task


async def test_a_request_in_flight_is_a_conflict_worth_a_retry(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    task = await in_flight(vendor, hashing)
    again = await vendor.embed(["slow"], idempotency_key="k")
    assert (again.status_code, again.json()["code"]) == (409, "request_in_flight")
    assert (again.headers["Retry-After"], again.headers["x-should-retry"]) == ("1", "true")
    other = await vendor.embed(["other"], idempotency_key="k")
    assert other.json()["code"] == "idempotency_key_reused"
    hashing.may_encode.set()
    assert (await task).status_code == 200
    assert (await vendor.embed(["slow"], idempotency_key="k")).content == task.result().content
    assert vendor.account.spent_units == 1


async def test_many_at_once_under_one_key_are_charged_once(vendor: Vendor) -> None:
    answers = await asyncio.gather(*(vendor.embed(["a"], idempotency_key="k") for _ in range(30)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert vendor.account.spent_units == 1


async def test_a_paid_answer_can_be_fetched_again(vendor: Vendor) -> None:
    first = await vendor.embed(["a"], idempotency_key="run/1?x=ü%".replace("ü", "u"))
    found = await vendor.http.get("/v1/requests/run%2F1%3Fx=u%25")
    assert found.content == first.content
    assert found.headers["Idempotent-Replayed"] == "true"


async def test_an_answer_paid_without_a_key_is_found_by_its_ledger_entry(vendor: Vendor) -> None:
    first = await vendor.embed(["a"])
    (line,) = vendor.ledger.records.entries(vendor.key.id, after=1)
    found = await vendor.http.get(f"/v1/requests/{line.idempotency_key}")
    assert found.content == first.content


async def test_a_purged_answer_is_gone_but_never_charged_again(vendor: Vendor) -> None:
    await vendor.embed(["a"], idempotency_key="k")
    assert vendor.ledger.records.purge(unix_ms() + 1) == 1
    for answer in (
        await vendor.embed(["a"], idempotency_key="k"),
        await vendor.http.get("/v1/requests/k"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (410, "answer_purged")
        assert answer.headers["x-should-retry"] == "false"
        assert "was charged when it was first answered" in answer.json()["detail"]
        assert answer.json()["charged_units"] == 0
    other = await vendor.embed(["b"], idempotency_key="k")
    assert other.json()["code"] == "idempotency_key_reused"
    assert vendor.account.spent_units == 1
    assert (await vendor.embed(["a"], idempotency_key="k2")).status_code == 200
    assert vendor.audit.faults == ()


async def test_an_open_or_unknown_request_is_reported_as_such(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    unknown = await vendor.http.get("/v1/requests/k")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_request")
    task = await in_flight(vendor, hashing)
    pending = await vendor.http.get("/v1/requests/k")
    assert (pending.status_code, pending.json()["code"]) == (409, "request_in_flight")
    assert pending.headers["Retry-After"] == "1"
    hashing.may_encode.set()
    await task


async def test_one_key_cannot_replay_or_fetch_what_another_paid_for(vendor: Vendor) -> None:
    await vendor.embed(["a"], idempotency_key="k")
    other = ApiKey.new()
    vendor.ledger.keys.create(other, name="other", budget=5, price_version="p")
    vendor.http.headers["Authorization"] = f"Bearer {other.token}"
    assert (await vendor.http.get("/v1/requests/k")).status_code == 404
    own = await vendor.embed(["a"], idempotency_key="k")
    assert "Idempotent-Replayed" not in own.headers
    assert vendor.ledger.keys.get(other.id).spent_units == 1
    assert len((await vendor.http.get("/v1/ledger")).text.splitlines()) == 2
