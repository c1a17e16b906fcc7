"""Many threads against a small budget, through one server and, on PostgreSQL, several."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from teacher_server.errors import ReservationGone
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.purchase import InFlight, Purchase, Refused, Replay, Reservation
from tests.support.ledger_operations import (
    PRICE,
    OneKeyLedger,
    body_of,
    one_key_ledger,
    serving_at,
)
from tests.support.racing import at_once

FULL, NORMAL = 2, 1  # levels of `PRAGMA synchronous`


@pytest.fixture
def replicas(one_key: OneKeyLedger) -> Iterator[list[Ledger]]:
    """Servers of the same ledger: three on PostgreSQL, one on SQLite, as in production."""
    others = 2 if one_key.engine.dialect.name == "postgresql" else 0
    with ExitStack() as stack:
        yield [one_key.ledger] + [
            stack.enter_context(serving_at(one_key.dsn, clock=lambda: one_key.now[0]))[1]
            for _ in range(others)
        ]


def buy_or_drop(ledger: Ledger, purchases: list[Purchase], seed: int) -> list[Refused]:
    """Reserve each purchase, charge most and void some; return the refusals."""
    chance = random.Random(seed)
    refused = []
    for purchase in purchases:
        outcome = ledger.charges.reserve(purchase, PRICE)
        if isinstance(outcome, Refused):
            refused.append(outcome)
            continue
        assert isinstance(outcome, Reservation)
        if chance.random() < 0.3:
            assert ledger.charges.void(purchase.request_id)
        else:
            ledger.charges.post(outcome, model="m", model_fingerprint="f", render=body_of)
    return refused


@given(
    budget=st.integers(min_value=0, max_value=40),
    units=st.lists(st.integers(min_value=1, max_value=5), min_size=24, max_size=24),
    seed=st.integers(min_value=0, max_value=2**32),
)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_threads_against_a_small_budget_never_overshoot_it_nor_leave_a_unit_that_fits(
    one_key: OneKeyLedger, replicas: list[Ledger], budget: int, units: list[int], seed: int
) -> None:
    one_key.open_key(budget)
    purchases = [one_key.purchase(number) for number in units]
    refusals = at_once(
        [
            partial(buy_or_drop, replicas[n % len(replicas)], purchases[n::6], seed + n)
            for n in range(6)
        ]
    )
    granted, spent, reserved = one_key.state
    assert (granted, reserved) == (budget, 0)
    assert spent <= budget
    for refused in (refusal for some in refusals for refusal in some):
        # A permanent refusal still holds, because spent units are not returned.
        assert refused.is_temporary or refused.needed > budget - spent
    audit = one_key.ledger.records.verify()
    assert audit.faults == ()
    entries = one_key.entries
    assert sum(entry.units for entry in entries if entry.kind == "charge") == spent
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))


def test_one_purchase_sent_many_times_at_once_is_charged_once(
    one_key: OneKeyLedger, replicas: list[Ledger]
) -> None:
    def buy(ledger: Ledger, request_id: str) -> str:
        purchase = one_key.purchase(2, request_id=request_id, idempotency_key="the same")
        outcome = ledger.charges.reserve(purchase, PRICE)
        if isinstance(outcome, Reservation):
            one_key.post(outcome)
        return type(outcome).__name__

    outcomes = at_once([partial(buy, replicas[n % len(replicas)], f"req_{n}") for n in range(12)])
    assert outcomes.count("Reservation") == 1
    assert set(outcomes) <= {"Reservation", InFlight.__name__, Replay.__name__}
    assert one_key.state == (10, 2, 0)
    assert one_key.faults == ()


def test_a_post_racing_with_a_void_of_the_same_request_has_one_winner(
    one_key: OneKeyLedger,
) -> None:
    one_key.open_key(100)
    for _ in range(8):
        reservation = one_key.reserve(1)

        def post(own: Reservation = reservation) -> bool:
            try:
                one_key.post(own)
            except ReservationGone:
                return False
            return True

        def void(own: Reservation = reservation) -> bool:
            return one_key.ledger.charges.void(own.purchase.request_id)

        assert sorted(at_once([post, void])) == [False, True]
    assert one_key.account.reserved_units == 0
    assert one_key.faults == ()


def test_sweeps_posts_and_reserves_at_once_do_not_deadlock(
    one_key: OneKeyLedger, replicas: list[Ledger]
) -> None:
    keys = []
    held: list[Reservation] = []
    for _ in range(4):
        one_key.open_key(100)
        keys.append(one_key.key)
        held += [one_key.reserve(1) for _ in range(6)]
    one_key.now[0] += 60_001  # every lease is over: sweepers and posters want the same rows

    def post(reservation: Reservation) -> int:
        try:
            one_key.post(reservation)
        except ReservationGone:
            return 0
        return 1

    sweeps: list[Callable[[], int]] = [
        ledger.charges.void_expired for ledger in replicas for _ in range(2)
    ]
    posts: list[Callable[[], int]] = [partial(post, reservation) for reservation in held[:8]]
    at_once(sweeps + posts)
    for key in keys:
        account = one_key.ledger.keys.get(key.id)
        assert account.spent_units <= 6
    one_key.ledger.sweep()
    assert all(one_key.ledger.keys.get(key.id).reserved_units == 0 for key in keys)
    assert one_key.faults == ()


def test_a_charge_and_a_renewal_are_synced_and_a_reservation_need_not_be(tmp_path: Path) -> None:
    """Without power, an unsynced reservation is lost together with its request."""
    with one_key_ledger(f"sqlite:///{tmp_path}/ledger.db") as made:
        made.open_key(10, period="day")
        levels: list[int] = []

        def committing(connection: Connection) -> None:
            if connection.get_execution_options().get("ledger_writes"):
                levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

        event.listen(made.engine, "commit", committing)
        reservation = made.reserve(1)
        assert levels == [NORMAL]
        made.post(reservation)
        assert levels == [NORMAL, FULL]
        made.now[0] += 86_400_000
        made.ledger.charges.void(made.reserve(1).purchase.request_id)
        assert levels == [NORMAL, FULL, FULL, NORMAL]
        assert [entry.kind for entry in made.entries] == ["grant", "charge", "grant"]
        assert made.faults == ()
