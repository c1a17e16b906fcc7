"""Runs of the client within a shared budget: what they buy, lease, return and say."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cache.maintenance.merge import merge
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from student.commands.shared_budget import main
from student.console import Terminal
from student.data.image_set import load_image_set
from student.errors import BadInput, PlanExceedsBudget, SharedBudgetError
from student.options import Options
from student.purchase.rounds import run_purchase
from student.shared_budget.books import SharedBudget
from student.shared_budget.lease import place_of
from tests.support.client_purchases import IMAGES, TEXTS, bought, run_options
from tests.support.ledger_vendor import LedgerVendor, problem
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.run_records import run_record

ALL = TEXTS + IMAGES


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets", domains=4)


@pytest.fixture
def books(tmp_path: Path) -> SharedBudget:
    return SharedBudget.create(str(tmp_path / "budget.db"), total=15, lease_size=4)


def within(books: SharedBudget, pets: Path, name: str = "cache", **more: object) -> Options:
    folder = pets.parent / name
    return run_options(pets, cache=folder, shared_budget=books.name, **more)


async def said(options: Options, vendor: LedgerVendor) -> str:
    text = StringIO()
    terminal = Terminal(Console(file=text, width=200))
    scanned = load_image_set(options.data, options.run, terminal)
    with PaidCache.open(options.purchase.cache) as cache:
        async with client_of(vendor) as client:
            await run_purchase(client, options, scanned, cache, terminal, "distill-client")
    return text.getvalue()


async def test_a_run_spends_the_shared_budget_to_the_last_query_and_stops(
    books: SharedBudget, pets: Path
) -> None:
    vendor = LedgerVendor()
    settled, _ = await bought(within(books, pets), vendor)
    assert (vendor.spent, settled.summary.stop_reason) == (15, "shared budget")
    now = books.balance()
    assert (now.free, now.leased, now.spent) == (0, 0, 15)


async def test_two_caches_never_spend_more_than_the_shared_budget(
    books: SharedBudget, pets: Path
) -> None:
    vendor = LedgerVendor()
    await bought(within(books, pets, "one", budget=9), vendor)
    settled, _ = await bought(within(books, pets, "two"), vendor)
    assert (vendor.spent, settled.summary.units) == (15, 6)
    assert [lease.units for lease in books.leases()] == [9, 6]


async def test_texts_that_the_shared_budget_does_not_cover_name_it(
    tmp_path: Path, pets: Path
) -> None:
    books = SharedBudget.create(str(tmp_path / "small.db"), total=1)
    with pytest.raises(PlanExceedsBudget, match=r"the shared budget has 1 left.*resize"):
        await bought(within(books, pets), LedgerVendor())
    assert books.leases() == []


async def test_a_run_that_fails_gives_back_what_it_did_not_spend(
    books: SharedBudget, pets: Path
) -> None:
    vendor = LedgerVendor()
    vendor.faults.append(lambda *_: problem(403, "forbidden"))
    with pytest.raises(Exception, match="forbidden"):
        await bought(within(books, pets), vendor)
    now = books.balance()
    assert (now.leased, now.free) == (0, 15 - now.spent)
    with CacheReader.open(pets.parent / "cache") as cache:
        assert now.spent >= cache.spend_on_record().committed_units


async def test_the_rounds_of_a_selector_have_a_lease_each(books: SharedBudget, pets: Path) -> None:
    vendor = LedgerVendor()
    settled, _ = await bought(within(books, pets, selector="margin"), vendor)
    assert vendor.spent == 15
    runs = [lease.run for lease in books.leases()]
    assert runs[:2] == [settled.run, f"{settled.run}.2"]


def dead_lease(books: SharedBudget, folder: Path, run: str, units: int) -> None:
    """What a worker leaves that was killed before its first purchase."""
    books.open_lease(run, place_of(folder))
    assert books.extend(run, needed=units, wanted=units) == units
    with PaidCache.open(folder) as cache:
        cache.record_run(run_record(run))


async def test_a_killed_runs_lease_is_kept_from_others_and_freed_for_its_own_cache(
    books: SharedBudget, pets: Path
) -> None:
    vendor = LedgerVendor()
    dead_lease(books, pets.parent / "one", "run-dead", 12)
    settled, _ = await bought(within(books, pets, "two"), vendor)
    assert (settled.summary.units, settled.summary.stop_reason) == (3, "shared budget")
    settled, _ = await bought(within(books, pets, "one"), vendor)
    assert (settled.summary.units, vendor.spent) == (12, 15)


async def test_a_dry_run_shows_the_shared_budget_and_changes_nothing(
    books: SharedBudget, pets: Path
) -> None:
    dead_lease(books, pets.parent / "cache", "run-dead", 12)
    before = (books.balance(), books.leases())
    output = await said(within(books, pets, dry_run=True), LedgerVendor())
    assert "3 of 15 queries free, 0 spent, 12 leased, 12 of them by ended runs of this" in output
    assert "15 of 15 now" in output
    assert (books.balance(), books.leases()) == before


async def test_a_run_says_what_it_takes_back(books: SharedBudget, pets: Path) -> None:
    dead_lease(books, pets.parent / "cache", "run-dead", 12)
    output = await said(within(books, pets), LedgerVendor())
    assert "the ended run run-dead spent 0 queries; 12 that it had leased are free again" in output


async def test_a_live_runs_lease_is_not_taken_back(books: SharedBudget, pets: Path) -> None:
    folder = pets.parent / "cache"
    dead_lease(books, folder, "run-live", 12)
    with PaidCache.open(folder) as cache, cache.hold_run_lock("lease of run-live"):
        settled, _ = await bought(within(books, pets), LedgerVendor())
    assert settled.summary.units == 3
    assert books.leases()[0].units == 12


async def test_books_that_vanish_end_a_run_before_anything_is_sent(
    books: SharedBudget, pets: Path
) -> None:
    vendor = LedgerVendor()
    options = within(books, pets)
    Path(books.name).write_bytes(b"not a database")
    with pytest.raises(SharedBudgetError, match="cannot be used"):
        await bought(options, vendor)
    assert vendor.spent == 0


def test_reclaim_frees_a_dead_lease_by_what_the_cache_says(
    books: SharedBudget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead_lease(books, tmp_path / "cache", "run-dead", 12)
    command = ["reclaim", books.name, "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    assert "run-dead: spent 0 queries, 12 are free again" in capsys.readouterr().out
    assert main(command) == 0
    assert "no ended run" in capsys.readouterr().out


def test_reclaim_of_a_moved_cache_wants_to_be_told_which_run_has_ended(
    books: SharedBudget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead_lease(books, tmp_path / "cache", "run-dead", 12)
    (tmp_path / "cache").rename(tmp_path / "moved")
    command = ["reclaim", books.name, "--cache", str(tmp_path / "moved"), "--json"]
    main(command)
    assert json.loads(capsys.readouterr().out) == []
    main([*command, "--ended", "run-dead"])
    assert json.loads(capsys.readouterr().out) == [{"run": "run-dead", "spent": 0, "freed": 12}]


def test_a_merged_cache_says_what_the_runs_of_both_spent(
    books: SharedBudget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead_lease(books, tmp_path / "one", "run-one", 5)
    dead_lease(books, tmp_path / "two", "run-two", 6)
    with (
        CacheReader.open(tmp_path / "one") as source,
        PaidCache.open(tmp_path / "two") as into,
    ):
        merge(source, into)
    main(["reclaim", books.name, "--cache", str(tmp_path / "two"), "--ended", "run-one"])
    assert books.balance().free == 15
    assert capsys.readouterr().out.count("free again") == 2


def test_a_cache_that_does_not_know_a_run_frees_nothing_of_it(
    books: SharedBudget, tmp_path: Path
) -> None:
    dead_lease(books, tmp_path / "cache", "run-dead", 12)
    with PaidCache.open(tmp_path / "other"):
        pass
    command = ["reclaim", books.name, "--cache", str(tmp_path / "other")]
    with pytest.raises(BadInput, match="no record of the run run-dead"):
        main([*command, "--ended", "run-dead"])
    with pytest.raises(BadInput, match="no lease of a run run-x"):
        main([*command, "--ended", "run-x"])
    with pytest.raises(BadInput, match="there is no cache"):
        main(["reclaim", books.name, "--cache", str(tmp_path / "none")])
    assert books.balance().leased == 12


def test_the_command_makes_shows_and_resizes_a_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "made.db")
    main(["create", where, "5000"])
    assert "5,000 of 5,000 queries free, 0 spent, 0 leased" in capsys.readouterr().out
    main(["resize", where, "6000"])
    dead_lease(SharedBudget.open(where), tmp_path / "cache", "run-dead", 7)
    capsys.readouterr()
    main(["show", where])
    assert "7 leased  run-dead" in capsys.readouterr().out
    main(["show", where, "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["total"], shown["free"], shown["lease_size"]) == (6000, 5993, 100)
    assert shown["leases"][0]["run"] == "run-dead"
    with pytest.raises(BadInput, match="leased or spent"):
        main(["resize", where, "6"])
