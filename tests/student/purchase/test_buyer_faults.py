"""Buying while things go wrong: bad items, changed models, pushback, cancellation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest

from student.errors import BadInput, ModelChanged, PriceChanged, VendorError
from student.purchase.progress import Progress
from tests.support.ledger_vendor import (
    lost_answer,
    lost_request,
    model_facts,
    problem,
    refusing,
)
from tests.support.purchase_setup import PurchaseSetup


async def test_a_bad_image_is_refused_for_good_and_the_rest_of_its_batch_is_bought(
    setup: PurchaseSetup,
) -> None:
    wanted = [*setup.images(2), setup.image("bad one"), *setup.images(3, "more")]
    end = await setup.buy(wanted)
    assert [(refusal.request.name, refusal.code) for refusal in end.refused] == [
        ("bad one", "invalid_image")
    ]
    assert (end.bought, end.stop_reason, setup.vendor.spent) == (5, "complete", 5)
    setup.assert_cache_matches_ledger()
    sent = len(setup.vendor.seen)
    assert setup.plan(wanted).refused_before == 1
    await setup.buy(wanted)
    assert len(setup.vendor.seen) == sent


async def test_the_units_of_a_refused_image_go_to_the_next_best(setup: PurchaseSetup) -> None:
    wanted = [setup.image("bad one"), *setup.images(8)]
    end = await setup.buy(wanted, budget=5)
    assert setup.vendor.spent == 5
    assert setup.paid(wanted) == [False] + [True] * 5 + [False] * 3
    assert end.left_out == 3


async def test_a_refusal_after_a_lost_answer_does_not_forget_the_payment(
    setup: PurchaseSetup,
) -> None:
    """The vendor charged, the answer was lost and the second attempt was refused: recover it."""
    setup.vendor.faults.extend([lost_answer, refusing(422, "invalid_image", index=0)])
    end = await setup.buy(setup.images(4))
    assert (end.bought, len(end.refused), setup.vendor.spent) == (4, 0, 4)
    setup.assert_cache_matches_ledger()


async def test_a_refusal_after_a_lost_request_is_believed_when_the_vendor_knows_nothing(
    setup: PurchaseSetup,
) -> None:
    setup.vendor.faults.extend([lost_request, refusing(422, "invalid_image", index=1)])
    end = await setup.buy(setup.images(4))
    assert [refusal.request.name for refusal in end.refused] == ["image 1"]
    assert (end.bought, setup.vendor.spent) == (3, 3)
    setup.assert_cache_matches_ledger()


async def test_a_contradiction_about_a_key_stops_the_run_with_the_purchase_open(
    setup: PurchaseSetup,
) -> None:
    """The vendor says that the key was used, and that it does not know it."""
    setup.vendor.faults.append(refusing(422, "idempotency_key_reused"))
    with pytest.raises(VendorError, match="idempotency_key_reused"):
        await setup.buy(setup.images(4))
    assert len(setup.plan(setup.images(4)).in_open_purchases) == 4


async def test_a_failing_listener_stops_the_run_and_loses_no_payment(setup: PurchaseSetup) -> None:
    def fail(progress: Progress) -> None:
        if progress.bought:
            message = "the terminal is gone"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="terminal"):
        await setup.buy(setup.images(12), concurrency=1, progress=fail)
    assert setup.vendor.spent == 4
    setup.assert_cache_matches_ledger()


async def test_a_batch_that_is_too_large_is_halved_until_it_fits(setup: PurchaseSetup) -> None:
    plan = setup.plan(setup.images(8))
    setup.vendor.model["limits"]["max_items"] = 3
    end = await setup.buy([], plan=plan, batch_size=8, concurrency=1)
    assert (end.bought, setup.vendor.spent) == (8, 8)
    assert not end.refused


async def test_one_item_that_is_too_large_alone_is_refused(setup: PurchaseSetup) -> None:
    def too_large(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and b'"aHVnZQ' in request.content:
            return problem(413, "body_too_large")
        return setup.vendor(request)

    setup.handler = too_large
    end = await setup.buy([*setup.images(5), setup.image("huge")], batch_size=6)
    assert [refusal.request.name for refusal in end.refused] == ["huge"]
    assert end.bought == 5


async def test_a_request_body_stays_under_the_vendors_limit(setup: PurchaseSetup) -> None:
    setup.vendor.model["limits"]["max_body_bytes"] = 4096 + 100
    end = await setup.buy(setup.images(5), batch_size=5, concurrency=1)
    assert end.bought == 5
    assert {seen.items for seen in setup.vendor.posts} <= {1, 2, 3}


async def test_an_unknown_422_does_not_mark_images_as_refused(setup: PurchaseSetup) -> None:
    """A vendor that changes its request rules must not get good images recorded as refused."""
    setup.vendor.faults.append(refusing(422, "something_new", index=0))
    with pytest.raises(VendorError, match="something_new"):
        await setup.buy(setup.images(4))
    assert setup.plan(setup.images(4)).refused_before == 0


async def test_a_changed_model_stops_the_run_and_its_embeddings_are_kept_apart(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(12)
    plan = setup.plan(wanted)
    setup.vendor.model = model_facts(weights="cd" * 32)
    with pytest.raises(ModelChanged) as caught:
        await setup.buy(wanted, plan=plan, concurrency=1)
    assert caught.value.charged is True
    assert setup.vendor.spent == 4
    assert not any(setup.paid(wanted))
    setup.assert_cache_matches_ledger()
    # The paid answer is stored under the new model's fingerprint.
    assert sum(setup.paid(setup.images(12))) == 4


async def test_a_model_that_changes_mid_run_with_requests_in_flight_mixes_nothing(
    setup: PurchaseSetup,
) -> None:
    """Some answers came from the old model; all that come from the new go under its own name."""
    wanted = setup.images(24)

    def change(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and setup.vendor.spent >= 8:
            setup.vendor.model = model_facts(weights="cd" * 32)
        return setup.vendor(request)

    setup.handler = change
    with pytest.raises(ModelChanged):
        await setup.buy(wanted, concurrency=3)
    former = sum(setup.paid(wanted))
    latter = sum(setup.paid(setup.images(24)))
    assert former == 8
    assert 4 <= latter <= 12
    assert setup.vendor.spent == former + latter
    setup.assert_cache_matches_ledger()


async def test_a_changed_price_list_stops_the_run_after_its_answer_is_stored(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(8)
    plan = setup.plan(wanted)
    setup.vendor.price.update(version="2027-01", micro_usd_per_unit=900)
    with pytest.raises(PriceChanged):
        await setup.buy(wanted, plan=plan, concurrency=1)
    assert sum(setup.paid(wanted)) == 4
    setup.assert_cache_matches_ledger()


async def test_a_file_that_changed_since_the_scan_is_not_bought(setup: PurchaseSetup) -> None:
    request = setup.image("before")
    changed = type(request)(key=request.key, payload=lambda: b"after", name="bird.png")
    with pytest.raises(BadInput, match=r"bird\.png has changed"):
        await setup.buy([changed])
    assert setup.vendor.spent == 0
    assert setup.plan([request], budget=1).remaining == 1


async def test_a_file_that_changes_during_a_purchase_does_not_affect_stored_answers(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(8)
    changed = type(wanted[7])(key=wanted[7].key, payload=lambda: b"after", name="bird.png")
    with pytest.raises(BadInput, match="what was bought is stored: run again"):
        await setup.buy([*wanted[:7], changed], concurrency=1)
    assert sum(setup.paid(wanted)) == setup.vendor.spent == 4
    setup.assert_cache_matches_ledger()


async def test_a_file_that_vanished_is_named(setup: PurchaseSetup) -> None:
    first = setup.image("before")

    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(BadInput, match=r"cannot read bird\.png: No such file"):
        await setup.buy([type(first)(key=first.key, payload=gone, name="bird.png")])


async def test_progress_adds_up(setup: PurchaseSetup) -> None:
    updates: list[Progress] = []
    await setup.buy(setup.images(2))
    await setup.buy([*setup.images(9), setup.image("bad one")], progress=updates.append)
    last = updates[-1]
    assert (last.planned, last.cached, last.bought, last.refused) == (8, 2, 7, 1)
    assert (last.units, last.cost_micro_usd, last.in_flight) == (7, 700, 0)
    assert max(update.in_flight for update in updates) > 0
    assert all(a.bought <= b.bought for a, b in pairwise(updates))


async def test_pushback_halves_the_requests_in_flight(setup: PurchaseSetup) -> None:
    updates: list[Progress] = []
    setup.vendor.faults.extend([refusing(429, "overloaded"), refusing(503, "not_ready")])
    await setup.buy(setup.images(40), concurrency=4, progress=updates.append)
    assert updates[0].concurrency == 4
    assert min(update.concurrency for update in updates) < 4
    assert updates[-1].concurrency == 4
    setup.assert_cache_matches_ledger()


async def test_no_more_requests_than_asked_are_in_flight(setup: PurchaseSetup) -> None:
    now = peak = 0

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.001)
        now -= 1
        return setup.vendor(request)

    setup.handler = slow
    await setup.buy(setup.images(40), concurrency=3)
    assert peak == 3


async def test_cancelling_stores_what_is_in_flight_and_sends_nothing_new(
    setup: PurchaseSetup,
) -> None:
    arrived = asyncio.Event()
    answer = asyncio.Event()

    async def held(request: httpx.Request) -> httpx.Response:
        response = setup.vendor(request)
        arrived.set()
        await answer.wait()
        return response

    setup.handler = held
    task = asyncio.create_task(setup.buy(setup.images(40), concurrency=2))
    await arrived.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0)
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (len(setup.vendor.posts), setup.vendor.spent) == (2, 8)
    setup.assert_cache_matches_ledger()


async def test_an_answer_that_does_not_come_in_the_drain_time_is_left_to_the_journal(
    setup: PurchaseSetup,
) -> None:
    arrived = asyncio.Event()

    async def silent_vendor(request: httpx.Request) -> httpx.Response:
        setup.vendor(request)
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    setup.handler = silent_vendor
    task = asyncio.create_task(setup.buy(setup.images(4), concurrency=1, drain_seconds=0.01))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    setup.handler = None
    end = await setup.buy(setup.images(4))
    assert (end.recovered, setup.vendor.spent) == (4, 4)
    setup.assert_cache_matches_ledger()


async def test_one_failure_does_not_lose_the_answers_of_its_neighbours(
    setup: PurchaseSetup,
) -> None:
    all_sent = asyncio.Event()
    calls = 0

    async def first_fails(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        is_first = calls == 1
        if calls == 3:
            all_sent.set()
        await all_sent.wait()
        return problem(403, "forbidden") if is_first else setup.vendor(request)

    setup.handler = first_fails
    with pytest.raises(VendorError, match="forbidden"):
        await setup.buy(setup.images(40), concurrency=3)
    assert (calls, setup.vendor.spent) == (3, 8)
    setup.assert_cache_matches_ledger()


async def test_all_images_that_the_vendor_names_are_left_out_of_one_second_request(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(4)
    named = [{"index": index, "code": "invalid_image", "detail": "broken."} for index in (0, 2, 3)]
    setup.vendor.faults.append(refusing(422, "invalid_image", index=0, items=named))
    end = await setup.buy(wanted)
    assert [refusal.request for refusal in end.refused] == [wanted[0], wanted[2], wanted[3]]
    assert (end.bought, setup.vendor.spent) == (1, 1)
    assert setup.paid(wanted) == [False, True, False, False]
    assert len([one for one in setup.vendor.seen if one.method == "POST"]) == 2
    setup.assert_cache_matches_ledger()


async def test_a_request_that_the_vendor_would_refuse_is_not_sent(setup: PurchaseSetup) -> None:
    wanted = [replace(setup.image("large"), unfit="larger than 9 bytes"), *setup.images(2)]
    plan = setup.plan(wanted)
    assert (len(plan.unfit), plan.units) == (1, 2)
    assert ("unfit for this vendor", "1") in plan.describe()
    end = await setup.buy(wanted)
    assert (end.bought, end.left_out, end.stop_reason, setup.vendor.spent) == (2, 0, "complete", 2)
