"""The reservations of dead servers are voided at once, and those of live servers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from benchmarks.support.postgresql import empty
from teacher_server.database.engine import write_transaction
from teacher_server.database.server_locks import lock_number, server_is_dead
from teacher_server.errors import ReservationGone
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.purchase import Reservation
from tests.support.ledger_operations import PRICE, OneKeyLedger, one_key_ledger, serving_at


def test_a_starting_server_voids_the_reservations_of_a_dead_one(dsn: str) -> None:
    with one_key_ledger(dsn) as one_key:
        one_key.reserve(4)
        paid = one_key.buy(2)
        key = one_key.key
    # Its end freed its lock, as the kernel and PostgreSQL do for a process that was killed.
    with serving_at(dsn, clock=lambda: 1_000_000) as (_, ledger):
        account = ledger.keys.get(key.id)
        assert (account.spent_units, account.reserved_units) == (2, 0)
        assert ledger.records.entries(key.id)[-1] == paid
        assert ledger.records.verify().faults == ()


class Replicas:
    """Servers on one PostgreSQL database, whose connections can be cut."""

    def __init__(self, dsn: str) -> None:
        self.stack = ExitStack()
        self.records = self.stack.enter_context(one_key_ledger(dsn))

    def another(self) -> Ledger:
        _, ledger = self.stack.enter_context(
            serving_at(self.records.dsn, clock=lambda: self.records.now[0])
        )
        return ledger

    def cut(self, ledger: Ledger) -> None:
        """End the session that holds a server's lock, as a crash or a lost connection does."""
        with write_transaction(self.records.engine) as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks "
                    "WHERE locktype = 'advisory' AND objsubid = 1 "
                    "AND (classid::bigint << 32) + objid::bigint = :number"
                ),
                {"number": lock_number(ledger.boot_id)},
            )
        # The database ends the session with a short delay.
        with write_transaction(self.records.engine) as connection:
            while not server_is_dead(connection, ledger.boot_id):
                pass


@pytest.fixture
def replicas(postgres_dsn: str) -> Iterator[Replicas]:
    empty(postgres_dsn)
    found = Replicas(postgres_dsn)
    with found.stack:
        yield found


def reserve(ledger: Ledger, one_key: OneKeyLedger, units: int) -> Reservation:
    outcome = ledger.charges.reserve(one_key.purchase(units), PRICE)
    assert isinstance(outcome, Reservation)
    return outcome


def test_a_live_replica_keeps_its_reservations(replicas: Replicas) -> None:
    one_key, other = replicas.records, replicas.another()
    others, mine = reserve(other, one_key, 4), one_key.reserve(3)
    assert one_key.ledger.sweep() == 0
    assert other.sweep() == 0
    assert one_key.state == (10, 0, 7)
    one_key.post(mine)
    one_key.post(others)
    assert one_key.faults == ()


def test_the_reservations_of_a_dead_replica_are_voided_before_their_lease_ends(
    replicas: Replicas,
) -> None:
    one_key, other = replicas.records, replicas.another()
    reserve(other, one_key, 4)
    one_key.reserve(3)
    replicas.cut(other)
    assert one_key.ledger.sweep() == 1
    assert one_key.state == (10, 0, 3)


def test_a_replica_that_lost_its_lock_charges_nothing_that_was_voided(
    replicas: Replicas,
) -> None:
    one_key, other = replicas.records, replicas.another()
    reservation = one_key.reserve(4)
    replicas.cut(one_key.ledger)
    assert other.sweep() == 1
    with pytest.raises(ReservationGone):
        one_key.post(reservation)
    assert one_key.state == (10, 0, 0)
    # The next sweep takes the lock again; later reservations are safe.
    one_key.ledger.sweep()
    kept = one_key.reserve(4)
    assert other.sweep() == 0
    one_key.post(kept)
    assert one_key.faults == ()


def test_an_expired_lease_is_voided_even_if_its_server_lives(replicas: Replicas) -> None:
    reserve(replicas.another(), replicas.records, 4)
    replicas.records.now[0] += 60_001
    assert replicas.records.ledger.sweep() == 1
    assert replicas.records.state == (10, 0, 0)


def test_a_stopped_replica_counts_as_dead_at_once(replicas: Replicas) -> None:
    one_key = replicas.records
    with serving_at(one_key.dsn, clock=lambda: one_key.now[0]) as (_, other):
        reserve(other, one_key, 4)
    assert one_key.ledger.sweep() == 1
    assert one_key.state == (10, 0, 0)
