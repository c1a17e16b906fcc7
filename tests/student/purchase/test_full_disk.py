"""A full disk under the cache, a vendor with a full disk, and open purchases that must wait."""

from __future__ import annotations

import asyncio
import errno
import logging
from pathlib import Path

import httpx
import pytest

from cache.errors import AnswerNotStored
from cache.storage import receipts_file
from student.purchase.journal import ABANDONED_AFTER_MS
from student.purchase.progress import waiting_advice
from tests.support.ledger_vendor import LedgerVendor, problem
from tests.support.open_purchases import leave_open_purchase
from tests.support.purchase_setup import PurchaseSetup, client_of


@pytest.fixture
def setup(tmp_path: Path) -> PurchaseSetup:
    return PurchaseSetup(folder=tmp_path / "cache", vendor=LedgerVendor())


async def test_every_purchase_that_was_charged_and_is_not_stored_is_named(
    setup: PurchaseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = 0

    async def at_once(request: httpx.Request) -> httpx.Response:
        nonlocal arrived
        arrived += request.method == "POST"
        while arrived < 3:
            await asyncio.sleep(0)
        return setup.vendor(request)

    def full(folder: Path, purchases: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(receipts_file, "append", full)
    setup.handler = at_once
    with pytest.raises(AnswerNotStored) as caught:
        await setup.buy(setup.images(16), concurrency=3)
    charged = [(entry["idempotency_key"], entry["units"]) for entry in setup.vendor.ledger]
    assert len(charged) == 3
    assert sorted(caught.value.purchases) == sorted(charged)
    assert all(f"{key} ({units} queries)" in str(caught.value) for key, units in charged)
    assert "No space left on device" in str(caught.value)
    monkeypatch.undo()
    summary = await setup.buy(setup.images(16))
    assert summary.recovered == sum(units for _, units in charged)
    setup.assert_cache_matches_ledger()


async def test_the_client_waits_for_readyz_while_the_vendor_cannot_store(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    """It sends no sale while /readyz says no: one refused sale, not one a probe."""
    waits, probes, refused = 6, 0, 0

    def vendor(request: httpx.Request) -> httpx.Response:
        nonlocal probes, refused
        if request.url.path == "/readyz":
            probes += 1
            return setup.vendor(request) if probes > waits else problem(503, "not_ready")
        if request.method == "POST" and probes <= waits:
            refused += 1
            detail = "The vendor cannot store anything now: the disk of the database is full."
            headers = {"Retry-After": "10"}
            return problem(503, "storage_unavailable", headers=headers, detail=detail)
        return setup.vendor(request)

    setup.handler = vendor
    with caplog.at_level(logging.WARNING):
        summary = await setup.buy(setup.images(4), concurrency=1)
    assert summary.bought == 4
    assert (refused, len(setup.vendor.posts)) == (1, 1)
    assert probes == waits + 1
    assert any("the disk of the database is full" in one for one in caplog.messages)
    setup.assert_cache_matches_ledger()


async def test_a_vendor_that_is_not_ready_is_asked_for_a_stated_time(
    setup: PurchaseSetup,
) -> None:
    """Longer once it has answered: then the address is right."""
    async with client_of(lambda _: problem(503, "not_ready")) as client:
        assert client.patience_seconds == 20
        assert not await client.ready()
        assert client.patience_seconds == 300


async def test_waiting_images_say_when_their_open_purchases_can_be_settled(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    leave_open_purchase(setup, setup.images(4), age_ms=60_000)
    with caplog.at_level(logging.WARNING):
        summary = await setup.buy(setup.images(3))
    assert (summary.stop_reason, summary.left_out) == ("waiting", 3)
    due = setup.clock.now_ms() - 60_000 + ABANDONED_AFTER_MS
    assert summary.waits_until_ms is not None
    assert abs(summary.waits_until_ms - due) < 60_000
    advice = waiting_advice(summary)
    assert "run again in ten minutes, when they can be settled (from 19" in advice
    assert any("A run can settle it from 19" in one for one in caplog.messages)
