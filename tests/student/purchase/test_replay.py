"""Missing rows are fetched free of charge; answers that the vendor deleted are recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cache.paid_cache import PaidCache, WriteOff
from cache.records.receipt import entry_hash
from student.errors import VendorMisbehaved
from student.purchase.embedding_requests import EmbeddingRequest
from tests.support.ledger_vendor import lost_answer, problem, vector_of
from tests.support.open_purchases import charge, drop_rows, leave_open_purchase, open_intents
from tests.support.purchase_setup import PurchaseSetup


def losses(setup: PurchaseSetup) -> list[WriteOff]:
    with PaidCache.open(setup.folder) as cache:
        return list(cache.write_offs())


def vectors_are_right(setup: PurchaseSetup, wanted: list[EmbeddingRequest]) -> bool:
    with PaidCache.open(setup.folder) as cache:
        rows = cache.fetch([request.key for request in wanted])
    return all(
        np.array_equal(rows[request.key].vector, vector_of(request.item().payload))
        for request in wanted
    )


async def test_missing_rows_are_fetched_again_free_of_charge(setup: PurchaseSetup) -> None:
    wanted = [*setup.images(6), setup.text("a bird")]
    await setup.buy(wanted)
    drop_rows(setup, [wanted[0], wanted[5], wanted[6]])
    end = await setup.buy(wanted, budget=7)
    assert (end.restored, end.bought, end.units, end.stop_reason) == (3, 0, 0, "complete")
    assert setup.vendor.spent == 7
    assert vectors_are_right(setup, wanted)
    setup.assert_cache_matches_ledger()


async def test_missing_rows_outside_the_plan_are_fetched_too(setup: PurchaseSetup) -> None:
    await setup.buy(setup.images(4))
    drop_rows(setup, setup.images(2))
    end = await setup.buy(setup.images(1, "other"))
    assert (end.restored, end.bought, all(setup.paid(setup.images(4)))) == (2, 1, True)


async def test_free_replays_do_not_reduce_the_planned_purchase(setup: PurchaseSetup) -> None:
    """All units of the plan remain available for new purchases."""
    old = setup.images(6)
    await setup.buy(old)
    drop_rows(setup, old)
    end = await setup.buy([*old, *setup.images(6, "new")], budget=10)
    assert (end.restored, end.bought, end.stop_reason, setup.vendor.spent) == (
        6,
        4,
        "client budget",
        10,
    )
    setup.assert_cache_matches_ledger()


async def test_a_complete_cache_sends_no_replay_request(setup: PurchaseSetup) -> None:
    await setup.buy(setup.images(6))
    sent = len(setup.vendor.seen)
    await setup.buy(setup.images(6))
    assert len(setup.vendor.seen) == sent


async def test_a_paid_answer_deleted_by_the_vendor_is_recorded_and_bought_again(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = setup.images(4)
    await setup.buy(wanted)
    drop_rows(setup, wanted[:1])
    (old,) = {seen.idempotency_key for seen in setup.vendor.posts}
    setup.vendor.purged.add(old)
    end = await setup.buy(wanted)
    assert (end.restored, end.written_off, end.bought) == (0, 4, 1)
    assert [loss.idempotency_key for loss in losses(setup)] == [old]
    assert "its answer cannot be fetched any more" in caplog.text
    # Requested once: the write-off is recorded.
    sent = len(setup.vendor.seen)
    end = await setup.buy(wanted)
    assert (end.written_off, len(setup.vendor.seen), setup.vendor.spent) == (0, sent, 5)


async def test_missing_rows_of_another_account_are_left_and_reported(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = setup.images(4)
    await setup.buy(wanted)
    drop_rows(setup, wanted[:1])
    end = await setup.buy([], account="http://vendor.test:8000#otherkey")
    assert (end.restored, all(setup.paid(wanted))) == (0, False)
    assert "belongs to another account" in caplog.text


async def test_a_vendor_that_denies_what_it_was_paid_for_is_named(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = setup.images(4)
    await setup.buy(wanted)
    drop_rows(setup, wanted[:1])
    setup.handler = lambda request: (
        problem(404, "unknown_request") if request.method == "GET" else setup.vendor(request)
    )
    end = await setup.buy([])
    assert (end.restored, end.written_off, losses(setup)) == (0, 0, [])
    assert "the vendor does not know it" in caplog.text


async def test_a_replay_with_a_different_receipt_changes_nothing(setup: PurchaseSetup) -> None:
    wanted = setup.images(4)
    await setup.buy(wanted)
    drop_rows(setup, wanted[:1])
    (key, content), *_ = setup.vendor.answers.items()
    body = json.loads(content)
    body["receipt"]["balance_units"] += 1
    body["receipt"]["hash"] = entry_hash(body["receipt"])
    setup.vendor.answers[key] = json.dumps(body).encode()
    with pytest.raises(VendorMisbehaved, match="another receipt"):
        await setup.buy(wanted)
    assert setup.paid(wanted) == [False, True, True, True]


async def test_an_open_purchase_with_a_purged_answer_is_recorded_as_lost_and_the_run_continues(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    """410 to a recovery: charged once, nothing to store, and its units stay spent."""
    wanted = setup.images(3)
    intent = leave_open_purchase(setup, wanted)
    await charge(setup, wanted, intent)
    setup.vendor.purged.add(intent.idempotency_key)
    end = await setup.buy(setup.images(8), budget=8)
    (loss,) = losses(setup)
    assert (loss.idempotency_key, loss.units, loss.keys) == (
        intent.idempotency_key,
        3,
        intent.keys,
    )
    assert (end.written_off, end.bought, end.stop_reason) == (3, 5, "client budget")
    # Three units are written off, and count against the client's budget.
    assert (setup.vendor.spent, open_intents(setup)) == (8, [])
    assert "purged" in caplog.text


async def test_an_answer_purged_between_two_attempts_is_lost_and_not_paid_again_in_that_run(
    setup: PurchaseSetup,
) -> None:
    setup.vendor.faults.append(
        lambda vendor, request: (
            vendor.purged.add(request.headers["Idempotency-Key"]) or lost_answer(vendor, request)  # type: ignore[func-returns-value]
        )
    )
    end = await setup.buy(setup.images(8), concurrency=1)
    assert (end.written_off, end.bought, end.left_out, setup.vendor.spent) == (4, 4, 4, 8)
    assert len(losses(setup)) == 1
    # The next run may buy them under another key.
    end = await setup.buy(setup.images(8))
    assert (end.bought, end.written_off, setup.vendor.spent) == (4, 0, 12)
