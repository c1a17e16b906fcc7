"""The plan says when the vendor sells another model under the same id."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cache.paid_cache import PaidCache
from student.console import Terminal, quiet
from student.data.image_set import load_image_set
from student.options import Options
from student.purchase.rounds import run_purchase
from tests.support.client_purchases import IMAGES, TEXTS, bought, run_options
from tests.support.ledger_vendor import LedgerVendor, model_facts
from tests.support.pictures import write_domains
from tests.support.purchase_setup import PurchaseSetup, client_of


@pytest.fixture
def setup(tmp_path: Path) -> PurchaseSetup:
    return PurchaseSetup(folder=tmp_path / "cache", vendor=LedgerVendor(micro_usd=300))


async def test_a_changed_model_is_named_with_its_last_run_what_is_kept_and_what_it_costs(
    setup: PurchaseSetup,
) -> None:
    former = setup.model.fingerprint
    await setup.buy([*setup.images(3), setup.text("a")], run="first")
    await setup.buy(setup.images(6), run="second")
    assert setup.plan(setup.images(6)).model_change is None
    setup.vendor.model = model_facts(weights="cd" * 32)
    # Two of the five images were never asked of the former model.
    plan = setup.plan([*setup.images(4), *setup.images(1, "new"), setup.text("b")])
    change = plan.model_change
    assert change is not None
    assert (change.former, change.run) == (former, "second")
    assert (change.kept, change.bought_anew, change.cost_micro_usd) == (7, 4, 1200)
    said = change.describe(plan.model)
    assert "has changed since run second" in said
    assert f"it was {former[:19]} and is {plan.model.fingerprint[:19]}" in said
    assert "7 answers of the former model are kept" in said
    assert "for $0.0012" in said


async def test_a_change_that_is_paid_for_is_not_said_again(setup: PurchaseSetup) -> None:
    await setup.buy(setup.images(3))
    setup.vendor.model = model_facts(weights="cd" * 32)
    await setup.buy(setup.images(3))
    assert setup.plan(setup.images(3)).model_change is None
    assert setup.plan(setup.images(2, "new")).model_change is None


async def test_another_model_of_the_vendor_is_no_change(setup: PurchaseSetup) -> None:
    await setup.buy(setup.images(3))
    setup.vendor.model = model_facts("large", weights="cd" * 32)
    assert setup.plan(setup.images(3)).model_change is None


async def test_a_dry_run_prints_the_change_before_anything_is_paid(tmp_path: Path) -> None:
    options = run_options(write_domains(tmp_path / "pets", domains=4), budget=1000)
    vendor = LedgerVendor()
    settled, _ = await bought(options, vendor)
    vendor.model = model_facts(weights="cd" * 32)
    spent = vendor.spent
    printed = await dry_run(Options.of({**_values(options), "dry_run": True}), vendor)
    assert f"has changed since run {settled.run}" in printed
    assert f"{TEXTS + IMAGES} answers of the former model are kept" in printed
    assert vendor.spent == spent


def _values(options: Options) -> dict[str, object]:
    sections = (options.data, options.purchase, options.training, options.run)
    return {name: value for one in sections for name, value in vars(one).items()}


async def dry_run(options: Options, vendor: LedgerVendor) -> str:
    scanned = load_image_set(options.data, options.run, quiet())
    out = StringIO()
    terminal = Terminal(Console(file=out, width=10_000))
    with PaidCache.open(options.purchase.cache) as cache:
        async with client_of(vendor) as client:
            assert await run_purchase(client, options, scanned, cache, terminal, "x")
    return out.getvalue()
