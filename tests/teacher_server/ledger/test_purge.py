"""Answers are purged after some time; their charges are kept forever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Engine, event, select

from benchmarks.support.postgresql import empty
from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import requests
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.purchase import InFlight, KeyReused, Purged, Replay
from tests.support.ledger_operations import PRICE, OneKeyLedger, one_key_ledger, serving_at, tamper
from tests.support.racing import at_once


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
    for _ in range(25):
        one_key.buy(1)
    assert list(one_key.ledger.records.purge_in_batches(2**60, at_once=10)) == [10, 10, 5]
    assert one_key.ledger.records.purge(2**60) == 0
    assert one_key.faults == ()


def test_the_oldest_answers_are_purged_first_and_a_sale_gets_in_between(
    one_key: OneKeyLedger,
) -> None:
    sold = []
    for _ in range(4):
        one_key.now[0] += 1000
        sold.append(one_key.buy(1).idempotency_key)
    batches = one_key.ledger.records.purge_in_batches(2**60, at_once=1)
    assert [next(batches), next(batches)] == [1, 1]
    one_key.now[0] += 1000
    sold.append(one_key.buy(1).idempotency_key)
    kept = [one_key.ledger.records.answer(one_key.key.id, named) for named in sold]
    assert [isinstance(answer, Replay) for answer in kept] == [False, False, True, True, True]
    assert list(batches) == [1, 1]
    assert isinstance(one_key.ledger.records.answer(one_key.key.id, sold[-1]), Replay)
    assert one_key.faults == ()


def test_purging_answers_changes_no_request_and_no_entry(one_key: OneKeyLedger) -> None:
    one_key.buy(2)
    one_key.buy(1)

    def rows() -> list[object]:
        with read_transaction(one_key.engine) as connection:
            return [tuple(row) for row in connection.execute(select(requests))]

    before = (rows(), one_key.entries)
    assert one_key.ledger.records.purge(2**60) == 2
    assert (rows(), one_key.entries) == before


def test_the_audit_names_a_missing_answer_that_was_too_young_to_be_purged(
    one_key: OneKeyLedger,
) -> None:
    one_key.buy(1)
    one_key.now[0] += 1000
    young = one_key.buy(1)
    assert one_key.ledger.records.purge(one_key.now[0]) == 1
    assert one_key.ledger.records.purge(one_key.now[0] - 2000) == 0
    assert one_key.faults == ()
    tamper(one_key.engine, "DELETE FROM answers")
    (fault,) = one_key.ledger.records.verify().faults
    assert fault.endswith(f"{young.request_id}: its stored answer is missing, and was not purged")


def test_a_purge_of_everything_excuses_no_answer_of_a_later_charge(one_key: OneKeyLedger) -> None:
    one_key.buy(1)
    assert one_key.ledger.records.purge(2**60) == 1
    one_key.now[0] += 1000
    one_key.buy(1)
    tamper(one_key.engine, "DELETE FROM answers")
    assert len(one_key.faults) == 1


def test_purges_at_once_delete_each_answer_once(one_key: OneKeyLedger) -> None:
    one_key.open_key(100)
    for _ in range(24):
        one_key.buy(1)

    def purge() -> int:
        return sum(one_key.ledger.records.purge_in_batches(2**60, at_once=5))

    assert sum(at_once([purge, purge, purge])) == 24
    assert one_key.faults == ()


@pytest.fixture
def one_key_shared(postgres_dsn: str) -> Iterator[OneKeyLedger]:
    """A ledger on PostgreSQL with thirty answers."""
    empty(postgres_dsn)
    with one_key_ledger(postgres_dsn, budget=100) as made:
        for _ in range(30):
            made.buy(1)
        yield made


@contextmanager
def purging(engine: Engine, ledger: Ledger) -> Iterator[Future[int]]:
    """A purge of ten answers at once, held in its first transaction until the block ends."""
    is_deleting, may_go_on = threading.Event(), threading.Event()

    def hold(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE FROM answers"):
            is_deleting.set()
            assert may_go_on.wait(60)

    event.listen(engine, "after_cursor_execute", hold)
    purge = partial(ledger.records.purge_in_batches, 2**60, at_once=10)
    with ThreadPoolExecutor(1) as pool:
        purged = pool.submit(lambda: sum(purge()))
        try:
            assert is_deleting.wait(60)
            yield purged
        finally:
            may_go_on.set()


def test_a_sale_and_a_replay_do_not_wait_for_a_purge_on_postgresql(
    one_key_shared: OneKeyLedger,
) -> None:
    one_key = one_key_shared
    answer = partial(one_key.ledger.records.answer, one_key.key.id)
    with serving_at(one_key.dsn, clock=lambda: one_key.now[0]) as (engine, other):
        with purging(engine, other) as purged:
            one_key.now[0] += 1000
            sold = one_key.buy(2)
            # Until the purge commits, what it deletes is still there.
            assert isinstance(answer("k1"), Replay)
            assert not purged.done()
        assert purged.result() == 30
    assert isinstance(answer(sold.idempotency_key), Replay)
    assert isinstance(answer("k1"), Purged)
    assert one_key.state == (100, 32, 0)
    assert one_key.faults == ()


def test_two_vendors_purge_on_postgresql_without_waiting_for_each_other(
    one_key_shared: OneKeyLedger,
) -> None:
    one_key = one_key_shared
    with serving_at(one_key.dsn, clock=lambda: one_key.now[0]) as (engine, other):
        with purging(engine, other) as first:
            assert one_key.ledger.records.purge(2**60) == 20
            assert not first.done()
        assert first.result() == 10
    assert one_key.faults == ()
