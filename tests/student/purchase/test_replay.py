"""Rows that are paid for and gone come back for free; what the vendor deleted is on record."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cache.paid_cache import PaidCache, WriteOff
from cache.records.receipt import entry_hash
from student.errors import VendorMisbehaved
from student.purchase.embedding_requests import EmbeddingRequest
from tests.support.ledger_vendor import lost_answer, problem, vector_of
from tests.support.open_purchases import charge, drop_rows, leave_intent, open_intents
from tests.support.purchase_setup import Shop


def losses(shop: Shop) -> list[WriteOff]:
    with PaidCache.open(shop.folder) as cache:
        return list(cache.write_offs())


def vectors_are_right(shop: Shop, wanted: list[EmbeddingRequest]) -> bool:
    with PaidCache.open(shop.folder) as cache:
        rows = cache.fetch([one.key for one in wanted])
    return all(
        np.array_equal(rows[one.key].vector, vector_of(one.item().payload)) for one in wanted
    )


async def test_rows_that_are_gone_are_fetched_again_and_cost_nothing(shop: Shop) -> None:
    wanted = [*shop.images(6), shop.text("a bird")]
    await shop.buy(wanted)
    drop_rows(shop, [wanted[0], wanted[5], wanted[6]])
    end = await shop.buy(wanted, budget=7)
    assert (end.restored, end.bought, end.units, end.stop_reason) == (3, 0, 0, "complete")
    assert shop.vendor.spent == 7
    assert vectors_are_right(shop, wanted)
    shop.assert_books_balance()


async def test_rows_that_nobody_wants_now_come_back_too(shop: Shop) -> None:
    await shop.buy(shop.images(4))
    drop_rows(shop, shop.images(2))
    end = await shop.buy(shop.images(1, "other"))
    assert (end.restored, end.bought, all(shop.paid(shop.images(4)))) == (2, 1, True)


async def test_what_comes_back_for_free_leaves_the_whole_plan_to_be_bought(shop: Shop) -> None:
    """The plan's units are for what is still to be bought, to the last one."""
    old = shop.images(6)
    await shop.buy(old)
    drop_rows(shop, old)
    end = await shop.buy([*old, *shop.images(6, "new")], budget=10)
    assert (end.restored, end.bought, end.stop_reason, shop.vendor.spent) == (
        6,
        4,
        "client budget",
        10,
    )
    shop.assert_books_balance()


async def test_a_sound_cache_asks_the_vendor_for_nothing(shop: Shop) -> None:
    await shop.buy(shop.images(6))
    sent = len(shop.vendor.seen)
    await shop.buy(shop.images(6))
    assert len(shop.vendor.seen) == sent


async def test_a_paid_answer_that_the_vendor_deleted_is_on_record_and_bought_anew(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = shop.images(4)
    await shop.buy(wanted)
    drop_rows(shop, wanted[:1])
    (old,) = {seen.idempotency_key for seen in shop.vendor.posts}
    shop.vendor.purged.add(old)
    end = await shop.buy(wanted)
    assert (end.restored, end.written_off, end.bought) == (0, 4, 1)
    assert [loss.idempotency_key for loss in losses(shop)] == [old]
    assert "its answer cannot be fetched any more" in caplog.text
    # Asked for once: the loss is known from now on.
    sent = len(shop.vendor.seen)
    end = await shop.buy(wanted)
    assert (end.written_off, len(shop.vendor.seen), shop.vendor.spent) == (0, sent, 5)


async def test_rows_of_another_account_are_left_and_said(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = shop.images(4)
    await shop.buy(wanted)
    drop_rows(shop, wanted[:1])
    end = await shop.buy([], account="http://vendor.test:8000#otherkey")
    assert (end.restored, all(shop.paid(wanted))) == (0, False)
    assert "belongs to another account" in caplog.text


async def test_a_vendor_that_denies_what_it_was_paid_for_is_named(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = shop.images(4)
    await shop.buy(wanted)
    drop_rows(shop, wanted[:1])
    shop.handler = lambda request: (
        problem(404, "unknown_request") if request.method == "GET" else shop.vendor(request)
    )
    end = await shop.buy([])
    assert (end.restored, end.written_off, losses(shop)) == (0, 0, [])
    assert "the vendor does not know it" in caplog.text


async def test_another_receipt_than_the_one_that_was_paid_changes_nothing(shop: Shop) -> None:
    wanted = shop.images(4)
    await shop.buy(wanted)
    drop_rows(shop, wanted[:1])
    (key, content), *_ = shop.vendor.answers.items()
    body = json.loads(content)
    body["receipt"]["balance_units"] += 1
    body["receipt"]["hash"] = entry_hash(body["receipt"])
    shop.vendor.answers[key] = json.dumps(body).encode()
    with pytest.raises(VendorMisbehaved, match="another receipt"):
        await shop.buy(wanted)
    assert shop.paid(wanted) == [False, True, True, True]


async def test_an_open_purchase_whose_answer_was_purged_is_lost_on_record_and_the_run_goes_on(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """410 to a recovery: charged once, nothing to store, and its units stay spent."""
    wanted = shop.images(3)
    intent = leave_intent(shop, wanted)
    await charge(shop, wanted, intent)
    shop.vendor.purged.add(intent.idempotency_key)
    end = await shop.buy(shop.images(8), budget=8)
    (loss,) = losses(shop)
    assert (loss.idempotency_key, loss.units, loss.keys) == (
        intent.idempotency_key,
        3,
        intent.keys,
    )
    assert (end.written_off, end.bought, end.stop_reason) == (3, 5, "client budget")
    # Three units are gone for good, and the client's budget knows it.
    assert (shop.vendor.spent, open_intents(shop)) == (8, [])
    assert "purged" in caplog.text


async def test_an_answer_purged_between_two_attempts_is_lost_and_not_paid_again_in_that_run(
    shop: Shop,
) -> None:
    shop.vendor.faults.append(
        lambda vendor, request: (
            vendor.purged.add(request.headers["Idempotency-Key"]) or lost_answer(vendor, request)  # type: ignore[func-returns-value]
        )
    )
    end = await shop.buy(shop.images(8), concurrency=1)
    assert (end.written_off, end.bought, end.left_out, shop.vendor.spent) == (4, 4, 4, 8)
    assert len(losses(shop)) == 1
    # The next run may buy them, under another key.
    end = await shop.buy(shop.images(8))
    assert (end.bought, end.written_off, shop.vendor.spent) == (4, 0, 12)
