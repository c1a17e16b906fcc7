"""Takes back what ended runs have leased and not spent, by what their cache says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from student.errors import BadInput
from student.shared_budget.lease import lock_name, place_of

if TYPE_CHECKING:
    from student.shared_budget.books import BookedLease, SharedBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimed:
    """One lease that was closed or lowered: `freed` queries can be leased again."""

    run: str
    spent: int
    freed: int


def reclaim(
    books: SharedBudget, cache: PaidCache, *, ended: Collection[str] = ()
) -> list[Reclaimed]:
    """Close the leases of this cache's ended runs with what they spent; the rest becomes free.

    A lease is of this cache if it was taken on this machine for this folder. `ended` names further
    runs, of a cache that was moved here or merged into this one: the caller says that they have
    ended, which cannot be seen from here. What is open or written off counts as spent. Raises
    BadInput for a run in `ended` without a lease, or that the cache does not know.
    """
    _require_known(books, cache, ended)
    done = []
    for lease in _unsettled(books, cache, ended):
        try:
            with cache.hold_run_lock(lock_name(lease.run)):
                spent = spent_by_run(cache)[lease.run]
                freed = books.close_lease(lease.run, spent=spent)
        except CacheUnavailable:
            continue  # its run began to settle it by itself
        done.append(Reclaimed(run=lease.run, spent=spent, freed=freed))
    return done


def reclaimable(books: SharedBudget, cache: CacheReader) -> int:
    """The queries that `reclaim` would free for this cache. Changes nothing."""
    spent = spent_by_run(cache)
    return sum(max(0, lease.units - spent[lease.run]) for lease in _unsettled(books, cache, ()))


def spent_by_run(cache: CacheReader) -> Counter[str]:
    """The queries that each run has spent: paid, open, or written off without a receipt."""
    spent: Counter[str] = Counter()
    with cache.snapshot():
        paid = set()
        for stored in cache.stored_receipts():
            spent[stored.run] += stored.receipt.units
            paid.add(stored.receipt.idempotency_key)
        for intent in cache.open_intents():
            spent[intent.run] += intent.units
        for write_off in cache.write_offs():
            if write_off.idempotency_key not in paid:
                spent[write_off.run] += write_off.units
    return spent


def _unsettled(
    books: SharedBudget, cache: CacheReader, ended: Collection[str]
) -> Iterator[BookedLease]:
    place, spent = place_of(cache.folder), spent_by_run(cache)
    known = {run.run for run in cache.runs()}
    for lease in books.leases():
        is_here = lease.place == place or lease.run in ended
        # A run is on record before it leases anything: one that is not bought into another cache.
        is_readable = lease.run in known or lease.units == 0
        is_settled = not lease.is_open and lease.units <= spent[lease.run]
        if not (is_here and is_readable) or is_settled:
            continue
        if not cache.is_running(lock_name(lease.run)):
            yield lease


def _require_known(books: SharedBudget, cache: CacheReader, ended: Collection[str]) -> None:
    leases = {lease.run for lease in books.leases()}
    known = {run.run for run in cache.runs()}
    for run in ended:
        if run not in leases:
            message = f"{books.name} has no lease of a run {run}; nothing was changed"
            raise BadInput(message)
        if run not in known:
            message = (
                f"the cache in {cache.folder} has no record of the run {run}, so it cannot say what"
                " that run spent; nothing was changed"
            )
            raise BadInput(message)
