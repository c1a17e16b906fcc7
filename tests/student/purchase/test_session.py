"""Plans, purchases and their records within both budgets, and with other open purchases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import median_low
from types import SimpleNamespace

import pytest

from cache.maintenance.write_off import write_off
from cache.paid_cache import Intent, PaidCache, now_ms
from student.console import quiet
from student.data.image_set import load_image_set
from student.errors import PlanExceedsBudget, PurchaseError
from student.options import Options
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.requirements import EmbeddingRequirements
from student.vendor.request import purchase_key
from student.vendor.schemas import Model
from tests.support.client_purchases import IMAGES, TEXTS, bought, run_options
from tests.support.ledger_vendor import LedgerVendor, lost_answer
from tests.support.pictures import write_domains
from tests.support.purchase_setup import URL


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets", domains=4)


async def test_rounds_are_recorded_as_purchases_of_one_run(pets: Path) -> None:
    settings = run_options(pets, selector="margin", budget=TEXTS + 11)
    settled, _ = await bought(settings, LedgerVendor())
    with PaidCache.open(settings.purchase.cache) as cache:
        runs = {run.run: run.bought_units for run in cache.runs()}
    # Two images, then four in all, then eight, then what is left of eleven; the texts first.
    assert [runs[settled.run], *(runs[f"{settled.run}.{part}"] for part in (2, 3, 4))] == [
        *(TEXTS + 2, 2, 4, 3)
    ]
    assert sum(runs.values()) == settled.summary.units == 13
    assert settled.summary.bought == 13


async def test_a_run_in_rounds_counts_no_saving_for_its_own_purchases(pets: Path) -> None:
    settings = run_options(pets, selector="margin", budget=TEXTS + 11)
    await bought(settings, LedgerVendor())
    with PaidCache.open(settings.purchase.cache) as cache:
        runs = list(cache.runs())
    assert [run.already_paid for run in runs] == [0, 0, 0, 0]
    # The last round requests all remaining images; the budget limits it.
    assert [run.planned for run in runs[:3]] == [TEXTS + 2, 2, 4]


async def test_a_run_in_rounds_counts_an_earlier_runs_purchases_once(pets: Path) -> None:
    vendor = LedgerVendor()
    settings = run_options(pets, selector="margin", budget=TEXTS + 11)
    await bought(run_options(pets, budget=TEXTS + 5), vendor)
    settled, _ = await bought(settings, vendor)
    with PaidCache.open(settings.purchase.cache) as cache:
        runs = [run for run in cache.runs() if run.run.startswith(settled.run)]
        again, _ = await bought(settings, vendor)
        repeated = [run for run in cache.runs() if run.run.startswith(again.run)]
    found = sum(run.already_paid for run in runs)
    assert TEXTS <= found <= TEXTS + 5
    assert sum(run.already_paid for run in repeated) == found + settled.summary.units


async def test_the_saving_of_a_run_is_the_queries_that_its_hits_would_cost(pets: Path) -> None:
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000)
    vendor.price["units"] = {"image": 3, "text": 1}
    await bought(settings, vendor)
    again, _ = await bought(settings, vendor)
    with PaidCache.open(settings.purchase.cache) as cache:
        saved = {run.run: run.saved_micro_usd for run in cache.runs()}
    assert saved[again.run] == again.plan.saved_micro_usd == 100 * (TEXTS + 3 * IMAGES)


async def test_a_run_records_the_requests_that_it_sent_again(pets: Path) -> None:
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000)
    vendor.faults.append(lost_answer)
    settled, _ = await bought(settings, vendor)
    with PaidCache.open(settings.purchase.cache) as cache:
        (run,) = cache.runs()
    assert run.retries == settled.summary.retries == 1


async def test_a_run_records_how_long_its_requests_took_and_what_they_carried(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarters = SimpleNamespace(monotonic=count(start=1.0, step=0.25).__next__)
    monkeypatch.setattr("student.purchase.sender.time", quarters)
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000, concurrency=1)
    await bought(settings, vendor)
    await bought(settings, vendor)
    with PaidCache.open(settings.purchase.cache) as cache:
        first, again = cache.runs()
        sizes = sorted(one.receipt.images + one.receipt.texts for one in cache.stored_receipts())
    assert first.request_milliseconds == 250
    assert first.request_items == median_low(sizes)
    assert (again.request_milliseconds, again.request_items) == (None, None)


@pytest.mark.parametrize(
    ("budget", "account", "limit", "remedy"),
    [
        (1_000, 1, "the account at the vendor has 1 left", "Have it raised there"),
        (1, 1_000, "the budget has 1 left", "Raise --budget"),
    ],
)
async def test_unaffordable_prompts_name_the_budget_that_is_too_small(
    budget: int, account: int, limit: str, remedy: str, pets: Path
) -> None:
    vendor = LedgerVendor(budget=account)
    with pytest.raises(PlanExceedsBudget, match=f"needs 2 queries and {limit}.*{remedy}"):
        await bought(run_options(pets, budget=budget), vendor)
    assert vendor.spent == 0


@pytest.mark.parametrize(
    ("budget", "account", "ending"),
    [(1_000, TEXTS + 5, "vendor budget"), (TEXTS + 5, 1_000, "client budget")],
)
async def test_a_purchase_ends_at_the_smaller_of_the_two_budgets(
    budget: int, account: int, ending: str, pets: Path
) -> None:
    settled, few = await bought(run_options(pets, budget=budget), LedgerVendor(budget=account))
    assert (len(few), settled.summary.stop_reason) == (5, ending)


def leave_open_purchase(
    settings: Options, wanted: Sequence[EmbeddingRequest], *, key_id: str
) -> Intent:
    """Record an open purchase, as a run with that API key leaves it if killed before sending."""
    keys = tuple(request.key for request in wanted)
    intent = Intent(
        idempotency_key=purchase_key(
            account=f"{URL}#{key_id}",
            model_fingerprint=keys[0].model_fingerprint,
            digests=[key.digest for key in keys],
            epoch="killed",
        ),
        keys=keys,
        units=len(keys),
        run="killed",
        created_ms=now_ms(),
    )
    with PaidCache.open(settings.purchase.cache) as cache:
        cache.reserve(intent, budget=1_000)
    return intent


def prompts(settings: Options, vendor: LedgerVendor) -> list[EmbeddingRequest]:
    model = Model.model_validate(vendor.model)
    scanned = load_image_set(settings.data, settings.run, quiet())
    requirements = EmbeddingRequirements(settings.data, settings.purchase.prompts, scanned, model)
    return requirements.wanted([])


async def test_no_image_is_bought_while_another_keys_purchase_holds_the_prompts(
    pets: Path,
) -> None:
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000)
    theirs = leave_open_purchase(settings, prompts(settings, vendor), key_id="oldkey")
    with pytest.raises(PurchaseError) as caught:
        await bought(settings, vendor)
    message = str(caught.value)
    assert f"purchase {theirs.idempotency_key} of run killed" in message
    assert "another API key than testkey" in message
    assert "Only with that key can the vendor say whether its 2 queries were charged" in message
    assert (vendor.spent, vendor.posts) == (0, [])
    # The advice in the message works.
    assert f"write-off {theirs.idempotency_key}" in message
    with PaidCache.open(settings.purchase.cache) as cache:
        write_off(cache, theirs.idempotency_key)
    await bought(settings, vendor)
    assert vendor.spent == TEXTS + IMAGES


async def test_another_keys_purchase_of_a_live_run_stops_the_run_with_advice_to_wait(
    pets: Path,
) -> None:
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000)
    leave_open_purchase(settings, prompts(settings, vendor), key_id="oldkey")
    with (
        PaidCache.open(settings.purchase.cache) as cache,
        cache.hold_run_lock("killed"),
        pytest.raises(PurchaseError, match="that run is still running: wait until it ends"),
    ):
        await bought(settings, vendor)
    assert vendor.spent == 0


async def test_an_open_purchase_of_the_prompts_under_the_same_key_is_settled(pets: Path) -> None:
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000)
    leave_open_purchase(settings, prompts(settings, vendor), key_id="testkey")
    settled, _ = await bought(settings, vendor)
    assert (vendor.spent, settled.summary.stop_reason) == (TEXTS + IMAGES, "complete")


async def test_another_keys_purchase_of_an_image_does_not_stop_the_run(pets: Path) -> None:
    vendor, settings = LedgerVendor(), run_options(pets, budget=1_000)
    scanned = load_image_set(settings.data, settings.run, quiet())
    requirements = EmbeddingRequirements(
        settings.data, settings.purchase.prompts, scanned, Model.model_validate(vendor.model)
    )
    leave_open_purchase(settings, requirements.wanted([0])[TEXTS:], key_id="oldkey")
    settled, images = await bought(settings, vendor)
    assert (len(images), settled.summary.stop_reason) == (IMAGES - 1, "waiting")
