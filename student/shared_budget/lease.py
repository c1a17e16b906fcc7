"""The lease of one run: what it may spend of a shared budget."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import ClientBudgetExceeded
from cache.paid_cache import PaidCache
from student.errors import SharedBudgetError

if TYPE_CHECKING:
    from student.shared_budget.books import SharedBudget

_log = logging.getLogger(__name__)


class Lease:
    """The part of a shared budget that one run has leased and not spent yet, in queries.

    It grows while the run spends, up to `planned`. `spent` counts a purchase from before it is on
    record until it is known to be free of charge, so it is never less than the cache says.
    """

    def __init__(self, books: SharedBudget, *, run: str, planned: int) -> None:
        self._books = books
        self._run = run
        self._planned = planned
        self._units = 0
        self.spent = 0

    def take(self, units: int) -> None:
        """Count a purchase as spent, before it is recorded.

        Raises ClientBudgetExceeded, with the units that the lease has left, if the shared budget
        does not cover it, and SharedBudgetError. Nothing is counted then.
        """
        lacking = self.spent + units - self._units
        if lacking > 0:
            wanted = max(lacking, self._planned - self._units)
            self._units += self._books.extend(self._run, needed=lacking, wanted=wanted)
        left = self._units - self.spent
        if units > left:
            raise ClientBudgetExceeded(needed=units, remaining=left)
        self.spent += units

    def give_back(self, units: int) -> None:
        """Count a purchase as free of charge, after its record is closed."""
        self.spent -= units


@contextmanager
def leased(books: SharedBudget, cache: PaidCache, *, run: str, planned: int) -> Iterator[Lease]:
    """Open a lease for a run, and give back what it has not spent when the block ends.

    A process that is killed gives nothing back: `reclaim` does, once it has read the cache. The
    lease has a lock of its own in the cache, which ends with the process. Raises BadInput,
    CacheError and SharedBudgetError.
    """
    with cache.hold_run_lock(lock_name(run)):
        books.open_lease(run, place_of(cache.folder))
        lease = Lease(books, run=run, planned=planned)
        try:
            yield lease
        finally:
            try:
                books.close_lease(run, spent=lease.spent)
            except SharedBudgetError as error:
                # What the block raises matters more, and the books only say too much.
                _log.warning(
                    "the lease of %s stays open: %s. The next run with this cache closes it, or "
                    "`distill-client shared-budget reclaim`",
                    run,
                    error,
                )


def lock_name(run: str) -> str:
    """The name under which the cache shows that the lease of a run is in use."""
    return f"lease of {run}"


def place_of(folder: Path) -> str:
    """The machine and the folder of a cache, by which a lease says where its journal is."""
    return f"{socket.gethostname()}:{folder.resolve()}"
