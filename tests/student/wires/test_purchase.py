"""A purchase over a wire: rows, the client's own receipts, the budget and the books."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.reports.spend import spend_summary
from cache.storage.row_codec import encode_row
from student.errors import VendorError, VendorUnreachable
from tests.support.cache_purchases import overwrite
from tests.support.cache_repairs import repair
from tests.support.foreign_vendor import answered, failing, unreachable
from tests.support.wire_setup import CANARY, WireSetup, picture


async def test_a_purchase_stores_unit_vectors_and_receipts_that_verify(setup: WireSetup) -> None:
    wanted = [setup.text("a bird"), *setup.images(6)]
    summary = await setup.buy(wanted)
    assert (summary.stop_reason, summary.bought, summary.units) == ("complete", 7, 7 + CANARY)
    assert setup.paid(wanted) == [True] * 7
    with PaidCache.open(setup.folder) as cache:
        row = cache.fetch([wanted[1].key])[wanted[1].key]
        assert np.allclose(row.vector, setup.vendor.vector(picture(0)), atol=1e-6)
        assert verify(cache).problems == ()
        found = spend_summary(cache)
    assert found["total"]["units"] == 7 + CANARY
    (said,) = found.get("vendor_usage", [])
    assert (said["images"], said["texts"], said["wire"]) == (7, 2, "openai")
    assert said["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


async def test_the_receipt_says_that_the_client_wrote_it_and_keeps_the_vendors_usage(
    setup: WireSetup,
) -> None:
    await setup.buy([setup.text("a bird on a green branch")])
    receipts = setup.receipts()
    assert all(receipt.is_from_client and receipt.verify() for receipt in receipts)
    assert {receipt.wire for receipt in receipts} == {"openai"}
    (bought,) = [one for one in receipts if one.usage["total_tokens"] == 6]
    assert bought.entry()["vendor_request"].startswith("r")
    assert len({receipt.seq for receipt in receipts}) == len(receipts)


async def test_a_second_run_buys_only_what_is_missing_and_nothing_for_what_is_not(
    setup: WireSetup,
) -> None:
    await setup.buy(setup.images(4))
    spent = setup.vendor.spent
    assert (await setup.buy(setup.images(4))).units == 0
    assert setup.vendor.spent == spent
    assert (await setup.buy(setup.images(6))).bought == 2


async def test_false_embeddings_are_said_to_be_bought_again_because_the_vendor_keeps_no_answers(
    setup: WireSetup,
) -> None:
    wanted = setup.images(2)
    await setup.buy(wanted)
    with PaidCache.open(setup.folder) as cache:
        first, second = (cache.fetch([one.key])[one.key] for one in wanted)
        changed = encode_row(replace(first, vector=second.vector))
        overwrite(setup.folder, first.key.digest, changed)
        (problem,) = verify(cache).problems
    assert "the next run buys them again, because this vendor keeps no answers" in problem.detail
    repair(setup.folder)
    spent = setup.vendor.spent
    assert (await setup.buy(wanted)).bought == 2
    assert setup.vendor.spent > spent


async def test_own_prices_make_the_plan_and_the_receipts(setup: WireSetup) -> None:
    setup.options |= {"price_image": 120, "price_text": 20, "price_million_tokens": 1_000_000}
    wanted = [setup.text("a bird"), *setup.images(2)]
    plan = await setup.plan(wanted)
    rows = dict(plan.describe())
    # Six letters are taken as four tokens, and the canary's nineteen as nine.
    assert plan.cost_micro_usd == (2 * 120 + 20 + 4) + (120 + 20 + 9)
    assert "your own figures" in rows["cost"]
    assert rows["queries"] == "5, 2 of them for the canary"
    await setup.buy(wanted)
    costs = [receipt.cost_micro_usd for receipt in setup.receipts() if receipt.texts == 0]
    assert sum(costs) == 3 * 120
    # The vendor counted two tokens in "a bird" and five in the canary.
    texts = [receipt.cost_micro_usd for receipt in setup.receipts() if receipt.texts]
    assert sorted(texts) == [20 + 2, 20 + 5]


async def test_the_budget_is_a_wall_that_includes_the_canary(setup: WireSetup) -> None:
    summary = await setup.buy(setup.images(20), budget=9)
    assert (summary.bought, summary.units, summary.stop_reason) == (7, 9, "client budget")
    assert setup.vendor.spent == setup.committed() == 9


async def test_a_budget_that_only_pays_for_the_canary_buys_nothing(setup: WireSetup) -> None:
    summary = await setup.buy(setup.images(2), budget=2)
    assert (summary.bought, setup.vendor.spent) == (0, 0)


async def test_vectors_of_another_length_are_normalised_and_this_is_said_once(
    setup: WireSetup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.vendor.length = 7.5
    with caplog.at_level(logging.WARNING):
        await setup.buy(setup.images(6))
    assert sum("normalised" in record.message for record in caplog.records) == 1
    with PaidCache.open(setup.folder) as cache:
        norms = [np.linalg.norm(row.vector) for row in cache.rows()]
    assert np.allclose(norms, 1, atol=1e-6)


@pytest.mark.parametrize(
    "fault",
    [failing(429), failing(425), failing(503, Retry_After="1"), unreachable],
    ids=["429", "425", "503 with Retry-After", "refused connection"],
)
async def test_what_cannot_have_been_charged_is_sent_again(setup: WireSetup, fault: object) -> None:
    setup.vendor.faults.extend([fault] * 3)  # type: ignore[list-item]
    summary = await setup.buy(setup.images(4))
    assert (summary.bought, summary.in_doubt) == (4, 0)
    assert setup.committed() == setup.vendor.spent == 4 + CANARY


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_ends_the_run_and_nothing_counts_as_spent(
    setup: WireSetup, status: int
) -> None:
    setup.vendor.faults.extend([failing(status)] * 4)
    with pytest.raises(VendorError, match=r"it failed.*Nothing was charged"):
        await setup.buy(setup.images(4))
    assert setup.committed() == setup.vendor.spent == 0


async def test_a_vendor_that_is_not_there_ends_the_run_and_nothing_counts_as_spent(
    setup: WireSetup,
) -> None:
    setup.vendor.faults.extend([unreachable] * 100)
    with pytest.raises(VendorUnreachable):
        await setup.buy(setup.images(4))
    assert setup.committed() == 0


async def test_an_empty_account_is_a_normal_end(setup: WireSetup) -> None:
    await setup.buy(setup.images(2))
    setup.vendor.faults.extend([answered, answered, *[failing(402)] * 20])
    summary = await setup.buy(setup.images(8))
    assert summary.stop_reason == "vendor budget"
    assert setup.committed() == setup.vendor.spent


async def test_an_item_that_the_vendor_refuses_alone_is_recorded_and_the_others_are_bought(
    setup: WireSetup,
) -> None:
    wanted = [*setup.images(5), setup.bad_image(77)]
    summary = await setup.buy(wanted)
    assert summary.bought == 5
    assert [refused.request.name for refused in summary.refused] == ["bad image 77"]
    assert setup.committed() == setup.vendor.spent == 5 + CANARY
    assert (await setup.plan(wanted)).refused_before == 1


async def test_a_vendor_that_refuses_everything_marks_no_item_as_refused(setup: WireSetup) -> None:
    setup.vendor.faults.extend([answered, answered, *[failing(400)] * 100])
    with pytest.raises(VendorError, match="no item is marked as refused"):
        await setup.buy(setup.images(9))
    assert (await setup.plan(setup.images(9))).refused_before == 0
    assert setup.committed() == setup.vendor.spent == CANARY


async def test_requests_keep_to_the_rate_that_the_options_state(setup: WireSetup) -> None:
    setup.options["requests_per_minute"] = 30
    before = setup.clock.now
    await setup.buy(setup.images(12))
    assert setup.vendor.requests == 5
    assert setup.clock.now - before == pytest.approx(4 * 2.0, abs=0.1)
