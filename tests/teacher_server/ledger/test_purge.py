"""Answers are purged after some time; their charges are kept forever."""

from __future__ import annotations

from dataclasses import replace

from teacher_server.ledger.purchase import InFlight, KeyReused, Purged, Replay
from tests.support.ledger_operations import PRICE, OneKeyLedger


def test_a_purged_purchase_is_never_charged_again(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(3)
    one_key.post(reservation)
    again = replace(reservation.purchase, request_id="req_again")
    assert one_key.ledger.records.purge(one_key.now[0] + 1) == 1
    gone = Purged(reservation.purchase.request_id)
    assert one_key.ledger.charges.reserve(again, PRICE) == gone
    assert one_key.ledger.charges.find_earlier(again) == gone
    assert one_key.ledger.records.answer(one_key.key.id, again.idempotency_key) == gone
    other = replace(again, payload_sha256="e" * 64)
    assert one_key.ledger.charges.reserve(other, PRICE) == KeyReused()
    assert one_key.state == (10, 3, 0)
    assert one_key.faults == ()


def test_only_answers_charged_before_the_moment_are_purged(one_key: OneKeyLedger) -> None:
    first = one_key.buy(1)
    one_key.now[0] += 1000
    second = one_key.buy(1)
    assert one_key.ledger.records.purge(one_key.now[0]) == 1
    assert one_key.ledger.records.purge(one_key.now[0]) == 0
    assert one_key.ledger.records.answer(one_key.key.id, first.idempotency_key) == Purged(
        first.request_id
    )
    assert isinstance(one_key.ledger.records.answer(one_key.key.id, second.idempotency_key), Replay)


def test_open_and_voided_requests_are_not_purged(one_key: OneKeyLedger) -> None:
    is_open, voided = one_key.reserve(1), one_key.reserve(1)
    one_key.ledger.charges.void(voided.purchase.request_id)
    assert one_key.ledger.records.purge(2**60) == 0
    found = one_key.ledger.records.answer(one_key.key.id, is_open.purchase.idempotency_key)
    assert found == InFlight()
    one_key.post(is_open)
    assert one_key.faults == ()


def test_more_answers_than_fit_one_transaction_are_all_purged(one_key: OneKeyLedger) -> None:
    one_key.open_key(100)
    for _ in range(55):
        one_key.buy(1)
    assert one_key.ledger.records.purge(2**60) == 55
    assert one_key.ledger.records.purge(2**60) == 0
    assert one_key.faults == ()


def test_the_database_refuses_a_charge_without_answer_that_was_not_purged(
    one_key: OneKeyLedger,
) -> None:
    one_key.buy(1)
    one_key.assert_database_refuses("UPDATE requests SET body = NULL")
    one_key.reserve(1)
    one_key.assert_database_refuses("UPDATE requests SET purged_ms = 1 WHERE state = 'reserved'")
