"""The budget is hard: to the last unit, at its edges, and under concurrency."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from tests.teacher_server.in_process import HashEncoder, vendor_at


async def test_the_last_unit_can_be_spent_and_the_next_request_is_exhausted(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=3) as vendor:
        assert (await vendor.embed(["a", "b"])).status_code == 200
        last = await vendor.embed(["c"])
        assert last.json()["receipt"]["balance_units"] == 0
        refused = await vendor.embed(["d"])
        assert (refused.status_code, refused.json()["code"]) == (402, "budget_exhausted")
        assert (refused.json()["needed"], refused.json()["remaining"]) == (1, 0)
        assert refused.headers["x-should-retry"] == "false"
        assert "Retry-After" not in refused.headers
        assert vendor.account.spent_units == 3


async def test_a_request_over_what_is_left_is_told_what_is_left(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=5) as vendor:
        await vendor.embed(["a", "b"])
        refused = await vendor.embed(["a", "b", "c", "d"])
        assert (refused.status_code, refused.json()["code"]) == (402, "request_exceeds_budget")
        assert (refused.json()["needed"], refused.json()["remaining"]) == (4, 3)
        shrunk = await vendor.embed(["a", "b", "c"])
        assert shrunk.json()["receipt"]["balance_units"] == 0


async def test_a_request_over_budget_does_no_model_work(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=1) as vendor:
        assert (await vendor.embed(["a", "b"])).status_code == 402
        # One batch of one image and one of one text are the canary's.
        assert sum(hashing.batches) <= 2


async def test_a_budget_that_requests_in_flight_hold_is_worth_a_retry(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=3) as vendor:
        hashing.gate.clear()
        held = asyncio.create_task(vendor.embed(["a", "b"]))
        while vendor.account.reserved_units == 0:
            await asyncio.sleep(0)
        refused = await vendor.embed(["c", "d"])
        assert (refused.status_code, refused.json()["code"]) == (429, "budget_in_flight")
        assert (refused.headers["x-should-retry"], refused.headers["Retry-After"]) == ("true", "1")
        hashing.gate.set()
        assert (await held).status_code == 200
        assert (vendor.account.spent_units, vendor.account.reserved_units) == (2, 0)


async def test_concurrent_requests_never_overshoot_a_small_cap(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(tmp_path, hashing, budget=50) as vendor:
        answers = await asyncio.gather(*(vendor.embed([f"t{i}", f"u{i}"]) for i in range(150)))
        outcomes = Counter(answer.status_code for answer in answers)
        while outcomes[429] and vendor.account.remaining_units:
            outcomes[(await vendor.embed(["x", "y"])).status_code] += 1
        assert outcomes[200] == 25
        assert set(outcomes) <= {200, 402, 429}
        assert vendor.account.spent_units == 50
        assert vendor.account.reserved_units == 0
        assert vendor.audit.units_charged == 50
        assert vendor.audit.faults == ()


async def test_a_top_up_opens_an_exhausted_key_again(tmp_path: Path, hashing: HashEncoder) -> None:
    async with vendor_at(tmp_path, hashing, budget=0) as vendor:
        assert (await vendor.embed("a")).json()["code"] == "budget_exhausted"
        vendor.ledger.keys.top_up(vendor.key.id, units=1, price_version="p")
        assert (await vendor.embed("a")).status_code == 200
        assert vendor.audit.faults == ()
