"""Reserve, post, void: what each step moves, and that it moves it once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from teacher_server.errors import KeyUnknown, ReservationGone
from teacher_server.ledger.charges import (
    InFlight,
    KeyReused,
    Purchase,
    Refused,
    Replay,
    Reservation,
)
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.price import Price
from tests.support.ledger_operations import PRICE, Books, body_of


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
    body = body_of(books.post(first))
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
