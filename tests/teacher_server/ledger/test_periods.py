"""Budgets by the day and by the month: renewed once, losing no reservation and no unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from teacher_server.database.engine import write_transaction
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.append import MAX_GRANTED
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.period import period_start
from teacher_server.ledger.purchase import Refused, Reservation
from tests.support.ledger_operations import PRICE, OneKeyLedger, serving_at
from tests.support.racing import at_once

DAY_MS = 86_400_000


def moment(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.fixture
def daily(one_key: OneKeyLedger) -> OneKeyLedger:
    """A key that is granted 10 units each day; it is noon."""
    one_key.now[0] = moment(2026, 11, 24, 12)
    one_key.open_key(10, period="day")
    return one_key


@pytest.mark.parametrize(
    ("period", "now", "start"),
    [
        ("day", moment(2026, 11, 24, 0, 0), moment(2026, 11, 24)),
        ("day", moment(2026, 11, 25) - 1, moment(2026, 11, 24)),
        ("month", moment(2026, 12, 1) - 1, moment(2026, 11, 1)),
        ("month", moment(2026, 12, 1), moment(2026, 12, 1)),
        ("month", moment(2028, 2, 29, 23, 59), moment(2028, 2, 1)),
        ("day", moment(2028, 2, 29, 23, 59), moment(2028, 2, 29)),
        ("none", moment(2026, 11, 24), 0),
    ],
)
def test_a_period_begins_at_midnight_utc(period: str, now: int, start: int) -> None:
    assert period_start(period, now) == start


@given(
    period=st.sampled_from(["day", "month"]),
    now=st.integers(min_value=0, max_value=moment(2100, 1, 1)),
)
def test_every_time_is_within_the_period_computed_for_it(period: str, now: int) -> None:
    start = period_start(period, now)
    assert start <= now < start + (DAY_MS if period == "day" else 31 * DAY_MS)
    assert period_start(period, start) == start


def test_a_new_day_grants_what_was_used_and_no_more(daily: OneKeyLedger) -> None:
    daily.buy(7)
    assert daily.account.used_units == 7
    daily.now[0] += DAY_MS
    account = daily.ledger.keys.authenticate(daily.key)
    assert account is not None
    assert (account.allowance_units, account.used_units, account.remaining_units) == (10, 0, 10)
    assert account.period_label == "2026-11-25"
    grant = daily.entries[-1]
    assert (grant.kind, grant.units, grant.price_version) == ("grant", 7, "p1")
    assert grant.request_id == f"period_{daily.key.id}_2026-11-25"
    assert daily.faults == ()


def test_reserving_alone_begins_the_new_day(daily: OneKeyLedger) -> None:
    daily.buy(3)
    daily.now[0] += DAY_MS
    daily.reserve(7)
    assert daily.state == (13, 3, 7)
    assert daily.account.period_label == "2026-11-25"


def test_an_exhausted_key_can_buy_again_after_midnight(daily: OneKeyLedger) -> None:
    daily.buy(10)
    assert isinstance(daily.ledger.charges.reserve(daily.purchase(), PRICE), Refused)
    daily.now[0] += DAY_MS
    assert daily.buy(10).balance_units == 0
    assert daily.ledger.charges.reserve(daily.purchase(), PRICE) == Refused(
        needed=1, remaining=0, is_temporary=False
    )
    assert daily.faults == ()


def test_a_month_is_renewed_on_its_first_day_and_not_before(one_key: OneKeyLedger) -> None:
    one_key.now[0] = moment(2026, 11, 30, 12)
    one_key.open_key(10, period="month")
    one_key.buy(10)
    one_key.now[0] = moment(2026, 12, 1) - 1
    assert isinstance(one_key.ledger.charges.reserve(one_key.purchase(), PRICE), Refused)
    one_key.now[0] = moment(2026, 12, 1)
    assert one_key.buy(10).balance_units == 0


def test_an_unused_day_leaves_no_entry_and_does_not_accumulate(
    daily: OneKeyLedger,
) -> None:
    for _ in range(3):
        daily.now[0] += DAY_MS
        assert daily.ledger.keys.authenticate(daily.key) is not None
    assert daily.state == (10, 0, 0)
    assert [entry.kind for entry in daily.entries] == ["grant"]
    assert daily.account.period_start_ms == moment(2026, 11, 27)


def test_a_reservation_open_at_midnight_is_charged_to_the_new_day(
    daily: OneKeyLedger,
) -> None:
    daily.buy(3)
    is_open = daily.reserve(4)
    daily.now[0] += DAY_MS
    daily.post(is_open)
    account = daily.account
    assert (account.allowance_units, account.used_units, account.remaining_units) == (10, 4, 6)
    assert daily.faults == ()


def test_a_reservation_voided_after_midnight_is_released_in_full(
    daily: OneKeyLedger,
) -> None:
    is_open = daily.reserve(4)
    daily.now[0] += DAY_MS
    daily.buy(6)
    assert isinstance(daily.ledger.charges.reserve(daily.purchase(), PRICE), Refused)
    daily.ledger.charges.void(is_open.purchase.request_id)
    assert daily.buy(4).balance_units == 0


def test_a_clock_that_is_set_back_causes_no_second_grant(daily: OneKeyLedger) -> None:
    daily.buy(10)
    daily.now[0] += DAY_MS
    daily.buy(10)
    for back in (DAY_MS, -DAY_MS):
        daily.now[0] -= back
        assert isinstance(daily.ledger.charges.reserve(daily.purchase(), PRICE), Refused)
        assert daily.ledger.keys.authenticate(daily.key) is not None
    assert [entry.units for entry in daily.entries if entry.kind == "grant"] == [10, 10]


def test_days_without_a_request_are_granted_once(daily: OneKeyLedger) -> None:
    daily.buy(10)
    daily.now[0] += 40 * DAY_MS
    assert daily.buy(10).balance_units == 0
    assert daily.faults == ()


def test_a_top_up_after_midnight_adds_to_the_renewed_budget(daily: OneKeyLedger) -> None:
    daily.buy(10)
    daily.now[0] += DAY_MS
    account = daily.ledger.keys.top_up(daily.key.id, units=5, price_version="p2")
    assert (account.allowance_units, account.remaining_units) == (15, 15)
    daily.now[0] += DAY_MS
    daily.buy(15)
    daily.now[0] += DAY_MS
    assert daily.buy(10).balance_units == 0
    assert daily.faults == ()


def test_refunded_units_count_in_the_period_of_their_charge(
    daily: OneKeyLedger,
) -> None:
    yesterday = daily.buy(6)
    daily.now[0] += DAY_MS
    today = daily.buy(5)
    daily.ledger.records.correct(yesterday.request_id, units=6, reason="r", actor="ann")
    account = daily.account
    assert (account.used_units, account.remaining_units) == (5, 11)
    daily.ledger.records.correct(today.request_id, units=2, reason="r", actor="ann")
    account = daily.account
    assert (account.used_units, account.remaining_units) == (3, 13)
    assert daily.faults == ()


def test_refunded_units_add_to_the_day_whatever_the_key_was_first_used_for(
    daily: OneKeyLedger,
) -> None:
    def give_back(of: LedgerEntry, units: int) -> None:
        daily.ledger.records.correct(
            of.request_id, units=units, reason="r", actor="ann", correction_id=f"ticket {units}"
        )

    for order in permutations(range(4)):
        daily.open_key(10, period="day")
        yesterday = daily.buy(6)
        daily.now[0] += DAY_MS
        steps: list[Callable[[], object]] = [
            lambda: daily.ledger.keys.authenticate(daily.key),
            lambda: daily.buy(2),
            partial(give_back, yesterday, 5),
            partial(give_back, yesterday, 1),
        ]
        for number in order:
            steps[number]()
        steps[2]()  # a retry
        account = daily.account
        assert (account.remaining_units, account.used_units) == (14, 2), order
    assert daily.faults == ()


def test_a_retried_correction_refunds_nothing_on_the_next_day(daily: OneKeyLedger) -> None:
    charge = daily.buy(6)
    for _ in range(2):
        daily.ledger.records.correct(
            charge.request_id, units=6, reason="r", actor="ann", correction_id="ticket"
        )
        assert daily.account.remaining_units == 10
        daily.now[0] += DAY_MS
    assert daily.faults == ()


def test_the_largest_allowance_is_renewed_however_much_of_it_is_used(daily: OneKeyLedger) -> None:
    daily.open_key(MAX_GRANTED, period="day")
    for units in (1, MAX_GRANTED, MAX_GRANTED, 2):
        assert daily.buy(units).balance_units == MAX_GRANTED - units
        daily.now[0] += DAY_MS
        account = daily.ledger.keys.authenticate(daily.key)
        assert account is not None
        assert account.remaining_units == MAX_GRANTED
    assert daily.faults == ()


def test_a_key_with_an_allowance_over_todays_limit_can_still_buy(
    daily: OneKeyLedger,
) -> None:
    daily.buy(10)
    with write_transaction(daily.engine) as connection:
        larger = f"UPDATE accounts SET period_units = {2**62} WHERE budget_period = 'day'"
        connection.execute(text(larger))
    for _ in range(2):
        daily.now[0] += DAY_MS
        account = daily.ledger.keys.authenticate(daily.key)
        assert account is not None
        assert account.budget_units == 2**62
        daily.buy(1)
    assert daily.faults == ()


def test_the_longest_key_id_is_renewed_too(one_key: OneKeyLedger) -> None:
    one_key.now[0] = moment(2026, 11, 24)
    one_key.key = ApiKey("k" * 64, "s" * 43)
    one_key.ledger.keys.create(one_key.key, name="n", budget=2, price_version="p1", period="day")
    for _ in range(2):
        charge = one_key.ledger.charges.reserve(
            one_key.purchase(2, request_id=f"req_{one_key.now[0]}"), PRICE
        )
        assert isinstance(charge, Reservation)
        one_key.post(charge)
        one_key.now[0] += DAY_MS
    assert len(one_key.entries[2].request_id) <= 64
    assert one_key.faults == ()


@pytest.fixture
def replicas(daily: OneKeyLedger) -> Iterator[list[Ledger]]:
    """Servers of the same ledger: several on PostgreSQL, one on SQLite, as in production."""
    with ExitStack() as stack:
        yield [daily.ledger] + [
            stack.enter_context(serving_at(daily.dsn, clock=lambda: daily.now[0]))[1]
            for _ in range(2 if daily.engine.dialect.name == "postgresql" else 0)
        ]


def test_first_uses_racing_into_a_new_day_renew_it_once(
    daily: OneKeyLedger, replicas: list[Ledger]
) -> None:
    daily.buy(10)
    daily.now[0] += DAY_MS
    purchases = [daily.purchase(2) for _ in range(9)]
    outcomes = at_once(
        [
            partial(replicas[number % len(replicas)].charges.reserve, purchase, PRICE)
            for number, purchase in enumerate(purchases)
        ]
    )
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 5
    assert [entry.units for entry in daily.entries if entry.kind == "grant"] == [10, 10]
    assert daily.faults == ()
