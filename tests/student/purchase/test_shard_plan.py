"""Workers with a shard each plan together what one run would plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from student.console import quiet
from student.data.image_set import load_image_set
from student.errors import PlanExceedsBudget
from student.options import Options
from student.purchase.plan import Plan
from student.purchase.rounds import run_purchase
from student.shared_budget.books import SharedBudget
from tests.support.client_purchases import IMAGES, TEXTS, bought, run_options
from tests.support.ledger_vendor import LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of

COUNT = 3


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets", domains=4)


async def planned(options: Options) -> Plan:
    scanned = load_image_set(options.data, options.run, quiet())
    with PaidCache.open(options.purchase.cache) as cache:
        async with client_of(LedgerVendor()) as client:
            plan = await run_purchase(client, options, scanned, cache, quiet(), "distill-client")
    assert isinstance(plan, Plan)
    return plan


def worker(pets: Path, number: int, **more: object) -> Options:
    cache = pets.parent / f"cache-{number}"
    return run_options(pets, shard=f"{number}/{COUNT}", cache=cache, **more)


def keys(plan: Plan) -> set[EmbeddingKey]:
    return {request.key for request in plan.to_buy}


@pytest.mark.parametrize("budget", [TEXTS, TEXTS + 7, TEXTS + IMAGES])
@pytest.mark.parametrize("selector", ["random", "k-center"])
async def test_the_shards_of_a_plan_are_the_plan(pets: Path, budget: int, selector: str) -> None:
    more: dict[str, object] = {"budget": budget, "selector": selector, "dry_run": True}
    whole = await planned(run_options(pets, **more))
    parts = [await planned(worker(pets, number, **more)) for number in (1, 2, 3)]
    found = [key for part in parts for key in keys(part)]
    assert sorted(key.digest for key in found) == sorted(key.digest for key in keys(whole))
    assert sum(part.units for part in parts) == whole.units
    assert sum(len(part.left_out) for part in parts) == len(whole.left_out)
    assert sum(part.images_asked for part in parts) == whole.images_asked
    assert sum(part.texts_asked for part in parts) == whole.texts_asked


async def test_what_a_worker_buys_does_not_change_what_the_next_one_plans(
    pets: Path, tmp_path: Path
) -> None:
    books = SharedBudget.create(str(tmp_path / "budget.db"), total=TEXTS + 7)
    vendor = LedgerVendor()
    before = await planned(worker(pets, 2, shared_budget=books.name, dry_run=True))
    await bought(worker(pets, 1, shared_budget=books.name), vendor)
    after = await planned(worker(pets, 2, shared_budget=books.name, dry_run=True))
    assert keys(after) == keys(before)
    for number in (2, 3, 1):
        await bought(worker(pets, number, shared_budget=books.name), vendor)
    assert vendor.spent == TEXTS + 7


@pytest.mark.parametrize("leased", [6, TEXTS + 6])
async def test_a_worker_does_not_buy_more_than_is_free(
    leased: int, pets: Path, tmp_path: Path
) -> None:
    books = SharedBudget.create(str(tmp_path / "budget.db"), total=TEXTS + 7)
    books.open_lease("another", "elsewhere:/cache")
    books.extend("another", needed=leased, wanted=leased)
    options = worker(pets, 1, shared_budget=books.name, dry_run=True)
    free = TEXTS + 7 - leased
    if free < TEXTS:
        with pytest.raises(PlanExceedsBudget, match="the shared budget has 1 left"):
            await planned(options)
        return
    plan = await planned(options)
    assert plan.units <= free
    assert plan.limited_by == "shared budget"
