"""Exactly the minimum of both budgets and the request is bought."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ledger_vendor import LedgerVendor, lost_answer, lost_request
from tests.support.purchase_setup import PurchaseSetup

# These tests do not simulate power cuts, and fsync would take most of their time.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
FAULTS = {"answer lost": lost_answer, "request lost": lost_request}


@settings(max_examples=30, deadline=None)
@given(
    images=st.integers(0, 24),
    texts=st.integers(0, 4),
    bad=st.integers(0, 3),
    client_budget=st.integers(0, 32),
    vendor_budget=st.integers(0, 32),
    batch_size=st.integers(1, 9),
    concurrency=st.integers(1, 4),
    faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=3),
)
def test_exactly_the_minimum_of_both_budgets_and_the_request_is_bought(
    images: int,
    texts: int,
    bad: int,
    client_budget: int,
    vendor_budget: int,
    batch_size: int,
    concurrency: int,
    faults: list[str],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        setup = PurchaseSetup(
            folder=Path(folder) / "cache", vendor=LedgerVendor(budget=vendor_budget)
        )
        setup.vendor.faults.extend(FAULTS[name] for name in faults)
        wanted = [
            *setup.images(bad, "bad"),
            *setup.images(images),
            *(setup.text(f"a text {number}") for number in range(texts)),
        ]
        due = min(images + texts, client_budget, vendor_budget)
        end = asyncio.run(
            setup.buy(wanted, budget=client_budget, batch_size=batch_size, concurrency=concurrency)
        )
        assert end.bought == end.units == setup.vendor.spent == due
        setup.assert_cache_matches_ledger()


@settings(max_examples=15, deadline=None)
@given(
    budgets=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    batch_size=st.integers(1, 9),
)
def test_runs_with_different_budgets_spend_exactly_the_greatest_in_total(
    budgets: list[int], batch_size: int
) -> None:
    """`--budget` limits the total over the lifetime of the cache, not a single run."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        setup = PurchaseSetup(folder=Path(folder) / "cache", vendor=LedgerVendor())
        wanted = setup.images(20)
        for number, budget in enumerate(budgets):
            asyncio.run(setup.buy(wanted, budget=budget, batch_size=batch_size))
            assert setup.vendor.spent == min(20, max(budgets[: number + 1]))
        setup.assert_cache_matches_ledger()


@settings(max_examples=12, deadline=None)
@given(
    client_budget=st.integers(0, 30),
    vendor_budget=st.integers(0, 30),
    batch_sizes=st.lists(st.integers(1, 7), min_size=2, max_size=3),
)
def test_buyers_that_share_both_budgets_spend_exactly_the_smaller(
    client_budget: int, vendor_budget: int, batch_sizes: list[int]
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        setup = PurchaseSetup(
            folder=Path(folder) / "cache", vendor=LedgerVendor(budget=vendor_budget)
        )
        wanted = setup.images(24)
        plans = [setup.plan(wanted, client_budget) for _ in batch_sizes]

        async def all_buy() -> None:
            await asyncio.gather(
                *(
                    setup.buy([], plan=plan, budget=client_budget, batch_size=size)
                    for plan, size in zip(plans, batch_sizes, strict=True)
                )
            )

        asyncio.run(all_buy())
        assert setup.vendor.spent == min(24, client_budget, vendor_budget)
        setup.assert_cache_matches_ledger()
