"""The books of a shared budget: how much there is, and which run has leased how much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from cache.paid_cache import now_ms
from student.errors import BadInput, SharedBudgetError
from student.shared_budget.database import BUDGET, FORMAT, LEASES, Database

LEAST_LEASE: Final = 64  # queries: one request of the default size
_LEASES_IN_A_BUDGET: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A shared budget in queries: `total` is free, leased to open leases, or spent by closed ones.

    `lease_size` is what a run leases at a time.
    """

    total: int
    leased: int
    spent: int
    lease_size: int

    @property
    def free(self) -> int:
        """What can still be leased."""
        return self.total - self.leased - self.spent


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedLease:
    """A lease in the books: the run that took it and the cache, as "HOST:FOLDER", it buys into.

    `units` (queries) are set aside for the run; once the lease is closed, they are what it spent.
    """

    run: str
    place: str
    units: int
    is_open: bool
    opened_ms: int


class SharedBudget:
    """The books of one shared budget; threads, processes and machines may use them at once.

    The units of all leases together never exceed the total. Every method raises
    SharedBudgetError if the database cannot be reached.
    """

    def __init__(self, database: Database, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    def open(cls, location: str, *, clock: Callable[[], int] = now_ms) -> Self:
        """Open the shared budget in a SQLite file or a PostgreSQL database. Raises BadInput."""
        database = Database(location)
        database.require_tables()
        return cls(database, clock)

    @classmethod
    def create(
        cls,
        location: str,
        *,
        total: int,
        lease_size: int | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> Self:
        """Make a shared budget of `total` queries. Raises BadInput if there is one already.

        `lease_size` is what a run leases at a time (default: a fiftieth of the total, and not under
        64 queries).
        """
        size = max(LEAST_LEASE, total // _LEASES_IN_A_BUDGET) if lease_size is None else lease_size
        if total < 0 or size < 1:
            message = "a shared budget has 0 queries or more, and a lease at least 1"
            raise BadInput(message)
        database = Database(location)
        with database.writing() as connection:
            database.create_tables(connection)
            values = {"id": 1, "format": FORMAT, "total_units": total, "leased_units": 0}
            values |= {"lease_size": size, "created_ms": clock()}
            connection.execute(insert(BUDGET).values(values))
        return cls(database, clock)

    @property
    def name(self) -> str:
        """The file, or the URL, of the database."""
        return self._database.name

    def balance(self) -> Balance:
        """What is free, leased and spent now."""
        with self._database.reading() as connection:
            budget = self._budget(connection)
            closed = select(func.coalesce(func.sum(LEASES.c.units), 0)).where(~LEASES.c.is_open)
            spent = int(connection.execute(closed).scalar_one())
        return Balance(
            total=budget.total_units,
            leased=budget.leased_units - spent,
            spent=spent,
            lease_size=budget.lease_size,
        )

    def leases(self) -> list[BookedLease]:
        """All leases, oldest first."""
        with self._database.reading() as connection:
            found = connection.execute(select(LEASES).order_by(LEASES.c.opened_ms, LEASES.c.run))
            return [
                BookedLease(
                    run=row.run,
                    place=row.place,
                    units=row.units,
                    is_open=row.is_open,
                    opened_ms=row.opened_ms,
                )
                for row in found
            ]

    def open_lease(self, run: str, place: str) -> None:
        """Open a lease of no units yet. Raises BadInput if this run has had one."""
        values = {"run": run, "place": place, "units": 0, "is_open": True}
        try:
            with self._database.writing() as connection:
                self._budget(connection)
                connection.execute(insert(LEASES).values(**values, opened_ms=self._clock()))
        except SharedBudgetError as error:
            if isinstance(error.__cause__, IntegrityError):
                message = f"the run {run} has a lease in {self.name} already; nothing was leased"
                raise BadInput(message) from error
            raise

    def extend(self, run: str, *, needed: int, wanted: int) -> int:
        """Lease `wanted` more units to an open lease, or what is free of them; return how many.

        Returns 0 where nothing is free. `needed` is what the next purchase lacks: where the lease
        size is smaller, that much is leased.
        """
        with self._database.writing() as connection:
            budget = self._budget(connection, for_update=True)
            free = budget.total_units - budget.leased_units
            units: int = max(0, min(free, max(needed, min(wanted, budget.lease_size))))
            changed = connection.execute(
                update(LEASES)
                .where(LEASES.c.run == run, LEASES.c.is_open)
                .values(units=LEASES.c.units + units)
            )
            if changed.rowcount != 1:
                message = f"the lease of the run {run} in {self.name} is closed: nothing is leased"
                raise SharedBudgetError(message)
            self._add(connection, units)
        return units

    def close_lease(self, run: str, *, spent: int) -> int:
        """Close a lease that spent so much, and return how many units became free.

        A lease only shrinks: if it is closed already, with less, nothing changes. Raises
        SharedBudgetError, with nothing changed, if more was spent than was leased.
        """
        with self._database.writing() as connection:
            self._budget(connection, for_update=True)
            row = connection.execute(select(LEASES).where(LEASES.c.run == run)).one_or_none()
            if row is None or spent > row.units:
                leased = 0 if row is None else row.units
                message = (
                    f"the run {run} spent {spent} queries and has leased {leased} in {self.name}:"
                    " these are not the books that it leased from; nothing was changed"
                )
                raise SharedBudgetError(message)
            freed: int = row.units - spent
            connection.execute(
                update(LEASES)
                .where(LEASES.c.run == run)
                .values(units=spent, is_open=False, closed_ms=self._clock())
            )
            self._add(connection, -freed)
        return freed

    def resize(self, total: int) -> None:
        """Change the total. Raises BadInput if more than that is leased or spent."""
        with self._database.writing() as connection:
            budget = self._budget(connection, for_update=True)
            if total < budget.leased_units:
                message = (
                    f"{budget.leased_units} queries of {self.name} are leased or spent: the total"
                    f" cannot be {total}; nothing was changed"
                )
                raise BadInput(message)
            connection.execute(update(BUDGET).values(total_units=total))

    def _budget(self, connection: Connection, *, for_update: bool = False) -> Row[tuple[int, ...]]:
        query = select(BUDGET)
        row = connection.execute(query.with_for_update() if for_update else query).one()
        if row.format != FORMAT:
            message = f"{self.name} has format {row.format}; this program reads {FORMAT}"
            raise BadInput(message)
        return row

    def _add(self, connection: Connection, units: int) -> None:
        # The table's own constraint refuses what exceeds the total, whatever was read above.
        connection.execute(update(BUDGET).values(leased_units=BUDGET.c.leased_units + units))
