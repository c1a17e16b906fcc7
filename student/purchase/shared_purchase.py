"""What one cache may buy within a budget that it shares with others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache.paid_cache import PaidCache
from student.console import Terminal
from student.options import PurchaseOptions
from student.shared_budget.lease import Lease, leased
from student.shared_budget.open import open_shared_budget
from student.shared_budget.reclaim import reclaim, reclaimable

if TYPE_CHECKING:
    from student.shared_budget.books import SharedBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPurchase:
    """A cache, and the shared budget that it buys within."""

    books: SharedBudget
    cache: PaidCache
    terminal: Terminal

    def payable(self) -> int:
        """The queries that a run with this cache can lease now: those that are free, and those that
        its own ended runs have leased and not spent."""
        return self.books.balance().free + reclaimable(self.books, self.cache)

    def total(self) -> int:
        """The queries of the shared budget, whoever has spent them."""
        return self.books.balance().total

    def describe(self) -> str:
        """The shared budget in one line, in queries."""
        now = self.books.balance()
        own = reclaimable(self.books, self.cache)
        return (
            f"shared budget {self.books.name}: {now.free:,} of {now.total:,} queries free, "
            f"{now.spent:,} spent, {now.leased:,} leased"
            + (f", {own:,} of them by ended runs of this cache, which get them back" if own else "")
            + f"; a run leases {now.lease_size:,} at a time"
        )

    @contextmanager
    def leased(self, run: str, *, planned: int) -> Iterator[Lease]:
        """Lease what a run spends; before and after it, settle the leases of ended runs."""
        self._reclaim()
        with leased(self.books, self.cache, run=run, planned=planned) as lease:
            yield lease
        self._reclaim()  # the run may have found out that an open purchase was free of charge

    def _reclaim(self) -> None:
        for one in reclaim(self.books, self.cache):
            if one.freed:
                self.terminal.say(
                    f"shared budget: the ended run {one.run} spent {one.spent:,} queries; "
                    f"{one.freed:,} that it had leased are free again"
                )


def shared_purchase(
    options: PurchaseOptions, cache: PaidCache, terminal: Terminal
) -> SharedPurchase | None:
    """The shared budget that these options name, if they do. Raises BadInput and
    SharedBudgetError."""
    if options.shared_budget is None:
        return None
    books = open_shared_budget(options.shared_budget)
    return SharedPurchase(books=books, cache=cache, terminal=terminal)
