"""Budget alerts to a real receiver: signed, retried until a 2xx, and never sent again."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from benchmarks.support.vendor_in_process import HashEncoder, ledger_at, vendor_at
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from teacher_server.operations.webhook import Webhook

SECRET = SecretStr("a secret of the receiver")


@dataclass
class Receiver:
    """A local HTTP server that answers with these statuses in turn, then with 204."""

    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    url: str = ""
    may_answer: threading.Event = field(default_factory=threading.Event)

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    def answer(self, body: bytes, signature: str) -> int:
        self.bodies.append(body)
        self.signatures.append(signature)
        assert self.may_answer.wait(30)
        return self.statuses.pop(0) if self.statuses else 204


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(receiver.answer(body, self.headers["Webhook-Signature"]))
            self.send_header("Location", receiver.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/alerts"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        receiver.may_answer.set()
        yield receiver
        server.shutdown()
        thread.join()


@dataclass
class AlertingLedger:
    """A ledger with one key of ten units, and a clock that the test sets."""

    ledger: Ledger
    key: ApiKey
    now: list[int]
    purchases: int = 0

    def buy(self, units: int) -> None:
        self.purchases += 1
        purchase = Purchase(
            request_id=f"req_{self.purchases}",
            key_id=self.key.id,
            idempotency_key=f"k{self.purchases}",
            payload_sha256="f" * 64,
            images=0,
            texts=units,
        )
        reservation = self.ledger.charges.reserve(
            purchase, Price(version="p", micro_usd_per_unit=1)
        )
        assert isinstance(reservation, Reservation)
        self.ledger.charges.post(
            reservation, model="m", model_fingerprint="f", render=lambda entry: b"body"
        )

    def webhook(self, url: str) -> Webhook:
        return Webhook(url, SECRET, self.ledger.records, clock_ms=lambda: self.now[0])


@pytest.fixture
def account(tmp_path: Path) -> Iterator[AlertingLedger]:
    now = [1_795_557_383_890]
    with ledger_at(tmp_path, clock=lambda: now[0]) as (_, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="n", budget=10, price_version="p")
        yield AlertingLedger(ledger, key, now)


async def test_both_thresholds_are_posted_once_each(account: AlertingLedger) -> None:
    with receiving() as receiver:
        webhook = account.webhook(receiver.url)
        account.buy(7)
        assert await webhook.deliver() == 0
        account.buy(1)
        assert await webhook.deliver() == 1
        account.buy(2)
        assert [await webhook.deliver(), await webhook.deliver()] == [1, 0]
    assert [alert["percent"] for alert in receiver.alerts] == [80, 100]
    first = receiver.alerts[0]
    assert first == {
        "id": first["id"],
        "type": "budget.threshold",
        "key_id": account.key.id,
        "percent": 80,
        "used_units": 8,
        "allowance_units": 10,
        "period": "budget:10",
        "created_ms": account.now[0],
    }
    assert account.key.secret not in str(receiver.bodies)


async def test_a_failing_receiver_gets_the_same_alert_until_it_answers_2xx(
    account: AlertingLedger,
) -> None:
    with receiving(500, 302, 410) as receiver:
        webhook = account.webhook(receiver.url)
        account.buy(10)
        taken = []
        for _ in range(6):
            taken.append(await webhook.deliver())
            account.now[0] += 3_600_001
    # 80 and 100 percent were crossed together; neither alert is lost if the other fails.
    assert sum(taken) == 2
    assert len(receiver.bodies) == 5
    delivered = {alert["id"]: alert["percent"] for alert in receiver.alerts}
    assert sorted(delivered.values()) == [80, 100]


async def test_a_failed_alert_is_retried_with_backoff(account: AlertingLedger) -> None:
    with receiving(500, 500) as receiver:
        webhook = account.webhook(receiver.url)
        account.buy(8)
        for _ in range(5):
            assert await webhook.deliver() == 0
        assert len(receiver.bodies) == 1


async def test_an_unreachable_receiver_is_tried_again(account: AlertingLedger) -> None:
    with receiving() as receiver:
        url = receiver.url
    account.buy(8)
    assert await account.webhook(url).deliver() == 0
    account.now[0] += 3_600_001
    with receiving() as receiver:
        assert await account.webhook(receiver.url).deliver() == 1


async def test_two_servers_of_one_ledger_do_not_both_send_an_alert(account: AlertingLedger) -> None:
    with receiving() as receiver:
        account.buy(8)
        first, second = account.webhook(receiver.url), account.webhook(receiver.url)
        assert [await first.deliver(), await second.deliver()] == [1, 0]
        assert len(receiver.bodies) == 1


async def test_the_signature_is_of_the_bytes_sent_and_their_time(account: AlertingLedger) -> None:
    with receiving() as receiver:
        account.buy(8)
        await account.webhook(receiver.url).deliver()
    seconds = account.now[0] // 1000
    signed = f"{seconds}.".encode() + receiver.bodies[0]
    digest = hmac.new(SECRET.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
    assert receiver.signatures == [f"t={seconds},v1={digest}"]


async def test_a_stopping_server_finishes_the_alert_in_progress(account: AlertingLedger) -> None:
    with receiving() as receiver:
        webhook = account.webhook(receiver.url)
        receiver.may_answer.clear()
        account.buy(8)
        delivering = asyncio.create_task(webhook.deliver())
        while not receiver.bodies:
            await asyncio.sleep(0)
        delivering.cancel()
        await asyncio.sleep(0)
        receiver.may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await delivering
        account.now[0] += 3_600_001
        assert await webhook.deliver() == 0
        assert len(receiver.bodies) == 1


async def test_a_running_vendor_delivers_alerts(tmp_path: Path, hashing: HashEncoder) -> None:
    async with vendor_at(tmp_path, hashing, budget=5) as vendor:
        await vendor.embed(["a"] * 5)
        key_id = vendor.key.id
    with receiving() as receiver:
        options: dict[str, Any] = {"webhook_url": receiver.url, "webhook_secret": SECRET}
        # The alerts that the previous server left are delivered in the first round.
        async with vendor_at(tmp_path, hashing, **options) as vendor:
            delivered = "teacher_alerts_delivered_total 2.0"
            while delivered not in (await vendor.http.get("/metrics")).text:
                await asyncio.sleep(0)
    assert {alert["key_id"] for alert in receiver.alerts} == {key_id}
