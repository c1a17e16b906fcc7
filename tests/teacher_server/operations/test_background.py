"""What the vendor does by itself goes on, whichever part of it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.database.engine import writing
from teacher_server.inference.batcher import Batcher
from teacher_server.ledger.charges import Purchase, Reservation
from teacher_server.ledger.ledger import unix_ms
from teacher_server.ledger.price import Price
from teacher_server.operations.background import BackgroundTasks
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.readiness import ReadinessProbe

DAY_MS = 86_400_000


@dataclass
class Courier:
    """Fails as often as told, then delivers one alert a time."""

    failures: int = 0
    rounds: int = 0

    async def deliver(self) -> int:
        self.rounds += 1
        if self.rounds <= self.failures:
            message = "no road"
            raise OSError(message)
        return 1


@dataclass
class Tower:
    """A watch over a vendor's books, with a model, a courier and a clock of the test's own."""

    vendor: Vendor
    canary: ReadinessProbe
    metrics: Metrics = field(default_factory=Metrics)
    courier: Courier = field(default_factory=Courier)
    days_later: int = 0

    def watch(self, answer_days: int = 90) -> BackgroundTasks:
        return BackgroundTasks(
            self.canary,
            self.vendor.ledger,
            self.metrics,
            answer_days=answer_days,
            courier=self.courier,
            clock_ms=lambda: unix_ms() + self.days_later * DAY_MS,
        )

    def counted(self, name: str) -> float:
        page = self.metrics.page(depth=0, silence=0.0).decode()
        return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(name))


@pytest.fixture
async def tower(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Tower]:
    batcher = Batcher(HashEncoder(), max_batch=4, max_delay=0, max_queue=8)
    batcher.start()
    async with vendor_at(tmp_path, hashing) as vendor:
        yield Tower(vendor, ReadinessProbe(HashEncoder(), batcher, vendor.ledger.books.probe))
    batcher.stop()


async def test_answers_are_purged_at_their_age_and_not_before(tower: Tower) -> None:
    await tower.vendor.embed("a", idempotency_key="k")
    tower.days_later = 89
    await tower.watch().round()
    assert (await tower.vendor.embed("a", idempotency_key="k")).status_code == 200
    tower.days_later = 91
    await tower.watch(answer_days=0).round()
    assert (await tower.vendor.embed("a", idempotency_key="k")).status_code == 200
    await tower.watch().round()
    assert tower.counted("teacher_purged_answers_total") == 1
    assert (await tower.vendor.embed("a", idempotency_key="k")).status_code == 410
    assert tower.vendor.account.spent_units == 1
    assert tower.vendor.audit.faults == ()


async def test_the_store_is_searched_once_an_hour(tower: Tower) -> None:
    watch = tower.watch()
    await watch.round()
    await tower.vendor.embed("a", idempotency_key="k")
    tower.days_later = 91
    await watch.round()
    assert (await tower.vendor.embed("a", idempotency_key="k")).status_code == 200


async def test_a_canary_that_died_and_books_that_fail_do_not_stop_the_courier(
    tower: Tower,
) -> None:
    with writing(tower.vendor.engine) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE UPDATE ON requests "
                "BEGIN SELECT RAISE(ABORT, 'disk trouble'); END"
            )
        )
    broken = HashEncoder(poison="a canary")
    batcher = Batcher(broken, max_batch=4, max_delay=0, max_queue=8)
    batcher.start()
    tower.canary = ReadinessProbe(broken, batcher, tower.vendor.ledger.books.probe)
    try:
        await tower.watch().round()
    finally:
        batcher.stop()
    assert not (await tower.canary.health()).checks["canary"]
    assert tower.counted("teacher_alerts_delivered_total") == 1


async def test_a_courier_that_fails_is_sent_again_in_the_next_round(tower: Tower) -> None:
    tower.courier.failures = 1
    watch = tower.watch()
    await watch.round()
    assert tower.counted("teacher_alerts_delivered_total") == 0
    await watch.round()
    assert tower.counted("teacher_alerts_delivered_total") == 1


async def test_a_sweep_gives_back_what_outlived_its_lease(tower: Tower) -> None:
    vendor = tower.vendor
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
    await tower.watch().sweep()
    assert vendor.account.reserved_units == 2
    with writing(vendor.engine) as connection:
        connection.execute(text("UPDATE requests SET lease_until_ms = 1"))
    await tower.watch().sweep()
    assert vendor.account.reserved_units == 0


async def test_a_sweep_that_fails_is_not_the_end_of_the_watch(tower: Tower) -> None:
    with writing(tower.vendor.engine) as connection:
        connection.execute(text("ALTER TABLE requests RENAME TO lost"))
    await tower.watch().sweep()
    with writing(tower.vendor.engine) as connection:
        connection.execute(text("ALTER TABLE lost RENAME TO requests"))
    await tower.watch().sweep()
