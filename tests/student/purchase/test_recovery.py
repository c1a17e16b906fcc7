"""What a killed run left in the journal is ended before anything new is bought."""

from __future__ import annotations

import httpx

from tests.support.open_purchases import charge, leave_intent
from tests.support.purchase_setup import Shop


async def test_a_purchase_that_the_vendor_charged_is_fetched_not_bought(shop: Shop) -> None:
    wanted = shop.images(3)
    intent = leave_intent(shop, wanted)
    await charge(shop, wanted, intent)
    end = await shop.buy(shop.images(5))
    assert (end.recovered, end.bought, shop.vendor.spent) == (3, 2, 5)
    shop.assert_books_balance()


async def test_a_purchase_that_never_arrived_is_sent_again_under_its_key(shop: Shop) -> None:
    intent = leave_intent(shop, shop.images(3))
    end = await shop.buy(shop.images(3))
    (post,) = shop.vendor.posts
    assert (post.idempotency_key, post.items) == (intent.idempotency_key, 3)
    assert (end.bought, end.units) == (3, 3)
    shop.assert_books_balance()


async def test_a_purchase_still_under_way_at_the_vendor_is_waited_for(shop: Shop) -> None:
    wanted = shop.images(3)
    intent = leave_intent(shop, wanted)
    await charge(shop, wanted, intent)
    shop.vendor.in_flight.add(intent.idempotency_key)

    def finishing(request: httpx.Request) -> httpx.Response:
        if len(shop.clock.sleeps) >= 2:
            shop.vendor.in_flight.clear()
        return shop.vendor(request)

    shop.handler = finishing
    end = await shop.buy(wanted)
    assert (end.recovered, shop.vendor.spent) == (3, 3)


async def test_settling_costs_nothing_beyond_the_units_already_reserved(shop: Shop) -> None:
    """A budget that the open purchase has used up still lets it be ended, and nothing more."""
    leave_intent(shop, shop.images(3))
    end = await shop.buy(shop.images(9), budget=3)
    assert (shop.vendor.spent, end.left_out, end.stop_reason) == (3, 6, "client budget")
    shop.assert_books_balance()


async def test_a_refused_item_in_an_open_purchase_frees_its_mates(shop: Shop) -> None:
    wanted = [*shop.images(2), shop.image("bad one")]
    leave_intent(shop, wanted)
    end = await shop.buy(wanted, budget=3)
    assert [one.request.name for one in end.refused] == ["bad one"]
    assert (shop.vendor.spent, end.bought) == (2, 2)
    shop.assert_books_balance()


async def test_an_empty_account_does_not_stop_the_asking_for_what_was_paid_before(
    shop: Shop,
) -> None:
    never_sent, charged, also_charged = (shop.images(2, stem) for stem in ("a", "b", "c"))
    for number, lot in enumerate((never_sent, charged, also_charged)):
        intent = leave_intent(shop, lot, run=f"killed-{number}")
        if lot is not never_sent:
            await charge(shop, lot, intent)
    shop.vendor.budget = shop.vendor.spent
    wanted = [*never_sent, *charged, *also_charged]
    await shop.buy(wanted)
    assert shop.paid(wanted) == [False, False, True, True, True, True]
