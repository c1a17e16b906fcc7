"""A request without an Idempotency-Key is charged exactly when its answer was sent.

Clients hang up at every moment of a purchase. They close one direction only, and read on: so each
of them knows whether the vendor sent it an answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from socket import SHUT_WR
from typing import Any

import httpx
import openai
import pytest

from benchmarks.support.raw_http import LONG_TIMEOUTS, LocalServer, head, serving_in_thread
from benchmarks.support.vendor_in_process import HashEncoder, ledger_at
from teacher_server.api.app import create_app
from teacher_server.ledger import charges
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.settings import VendorSettings


@dataclass(frozen=True, slots=True)
class Served:
    """A vendor behind a socket, and one of its keys."""

    server: LocalServer
    ledger: Ledger
    key: ApiKey

    @property
    def account(self) -> Account:
        return self.ledger.keys.get(self.key.id)

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.ledger.records.entries(self.key.id, limit=10**6)]

    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.server.port}",
            headers={"Authorization": f"Bearer {self.key.token}"},
            trust_env=False,
        )

    def message(self, texts: list[str], *headers: str) -> bytes:
        body = json.dumps({"model": "hash", "input": texts}).encode()
        return (
            head(
                "POST",
                "/v1/embeddings",
                f"Authorization: Bearer {self.key.token}",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                "Connection: close",
                *headers,
            )
            + body
        )

    def hang_up_after(self, seconds: float, texts: list[str]) -> bytes:
        """Buy, hang up after so long, and return the body of the answer, if any arrives."""
        with self.server.connect() as connection:
            connection.send(self.message(texts))
            time.sleep(seconds)
            connection.socket.shutdown(SHUT_WR)
            return connection.read_to_end().body

    def wait_until_settled(self, spent: int | None = None) -> None:
        """Wait until nothing is reserved and, for 20 seconds at most, until so much is spent: a
        charge whose client has left is refunded by a second transaction."""
        deadline = time.monotonic() + 20
        while self.account.reserved_units or (
            spent not in (None, self.account.spent_units) and time.monotonic() < deadline
        ):
            time.sleep(0.01)


@contextmanager
def served(folder: Path, encoder: HashEncoder) -> Iterator[Served]:
    with ledger_at(folder) as (_, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="test", budget=10**6, price_version="p")
        app = create_app(encoder=encoder, ledger=ledger, settings=VendorSettings(max_delay_ms=0))
        with serving_in_thread(app, LONG_TIMEOUTS) as server:
            while server.get("/readyz").status != 200:
                continue
            yield Served(server, ledger, key)


@pytest.fixture
def vendor(tmp_path: Path, hashing: HashEncoder) -> Iterator[Served]:
    with served(tmp_path, hashing) as running:
        yield running


def test_a_client_that_leaves_while_the_model_works_is_not_charged(
    vendor: Served, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()
    with vendor.server.connect() as connection:
        connection.send(vendor.message(["a", "b"]))
        while vendor.account.reserved_units != 2:
            time.sleep(0.01)
    time.sleep(0.2)
    hashing.may_encode.set()
    vendor.wait_until_settled()
    assert vendor.account.spent_units == 0
    assert vendor.kinds == ["grant"]


def test_a_client_with_a_key_that_leaves_finds_its_answer(
    vendor: Served, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()
    with vendor.server.connect() as connection:
        connection.send(vendor.message(["a", "b"], "Idempotency-Key: k"))
        while vendor.account.reserved_units != 2:
            time.sleep(0.01)
    time.sleep(0.2)
    hashing.may_encode.set()
    vendor.wait_until_settled()
    with vendor.http() as http:
        replay = http.post(
            "/v1/embeddings",
            json={"model": "hash", "input": ["a", "b"]},
            headers={"Idempotency-Key": "k"},
        )
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert vendor.account.spent_units == 2


def test_a_client_that_reads_its_answer_and_hangs_up_pays(vendor: Served) -> None:
    for number in range(20):
        with vendor.server.connect() as connection:
            connection.send(vendor.message([f"text {number}"]))
            assert connection.socket.recv(64).startswith(b"HTTP/1.1 200")
    assert vendor.account.spent_units == 20


def test_a_charge_made_while_the_client_left_is_refunded_and_its_answer_deleted(
    vendor: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    charging, go_on = threading.Event(), threading.Event()
    spend = charges._spend

    def slow(*given: Any) -> Any:
        charging.set()
        assert go_on.wait(30)
        return spend(*given)

    monkeypatch.setattr(charges, "_spend", slow)
    with vendor.server.connect() as connection:
        connection.send(vendor.message(["a", "b"]))
        assert charging.wait(30)
    time.sleep(0.2)
    go_on.set()
    while vendor.kinds != ["grant", "charge", "correction"]:
        time.sleep(0.01)
    assert vendor.account.spent_units == 0
    (correction,) = vendor.ledger.records.corrections()
    assert (correction.units, correction.actor) == (2, "teacher-server")
    # The ledger shows the request's id to the customer, but the answer is not to be had for it.
    with vendor.http() as http:
        assert http.get(f"/v1/requests/{correction.corrects}").json()["code"] == "answer_purged"
    assert vendor.ledger.records.verify().faults == ()


def test_clients_that_hang_up_at_any_moment_pay_exactly_for_what_was_sent(
    vendor: Served,
) -> None:
    random, longest = Random(19), 0.1
    answers: list[tuple[bytes, int]] = []

    def hang_up(number: int) -> None:
        nonlocal longest
        texts = [f"text {number} {one}" for one in range(1 + number % 9)]
        body = vendor.hang_up_after(random.uniform(0, longest), texts)
        # About every second client should be answered, however fast this machine is.
        longest *= 0.9 if body else 1.1
        answers.append((body, len(texts)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hang_up, range(200)))
    answered = 0
    for body, units in answers:
        if body:
            assert json.loads(body)["receipt"]["units"] == units
            answered += units
    vendor.wait_until_settled(answered)
    entries = vendor.ledger.records.entries(vendor.key.id, limit=10**6)
    refunded = {entry.idempotency_key for entry in entries if entry.kind == "correction"}
    with vendor.http() as http:
        for request_id in refunded:
            assert http.get(f"/v1/requests/{request_id}").status_code == 410
    assert 0 < sum(bool(body) for body, _ in answers) < len(answers)
    assert vendor.account.spent_units == answered
    assert vendor.ledger.records.verify().faults == ()


def test_the_retries_of_a_stock_client_that_runs_out_of_time_cost_nothing(
    vendor: Served, hashing: HashEncoder
) -> None:
    hashing.may_encode.clear()
    client = openai.OpenAI(
        base_url=f"http://127.0.0.1:{vendor.server.port}/v1",
        api_key=vendor.key.token,
        timeout=0.3,
    )
    with pytest.raises(openai.APITimeoutError):
        client.embeddings.create(model="hash", input=["a", "b"])
    hashing.may_encode.set()
    vendor.wait_until_settled()
    assert vendor.account.spent_units == 0
