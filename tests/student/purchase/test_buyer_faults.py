"""Buying while things go wrong: bad items, changed models, pushback, cancellation."""

from __future__ import annotations

import asyncio
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
from tests.support.purchase_setup import Shop


async def test_a_bad_image_is_refused_once_and_for_all_and_its_mates_are_bought(
    shop: Shop,
) -> None:
    wanted = [*shop.images(2), shop.image("bad one"), *shop.images(3, "more")]
    end = await shop.buy(wanted)
    assert [(one.request.name, one.code) for one in end.refused] == [("bad one", "invalid_image")]
    assert (end.bought, end.stop_reason, shop.vendor.spent) == (5, "complete", 5)
    shop.assert_books_balance()
    sent = len(shop.vendor.seen)
    assert shop.plan(wanted).refused_before == 1
    await shop.buy(wanted)
    assert len(shop.vendor.seen) == sent


async def test_the_units_of_a_refused_image_go_to_the_next_best(shop: Shop) -> None:
    wanted = [shop.image("bad one"), *shop.images(8)]
    end = await shop.buy(wanted, budget=5)
    assert shop.vendor.spent == 5
    assert shop.paid(wanted) == [False] + [True] * 5 + [False] * 3
    assert end.left_out == 3


async def test_a_refusal_after_a_lost_answer_does_not_forget_the_payment(shop: Shop) -> None:
    """The vendor charged, the answer was lost, and the second attempt was refused: ask."""
    shop.vendor.faults.extend([lost_answer, refusing(422, "invalid_image", index=0)])
    end = await shop.buy(shop.images(4))
    assert (end.bought, len(end.refused), shop.vendor.spent) == (4, 0, 4)
    shop.assert_books_balance()


async def test_a_refusal_after_a_lost_request_is_believed_when_the_vendor_knows_nothing(
    shop: Shop,
) -> None:
    shop.vendor.faults.extend([lost_request, refusing(422, "invalid_image", index=1)])
    end = await shop.buy(shop.images(4))
    assert [one.request.name for one in end.refused] == ["image 1"]
    assert (end.bought, shop.vendor.spent) == (3, 3)
    shop.assert_books_balance()


async def test_a_contradiction_about_a_key_stops_the_run_with_the_intent_open(shop: Shop) -> None:
    """The vendor says that the key was used, and that it does not know it."""
    shop.vendor.faults.append(refusing(422, "idempotency_key_reused"))
    with pytest.raises(VendorError, match="idempotency_key_reused"):
        await shop.buy(shop.images(4))
    assert len(shop.plan(shop.images(4)).in_open_purchases) == 4


async def test_a_failing_listener_stops_the_run_and_loses_no_payment(shop: Shop) -> None:
    def fail(progress: Progress) -> None:
        if progress.bought:
            message = "the terminal is gone"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="terminal"):
        await shop.buy(shop.images(12), concurrency=1, progress=fail)
    assert shop.vendor.spent == 4
    shop.assert_books_balance()


async def test_a_batch_that_is_too_large_is_halved_until_it_fits(shop: Shop) -> None:
    plan = shop.plan(shop.images(8))
    shop.vendor.model["limits"]["max_items"] = 3
    end = await shop.buy([], plan=plan, batch_size=8, concurrency=1)
    assert (end.bought, shop.vendor.spent) == (8, 8)
    assert not end.refused


async def test_one_item_that_is_too_large_alone_is_refused(shop: Shop) -> None:
    def too_large(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and b'"aHVnZQ' in request.content:
            return problem(413, "body_too_large")
        return shop.vendor(request)

    shop.handler = too_large
    end = await shop.buy([*shop.images(5), shop.image("huge")], batch_size=6)
    assert [one.request.name for one in end.refused] == ["huge"]
    assert end.bought == 5


async def test_a_request_body_stays_under_the_vendors_limit(shop: Shop) -> None:
    shop.vendor.model["limits"]["max_body_bytes"] = 4096 + 100
    end = await shop.buy(shop.images(5), batch_size=5, concurrency=1)
    assert end.bought == 5
    assert {seen.items for seen in shop.vendor.posts} <= {1, 2, 3}


async def test_an_unknown_422_strikes_no_image_off(shop: Shop) -> None:
    """A vendor that changes its mind about requests must not poison the memory of bad images."""
    shop.vendor.faults.append(refusing(422, "something_new", index=0))
    with pytest.raises(VendorError, match="something_new"):
        await shop.buy(shop.images(4))
    assert shop.plan(shop.images(4)).refused_before == 0


async def test_a_changed_model_stops_the_run_and_nothing_is_mixed(shop: Shop) -> None:
    wanted = shop.images(12)
    plan = shop.plan(wanted)
    shop.vendor.model = model_facts(weights="cd" * 32)
    with pytest.raises(ModelChanged) as caught:
        await shop.buy(wanted, plan=plan, concurrency=1)
    assert caught.value.charged is True
    assert shop.vendor.spent == 4
    assert not any(shop.paid(wanted))
    shop.assert_books_balance()
    # What was paid for is there under the new model's name.
    assert sum(shop.paid(shop.images(12))) == 4


async def test_a_model_that_changes_mid_run_with_requests_in_flight_mixes_nothing(
    shop: Shop,
) -> None:
    """Some answers came from the old model; all that come from the new go under its own name."""
    wanted = shop.images(24)

    def change(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and shop.vendor.spent >= 8:
            shop.vendor.model = model_facts(weights="cd" * 32)
        return shop.vendor(request)

    shop.handler = change
    with pytest.raises(ModelChanged):
        await shop.buy(wanted, concurrency=3)
    former = sum(shop.paid(wanted))
    latter = sum(shop.paid(shop.images(24)))
    assert former == 8
    assert 4 <= latter <= 12
    assert shop.vendor.spent == former + latter
    shop.assert_books_balance()


async def test_a_changed_price_list_stops_the_run_after_its_answer_is_stored(shop: Shop) -> None:
    wanted = shop.images(8)
    plan = shop.plan(wanted)
    shop.vendor.price.update(version="2027-01", micro_usd_per_unit=900)
    with pytest.raises(PriceChanged):
        await shop.buy(wanted, plan=plan, concurrency=1)
    assert sum(shop.paid(wanted)) == 4
    shop.assert_books_balance()


async def test_a_file_that_changed_since_the_scan_is_not_bought(shop: Shop) -> None:
    one = shop.image("before")
    changed = type(one)(key=one.key, payload=lambda: b"after", name="bird.png")
    with pytest.raises(BadInput, match=r"bird\.png has changed"):
        await shop.buy([changed])
    assert shop.vendor.spent == 0
    assert shop.plan([one], budget=1).remaining == 1


async def test_a_file_that_changes_while_others_are_bought_costs_none_of_what_is_stored(
    shop: Shop,
) -> None:
    wanted = shop.images(8)
    changed = type(wanted[7])(key=wanted[7].key, payload=lambda: b"after", name="bird.png")
    with pytest.raises(BadInput, match="what was bought is stored: run again"):
        await shop.buy([*wanted[:7], changed], concurrency=1)
    assert sum(shop.paid(wanted)) == shop.vendor.spent == 4
    shop.assert_books_balance()


async def test_a_file_that_vanished_is_named(shop: Shop) -> None:
    one = shop.image("before")

    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(BadInput, match=r"cannot read bird\.png: No such file"):
        await shop.buy([type(one)(key=one.key, payload=gone, name="bird.png")])


async def test_progress_adds_up(shop: Shop) -> None:
    told: list[Progress] = []
    await shop.buy(shop.images(2))
    await shop.buy([*shop.images(9), shop.image("bad one")], progress=told.append)
    last = told[-1]
    assert (last.planned, last.cached, last.bought, last.refused) == (8, 2, 7, 1)
    assert (last.units, last.cost_micro_usd, last.in_flight) == (7, 700, 0)
    assert max(one.in_flight for one in told) > 0
    assert all(a.bought <= b.bought for a, b in pairwise(told))


async def test_pushback_halves_the_requests_in_flight(shop: Shop) -> None:
    told: list[Progress] = []
    shop.vendor.faults.extend([refusing(429, "overloaded"), refusing(503, "not_ready")])
    await shop.buy(shop.images(40), concurrency=4, progress=told.append)
    assert told[0].concurrency == 4
    assert min(one.concurrency for one in told) < 4
    assert told[-1].concurrency == 4
    shop.assert_books_balance()


async def test_no_more_requests_than_asked_are_in_flight(shop: Shop) -> None:
    now = peak = 0

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.001)
        now -= 1
        return shop.vendor(request)

    shop.handler = slow
    await shop.buy(shop.images(40), concurrency=3)
    assert peak == 3


async def test_cancelling_stores_what_is_in_flight_and_sends_nothing_new(shop: Shop) -> None:
    arrived = asyncio.Event()
    answer = asyncio.Event()

    async def held(request: httpx.Request) -> httpx.Response:
        response = shop.vendor(request)
        arrived.set()
        await answer.wait()
        return response

    shop.handler = held
    task = asyncio.create_task(shop.buy(shop.images(40), concurrency=2))
    await arrived.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0)
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (len(shop.vendor.posts), shop.vendor.spent) == (2, 8)
    shop.assert_books_balance()


async def test_an_answer_that_does_not_come_in_the_drain_time_is_left_to_the_journal(
    shop: Shop,
) -> None:
    arrived = asyncio.Event()

    async def mute(request: httpx.Request) -> httpx.Response:
        shop.vendor(request)
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    shop.handler = mute
    task = asyncio.create_task(shop.buy(shop.images(4), concurrency=1, drain_seconds=0.01))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    shop.handler = None
    end = await shop.buy(shop.images(4))
    assert (end.recovered, shop.vendor.spent) == (4, 4)
    shop.assert_books_balance()


async def test_one_failure_does_not_lose_the_answers_of_its_neighbours(shop: Shop) -> None:
    all_sent = asyncio.Event()
    calls = 0

    async def first_fails(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        is_first = calls == 1
        if calls == 3:
            all_sent.set()
        await all_sent.wait()
        return problem(403, "forbidden") if is_first else shop.vendor(request)

    shop.handler = first_fails
    with pytest.raises(VendorError, match="forbidden"):
        await shop.buy(shop.images(40), concurrency=3)
    assert (calls, shop.vendor.spent) == (3, 8)
    shop.assert_books_balance()
