"""The books in both databases: what is leased, by whom, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.storage import folder as cache_folder
from student.errors import BadInput, SharedBudgetError
from student.shared_budget.books import SharedBudget
from student.shared_budget.database import Database


def test_a_lease_grows_by_the_lease_size_until_nothing_is_free(place: str) -> None:
    books = SharedBudget.create(place, total=25, lease_size=10)
    books.open_lease("one", "here:/cache")
    grown = [books.extend("one", needed=1, wanted=100) for _ in range(4)]
    assert grown == [10, 10, 5, 0]
    now = books.balance()
    assert (now.free, now.leased, now.spent) == (0, 25, 0)


def test_a_purchase_larger_than_the_lease_size_is_leased_whole(place: str) -> None:
    books = SharedBudget.create(place, total=100, lease_size=10)
    books.open_lease("one", "here:/cache")
    assert books.extend("one", needed=64, wanted=64) == 64


def test_no_more_is_leased_than_the_run_plans_to_spend(place: str) -> None:
    books = SharedBudget.create(place, total=100, lease_size=50)
    books.open_lease("one", "here:/cache")
    assert books.extend("one", needed=2, wanted=7) == 7


def test_a_closed_lease_frees_what_was_not_spent_and_takes_no_more(place: str) -> None:
    books = SharedBudget.create(place, total=100, lease_size=50)
    books.open_lease("one", "here:/cache")
    books.extend("one", needed=50, wanted=50)
    assert books.close_lease("one", spent=20) == 30
    assert books.close_lease("one", spent=15) == 5
    now = books.balance()
    assert (now.free, now.leased, now.spent) == (85, 0, 15)
    with pytest.raises(SharedBudgetError, match="closed"):
        books.extend("one", needed=1, wanted=1)


def test_more_spent_than_leased_changes_nothing_and_is_reported(place: str) -> None:
    books = SharedBudget.create(place, total=100)
    books.open_lease("one", "here:/cache")
    books.extend("one", needed=5, wanted=5)
    with pytest.raises(SharedBudgetError, match="spent 6 queries and has leased 5"):
        books.close_lease("one", spent=6)
    assert books.leases()[0].is_open


def test_a_run_has_one_lease(place: str) -> None:
    books = SharedBudget.create(place, total=100)
    books.open_lease("one", "here:/cache")
    with pytest.raises(BadInput, match="has a lease"):
        books.open_lease("one", "there:/cache")
    assert [lease.place for lease in books.leases()] == ["here:/cache"]


def test_runs_that_lease_at_the_same_time_get_the_total_between_them(place: str) -> None:
    SharedBudget.create(place, total=1_000, lease_size=3)

    def drain(run: str) -> int:
        books = SharedBudget.open(place)
        books.open_lease(run, "here:/cache")
        total = 0
        while (units := books.extend(run, needed=1, wanted=60)) and total < 200:
            total += units
        return total + units

    with ThreadPoolExecutor(4) as pool:
        leased = list(pool.map(drain, [f"run {n}" for n in range(4)]))
    books = SharedBudget.open(place)
    assert sum(leased) == books.balance().leased <= 1_000
    assert {lease.run: lease.units for lease in books.leases()} == {
        f"run {n}": units for n, units in enumerate(leased)
    }


def test_a_second_shared_budget_in_the_same_place_is_refused(place: str) -> None:
    SharedBudget.create(place, total=5)
    with pytest.raises(BadInput, match="already"):
        SharedBudget.create(place, total=500)
    assert SharedBudget.open(place).balance().total == 5


def test_a_misspelt_place_makes_no_new_budget(tmp_path: Path, place: str) -> None:
    with pytest.raises(BadInput, match="shared-budget create"):
        SharedBudget.open(str(tmp_path / "other.db"))
    assert not (tmp_path / "other.db").exists()
    with pytest.raises(BadInput, match="no shared budget"):
        SharedBudget.open(place)


@pytest.mark.parametrize(("total", "lease_size"), [(-1, 5), (5, 0), (5, -3)])
def test_sizes_that_mean_nothing_are_refused(total: int, lease_size: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least 1"):
        SharedBudget.create(str(tmp_path / "b.db"), total=total, lease_size=lease_size)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadInput, match="PGPASSWORD") as refused:
        Database("postgresql://me:hunter2@db/budget")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("location", ["mysql://me@db/budget", "sqlite://", "post gres://x:y:z"])
def test_other_databases_are_refused(location: str) -> None:
    with pytest.raises(BadInput, match="postgresql://USER@HOST/DB"):
        Database(location)


def test_a_file_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"server:/x {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(cache_folder, "_read_mounts", lambda: mounts)
    with pytest.raises(BadInput, match=r"network file system \(nfs4\).*PostgreSQL"):
        Database(str(tmp_path / "budget.db"))


def test_a_database_that_cannot_be_reached_says_so(tmp_path: Path) -> None:
    database = Database(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(SharedBudgetError, match="cannot be used"):
        database.require_tables()


@pytest.mark.parametrize(("total", "size"), [(0, 64), (3_200, 64), (50_000, 1_000)])
def test_a_lease_is_a_fiftieth_of_the_budget_and_at_least_one_request(
    total: int, size: int, tmp_path: Path
) -> None:
    books = SharedBudget.create(str(tmp_path / "budget.db"), total=total)
    assert books.balance().lease_size == size
