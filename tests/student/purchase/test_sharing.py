"""Several buyers on one cache: nothing is paid twice and the budget limits their total."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cache.paid_cache import PaidCache
from student.purchase.progress import PurchaseSummary
from tests.support.purchase_setup import PurchaseSetup


async def slowly(setup: PurchaseSetup, request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(0.001)
    return setup.vendor(request)


async def buy_together(
    setup: PurchaseSetup, *, buyers: int, budget: int, images: int
) -> list[PurchaseSummary]:
    """Several runs that buy the same items at once; every plan is made before any purchase."""

    async def handler(request: httpx.Request) -> httpx.Response:
        return await slowly(setup, request)

    setup.handler = handler
    wanted = setup.images(images)
    plans = [setup.plan(wanted, budget) for _ in range(buyers)]
    return await asyncio.gather(*(setup.buy([], plan=plan, budget=budget) for plan in plans))


async def test_buyers_of_the_same_items_pay_once(setup: PurchaseSetup) -> None:
    ends = await buy_together(setup, buyers=4, budget=1000, images=30)
    assert setup.vendor.spent == 30
    assert all(end.stop_reason == "complete" for end in ends)
    setup.assert_cache_matches_ledger()


@pytest.mark.parametrize("budget", [1, 13, 29])
async def test_one_budget_holds_for_all_buyers_together(setup: PurchaseSetup, budget: int) -> None:
    await buy_together(setup, buyers=3, budget=budget, images=30)
    assert setup.vendor.spent == budget
    setup.assert_cache_matches_ledger()


async def test_buyers_of_overlapping_items_in_another_order_pay_once(setup: PurchaseSetup) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        return await slowly(setup, request)

    setup.handler = handler
    wanted = setup.images(24)
    orders = [wanted, wanted[::-1], wanted[12:] + wanted[:6]]
    plans = [setup.plan(order) for order in orders]
    ends = await asyncio.gather(*(setup.buy([], plan=plan, batch_size=5) for plan in plans))
    assert setup.vendor.spent == 24
    assert {end.stop_reason for end in ends} == {"complete"}
    setup.assert_cache_matches_ledger()


def test_of_two_claims_on_one_item_the_later_withdraws_before_anything_is_sent(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(4)
    with PaidCache.open(setup.folder) as cache:
        first = setup.journal(cache, "one").claim(wanted[:3])
        second = setup.journal(cache, "two").claim(wanted[2:])
        assert first.intent is not None
        assert second.intent is None
        assert second.is_contested
        assert [request.name for request in second.free] == ["image 3"]
        assert cache.open_intents() == [first.intent]


async def test_items_paid_in_the_meantime_are_not_claimed(setup: PurchaseSetup) -> None:
    wanted = setup.images(4)
    with PaidCache.open(setup.folder) as cache:
        journal = setup.journal(cache, "late")
        await setup.buy(wanted[:2])
        claim = journal.claim(wanted)
        assert claim.intent is None
        assert not claim.is_contested
        assert [request.name for request in claim.free] == ["image 2", "image 3"]
