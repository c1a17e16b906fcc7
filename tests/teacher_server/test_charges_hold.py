"""What no sequence of steps and no other program's SQL can do to the books."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teacher_server.ledger.charges import (
    Refused,
    Replay,
    Reservation,
)
from tests.teacher_server.bookkeeping import PRICE, Books


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
