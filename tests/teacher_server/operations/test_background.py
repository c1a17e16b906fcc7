"""Background tasks continue when any of them fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.database.engine import write_transaction
from teacher_server.inference.batcher import Batcher
from teacher_server.ledger.charges import Charges
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from teacher_server.operations.background import BackgroundTasks
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.readiness import ReadinessProbe
from teacher_server.operations.storage import Storage

DAY_MS = 86_400_000


@dataclass
class FlakySender:
    """Fails a given number of times, then delivers one alert at a time."""

    failures: int = 0
    rounds: int = 0

    async def deliver(self) -> int:
        self.rounds += 1
        if self.rounds <= self.failures:
            message = "unreachable"
            raise OSError(message)
        return 1


@dataclass
class BackgroundSetup:
    """Background tasks of a vendor, with a model, an alert sender and a clock of the test's own."""

    vendor: Vendor
    probe: ReadinessProbe
    storage: Storage
    metrics: Metrics = field(default_factory=Metrics)
    alert_sender: FlakySender = field(default_factory=FlakySender)
    days_later: int = 0

    def tasks(self, answer_days: int = 90) -> BackgroundTasks:
        return BackgroundTasks(
            self.probe,
            self.vendor.ledger,
            self.metrics,
            storage=self.storage,
            answer_days=answer_days,
            alert_sender=self.alert_sender,
            clock_ms=lambda: unix_ms() + self.days_later * DAY_MS,
        )

    def counted(self, name: str) -> float:
        page = self.metrics.page(depth=0, seconds_since_heartbeat=0.0).decode()
        return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(name))


@pytest.fixture
async def setup(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[BackgroundSetup]:
    batcher = Batcher(HashEncoder(), max_batch=4, max_delay=0, max_queue=8)
    batcher.start()
    async with vendor_at(tmp_path, hashing) as vendor:
        storage = Storage(vendor.ledger.records.probe, vendor.ledger.charges.void)
        yield BackgroundSetup(vendor, ReadinessProbe(HashEncoder(), batcher, storage), storage)
    batcher.stop()


async def test_answers_are_purged_at_the_configured_age_and_not_before(
    setup: BackgroundSetup,
) -> None:
    await setup.vendor.embed("a", idempotency_key="k")
    setup.days_later = 89
    await setup.tasks().purge()
    assert (await setup.vendor.embed("a", idempotency_key="k")).status_code == 200
    setup.days_later = 91
    await setup.tasks(answer_days=0).purge()
    assert (await setup.vendor.embed("a", idempotency_key="k")).status_code == 200
    await setup.tasks().purge()
    assert setup.counted("teacher_purged_answers_total") == 1
    assert (await setup.vendor.embed("a", idempotency_key="k")).status_code == 410
    assert setup.vendor.account.spent_units == 1
    assert setup.vendor.audit.faults == ()


async def test_the_store_is_searched_once_an_hour(setup: BackgroundSetup) -> None:
    watch = setup.tasks()
    await watch.purge()
    await setup.vendor.embed("a", idempotency_key="k")
    setup.days_later = 91
    await watch.purge()
    assert (await setup.vendor.embed("a", idempotency_key="k")).status_code == 200


async def test_a_purge_that_fails_is_tried_again_in_the_next_round(setup: BackgroundSetup) -> None:
    await setup.vendor.embed("a", idempotency_key="k")
    setup.days_later = 91
    watch = setup.tasks()
    with write_transaction(setup.vendor.engine) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE DELETE ON answers "
                "BEGIN SELECT RAISE(ABORT, 'disk trouble'); END"
            )
        )
    await watch.purge()
    assert setup.counted("teacher_purged_answers_total") == 0
    with write_transaction(setup.vendor.engine) as connection:
        connection.execute(text("DROP TRIGGER broken"))
    await watch.purge()
    assert setup.counted("teacher_purged_answers_total") == 1


async def test_a_failing_probe_does_not_stop_the_alert_sender(setup: BackgroundSetup) -> None:
    broken = HashEncoder(failing_text="a canary")
    batcher = Batcher(broken, max_batch=4, max_delay=0, max_queue=8)
    batcher.start()
    setup.probe = ReadinessProbe(broken, batcher, setup.storage)
    try:
        await setup.tasks().maintain()
    finally:
        batcher.stop()
    assert not (await setup.probe.health()).checks["canary"]
    assert setup.counted("teacher_alerts_delivered_total") == 1


async def test_a_failing_alert_sender_is_tried_again_in_the_next_round(
    setup: BackgroundSetup,
) -> None:
    setup.alert_sender.failures = 1
    watch = setup.tasks()
    await watch.maintain()
    assert setup.counted("teacher_alerts_delivered_total") == 0
    await watch.maintain()
    assert setup.counted("teacher_alerts_delivered_total") == 1


async def test_a_sweep_voids_expired_leases(setup: BackgroundSetup) -> None:
    vendor = setup.vendor
    purchase = Purchase(
        request_id="req_late",
        key_id=vendor.key.id,
        idempotency_key="late",
        payload_sha256="f" * 64,
        images=0,
        texts=2,
    )
    price = Price(version="p", micro_usd_per_unit=1)
    assert isinstance(vendor.ledger.charges.reserve(purchase, price), Reservation)
    await setup.tasks().sweep()
    assert vendor.account.reserved_units == 2
    with write_transaction(vendor.engine) as connection:
        connection.execute(text("UPDATE requests SET lease_until_ms = 1"))
    await setup.tasks().sweep()
    assert vendor.account.reserved_units == 0


async def test_a_failing_sweep_does_not_stop_the_background_tasks(setup: BackgroundSetup) -> None:
    with write_transaction(setup.vendor.engine) as connection:
        connection.execute(text("ALTER TABLE requests RENAME TO lost"))
    await setup.tasks().sweep()
    with write_transaction(setup.vendor.engine) as connection:
        connection.execute(text("ALTER TABLE lost RENAME TO requests"))
    await setup.tasks().sweep()


async def test_running_tasks_purge_old_answers_by_themselves(setup: BackgroundSetup) -> None:
    await setup.vendor.embed("a", idempotency_key="k")
    setup.days_later = 91
    running = asyncio.create_task(setup.tasks().run())
    async with asyncio.timeout(30):
        while setup.counted("teacher_purged_answers_total") == 0:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await setup.vendor.embed("a", idempotency_key="k")).status_code == 410


async def test_a_sweep_that_is_cut_off_ends_before_the_ledger_is_closed(
    setup: BackgroundSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(records: Charges) -> int:
        begun.set()
        assert may_end.wait(30)
        ended.set()
        return 0

    monkeypatch.setattr(Charges, "void_dead", slow)
    sweeping = asyncio.create_task(setup.tasks().sweep())
    await asyncio.to_thread(begun.wait, 30)
    sweeping.cancel()
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await sweeping
    assert ended.is_set()
