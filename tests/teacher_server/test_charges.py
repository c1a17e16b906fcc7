"""Reserve, post, void: the arithmetic, the chain, and what the database itself refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from teacher_server.errors import KeyUnknown, ReservationGone
from teacher_server.ledger.charges import (
    InFlight,
    KeyReused,
    Purchase,
    Refused,
    Replay,
    Reservation,
)
from teacher_server.ledger.engine import writing
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.keys import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.price import Price
from tests.teacher_server.in_process import ledger_at

PRICE = Price(version="p1", micro_usd_per_unit=100)


@dataclass
class Books:
    """A ledger with one key, and a clock that the test turns."""

    engine: Engine
    ledger: Ledger
    now: list[int]
    key: ApiKey = field(default_factory=ApiKey.new)
    number: int = 0

    def open_key(self, budget: int) -> None:
        self.key = ApiKey.new()
        self.ledger.keys.create(self.key, name="n", budget=budget, price_version="p1")

    def purchase(self, units: int = 1, **changes: str) -> Purchase:
        self.number += 1
        made = Purchase(
            request_id=f"req_{self.key.id}_{self.number}",
            key_id=self.key.id,
            idempotency_key=f"k{self.number}",
            payload_sha256="f" * 64,
            images=units,
            texts=0,
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    def reserve(self, units: int = 1) -> Reservation:
        outcome = self.ledger.charges.reserve(self.purchase(units), PRICE)
        assert isinstance(outcome, Reservation)
        return outcome

    def post(self, reservation: Reservation) -> LedgerEntry:
        seen: list[LedgerEntry] = []

        def render(entry: LedgerEntry) -> bytes:
            seen.append(entry)
            return b"body of " + entry.request_id.encode()

        self.ledger.charges.post(
            reservation, model="m", model_fingerprint="sha256:f", render=render
        )
        return seen[0]

    @property
    def standing(self) -> tuple[int, int, int]:
        account = self.ledger.keys.get(self.key.id)
        return account.budget_units, account.spent_units, account.reserved_units

    def refused_by_the_database(self, statement: str) -> None:
        with pytest.raises(IntegrityError), writing(self.engine) as connection:
            connection.execute(text(statement))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    now = [1_000_000]
    with ledger_at(tmp_path, clock=lambda: now[0], lease_seconds=60) as (engine, ledger):
        made = Books(engine, ledger, now)
        made.open_key(10)
        yield made


def test_reserve_then_post_moves_units_from_reserved_to_spent(books: Books) -> None:
    reservation = books.reserve(4)
    assert books.standing == (10, 0, 4)
    entry = books.post(reservation)
    assert books.standing == (10, 4, 0)
    assert (entry.units, entry.balance_units, entry.cost_micro_usd) == (4, 6, 400)
    assert entry.hash == entry.expected_hash


def test_reserve_then_void_leaves_no_trace_on_the_balance(books: Books) -> None:
    reservation = books.reserve(4)
    assert books.ledger.charges.void(reservation.purchase.request_id)
    assert books.standing == (10, 0, 0)
    assert [entry.kind for entry in books.ledger.books.entries(books.key.id)] == ["grant"]


def test_a_reservation_resolves_at_most_once(books: Books) -> None:
    posted, voided = books.reserve(2), books.reserve(3)
    books.post(posted)
    assert not books.ledger.charges.void(posted.purchase.request_id)
    with pytest.raises(ReservationGone):
        books.post(posted)
    books.ledger.charges.void(voided.purchase.request_id)
    assert not books.ledger.charges.void(voided.purchase.request_id)
    with pytest.raises(ReservationGone):
        books.post(voided)
    assert not books.ledger.charges.void("req_that_never_was")
    assert books.standing == (10, 2, 0)
    assert books.ledger.books.verify().faults == ()


def test_the_price_is_frozen_when_the_units_are_reserved(books: Books) -> None:
    old = books.ledger.charges.reserve(books.purchase(2), PRICE)
    new = Price(version="p2", micro_usd_per_unit=999)
    later = books.ledger.charges.reserve(books.purchase(1), new)
    assert isinstance(old, Reservation)
    assert isinstance(later, Reservation)
    entries = [books.post(old), books.post(later)]
    assert [(e.price_version, e.cost_micro_usd) for e in entries] == [("p1", 200), ("p2", 999)]


def test_the_budget_can_be_reserved_to_its_last_unit_and_no_further(books: Books) -> None:
    books.reserve(10)
    outcome = books.ledger.charges.reserve(books.purchase(1), PRICE)
    assert outcome == Refused(needed=1, remaining=10, is_temporary=True)


def test_what_can_never_fit_is_refused_for_good(books: Books) -> None:
    books.post(books.reserve(7))
    too_much = books.ledger.charges.reserve(books.purchase(4), PRICE)
    assert too_much == Refused(needed=4, remaining=3, is_temporary=False)
    books.post(books.reserve(3))
    nothing_left = books.ledger.charges.reserve(books.purchase(1), PRICE)
    assert nothing_left == Refused(needed=1, remaining=0, is_temporary=False)


def test_a_key_that_does_not_exist_cannot_reserve(books: Books) -> None:
    with pytest.raises(KeyUnknown):
        books.ledger.charges.reserve(books.purchase(key_id="nobody"), PRICE)


def test_an_idempotency_key_leads_to_its_first_purchase(books: Books) -> None:
    first = books.reserve(1)
    again = replace(first.purchase, request_id="req_again")
    other = replace(again, payload_sha256="e" * 64)
    assert books.ledger.charges.reserve(again, PRICE) == InFlight()
    assert books.ledger.charges.reserve(other, PRICE) == KeyReused()
    books.post(first)
    body = f"body of {first.purchase.request_id}".encode()
    assert books.ledger.charges.reserve(again, PRICE) == Replay(body)
    assert books.ledger.charges.earlier(again) == Replay(body)
    assert books.ledger.charges.earlier(other) == KeyReused()
    assert books.standing == (10, 1, 0)


def test_a_voided_purchase_frees_its_idempotency_key(books: Books) -> None:
    first = books.reserve(1)
    books.ledger.charges.void(first.purchase.request_id)
    again = replace(first.purchase, request_id="req_again", payload_sha256="e" * 64)
    assert books.ledger.charges.earlier(again) is None
    assert isinstance(books.ledger.charges.reserve(again, PRICE), Reservation)


def test_an_expired_lease_is_voided_and_its_late_post_charges_nothing(books: Books) -> None:
    slow, fresh = books.reserve(2), None
    books.now[0] += 60_001
    fresh = books.reserve(3)
    assert books.ledger.charges.void_expired() == 1
    assert books.standing == (10, 0, 3)
    with pytest.raises(ReservationGone):
        books.post(slow)
    books.post(fresh)
    assert books.standing == (10, 3, 0)


def test_only_reservations_of_other_boots_are_dead(books: Books) -> None:
    books.reserve(2)
    assert books.ledger.charges.void_dead() == 0
    assert books.standing == (10, 0, 2)


def test_a_body_that_cannot_be_rendered_charges_nothing(books: Books) -> None:
    reservation = books.reserve(2)

    def broken(entry: LedgerEntry) -> bytes:
        raise RuntimeError(entry.request_id)

    with pytest.raises(RuntimeError):
        books.ledger.charges.post(reservation, model="m", model_fingerprint="f", render=broken)
    assert books.standing == (10, 0, 2)
    assert books.ledger.books.verify().faults == ()


def test_threads_racing_for_the_last_units_never_overshoot(books: Books) -> None:
    purchases = [books.purchase(1) for _ in range(40)]
    barrier = threading.Barrier(8)
    won: list[Reservation] = []

    def race(mine: list[Purchase]) -> None:
        barrier.wait()
        for one in mine:
            outcome = books.ledger.charges.reserve(one, PRICE)
            if isinstance(outcome, Reservation):
                won.append(outcome)

    threads = [threading.Thread(target=race, args=(purchases[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 10
    assert books.standing == (10, 0, 10)


def test_the_database_refuses_to_change_or_delete_a_ledger_line(books: Books) -> None:
    books.post(books.reserve(1))
    books.refused_by_the_database("UPDATE ledger_entries SET units = 0")
    books.refused_by_the_database("DELETE FROM ledger_entries")
    assert books.ledger.books.verify().faults == ()


def test_the_database_refuses_to_overspend(books: Books) -> None:
    books.refused_by_the_database("UPDATE accounts SET spent_units = 11")
    books.refused_by_the_database("UPDATE accounts SET spent_units = 5, reserved_units = 6")
    books.refused_by_the_database("UPDATE accounts SET reserved_units = -1")


def test_the_database_refuses_a_second_charge_of_one_request(books: Books) -> None:
    books.post(books.reserve(1))
    copied = "key_id, seq + 1, kind, request_id, idempotency_key, model, model_fingerprint, "
    copied += "images, texts, units, cost_micro_usd, price_version, balance_units, created_ms, "
    columns = copied.replace("seq + 1", "seq") + "prev_hash, hash"
    books.refused_by_the_database(
        f"INSERT INTO ledger_entries ({columns}) SELECT {copied} prev_hash, hash "
        "FROM ledger_entries WHERE kind = 'charge'"
    )


def test_the_database_refuses_an_answer_without_a_charge_state(books: Books) -> None:
    books.reserve(1)
    books.refused_by_the_database("UPDATE requests SET body = 'x'")
    books.refused_by_the_database("UPDATE requests SET state = 'posted'")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "post", "void", "expire", "top_up", "retry"]),
        st.integers(min_value=0, max_value=9),
    ),
    max_size=40,
)


@given(steps=STEPS, budget=st.integers(min_value=0, max_value=30))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_sequence_of_steps_agrees_with_plain_arithmetic(
    books: Books, steps: list[tuple[str, int]], budget: int
) -> None:
    books.open_key(budget)
    spent = 0
    is_open: list[Reservation] = []
    posted: list[Reservation] = []
    for step, number in steps:
        held = sum(reservation.units for reservation in is_open)
        if step == "reserve":
            units = number + 1
            outcome = books.ledger.charges.reserve(books.purchase(units), PRICE)
            fits = spent + held + units <= budget
            assert isinstance(outcome, Reservation) == fits
            if isinstance(outcome, Reservation):
                is_open.append(outcome)
            else:
                assert outcome == Refused(
                    needed=units,
                    remaining=budget - spent,
                    is_temporary=units <= budget - spent,
                )
        elif step == "post" and is_open:
            reservation = is_open.pop(number % len(is_open))
            entry = books.post(reservation)
            spent += reservation.units
            posted.append(reservation)
            assert entry.balance_units == budget - spent
        elif step == "void" and is_open:
            reservation = is_open.pop(number % len(is_open))
            assert books.ledger.charges.void(reservation.purchase.request_id)
        elif step == "expire":
            books.now[0] += 60_001
            assert books.ledger.charges.void_expired() == len(is_open)
            is_open.clear()
        elif step == "top_up":
            books.ledger.keys.top_up(books.key.id, units=number + 1, price_version="p1")
            budget += number + 1
        elif step == "retry" and posted:
            retried = posted[number % len(posted)].purchase
            again = books.ledger.charges.reserve(replace(retried, request_id="req_r"), PRICE)
            assert isinstance(again, Replay)
        held = sum(reservation.units for reservation in is_open)
        assert books.standing == (budget, spent, held)
    for reservation in is_open:
        books.ledger.charges.void(reservation.purchase.request_id)
    audit = books.ledger.books.verify()
    assert audit.faults == ()
    entries = books.ledger.books.entries(books.key.id)
    assert sum(entry.units for entry in entries if entry.kind == "charge") == spent
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
