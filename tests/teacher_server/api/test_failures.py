"""Requests that fail release their units; a restart releases those of a dead server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, ledger_at, vendor_at
from teacher_server.api.cancellation import run_uncancelled
from teacher_server.database.engine import write_transaction
from teacher_server.ledger import charges
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.purchase import Price, Purchase, Reservation

PRICE = Price(version="p", micro_usd_per_unit=1)


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing, max_queue=4) as running:
        yield running


@pytest.mark.parametrize("failure", [ValueError("broke"), MemoryError(), SystemExit(1)])
async def test_a_failure_in_the_model_costs_nothing(
    vendor: Vendor, hashing: HashEncoder, failure: BaseException
) -> None:
    hashing.failure = failure
    response = await vendor.embed(["a", hashing.failing_text, "b"], idempotency_key="k")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert response.headers["x-should-retry"] == "true"
    assert response.headers["X-Request-Id"] == response.json()["request_id"]
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)
    assert vendor.audit.faults == ()


async def test_the_failed_request_can_be_bought_under_the_same_key(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    await vendor.embed([hashing.failing_text], idempotency_key="k")
    hashing.failing_text = "no longer"
    again = await vendor.embed(["poison"], idempotency_key="k")
    assert again.status_code == 200
    assert vendor.account.spent_units == 1


async def test_neighbours_of_a_failing_request_are_served(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()
    tasks = [asyncio.create_task(vendor.embed([t])) for t in ("a", hashing.failing_text, "b")]
    while vendor.account.reserved_units < 3:
        await asyncio.sleep(0)
    hashing.may_encode.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert vendor.account.spent_units == 2


async def test_a_full_queue_is_429_and_free(vendor: Vendor, hashing: HashEncoder) -> None:
    while sum(hashing.batches) < 2:  # the readiness probe has finished
        await asyncio.sleep(0)
    hashing.may_encode.clear()
    # Four wait in the queue, and at most four that waited there are with the model.
    tasks = [asyncio.create_task(vendor.embed([f"t{i}"])) for i in range(12)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    refused = done.pop().result()
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    hashing.may_encode.set()
    answers = await asyncio.gather(*tasks)
    num_sold = sum(answer.status_code == 200 for answer in answers)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (num_sold, 0)


async def test_a_cancelled_request_releases_its_units(vendor: Vendor, hashing: HashEncoder) -> None:
    hashing.may_encode.clear()
    task = asyncio.create_task(vendor.embed(["a", "b"]))
    while vendor.account.reserved_units == 0:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)
    hashing.may_encode.set()
    assert (await vendor.embed("a")).status_code == 200


async def test_a_database_that_fails_at_the_charge_costs_nothing(vendor: Vendor) -> None:
    with write_transaction(vendor.engine) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE INSERT ON ledger_entries WHEN NEW.kind = 'charge' "
                "BEGIN SELECT RAISE(ABORT, 'disk trouble'); END"
            )
        )
    response = await vendor.embed("a")
    assert response.status_code == 500
    assert "disk trouble" not in response.text
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)
    assert vendor.audit.faults == ()


async def test_a_call_runs_to_its_end_before_its_caller_is_cancelled() -> None:
    started, finish, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        assert finish.wait(30)
        ended.set()

    task = asyncio.create_task(run_uncancelled(call))
    await asyncio.to_thread(started.wait, 30)
    task.cancel()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.01)
    assert not done
    finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def purchase(key: ApiKey, number: int, units: int = 1) -> Purchase:
    return Purchase(
        request_id=f"req_{number}",
        key_id=key.id,
        idempotency_key=f"k{number}",
        payload_sha256="f" * 64,
        images=units,
        texts=0,
    )


def test_a_restart_voids_what_a_dead_server_had_reserved(tmp_path: Path) -> None:
    key = ApiKey.new()
    with ledger_at(tmp_path) as (_, ledger):
        ledger.keys.create(key, name="n", budget=5, price_version="p")
        assert isinstance(ledger.charges.reserve(purchase(key, 1, 5), PRICE), Reservation)
        assert ledger.keys.get(key.id).remaining_units == 0
    with ledger_at(tmp_path) as (_, ledger):
        assert ledger.keys.get(key.id).remaining_units == 5
        assert ledger.records.verify().faults == ()


async def test_after_a_restart_the_same_request_is_bought_once(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing) as vendor:
        paid = await vendor.embed(["a"], idempotency_key="paid")
        key = vendor.key
        lost = vendor.ledger.charges.reserve(purchase(key, 7), PRICE)
        assert isinstance(lost, Reservation)
    async with vendor_at(tmp_path, hashing) as vendor:
        vendor.http.headers["Authorization"] = f"Bearer {key.token}"
        assert vendor.ledger.keys.get(key.id).reserved_units == 0
        replay = await vendor.embed(["a"], idempotency_key="paid")
        assert replay.content == paid.content
        assert (await vendor.embed(["a"], idempotency_key="k7")).status_code == 200
        assert vendor.ledger.keys.get(key.id).spent_units == 2


async def test_a_failure_reaches_the_client_as_a_problem_without_its_cause(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    hashing.failure = ValueError("secret path /etc/shadow")
    response: httpx.Response = await vendor.embed(hashing.failing_text)
    assert "shadow" not in response.text
    assert response.json()["charged_units"] == 0


async def asked(
    vendor: Vendor,
    *messages: dict[str, object],
    sent: list[dict[str, Any]],
    hangs_up: bool = False,
) -> None:
    """Send the vendor a purchase in exactly these ASGI messages; record its answer.

    The client stays connected after them, unless it hangs up.
    """
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/embeddings",
        "raw_path": b"/v1/embeddings",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [
            (b"authorization", f"Bearer {vendor.key.token}".encode()),
            (b"content-type", b"application/json"),
        ],
    }
    left = list(messages)

    async def receive() -> dict[str, object]:
        if not left and not hangs_up:
            await asyncio.Event().wait()
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await vendor.app(scope, receive, send)


async def test_a_client_that_disconnects_while_sending_is_not_a_server_failure(
    vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[dict[str, Any]] = []
    with caplog.at_level("INFO"):
        part = {"type": "http.request", "body": b"{", "more_body": True}
        await asked(vendor, part, sent=sent, hangs_up=True)
    assert sent == []
    lines = [record for record in caplog.records if record.name == "teacher_server.access"]
    assert [record.levelname for record in lines] == ["INFO"]
    assert "499" in lines[0].getMessage()
    assert "client_disconnected" in lines[0].getMessage()
    assert vendor.account.reserved_units == 0


WHOLE = {"type": "http.request", "body": b'{"model":"hash","input":"a"}', "more_body": False}


async def test_a_purchase_cut_off_by_a_stopping_server_gets_a_problem_and_costs_nothing(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()
    sent: list[dict[str, Any]] = []
    # As uvicorn does at the end of the graceful shutdown.
    task = asyncio.create_task(asked(vendor, WHOLE, sent=sent))
    while vendor.account.reserved_units == 0:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hashing.may_encode.set()
    start, body = sent
    problem = json.loads(body["body"])
    assert (start["status"], problem["code"], problem["charged_units"]) == (503, "not_ready", 0)
    assert problem["detail"].startswith("The server is stopping. Nothing was charged.")
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"x-request-id"].decode() == problem["request_id"]
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)


async def test_a_purchase_cancelled_during_its_charge_is_answered(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    charging, go_on = threading.Event(), threading.Event()
    spend = charges._spend

    def slow(*given: Any) -> Any:
        charging.set()
        assert go_on.wait(30)
        return spend(*given)

    monkeypatch.setattr(charges, "_spend", slow)
    sent: list[dict[str, Any]] = []
    task = asyncio.create_task(asked(vendor, WHOLE, sent=sent))
    assert await asyncio.to_thread(charging.wait, 30)
    task.cancel()
    go_on.set()
    await asyncio.wait({task})
    assert [message.get("status") for message in sent] == [200, None]
    assert json.loads(sent[1]["body"])["receipt"]["units"] == 1
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (1, 0)
