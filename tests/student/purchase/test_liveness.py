"""Only a live run settles its open purchases; one other run settles those of a dead run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from cache.paid_cache import PaidCache
from student.errors import VendorUnreachable
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.progress import PurchaseSummary
from student.vendor.retry import RetryPolicy
from tests.student.purchase.test_kill import (
    PATIENCE,
    assert_paid_once,
    assert_runs_to_its_end,
    client,
    on_a_socket,
)
from tests.support.open_purchases import OLD_MS, leave_open_purchase, open_intents
from tests.support.purchase_setup import PurchaseSetup


@dataclass
class HoldingVendor:
    """A vendor that holds one client's purchases, uncharged, until they are released."""

    setup: PurchaseSetup
    is_theirs: Callable[[httpx.Request], bool]
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and self.is_theirs(request):
            self.arrived.set()
            await self.released.wait()
        return self.setup.vendor(request)


@asynccontextmanager
async def live_run_waiting(
    setup: PurchaseSetup, wanted: list[EmbeddingRequest], budget: int
) -> AsyncIterator[tuple[HoldingVendor, asyncio.Task[PurchaseSummary]]]:
    """A run whose only purchase is on its way to the vendor, and has been for a long time."""
    first = asyncio.Event()
    held = HoldingVendor(setup, lambda _: not first.is_set())
    setup.handler = held
    task = asyncio.create_task(setup.buy(wanted, budget=budget, concurrency=1, run="living"))
    await held.arrived.wait()
    first.set()
    setup.clock.now += OLD_MS / 1000
    yield held, task
    held.released.set()
    await task


async def test_settling_never_frees_the_units_of_a_live_runs_purchase(
    setup: PurchaseSetup,
) -> None:
    """The purchase is old, unknown to the vendor and in no other plan, yet it will be charged."""
    async with live_run_waiting(setup, setup.images(4, "theirs"), budget=6) as (held, task):
        (intent,) = open_intents(setup)
        end = await setup.buy(setup.images(6), budget=6)
        assert (end.bought, end.stop_reason, end.open_purchases) == (2, "client budget", 1)
        assert open_intents(setup) == [intent]
        assert not any(intent.idempotency_key in seen.path for seen in setup.vendor.seen)
        held.released.set()
        assert (await task).bought == 4
    assert setup.vendor.spent == 6
    setup.assert_cache_matches_ledger()


async def test_a_run_waits_for_a_live_runs_purchase_and_pays_for_the_rest(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(8)
    async with live_run_waiting(setup, wanted[:4], budget=100) as (held, _):
        second = asyncio.create_task(setup.buy(wanted))
        while setup.vendor.spent < 4:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        held.released.set()
        end = await second
    assert (end.bought, end.stop_reason, setup.vendor.spent) == (4, "complete", 8)
    setup.assert_cache_matches_ledger()


async def test_a_purchase_that_a_live_run_gives_up_is_settled_by_the_other_run(
    setup: PurchaseSetup,
) -> None:
    """The live run ends without an answer; the purchase that it leaves is settled at once."""
    wanted = setup.images(4)
    calls = 0
    arrived, lose = asyncio.Event(), asyncio.Event()

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        if request.method == "POST":
            calls += 1
            if calls == 1:
                arrived.set()
                await lose.wait()
                message = "lost on the way there"
                raise httpx.ReadTimeout(message)
        return setup.vendor(request)

    setup.handler = handler
    first = asyncio.create_task(setup.buy(wanted, retry_policy=RetryPolicy(attempts=1)))
    await arrived.wait()
    (intent,) = open_intents(setup)
    second = asyncio.create_task(setup.buy(wanted))
    for _ in range(20):
        await asyncio.sleep(0)
    lose.set()
    with pytest.raises(VendorUnreachable):
        await first
    end = await second
    assert (end.bought, end.stop_reason) == (4, "complete")
    assert [post.idempotency_key for post in setup.vendor.posts] == [intent.idempotency_key]
    setup.assert_cache_matches_ledger()


def test_only_one_run_at_a_time_settles_a_dead_runs_purchases(setup: PurchaseSetup) -> None:
    """Otherwise a run could abandon a purchase that another run is sending again."""
    intent = leave_open_purchase(setup, setup.images(4), run="dead")
    with PaidCache.open(setup.folder) as here, PaidCache.open(setup.folder) as there:
        first, second = setup.journal(here, "one"), setup.journal(there, "two")
        with first.hold_run_of(intent) as is_mine:
            assert is_mine
            assert there.is_running(intent.run)
            with second.hold_run_of(intent) as is_theirs:
                assert not is_theirs
        with second.hold_run_of(intent) as is_theirs:
            assert is_theirs
            there.abandon(intent.idempotency_key)
        with first.hold_run_of(intent) as is_mine:
            assert not is_mine


async def test_two_runs_settling_a_dead_runs_purchase_never_free_units_being_sent(
    setup: PurchaseSetup,
) -> None:
    """The first run plans it and sends it again; for the second it is old and not planned."""
    theirs = setup.images(4, "theirs")
    leave_open_purchase(setup, theirs, age_ms=OLD_MS, run="dead")
    async with live_run_waiting(setup, theirs, budget=6) as (held, task):
        end = await setup.buy(setup.images(6), budget=6)
        assert (end.bought, end.open_purchases) == (2, 1)
        held.released.set()
        assert (await task).bought == 4
    assert setup.vendor.spent == 6
    setup.assert_cache_matches_ledger()


def test_a_process_waits_for_a_live_process_and_settles_its_purchase_when_it_is_killed(
    tmp_path: Path,
) -> None:
    with on_a_socket() as far_end:
        far_end.may_charge.clear()
        first = client(far_end, tmp_path / "cache", 6)
        assert far_end.arrived.wait(PATIENCE)
        with PaidCache.open(tmp_path / "cache") as cache:
            (run,) = {intent.run for intent in cache.open_intents()}
            assert cache.is_running(run)
            second = client(far_end, tmp_path / "cache", 6)
            first.kill()
            first.communicate(timeout=PATIENCE)
            assert not cache.is_running(run)
        far_end.may_charge.set()
        assert_runs_to_its_end(second)
        assert_paid_once(far_end, tmp_path / "cache", 6)
