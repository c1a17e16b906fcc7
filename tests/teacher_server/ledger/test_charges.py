"""Reserve, post, void: what each step moves, and that it moves it once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from teacher_server.errors import KeyUnknown, ReservationGone
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.purchase import (
    InFlight,
    KeyReused,
    Price,
    Purchase,
    Refused,
    Replay,
    Reservation,
)
from tests.support.ledger_operations import PRICE, OneKeyLedger, body_of


def test_reserve_then_post_moves_units_from_reserved_to_spent(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(4)
    assert one_key.state == (10, 0, 4)
    entry = one_key.post(reservation)
    assert one_key.state == (10, 4, 0)
    assert (entry.units, entry.balance_units, entry.cost_micro_usd) == (4, 6, 400)
    assert entry.hash == entry.expected_hash


def test_reserve_then_void_leaves_no_trace_on_the_balance(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(4)
    assert one_key.ledger.charges.void(reservation.purchase.request_id)
    assert one_key.state == (10, 0, 0)
    assert [entry.kind for entry in one_key.ledger.records.entries(one_key.key.id)] == ["grant"]


def test_a_reservation_resolves_at_most_once(one_key: OneKeyLedger) -> None:
    posted, voided = one_key.reserve(2), one_key.reserve(3)
    one_key.post(posted)
    assert not one_key.ledger.charges.void(posted.purchase.request_id)
    with pytest.raises(ReservationGone):
        one_key.post(posted)
    one_key.ledger.charges.void(voided.purchase.request_id)
    assert not one_key.ledger.charges.void(voided.purchase.request_id)
    with pytest.raises(ReservationGone):
        one_key.post(voided)
    assert not one_key.ledger.charges.void("req_that_never_was")
    assert one_key.state == (10, 2, 0)
    assert one_key.ledger.records.verify().faults == ()


def test_the_price_is_frozen_when_the_units_are_reserved(one_key: OneKeyLedger) -> None:
    old = one_key.ledger.charges.reserve(one_key.purchase(2), PRICE)
    new = Price(version="p2", micro_usd_per_unit=999)
    later = one_key.ledger.charges.reserve(one_key.purchase(1), new)
    assert isinstance(old, Reservation)
    assert isinstance(later, Reservation)
    entries = [one_key.post(old), one_key.post(later)]
    assert [(e.price_version, e.cost_micro_usd) for e in entries] == [("p1", 200), ("p2", 999)]


def test_the_budget_can_be_reserved_to_its_last_unit_and_no_further(one_key: OneKeyLedger) -> None:
    one_key.reserve(10)
    outcome = one_key.ledger.charges.reserve(one_key.purchase(1), PRICE)
    assert outcome == Refused(needed=1, remaining=10, is_temporary=True)


def test_a_request_that_can_never_fit_is_refused_permanently(one_key: OneKeyLedger) -> None:
    one_key.post(one_key.reserve(7))
    too_much = one_key.ledger.charges.reserve(one_key.purchase(4), PRICE)
    assert too_much == Refused(needed=4, remaining=3, is_temporary=False)
    one_key.post(one_key.reserve(3))
    nothing_left = one_key.ledger.charges.reserve(one_key.purchase(1), PRICE)
    assert nothing_left == Refused(needed=1, remaining=0, is_temporary=False)


def test_a_key_that_does_not_exist_cannot_reserve(one_key: OneKeyLedger) -> None:
    with pytest.raises(KeyUnknown):
        one_key.ledger.charges.reserve(one_key.purchase(key_id="nobody"), PRICE)


def test_an_idempotency_key_leads_to_its_first_purchase(one_key: OneKeyLedger) -> None:
    first = one_key.reserve(1)
    again = replace(first.purchase, request_id="req_again")
    other = replace(again, payload_sha256="e" * 64)
    assert one_key.ledger.charges.reserve(again, PRICE) == InFlight()
    assert one_key.ledger.charges.reserve(other, PRICE) == KeyReused()
    body = body_of(one_key.post(first))
    assert one_key.ledger.charges.reserve(again, PRICE) == Replay(body)
    assert one_key.ledger.charges.find_earlier(again) == Replay(body)
    assert one_key.ledger.charges.find_earlier(other) == KeyReused()
    assert one_key.state == (10, 1, 0)


def test_a_voided_purchase_frees_its_idempotency_key(one_key: OneKeyLedger) -> None:
    first = one_key.reserve(1)
    one_key.ledger.charges.void(first.purchase.request_id)
    again = replace(first.purchase, request_id="req_again", payload_sha256="e" * 64)
    assert one_key.ledger.charges.find_earlier(again) is None
    assert isinstance(one_key.ledger.charges.reserve(again, PRICE), Reservation)


def test_an_expired_lease_is_voided_and_its_late_post_charges_nothing(
    one_key: OneKeyLedger,
) -> None:
    slow, fresh = one_key.reserve(2), None
    one_key.now[0] += 60_001
    fresh = one_key.reserve(3)
    assert one_key.ledger.charges.void_expired() == 1
    assert one_key.state == (10, 0, 3)
    with pytest.raises(ReservationGone):
        one_key.post(slow)
    one_key.post(fresh)
    assert one_key.state == (10, 3, 0)


def test_only_reservations_of_other_boots_are_dead(one_key: OneKeyLedger) -> None:
    one_key.reserve(2)
    assert one_key.ledger.charges.void_dead() == 0
    assert one_key.state == (10, 0, 2)


def test_a_body_that_cannot_be_rendered_charges_nothing(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(2)

    def broken(entry: LedgerEntry) -> bytes:
        raise RuntimeError(entry.request_id)

    with pytest.raises(RuntimeError):
        one_key.ledger.charges.post(reservation, model="m", model_fingerprint="f", render=broken)
    assert one_key.state == (10, 0, 2)
    assert one_key.ledger.records.verify().faults == ()


def test_threads_racing_for_the_last_units_never_overshoot(one_key: OneKeyLedger) -> None:
    purchases = [one_key.purchase(1) for _ in range(40)]
    barrier = threading.Barrier(8)
    won: list[Reservation] = []

    def race(mine: list[Purchase]) -> None:
        barrier.wait()
        for purchase in mine:
            outcome = one_key.ledger.charges.reserve(purchase, PRICE)
            if isinstance(outcome, Reservation):
                won.append(outcome)

    threads = [threading.Thread(target=race, args=(purchases[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 10
    assert one_key.state == (10, 0, 10)
