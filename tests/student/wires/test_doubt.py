"""Money in doubt: what was sent and never answered counts as spent, whatever happens next."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.integrity.verify import verify
from cache.paid_cache import Intent, PaidCache
from cache.records.receipt import CLIENT_KNOWS, account_name
from cache.reports.spend import spend_summary
from student.errors import AnswerInDoubt, StudentError, VendorMisbehaved
from student.purchase import doubt
from student.vendor.request import purchase_key
from tests.support.foreign_vendor import (
    OPENAI,
    Fault,
    ForeignVendor,
    answered,
    failing,
    lost_answer,
    lost_request,
    unreachable,
)
from tests.support.wire_setup import CANARY, URL, WireSetup

IN_DOUBT = {
    "lost request": lost_request,
    "lost answer": lost_answer,
    "500": failing(500),
    "500 after the charge": failing(500, charges=True),
    "502": failing(502),
    "503 without Retry-After": failing(503),
    "504": failing(504),
    "408": failing(408),
}


def write_offs(setup: WireSetup) -> list[tuple[int, str]]:
    with PaidCache.open(setup.folder) as cache:
        return [(one.units, one.detail) for one in cache.write_offs()]


async def past_the_canary(setup: WireSetup) -> None:
    """Nothing but a canary is bought, so that the next faults hit a purchase."""
    await setup.buy(setup.images(1))


@pytest.mark.parametrize("fault", IN_DOUBT.values(), ids=IN_DOUBT)
async def test_a_purchase_in_doubt_is_booked_and_its_items_are_bought_within_the_budget(
    setup: WireSetup, fault: Fault
) -> None:
    setup.vendor.faults.extend([answered, answered, fault])
    wanted = setup.images(4)
    summary = await setup.buy(wanted)
    assert (summary.bought, summary.in_doubt, summary.stop_reason) == (4, 4, "complete")
    assert setup.paid(wanted) == [True] * 4
    assert setup.committed() == CANARY + 8 >= setup.vendor.spent
    ((units, detail),) = write_offs(setup)
    assert units == 4
    assert "may have been paid twice" in detail


async def test_the_budget_holds_although_the_doubt_used_it(setup: WireSetup) -> None:
    setup.vendor.faults.extend([answered, answered, lost_answer])
    summary = await setup.buy(setup.images(8), budget=CANARY + 8)
    assert setup.committed() == CANARY + 8 == setup.vendor.spent
    assert (summary.bought, summary.in_doubt, summary.left_out) == (4, 4, 4)
    assert summary.stop_reason == "client budget"


async def test_three_purchases_in_doubt_in_a_row_end_the_run(setup: WireSetup) -> None:
    setup.vendor.faults.extend([answered, answered, *[failing(500)] * 50])
    with pytest.raises(AnswerInDoubt, match="counted as spent"):
        await setup.buy(setup.images(40), concurrency=1)
    assert setup.committed() == CANARY + 12
    assert [units for units, _ in write_offs(setup)] == [4, 4, 4]


async def test_an_answer_between_two_doubts_lets_the_run_go_on(setup: WireSetup) -> None:
    setup.vendor.faults.extend([answered, answered, *[lost_request, lost_request, answered] * 4])
    summary = await setup.buy(setup.images(12), concurrency=1)
    assert (summary.bought, summary.in_doubt) == (12, 24)


async def test_ten_purchases_in_doubt_end_the_run_whatever_is_answered_between(
    setup: WireSetup,
) -> None:
    setup.vendor.faults.extend([answered, answered, *[lost_request, answered] * 20])
    with pytest.raises(AnswerInDoubt, match="10 purchases got no usable answer"):
        await setup.buy(setup.images(48), concurrency=1)
    assert len(write_offs(setup)) == 10


async def test_an_answer_that_cannot_be_used_was_charged_and_counts(setup: WireSetup) -> None:
    def short(vendor: ForeignVendor, request: httpx.Request) -> httpx.Response:
        vendor.serve(request)
        return httpx.Response(200, json={"data": [], "usage": {}})

    setup.vendor.faults.extend([answered, answered, short])
    with pytest.raises(VendorMisbehaved, match=r"0 embeddings for 4 items.*It was charged"):
        await setup.buy(setup.images(4))
    assert setup.committed() == CANARY + 4 == setup.vendor.spent


async def test_what_a_killed_run_left_open_is_in_doubt_and_the_plan_says_so(
    setup: WireSetup,
) -> None:
    wanted = setup.images(4)
    leave_open(setup, [one.key for one in wanted])
    plan = await setup.plan(wanted, budget=20)
    assert (plan.in_doubt_units, plan.units, plan.remaining) == (4, 4, 20 - 4 - CANARY)
    assert "counted as spent" in dict(plan.describe())["in doubt"]
    summary = await setup.buy(wanted, budget=20)
    assert (summary.bought, summary.in_doubt, summary.open_purchases) == (4, 4, 0)
    assert setup.committed() == 4 + 4 + CANARY
    assert "killed" in write_offs(setup)[0][1]


async def test_an_open_purchase_of_a_live_run_is_left_alone(setup: WireSetup) -> None:
    wanted = setup.images(4)
    leave_open(setup, [one.key for one in wanted])
    with PaidCache.open(setup.folder) as cache, cache.hold_run_lock("killed"):
        plan = await setup.plan(wanted, budget=20)
    assert (plan.in_doubt_units, len(plan.in_open_purchases), plan.units) == (0, 4, 0)


async def test_the_summary_lists_what_may_have_been_paid_twice(setup: WireSetup) -> None:
    setup.vendor.faults.extend([answered, answered, lost_answer])
    await setup.buy(setup.images(3))
    with PaidCache.open(setup.folder) as cache:
        summary = spend_summary(cache)
        assert verify(cache).problems == ()
    assert (summary["lost_units"], len(summary["lost"])) == (3, 1)
    assert summary.get("in_doubt_units") == 3


FAULTS: tuple[Fault, ...] = (
    lost_request,
    lost_answer,
    failing(500),
    failing(500, charges=True),
    failing(429),
    failing(503, Retry_After="1"),
    failing(503),
    unreachable,
    failing(400),
)


@settings(max_examples=20, deadline=None)
@given(
    runs=st.lists(
        st.tuples(
            st.lists(st.sampled_from((None, None, *FAULTS)), max_size=12),
            st.integers(min_value=0, max_value=24),
            st.sampled_from((1, 3)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_fails_nothing_is_over_budget_nothing_paid_is_lost_and_doubt_is_on_record(
    runs: list[tuple[list[Fault | None], int, int]],
) -> None:
    pause, doubt.PAUSE_SECONDS = doubt.PAUSE_SECONDS, 0.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_runs(Path(folder), runs))
    finally:
        doubt.PAUSE_SECONDS = pause


async def _runs(folder: Path, runs: list[tuple[list[Fault | None], int, int]]) -> None:
    vendor = ForeignVendor(OPENAI)
    setup = WireSetup(folder / "cache", vendor)
    wanted = setup.images(10)
    highest = 0
    for faults, budget, concurrency in runs:
        highest = max(highest, budget)
        vendor.faults.clear()
        vendor.faults.extend(fault or answered for fault in faults)
        before = setup.committed()
        with suppress(StudentError):
            await setup.buy(wanted, budget=budget, concurrency=concurrency)
        assert setup.committed() <= max(budget, before)
        books_hold(setup, highest)


def books_hold(setup: WireSetup, budget: int) -> None:
    """What the vendor has charged is covered by answers in the cache and by doubts on record."""
    charged = setup.vendor.charged
    with PaidCache.open(setup.folder) as cache:
        assert verify(cache).problems == ()
        assert not cache.open_intents()
        stored = Counter(row.sent_sha256 for row in cache.rows())
        doubted = sum(one.units for one in cache.write_offs())
        assert all(one.idempotency_key.startswith(CLIENT_KNOWS) for one in cache.write_offs())
        committed = cache.spend_on_record().committed_units
    unanswered = (charged - stored).total()
    assert not stored - charged
    assert unanswered <= doubted
    assert charged.total() <= committed <= budget


def leave_open(setup: WireSetup, keys: list) -> None:  # type: ignore[type-arg]
    """Record an open purchase, as a run that is killed after sending leaves it."""
    account = account_name(f"{URL}/v1/embeddings", "openai")
    name = purchase_key(
        account=account,
        model_fingerprint=setup.model.fingerprint,
        digests=[key.digest for key in keys],
        epoch="killed",
        prefix=CLIENT_KNOWS,
    )
    intent = Intent(
        idempotency_key=name, keys=tuple(keys), units=len(keys), run="killed", created_ms=1
    )
    with PaidCache.open(setup.folder) as cache:
        cache.reserve(intent, budget=1000)
