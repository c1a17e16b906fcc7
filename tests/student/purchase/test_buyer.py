"""Buying, with a vendor that keeps a ledger at the far end of the wire."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cache.paid_cache import PaidCache
from cache.records.receipt import entry_hash
from cache.reports.markdown import markdown_report
from cache.storage.reader import CacheReader
from student.errors import VendorError, VendorUnreachable
from student.vendor.retry import RetryPolicy
from tests.support.ledger_vendor import (
    LedgerVendor,
    lost_answer,
    lost_request,
    refusing,
    vector_of,
)
from tests.support.purchase_setup import Shop


async def test_everything_planned_is_bought_and_stored_as_it_was_sold(shop: Shop) -> None:
    wanted = [*shop.images(9), shop.text("a bird"), shop.text("a boat")]
    end = await shop.buy(wanted)
    assert (end.stop_reason, end.bought, end.units, end.left_out) == ("complete", 11, 11, 0)
    assert end.cost_micro_usd == 1100
    with PaidCache.open(shop.folder) as cache:
        for one in wanted:
            paid = cache.get(one.key)
            assert paid is not None
            np.testing.assert_array_equal(paid.vector, vector_of(one.item().payload))
            assert paid.sent_sha256 == one.item().sha256
            assert paid.model == "tiny"
    shop.assert_books_balance()


async def test_the_second_buy_sends_nothing(shop: Shop, vendor: LedgerVendor) -> None:
    wanted = shop.images(9)
    await shop.buy(wanted)
    sent = len(vendor.seen)
    end = await shop.buy(wanted)
    assert (end.stop_reason, end.bought, end.cached, end.units) == ("complete", 0, 9, 0)
    assert len(vendor.seen) == sent


async def test_an_image_that_occurs_twice_is_bought_once(shop: Shop, vendor: LedgerVendor) -> None:
    await shop.buy([*shop.images(3), *shop.images(3)])
    assert vendor.spent == 3


@pytest.mark.parametrize("budget", [0, 1, 4, 5, 7, 8, 10])
async def test_a_budget_of_n_units_buys_exactly_n(shop: Shop, budget: int) -> None:
    """The last batch shrinks to the units that are left, and the best-ranked items are the ones."""
    wanted = shop.images(20)
    end = await shop.buy(wanted, budget=budget)
    assert shop.vendor.spent == budget
    assert (end.stop_reason, end.left_out) == ("client budget", 20 - budget)
    assert shop.paid(wanted) == [True] * budget + [False] * (20 - budget)
    shop.assert_books_balance()


async def test_a_bigger_budget_later_counts_what_was_spent_before(shop: Shop) -> None:
    wanted = shop.images(20)
    await shop.buy(wanted, budget=5)
    await shop.buy(wanted, budget=12)
    assert shop.vendor.spent == 12


@pytest.mark.parametrize("left", [0, 1, 3, 6, 9])
async def test_the_vendors_last_units_are_used_to_the_last_one(shop: Shop, left: int) -> None:
    shop.vendor.budget = left
    end = await shop.buy(shop.images(12), concurrency=1)
    assert shop.vendor.spent == left
    assert (end.stop_reason, end.bought, end.left_out) == ("vendor budget", left, 12 - left)
    shop.assert_books_balance()


async def test_a_vendor_that_refuses_what_it_says_it_has_is_not_asked_for_ever(shop: Shop) -> None:
    more = {"needed": 4, "remaining": 4}
    shop.vendor.faults.append(refusing(402, "request_exceeds_budget", **more))
    with pytest.raises(VendorError, match="4 remain"):
        await shop.buy(shop.images(4))
    assert len(shop.vendor.posts) == 1


@pytest.mark.parametrize("fault", [lost_request, lost_answer])
async def test_a_lost_message_is_sent_again_under_its_key_and_paid_once(
    shop: Shop, fault: object
) -> None:
    shop.vendor.faults.append(fault)  # type: ignore[arg-type]
    end = await shop.buy(shop.images(4))
    keys = [seen.idempotency_key for seen in shop.vendor.posts]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert (shop.vendor.spent, end.bought, end.retries) == (4, 4, 1)
    shop.assert_books_balance()


async def test_a_run_that_gave_up_in_doubt_is_finished_by_the_next_for_one_payment(
    shop: Shop,
) -> None:
    shop.vendor.faults.append(lost_answer)
    with pytest.raises(VendorUnreachable) as caught:
        await shop.buy(shop.images(4), retry_policy=RetryPolicy(attempts=1))
    assert caught.value.charged is None
    assert "the purchase stays open" in str(caught.value)
    end = await shop.buy(shop.images(4))
    assert (end.recovered, end.bought, end.units, shop.vendor.spent) == (4, 0, 4, 4)
    shop.assert_books_balance()


async def test_units_in_doubt_count_against_the_budget(shop: Shop) -> None:
    shop.vendor.faults.append(lost_request)
    with pytest.raises(VendorUnreachable):
        await shop.buy(shop.images(4), budget=6, retry_policy=RetryPolicy(attempts=1))
    plan = shop.plan([*shop.images(4), *shop.images(4, "other")], budget=6)
    assert (plan.remaining, len(plan.in_open_purchases), plan.units, len(plan.left_out)) == (
        2,
        4,
        2,
        2,
    )


async def test_a_refusal_that_is_free_for_certain_frees_its_units(shop: Shop) -> None:
    shop.vendor.faults.extend([refusing(401, "invalid_key")])
    with pytest.raises(VendorError, match="Nothing was charged"):
        await shop.buy(shop.images(4), concurrency=1)
    assert shop.plan(shop.images(4), budget=4).remaining == 4


@pytest.mark.parametrize("created_ms", [253_402_300_800_000, 1_764_000_000_000_000_000, -(10**30)])
async def test_an_answer_whose_time_no_calendar_has_is_paid_for_kept_and_reported(
    created_ms: int, shop: Shop
) -> None:
    def late(body: dict[str, Any]) -> None:
        entry = shop.vendor.ledger[-1]
        entry["created_ms"] = created_ms
        entry["hash"] = entry_hash(entry)
        body["receipt"] = entry

    shop.vendor.lie = late
    end = await shop.buy(shop.images(4))
    assert (end.bought, all(shop.paid(shop.images(4)))) == (4, True)
    shop.assert_books_balance()
    with CacheReader.open(shop.folder) as cache:
        assert f"| {created_ms} |" in markdown_report(cache)
