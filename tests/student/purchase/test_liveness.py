"""An open purchase of a living run is that run's alone; a dead run's has one successor."""

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
from tests.support.open_purchases import OLD_MS, leave_intent, open_intents
from tests.support.purchase_setup import Shop


@dataclass
class Held:
    """A vendor that keeps one client's purchases waiting at its door, uncharged, until let in."""

    shop: Shop
    is_theirs: Callable[[httpx.Request], bool]
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    let_in: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and self.is_theirs(request):
            self.arrived.set()
            await self.let_in.wait()
        return self.shop.vendor(request)


@asynccontextmanager
async def a_living_client(
    shop: Shop, wanted: list[EmbeddingRequest], budget: int
) -> AsyncIterator[tuple[Held, asyncio.Task[PurchaseSummary]]]:
    """A run whose only purchase is on its way to the vendor, and has been for a long time."""
    first = asyncio.Event()
    held = Held(shop, lambda _: not first.is_set())
    shop.handler = held
    task = asyncio.create_task(shop.buy(wanted, budget=budget, concurrency=1, run="living"))
    await held.arrived.wait()
    first.set()
    shop.clock.now += OLD_MS / 1000
    yield held, task
    held.let_in.set()
    await task


async def test_settling_never_frees_the_units_of_a_purchase_that_a_living_client_waits_for(
    shop: Shop,
) -> None:
    """The vendor does not know it yet, nobody else wants it, it is old: and it will be charged."""
    async with a_living_client(shop, shop.images(4, "theirs"), budget=6) as (held, task):
        (intent,) = open_intents(shop)
        end = await shop.buy(shop.images(6), budget=6)
        assert (end.bought, end.stop_reason, end.open_purchases) == (2, "client budget", 1)
        assert open_intents(shop) == [intent]
        assert not any(intent.idempotency_key in seen.path for seen in shop.vendor.seen)
        held.let_in.set()
        assert (await task).bought == 4
    assert shop.vendor.spent == 6
    shop.assert_books_balance()


async def test_a_run_waits_for_what_a_living_run_is_buying_and_pays_for_the_rest(
    shop: Shop,
) -> None:
    wanted = shop.images(8)
    async with a_living_client(shop, wanted[:4], budget=100) as (held, _):
        second = asyncio.create_task(shop.buy(wanted))
        while shop.vendor.spent < 4:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        held.let_in.set()
        end = await second
    assert (end.bought, end.stop_reason, shop.vendor.spent) == (4, "complete", 8)
    shop.assert_books_balance()


async def test_what_a_living_run_gives_up_its_rival_takes_over(shop: Shop) -> None:
    """The living run fails in doubt and ends; the purchase it leaves is settled at once."""
    wanted = shop.images(4)
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
        return shop.vendor(request)

    shop.handler = handler
    first = asyncio.create_task(shop.buy(wanted, retry_policy=RetryPolicy(attempts=1)))
    await arrived.wait()
    (intent,) = open_intents(shop)
    second = asyncio.create_task(shop.buy(wanted))
    for _ in range(20):
        await asyncio.sleep(0)
    lose.set()
    with pytest.raises(VendorUnreachable):
        await first
    end = await second
    assert (end.bought, end.stop_reason) == (4, "complete")
    assert [post.idempotency_key for post in shop.vendor.posts] == [intent.idempotency_key]
    shop.assert_books_balance()


def test_a_dead_run_has_one_successor_at_a_time(shop: Shop) -> None:
    """Or one would give a purchase up that the other is just sending again."""
    intent = leave_intent(shop, shop.images(4), run="dead")
    with PaidCache.open(shop.folder) as here, PaidCache.open(shop.folder) as there:
        one, two = shop.journal(here, "one"), shop.journal(there, "two")
        with one.hold_run_of(intent) as is_mine:
            assert is_mine
            assert there.is_running(intent.run)
            with two.hold_run_of(intent) as is_theirs:
                assert not is_theirs
        with two.hold_run_of(intent) as is_theirs:
            assert is_theirs
            there.abandon(intent.idempotency_key)
        with one.hold_run_of(intent) as is_mine:
            assert not is_mine


async def test_of_two_runs_that_find_a_dead_ones_purchase_neither_frees_what_the_other_sends(
    shop: Shop,
) -> None:
    """One wants it and sends it again; to the other it is old and unwanted."""
    theirs = shop.images(4, "theirs")
    leave_intent(shop, theirs, age_ms=OLD_MS, run="dead")
    async with a_living_client(shop, theirs, budget=6) as (held, task):
        end = await shop.buy(shop.images(6), budget=6)
        assert (end.bought, end.open_purchases) == (2, 1)
        held.let_in.set()
        assert (await task).bought == 4
    assert shop.vendor.spent == 6
    shop.assert_books_balance()


def test_a_process_waits_for_a_living_one_and_takes_over_when_that_is_killed(
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
