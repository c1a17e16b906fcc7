"""The open purchases of a killed run are settled before anything new is bought."""

from __future__ import annotations

import httpx

from tests.support.open_purchases import charge, leave_open_purchase
from tests.support.purchase_setup import PurchaseSetup


async def test_a_purchase_that_the_vendor_charged_is_fetched_not_bought(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(3)
    intent = leave_open_purchase(setup, wanted)
    await charge(setup, wanted, intent)
    end = await setup.buy(setup.images(5))
    assert (end.recovered, end.bought, setup.vendor.spent) == (3, 2, 5)
    setup.assert_cache_matches_ledger()


async def test_a_purchase_that_never_arrived_is_sent_again_under_its_key(
    setup: PurchaseSetup,
) -> None:
    intent = leave_open_purchase(setup, setup.images(3))
    end = await setup.buy(setup.images(3))
    (post,) = setup.vendor.posts
    assert (post.idempotency_key, post.items) == (intent.idempotency_key, 3)
    assert (end.bought, end.units) == (3, 3)
    setup.assert_cache_matches_ledger()


async def test_a_run_waits_for_a_purchase_that_the_vendor_is_still_processing(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(3)
    intent = leave_open_purchase(setup, wanted)
    await charge(setup, wanted, intent)
    setup.vendor.in_flight.add(intent.idempotency_key)

    def finishing(request: httpx.Request) -> httpx.Response:
        if len(setup.clock.sleeps) >= 2:
            setup.vendor.in_flight.clear()
        return setup.vendor(request)

    setup.handler = finishing
    end = await setup.buy(wanted)
    assert (end.recovered, setup.vendor.spent) == (3, 3)


async def test_settling_costs_nothing_beyond_the_units_already_reserved(
    setup: PurchaseSetup,
) -> None:
    """When the open purchase uses the whole budget, it is settled and nothing else is bought."""
    leave_open_purchase(setup, setup.images(3))
    end = await setup.buy(setup.images(9), budget=3)
    assert (setup.vendor.spent, end.left_out, end.stop_reason) == (3, 6, "client budget")
    setup.assert_cache_matches_ledger()


async def test_a_refused_item_in_an_open_purchase_frees_the_other_items(
    setup: PurchaseSetup,
) -> None:
    wanted = [*setup.images(2), setup.image("bad one")]
    leave_open_purchase(setup, wanted)
    end = await setup.buy(wanted, budget=3)
    assert [refusal.request.name for refusal in end.refused] == ["bad one"]
    assert (setup.vendor.spent, end.bought) == (2, 2)
    setup.assert_cache_matches_ledger()


async def test_an_empty_account_does_not_prevent_recovery_of_paid_answers(
    setup: PurchaseSetup,
) -> None:
    never_sent, charged, also_charged = (setup.images(2, stem) for stem in ("a", "b", "c"))
    for number, requests in enumerate((never_sent, charged, also_charged)):
        intent = leave_open_purchase(setup, requests, run=f"killed-{number}")
        if requests is not never_sent:
            await charge(setup, requests, intent)
    setup.vendor.budget = setup.vendor.spent
    wanted = [*never_sent, *charged, *also_charged]
    await setup.buy(wanted)
    assert setup.paid(wanted) == [False, False, True, True, True, True]
