"""Answers are kept for a while; that they were charged is kept for ever."""

from __future__ import annotations

from dataclasses import replace

from teacher_server.ledger.charges import InFlight, KeyReused, Purged, Replay
from tests.support.ledger_operations import PRICE, Books


def test_a_purged_purchase_is_never_charged_again(books: Books) -> None:
    reservation = books.reserve(3)
    books.post(reservation)
    again = replace(reservation.purchase, request_id="req_again")
    assert books.ledger.books.purge(books.now[0] + 1) == 1
    gone = Purged(reservation.purchase.request_id)
    assert books.ledger.charges.reserve(again, PRICE) == gone
    assert books.ledger.charges.earlier(again) == gone
    assert books.ledger.books.answer(books.key.id, again.idempotency_key) == gone
    other = replace(again, payload_sha256="e" * 64)
    assert books.ledger.charges.reserve(other, PRICE) == KeyReused()
    assert books.standing == (10, 3, 0)
    assert books.faults == ()


def test_only_answers_charged_before_the_moment_are_purged(books: Books) -> None:
    first = books.buy(1)
    books.now[0] += 1000
    second = books.buy(1)
    assert books.ledger.books.purge(books.now[0]) == 1
    assert books.ledger.books.purge(books.now[0]) == 0
    assert books.ledger.books.answer(books.key.id, first.idempotency_key) == Purged(
        first.request_id
    )
    assert isinstance(books.ledger.books.answer(books.key.id, second.idempotency_key), Replay)


def test_what_is_in_flight_or_voided_is_not_purged(books: Books) -> None:
    is_open, voided = books.reserve(1), books.reserve(1)
    books.ledger.charges.void(voided.purchase.request_id)
    assert books.ledger.books.purge(2**60) == 0
    found = books.ledger.books.answer(books.key.id, is_open.purchase.idempotency_key)
    assert found == InFlight()
    books.post(is_open)
    assert books.faults == ()


def test_more_answers_than_fit_one_transaction_are_all_purged(books: Books) -> None:
    books.open_key(100)
    for _ in range(55):
        books.buy(1)
    assert books.ledger.books.purge(2**60) == 55
    assert books.ledger.books.purge(2**60) == 0
    assert books.faults == ()


def test_the_database_refuses_a_charge_without_answer_that_was_not_purged(books: Books) -> None:
    books.buy(1)
    books.refused_by_the_database("UPDATE requests SET body = NULL")
    books.reserve(1)
    books.refused_by_the_database("UPDATE requests SET purged_ms = 1 WHERE state = 'reserved'")
