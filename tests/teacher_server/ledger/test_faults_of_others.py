"""What went wrong in other metered gateways, each tried here, on both databases.

The numbers are issues and pull requests of BerriAI/litellm.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError

from teacher_server.errors import ReservationGone
from teacher_server.ledger.charges import InFlight, Refused, Reservation
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.price import Price
from tests.support.ledger_operations import PRICE, Books
from tests.support.racing import at_once


def charge(books: Books, reservation: Reservation, failure: BaseException) -> None:
    def broken(_: LedgerEntry) -> bytes:
        raise failure

    books.ledger.charges.post(reservation, model="m", model_fingerprint="f", render=broken)


def test_litellm_26672_34732_check_then_spend_overshoots_under_concurrency(books: Books) -> None:
    purchases = [books.purchase(3) for _ in range(12)]
    outcomes = at_once([partial(books.ledger.charges.reserve, p, PRICE) for p in purchases])
    won = [outcome for outcome in outcomes if isinstance(outcome, Reservation)]
    assert len(won) == 3
    assert books.standing == (10, 0, 9)


def test_litellm_40095_the_first_requests_of_a_new_key_all_slip_through(books: Books) -> None:
    books.open_key(1)
    purchases = [books.purchase(1) for _ in range(12)]
    outcomes = at_once([partial(books.ledger.charges.reserve, p, PRICE) for p in purchases])
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 1


def test_litellm_30522_30519_a_cancelled_request_leaks_its_reservation(books: Books) -> None:
    reservation = books.reserve(4)
    # CancelledError is no Exception: `except Exception` does not see it.
    with pytest.raises(asyncio.CancelledError):
        charge(books, reservation, asyncio.CancelledError())
    assert books.standing == (10, 0, 4)
    assert books.ledger.charges.void(reservation.purchase.request_id)
    assert books.buy(10).balance_units == 0
    assert books.faults == ()


def test_litellm_27639_36926_40050_leaked_counters_refuse_what_is_still_left(books: Books) -> None:
    for _ in range(5):
        books.ledger.charges.void(books.reserve(10).purchase.request_id)
        books.reserve(10)
        books.now[0] += 60_001
        assert books.ledger.sweep() == 1
    assert books.account.remaining_units == 10
    assert books.buy(10).balance_units == 0


def test_litellm_budget_reservation_is_skipped_for_images_without_a_token_price(
    books: Books,
) -> None:
    free = Price(version="free", micro_usd_per_unit=0)
    outcome = books.ledger.charges.reserve(books.purchase(10), free)
    assert isinstance(outcome, Reservation)
    assert isinstance(books.ledger.charges.reserve(books.purchase(1), free), Refused)
    entry = books.post(outcome)
    assert (entry.images, entry.units, entry.cost_micro_usd) == (10, 10, 0)


def make_read_only(engine: Engine) -> None:
    """As a full or failed disk does: the database answers, and takes no write."""

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
    books: Books,
) -> None:
    reservation = books.reserve(2)
    make_read_only(books.engine)
    with pytest.raises(DBAPIError):
        books.ledger.charges.reserve(books.purchase(1), PRICE)
    with pytest.raises(DBAPIError):
        books.post(reservation)
    assert books.standing == (10, 0, 2)


def test_litellm_over_budget_request_is_admitted_after_shrinking_its_reservation(
    books: Books,
) -> None:
    books.buy(7)
    assert books.ledger.charges.reserve(books.purchase(4), PRICE) == Refused(
        needed=4, remaining=3, is_temporary=False
    )
    assert books.standing == (10, 7, 0)
    assert books.buy(3).balance_units == 0


def test_litellm_floats_lose_the_last_unit_of_a_large_budget(books: Books) -> None:
    large = 2**53  # a double cannot tell this from the next integer
    books.open_key(large + 1)
    books.buy(large)
    assert books.account.remaining_units == 1
    assert isinstance(books.ledger.charges.reserve(books.purchase(2), PRICE), Refused)
    assert books.buy(1).balance_units == 0
    assert books.entries[1].cost_micro_usd == large * 100
    assert books.faults == ()


def test_litellm_35531_34675_spend_that_is_not_committed_is_lost_with_the_answer_sent(
    books: Books,
) -> None:
    reservation = books.reserve(2)
    sent: list[bytes] = []

    def fail(_: object) -> None:
        raise ConnectionError

    event.listen(books.engine, "commit", fail)
    with pytest.raises(ConnectionError):
        sent.append(
            books.ledger.charges.post(
                reservation, model="m", model_fingerprint="f", render=lambda _: b"answer"
            )
        )
    event.remove(books.engine, "commit", fail)
    assert sent == []
    key = reservation.purchase.idempotency_key
    assert books.ledger.books.answer(books.key.id, key) == InFlight()
    assert books.standing == (10, 0, 2)
    assert len(books.entries) == 1


def test_litellm_6633_rows_with_a_repeated_request_id_are_dropped_in_silence(books: Books) -> None:
    first = books.reserve(2)
    with pytest.raises(IntegrityError):
        books.ledger.charges.reserve(books.purchase(3, request_id=first.purchase.request_id), PRICE)
    assert books.standing == (10, 0, 2)
    assert books.post(first).units == 2


def test_litellm_15740_one_request_is_logged_and_charged_twice(books: Books) -> None:
    reservation = books.reserve(2)

    def post() -> bool:
        try:
            books.post(reservation)
        except ReservationGone:
            return False
        return True

    assert sum(at_once([post] * 6)) == 1
    assert books.standing == (10, 2, 0)
    assert books.faults == ()


def test_litellm_1714_13280_lines_go_missing_under_load(books: Books) -> None:
    books.open_key(40)
    held = [books.reserve(1) for _ in range(40)]
    parts = [held[n::8] for n in range(8)]
    at_once([partial(lambda part: [books.post(one) for one in part], part) for part in parts])
    assert [entry.seq for entry in books.entries] == list(range(1, 42))
    assert books.account.spent_units == 40
    assert books.faults == ()


def test_litellm_20615_a_wrong_price_can_only_be_put_right_by_deleting_rows(books: Books) -> None:
    wrong = Price(version="typo", micro_usd_per_unit=100_000)
    outcome = books.ledger.charges.reserve(books.purchase(2), wrong)
    assert isinstance(outcome, Reservation)
    charged = books.post(outcome)
    before = books.entries
    books.ledger.books.correct(
        charged.request_id, cost_micro_usd=199_800, reason="the price had a typo", actor="ann"
    )
    assert books.entries[:-1] == before
    assert sum(entry.cost_micro_usd for entry in books.entries) == 200
    assert books.standing == (10, 2, 0)
    assert books.faults == ()


def test_a_charge_takes_its_price_from_the_books_and_not_from_whoever_asks_for_it(
    books: Books,
) -> None:
    reservation = books.reserve(2)
    dear = Price(version="dear", micro_usd_per_unit=9_999)
    entry = books.post(Reservation(purchase=reservation.purchase, units=9, price=dear))
    assert (entry.units, entry.cost_micro_usd, entry.price_version) == (2, 200, "p1")
    assert books.faults == ()
