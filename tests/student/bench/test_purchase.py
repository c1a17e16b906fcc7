"""What a bench buys, prints and refuses before it pays."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cache.paid_cache import Intent, PaidCache
from student.bench.dataset import gather
from student.bench.run import Grid
from student.bench.runner import run_grid
from student.console import Terminal, quiet
from student.embeddings.keys import original_key
from student.errors import PlanExceedsBudget, PurchaseError
from tests.support.ledger_vendor import LedgerVendor
from tests.support.pictures import write_domains
from tests.support.small_grid import SOURCE, grid, run, sold_by


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


def printed_by(bench_grid: Grid, vendor: LedgerVendor) -> str:
    """Runs the grid; what it printed."""
    printed = StringIO()
    run_grid(
        bench_grid,
        bench_grid.base.run.out / "rows.jsonl",
        endpoints=sold_by(vendor),
        processes=1,
        source=SOURCE,
        terminal=Terminal(Console(file=printed, width=500)),
    )
    return printed.getvalue()


def test_the_embedded_model_gives_a_warning(pets: Path) -> None:
    vendor = LedgerVendor()
    vendor.model["embedded"] = True
    printed = printed_by(grid(pets, [run()], dry_run=True), vendor)
    assert "warning: the vendor sells its embedded model" in printed
    assert vendor.spent == 0


def test_nothing_is_bought_for_a_method_that_reads_no_image_with_these_options(
    pets: Path,
) -> None:
    vendor = LedgerVendor()
    printed_by(grid(pets, [run("vl2v-adip")], lmd=0.0), vendor)
    assert vendor.spent == 2  # the class texts


def test_a_dry_run_refuses_a_budget_that_the_bench_refuses(pets: Path) -> None:
    with pytest.raises(PlanExceedsBudget):
        printed_by(grid(pets, [run()], dry_run=True, budget=5), LedgerVendor())


def test_the_time_of_the_training_is_said_in_a_dry_run_and_after_the_first_runs(
    pets: Path,
) -> None:
    runs = [run("erm"), run("erm", seed=1), run("vl2v-adip", views=2)]
    printed = printed_by(grid(pets, runs, dry_run=True), LedgerVendor())
    assert "dry run: nothing was bought\ntraining 3 runs takes about" in printed
    printed = printed_by(grid(pets, runs), LedgerVendor())
    assert "1 of 3: erm, d2, seed 0" in printed
    assert printed.count("training 2 runs takes about") == 1


def test_a_grid_beyond_the_account_does_not_suggest_a_bigger_client_budget(pets: Path) -> None:
    vendor = LedgerVendor(budget=17)
    with pytest.raises(PlanExceedsBudget) as caught:
        printed_by(grid(pets, [run()]), vendor)
    assert "needs 18 queries and the account at the vendor has 17 left" in str(caught.value)
    assert "--budget" not in str(caught.value)
    assert vendor.spent == 0


def test_a_grid_buys_nothing_while_another_keys_purchase_holds_part_of_it(pets: Path) -> None:
    vendor, bench_grid = LedgerVendor(), grid(pets, [run()])
    image = gather(bench_grid, quiet()).scanned.training[0]
    key = original_key(vendor.model["fingerprint"], image)
    theirs = Intent(idempotency_key="theirs", keys=(key,), units=1, run="killed", created_ms=1)
    with PaidCache.open(bench_grid.base.purchase.cache) as cache:
        cache.reserve(theirs, budget=1)
    with pytest.raises(PurchaseError, match="open purchase theirs of run killed"):
        printed_by(bench_grid, vendor)
    assert vendor.spent == 0
