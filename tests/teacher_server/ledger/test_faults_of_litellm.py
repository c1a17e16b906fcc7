"""Faults of the LiteLLM gateway, each tested against this ledger, on both databases.

The numbers are issues and pull requests of BerriAI/litellm. Each test is named after the fault in
LiteLLM and checks that this ledger does not have it.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError

from teacher_server.database.write_faults import write_fault
from teacher_server.errors import ReservationGone
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.purchase import InFlight, Price, Refused, Reservation
from tests.support.ledger_operations import PRICE, OneKeyLedger
from tests.support.racing import at_once


def charge(one_key: OneKeyLedger, reservation: Reservation, failure: BaseException) -> None:
    def broken(_: LedgerEntry) -> bytes:
        raise failure

    one_key.ledger.charges.post(reservation, model="m", model_fingerprint="f", render=broken)


def test_litellm_26672_34732_check_then_spend_overshoots_under_concurrency(
    one_key: OneKeyLedger,
) -> None:
    purchases = [one_key.purchase(3) for _ in range(12)]
    outcomes = at_once([partial(one_key.ledger.charges.reserve, p, PRICE) for p in purchases])
    won = [outcome for outcome in outcomes if isinstance(outcome, Reservation)]
    assert len(won) == 3
    assert one_key.state == (10, 0, 9)


def test_litellm_40095_the_first_requests_of_a_new_key_all_slip_through(
    one_key: OneKeyLedger,
) -> None:
    one_key.open_key(1)
    purchases = [one_key.purchase(1) for _ in range(12)]
    outcomes = at_once([partial(one_key.ledger.charges.reserve, p, PRICE) for p in purchases])
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 1


def test_litellm_30522_30519_a_cancelled_request_leaks_its_reservation(
    one_key: OneKeyLedger,
) -> None:
    reservation = one_key.reserve(4)
    # CancelledError is not an Exception: `except Exception` does not catch it.
    with pytest.raises(asyncio.CancelledError):
        charge(one_key, reservation, asyncio.CancelledError())
    assert one_key.state == (10, 0, 4)
    assert one_key.ledger.charges.void(reservation.purchase.request_id)
    assert one_key.buy(10).balance_units == 0
    assert one_key.faults == ()


def test_litellm_27639_36926_40050_leaked_counters_refuse_what_is_still_left(
    one_key: OneKeyLedger,
) -> None:
    for _ in range(5):
        one_key.ledger.charges.void(one_key.reserve(10).purchase.request_id)
        one_key.reserve(10)
        one_key.now[0] += 60_001
        assert one_key.ledger.sweep() == 1
    assert one_key.account.remaining_units == 10
    assert one_key.buy(10).balance_units == 0


def test_litellm_budget_reservation_is_skipped_for_images_without_a_token_price(
    one_key: OneKeyLedger,
) -> None:
    free = Price(version="free", micro_usd_per_unit=0)
    outcome = one_key.ledger.charges.reserve(one_key.purchase(10), free)
    assert isinstance(outcome, Reservation)
    assert isinstance(one_key.ledger.charges.reserve(one_key.purchase(1), free), Refused)
    entry = one_key.post(outcome)
    assert (entry.images, entry.units, entry.cost_micro_usd) == (10, 10, 0)


def make_read_only(engine: Engine) -> None:
    """Let the database refuse writes and answer reads, as with a full or failed disk."""

    def prepare(connection: DBAPIConnection, _: object) -> None:
        statements = {
            "sqlite": "PRAGMA query_only = ON",
            "postgresql": "SET default_transaction_read_only = on",
        }
        cursor = connection.cursor()
        cursor.execute(statements[engine.dialect.name])
        cursor.close()
        connection.commit()

    engine.dispose()
    event.listen(engine, "connect", prepare)


def test_litellm_fail_open_lets_requests_pass_when_the_counters_cannot_be_written(
    one_key: OneKeyLedger,
) -> None:
    reservation = one_key.reserve(2)
    make_read_only(one_key.engine)
    with pytest.raises(DBAPIError):
        one_key.ledger.charges.reserve(one_key.purchase(1), PRICE)
    with pytest.raises(DBAPIError) as refused:
        one_key.post(reservation)
    assert write_fault(refused.value) == "the database is read-only"
    assert one_key.state == (10, 0, 2)


def test_litellm_over_budget_request_is_admitted_after_shrinking_its_reservation(
    one_key: OneKeyLedger,
) -> None:
    one_key.buy(7)
    assert one_key.ledger.charges.reserve(one_key.purchase(4), PRICE) == Refused(
        needed=4, remaining=3, is_temporary=False
    )
    assert one_key.state == (10, 7, 0)
    assert one_key.buy(3).balance_units == 0


def test_litellm_floats_lose_the_last_unit_of_a_large_budget(one_key: OneKeyLedger) -> None:
    large = 2**53  # a double cannot distinguish this from the next integer
    one_key.open_key(large + 1)
    one_key.buy(large)
    assert one_key.account.remaining_units == 1
    assert isinstance(one_key.ledger.charges.reserve(one_key.purchase(2), PRICE), Refused)
    assert one_key.buy(1).balance_units == 0
    assert one_key.entries[1].cost_micro_usd == large * 100
    assert one_key.faults == ()


def test_litellm_35531_34675_spend_that_is_not_committed_is_lost_with_the_answer_sent(
    one_key: OneKeyLedger,
) -> None:
    reservation = one_key.reserve(2)
    sent: list[bytes] = []

    def fail(_: object) -> None:
        raise ConnectionError

    event.listen(one_key.engine, "commit", fail)
    with pytest.raises(ConnectionError):
        sent.append(
            one_key.ledger.charges.post(
                reservation, model="m", model_fingerprint="f", render=lambda _: b"answer"
            )
        )
    event.remove(one_key.engine, "commit", fail)
    assert sent == []
    key = reservation.purchase.idempotency_key
    assert one_key.ledger.records.answer(one_key.key.id, key) == InFlight()
    assert one_key.state == (10, 0, 2)
    assert len(one_key.entries) == 1


def test_litellm_6633_rows_with_a_repeated_request_id_are_dropped_in_silence(
    one_key: OneKeyLedger,
) -> None:
    first = one_key.reserve(2)
    with pytest.raises(IntegrityError):
        one_key.ledger.charges.reserve(
            one_key.purchase(3, request_id=first.purchase.request_id), PRICE
        )
    assert one_key.state == (10, 0, 2)
    assert one_key.post(first).units == 2


def test_litellm_15740_one_request_is_logged_and_charged_twice(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(2)

    def post() -> bool:
        try:
            one_key.post(reservation)
        except ReservationGone:
            return False
        return True

    assert sum(at_once([post] * 6)) == 1
    assert one_key.state == (10, 2, 0)
    assert one_key.faults == ()


def test_litellm_1714_13280_log_lines_are_lost_under_load(one_key: OneKeyLedger) -> None:
    one_key.open_key(40)
    reservations = [one_key.reserve(1) for _ in range(40)]
    parts = [reservations[n::8] for n in range(8)]
    at_once(
        [
            partial(lambda part: [one_key.post(reservation) for reservation in part], part)
            for part in parts
        ]
    )
    assert [entry.seq for entry in one_key.entries] == list(range(1, 42))
    assert one_key.account.spent_units == 40
    assert one_key.faults == ()


def test_litellm_20615_a_wrong_price_can_only_be_put_right_by_deleting_rows(
    one_key: OneKeyLedger,
) -> None:
    wrong = Price(version="typo", micro_usd_per_unit=100_000)
    outcome = one_key.ledger.charges.reserve(one_key.purchase(2), wrong)
    assert isinstance(outcome, Reservation)
    charged = one_key.post(outcome)
    before = one_key.entries
    one_key.ledger.records.correct(
        charged.request_id, cost_micro_usd=199_800, reason="the price had a typo", actor="ann"
    )
    assert one_key.entries[:-1] == before
    assert sum(entry.cost_micro_usd for entry in one_key.entries) == 200
    assert one_key.state == (10, 2, 0)
    assert one_key.faults == ()


def test_a_charge_takes_its_price_from_the_ledger_and_not_from_the_caller(
    one_key: OneKeyLedger,
) -> None:
    reservation = one_key.reserve(2)
    expensive = Price(version="expensive", micro_usd_per_unit=9_999)
    entry = one_key.post(Reservation(purchase=reservation.purchase, units=9, price=expensive))
    assert (entry.units, entry.cost_micro_usd, entry.price_version) == (2, 200, "p1")
    assert one_key.faults == ()
