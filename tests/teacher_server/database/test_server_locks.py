"""Servers that die: what they had reserved is given back at once, and nobody else's is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from benchmarks.support.postgresql import empty
from teacher_server.database.engine import writing
from teacher_server.database.server_locks import is_dead, lock_number
from teacher_server.errors import ReservationGone
from teacher_server.ledger.charges import Reservation
from teacher_server.ledger.ledger import Ledger
from tests.support.ledger_operations import PRICE, Books, books_at, serving_at


def test_a_server_that_starts_gives_back_what_a_dead_one_had_reserved(dsn: str) -> None:
    with books_at(dsn) as books:
        books.reserve(4)
        paid = books.buy(2)
        key = books.key
    # Its end freed its lock, as the kernel and PostgreSQL do for a process that was killed.
    with serving_at(dsn, clock=lambda: 1_000_000) as (_, ledger):
        account = ledger.keys.get(key.id)
        assert (account.spent_units, account.reserved_units) == (2, 0)
        assert ledger.books.entries(key.id)[-1] == paid
        assert ledger.books.verify().faults == ()


class Replicas:
    """Servers on one PostgreSQL database, whose connections can be cut."""

    def __init__(self, dsn: str) -> None:
        self.stack = ExitStack()
        self.books = self.stack.enter_context(books_at(dsn))

    def another(self) -> Ledger:
        _, ledger = self.stack.enter_context(
            serving_at(self.books.dsn, clock=lambda: self.books.now[0])
        )
        return ledger

    def cut(self, ledger: Ledger) -> None:
        """End the session that holds a server's lock, as its death or a cut cable does."""
        with writing(self.books.engine) as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks "
                    "WHERE locktype = 'advisory' AND objsubid = 1 "
                    "AND (classid::bigint << 32) + objid::bigint = :number"
                ),
                {"number": lock_number(ledger.boot_id)},
            )
        # The database ends it a moment after it was told to.
        with writing(self.books.engine) as connection:
            while not is_dead(connection, ledger.boot_id):
                pass


@pytest.fixture
def replicas(postgres_dsn: str) -> Iterator[Replicas]:
    empty(postgres_dsn)
    found = Replicas(postgres_dsn)
    with found.stack:
        yield found


def reserve(ledger: Ledger, books: Books, units: int) -> Reservation:
    outcome = ledger.charges.reserve(books.purchase(units), PRICE)
    assert isinstance(outcome, Reservation)
    return outcome


def test_a_replica_that_lives_keeps_its_reservations(replicas: Replicas) -> None:
    books, other = replicas.books, replicas.another()
    others, mine = reserve(other, books, 4), books.reserve(3)
    assert books.ledger.sweep() == 0
    assert other.sweep() == 0
    assert books.standing == (10, 0, 7)
    books.post(mine)
    books.post(others)
    assert books.faults == ()


def test_a_replica_that_died_has_its_reservations_given_back_before_the_lease_ends(
    replicas: Replicas,
) -> None:
    books, other = replicas.books, replicas.another()
    reserve(other, books, 4)
    books.reserve(3)
    replicas.cut(other)
    assert books.ledger.sweep() == 1
    assert books.standing == (10, 0, 3)


def test_a_replica_whose_lock_broke_charges_nothing_that_was_given_back(
    replicas: Replicas,
) -> None:
    books, other = replicas.books, replicas.another()
    reservation = books.reserve(4)
    replicas.cut(books.ledger)
    assert other.sweep() == 1
    with pytest.raises(ReservationGone):
        books.post(reservation)
    assert books.standing == (10, 0, 0)
    # Its next round takes the lock again, and what it reserves then is safe.
    books.ledger.sweep()
    kept = books.reserve(4)
    assert other.sweep() == 0
    books.post(kept)
    assert books.faults == ()


def test_a_lease_that_ran_out_is_given_back_whoever_lives(replicas: Replicas) -> None:
    reserve(replicas.another(), replicas.books, 4)
    replicas.books.now[0] += 60_001
    assert replicas.books.ledger.sweep() == 1
    assert replicas.books.standing == (10, 0, 0)


def test_a_replica_that_stops_is_known_to_be_gone_at_once(replicas: Replicas) -> None:
    books = replicas.books
    with serving_at(books.dsn, clock=lambda: books.now[0]) as (_, other):
        reserve(other, books, 4)
    assert books.ledger.sweep() == 1
    assert books.standing == (10, 0, 0)
