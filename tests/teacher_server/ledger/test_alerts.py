"""Thresholds: each is noted once, with the charge that crossed it, and kept until delivered."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import select

from teacher_server.database.engine import reading
from teacher_server.database.tables import alerts
from teacher_server.ledger.alerts import Alert, alert_of
from teacher_server.ledger.entry import LedgerEntry
from tests.support.ledger_operations import Books
from tests.support.racing import at_once


def alerts_of(books: Books) -> list[Alert]:
    with reading(books.engine) as connection:
        rows = connection.execute(
            select(alerts)
            .where(alerts.c.key_id == books.key.id)
            .order_by(alerts.c.created_ms, alerts.c.percent)
        )
        return [alert_of(row) for row in rows]


def noted(books: Books) -> list[tuple[int, str, int, int]]:
    return [
        (alert.percent, alert.label, alert.used_units, alert.allowance_units)
        for alert in alerts_of(books)
    ]


def test_the_charge_that_crosses_80_percent_notes_it_and_the_next_does_not(books: Books) -> None:
    books.buy(7)
    assert noted(books) == []
    books.buy(1)
    assert noted(books) == [(80, "budget:10", 8, 10)]
    books.buy(1)
    assert len(noted(books)) == 1
    books.buy(1)
    assert noted(books)[1:] == [(100, "budget:10", 10, 10)]
    assert books.faults == ()


def test_one_charge_can_cross_both(books: Books) -> None:
    books.buy(10)
    assert [percent for percent, *_ in noted(books)] == [80, 100]


def test_reserving_notes_nothing_because_it_may_be_voided(books: Books) -> None:
    reservation = books.reserve(10)
    assert noted(books) == []
    books.ledger.charges.void(reservation.purchase.request_id)
    assert noted(books) == []


def test_a_charge_that_fails_takes_its_alert_with_it(books: Books) -> None:
    reservation = books.reserve(10)

    def broken(entry: LedgerEntry) -> bytes:
        raise RuntimeError(entry.request_id)

    with pytest.raises(RuntimeError):
        books.ledger.charges.post(reservation, model="m", model_fingerprint="f", render=broken)
    assert noted(books) == []


def test_a_threshold_crossed_again_after_a_correction_is_not_noted_again(books: Books) -> None:
    charge = books.buy(9)
    books.ledger.books.correct(charge.request_id, units=9, reason="r", actor="ann")
    books.buy(9)
    assert len(noted(books)) == 1


def test_a_topped_up_budget_has_thresholds_of_its_own(books: Books) -> None:
    books.buy(8)
    books.ledger.keys.top_up(books.key.id, units=10, price_version="p1")
    books.buy(7)
    assert len(noted(books)) == 1
    books.buy(1)
    assert noted(books)[1:] == [(80, "budget:20", 16, 20)]


def test_each_day_has_thresholds_of_its_own(books: Books) -> None:
    books.now[0] = 20_000 * 86_400_000
    books.open_key(10, period="day")
    books.buy(8)
    books.now[0] += 86_400_000
    books.buy(8)
    assert noted(books) == [(80, "2024-10-04", 8, 10), (80, "2024-10-05", 8, 10)]


def test_charges_racing_over_a_threshold_note_it_once(books: Books) -> None:
    held = [books.reserve(1) for _ in range(10)]
    at_once([partial(books.post, one) for one in held])
    assert sorted(percent for percent, *_ in noted(books)) == [80, 100]
    assert books.faults == ()


def test_an_alert_is_handed_to_one_caller_at_a_time(books: Books) -> None:
    books.buy(10)
    taken = at_once([lambda: books.ledger.books.pending_alerts(1)] * 6)
    ids = [alert.id for batch in taken for alert in batch]
    assert len(ids) == len(set(ids)) <= 2
    books.ledger.books.pending_alerts(9)
    assert books.ledger.books.pending_alerts(9) == []
    books.now[0] += 60_000
    assert len(books.ledger.books.pending_alerts(9)) == 2


def test_a_delivered_alert_is_never_handed_out_again(books: Books) -> None:
    books.buy(8)
    (alert,) = books.ledger.books.pending_alerts(9)
    books.ledger.books.alert_delivered(alert.id)
    books.now[0] += 10**9
    assert books.ledger.books.pending_alerts(9) == []
    (kept,) = alerts_of(books)
    assert (kept.id, kept.attempts) == (alert.id, 1)
    assert kept.delivered_ms == books.now[0] - 10**9


def test_a_failed_alert_comes_back_under_its_id_after_growing_waits(books: Books) -> None:
    books.buy(8)
    (first,) = books.ledger.books.pending_alerts(9)
    for seconds in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600):
        books.ledger.books.alert_failed(first.id)
        books.now[0] += seconds * 1000 - 1
        assert books.ledger.books.pending_alerts(9) == []
        books.now[0] += 1
        assert [alert.id for alert in books.ledger.books.pending_alerts(9)] == [first.id]


def test_the_fate_of_an_alert_that_never_was_changes_nothing(books: Books) -> None:
    books.buy(8)
    books.ledger.books.alert_failed("alert_x")
    books.ledger.books.alert_delivered("alert_x")
    assert len(books.ledger.books.pending_alerts(9)) == 1
