"""Several buyers on one cache: nothing is paid twice and the budget holds for all together."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cache.paid_cache import PaidCache
from student.purchase.progress import PurchaseSummary
from tests.support.purchase_setup import Shop


async def slowly(shop: Shop, request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(0.001)
    return shop.vendor(request)


async def buy_together(
    shop: Shop, *, buyers: int, budget: int, images: int
) -> list[PurchaseSummary]:
    """Several runs with the same wishes at once; all plans are made before anybody buys."""

    async def handler(request: httpx.Request) -> httpx.Response:
        return await slowly(shop, request)

    shop.handler = handler
    wanted = shop.images(images)
    plans = [shop.plan(wanted, budget) for _ in range(buyers)]
    return await asyncio.gather(*(shop.buy([], plan=plan, budget=budget) for plan in plans))


async def test_buyers_who_want_the_same_pay_once(shop: Shop) -> None:
    ends = await buy_together(shop, buyers=4, budget=1000, images=30)
    assert shop.vendor.spent == 30
    assert all(end.stop_reason == "complete" for end in ends)
    shop.assert_books_balance()


@pytest.mark.parametrize("budget", [1, 13, 29])
async def test_one_budget_holds_for_all_buyers_together(shop: Shop, budget: int) -> None:
    await buy_together(shop, buyers=3, budget=budget, images=30)
    assert shop.vendor.spent == budget
    shop.assert_books_balance()


async def test_buyers_whose_wishes_overlap_in_another_order_pay_once(shop: Shop) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        return await slowly(shop, request)

    shop.handler = handler
    wanted = shop.images(24)
    wishes = [wanted, wanted[::-1], wanted[12:] + wanted[:6]]
    plans = [shop.plan(wish) for wish in wishes]
    ends = await asyncio.gather(*(shop.buy([], plan=plan, batch_size=5) for plan in plans))
    assert shop.vendor.spent == 24
    assert {end.stop_reason for end in ends} == {"complete"}
    shop.assert_books_balance()


def test_of_two_claims_on_one_item_the_later_withdraws_before_anything_is_sent(shop: Shop) -> None:
    wanted = shop.images(4)
    with PaidCache.open(shop.folder) as cache:
        first = shop.journal(cache, "one").claim(wanted[:3])
        second = shop.journal(cache, "two").claim(wanted[2:])
        assert first.intent is not None
        assert second.intent is None
        assert second.is_contested
        assert [one.name for one in second.free] == ["image 3"]
        assert cache.open_intents() == [first.intent]


async def test_what_was_paid_meanwhile_is_not_claimed(shop: Shop) -> None:
    wanted = shop.images(4)
    with PaidCache.open(shop.folder) as cache:
        journal = shop.journal(cache, "late")
        await shop.buy(wanted[:2])
        claim = journal.claim(wanted)
        assert claim.intent is None
        assert not claim.is_contested
        assert [one.name for one in claim.free] == ["image 2", "image 3"]
