"""Purchases from a vendor in memory that keeps a ledger."""

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
from tests.support.purchase_setup import PurchaseSetup


async def test_everything_planned_is_bought_and_stored_unchanged(setup: PurchaseSetup) -> None:
    wanted = [*setup.images(9), setup.text("a bird"), setup.text("a boat")]
    end = await setup.buy(wanted)
    assert (end.stop_reason, end.bought, end.units, end.left_out) == ("complete", 11, 11, 0)
    assert end.cost_micro_usd == 1100
    with PaidCache.open(setup.folder) as cache:
        for request in wanted:
            paid = cache.get(request.key)
            assert paid is not None
            np.testing.assert_array_equal(paid.vector, vector_of(request.item().payload))
            assert paid.sent_sha256 == request.item().sha256
            assert paid.model == "tiny"
    setup.assert_cache_matches_ledger()


async def test_the_second_buy_sends_nothing(setup: PurchaseSetup, vendor: LedgerVendor) -> None:
    wanted = setup.images(9)
    await setup.buy(wanted)
    sent = len(vendor.seen)
    end = await setup.buy(wanted)
    assert (end.stop_reason, end.bought, end.cached, end.units) == ("complete", 0, 9, 0)
    assert len(vendor.seen) == sent


async def test_an_image_that_occurs_twice_is_bought_once(
    setup: PurchaseSetup, vendor: LedgerVendor
) -> None:
    await setup.buy([*setup.images(3), *setup.images(3)])
    assert vendor.spent == 3


@pytest.mark.parametrize("budget", [0, 1, 4, 5, 7, 8, 10])
async def test_a_budget_of_n_units_buys_exactly_n(setup: PurchaseSetup, budget: int) -> None:
    """The last batch shrinks to the remaining units and holds the best-ranked items."""
    wanted = setup.images(20)
    end = await setup.buy(wanted, budget=budget)
    assert setup.vendor.spent == budget
    assert (end.stop_reason, end.left_out) == ("client budget", 20 - budget)
    assert setup.paid(wanted) == [True] * budget + [False] * (20 - budget)
    setup.assert_cache_matches_ledger()


async def test_a_bigger_budget_later_counts_what_was_spent_before(setup: PurchaseSetup) -> None:
    wanted = setup.images(20)
    await setup.buy(wanted, budget=5)
    await setup.buy(wanted, budget=12)
    assert setup.vendor.spent == 12


@pytest.mark.parametrize("left", [0, 1, 3, 6, 9])
async def test_the_vendors_budget_is_spent_exactly(setup: PurchaseSetup, left: int) -> None:
    setup.vendor.budget = left
    end = await setup.buy(setup.images(12), concurrency=1)
    assert setup.vendor.spent == left
    assert (end.stop_reason, end.bought, end.left_out) == ("vendor budget", left, 12 - left)
    setup.assert_cache_matches_ledger()


async def test_a_vendor_that_refuses_within_its_stated_balance_is_not_retried_for_ever(
    setup: PurchaseSetup,
) -> None:
    more = {"needed": 4, "remaining": 4}
    setup.vendor.faults.append(refusing(402, "request_exceeds_budget", **more))
    with pytest.raises(VendorError, match="4 remain"):
        await setup.buy(setup.images(4))
    assert len(setup.vendor.posts) == 1


@pytest.mark.parametrize("fault", [lost_request, lost_answer])
async def test_a_request_with_a_lost_answer_is_sent_again_under_its_key_and_paid_once(
    setup: PurchaseSetup, fault: object
) -> None:
    setup.vendor.faults.append(fault)  # type: ignore[arg-type]
    end = await setup.buy(setup.images(4))
    keys = [seen.idempotency_key for seen in setup.vendor.posts]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert (setup.vendor.spent, end.bought, end.retries) == (4, 4, 1)
    setup.assert_cache_matches_ledger()


async def test_an_unresolved_purchase_is_finished_by_the_next_run_and_paid_once(
    setup: PurchaseSetup,
) -> None:
    setup.vendor.faults.append(lost_answer)
    with pytest.raises(VendorUnreachable) as caught:
        await setup.buy(setup.images(4), retry_policy=RetryPolicy(attempts=1))
    assert caught.value.charged is None
    assert "the purchase stays open" in str(caught.value)
    end = await setup.buy(setup.images(4))
    assert (end.recovered, end.bought, end.units, setup.vendor.spent) == (4, 0, 4, 4)
    setup.assert_cache_matches_ledger()


async def test_units_in_doubt_count_against_the_budget(setup: PurchaseSetup) -> None:
    setup.vendor.faults.append(lost_request)
    with pytest.raises(VendorUnreachable):
        await setup.buy(setup.images(4), budget=6, retry_policy=RetryPolicy(attempts=1))
    plan = setup.plan([*setup.images(4), *setup.images(4, "other")], budget=6)
    assert (plan.remaining, len(plan.in_open_purchases), plan.units, len(plan.left_out)) == (
        2,
        4,
        2,
        2,
    )


async def test_a_refusal_known_to_be_free_releases_its_units(setup: PurchaseSetup) -> None:
    setup.vendor.faults.extend([refusing(401, "invalid_key")])
    with pytest.raises(VendorError, match="Nothing was charged"):
        await setup.buy(setup.images(4), concurrency=1)
    assert setup.plan(setup.images(4), budget=4).remaining == 4


@pytest.mark.parametrize("created_ms", [253_402_300_800_000, 1_764_000_000_000_000_000, -(10**30)])
async def test_an_answer_with_an_impossible_date_is_kept_and_reported_as_paid(
    created_ms: int, setup: PurchaseSetup
) -> None:
    def late(body: dict[str, Any]) -> None:
        entry = setup.vendor.ledger[-1]
        entry["created_ms"] = created_ms
        entry["hash"] = entry_hash(entry)
        body["receipt"] = entry

    setup.vendor.lie = late
    end = await setup.buy(setup.images(4))
    assert (end.bought, all(setup.paid(setup.images(4)))) == (4, True)
    setup.assert_cache_matches_ledger()
    with CacheReader.open(setup.folder) as cache:
        assert f"| {created_ms} |" in markdown_report(cache)
