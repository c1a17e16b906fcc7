"""Alerts: each threshold is recorded once, with the charge that crossed it, until delivered."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import select

from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import alerts
from teacher_server.ledger.alerts import Alert, alert_from_row
from teacher_server.ledger.entry import LedgerEntry
from tests.support.ledger_operations import OneKeyLedger
from tests.support.racing import at_once


def alerts_of(one_key: OneKeyLedger) -> list[Alert]:
    with read_transaction(one_key.engine) as connection:
        rows = connection.execute(
            select(alerts)
            .where(alerts.c.key_id == one_key.key.id)
            .order_by(alerts.c.created_ms, alerts.c.percent)
        )
        return [alert_from_row(row) for row in rows]


def noted(one_key: OneKeyLedger) -> list[tuple[int, str, int, int]]:
    return [
        (alert.percent, alert.label, alert.used_units, alert.allowance_units)
        for alert in alerts_of(one_key)
    ]


def test_only_the_charge_that_crosses_80_percent_records_an_alert(
    one_key: OneKeyLedger,
) -> None:
    one_key.buy(7)
    assert noted(one_key) == []
    one_key.buy(1)
    assert noted(one_key) == [(80, "budget:10", 8, 10)]
    one_key.buy(1)
    assert len(noted(one_key)) == 1
    one_key.buy(1)
    assert noted(one_key)[1:] == [(100, "budget:10", 10, 10)]
    assert one_key.faults == ()


def test_one_charge_can_cross_both(one_key: OneKeyLedger) -> None:
    one_key.buy(10)
    assert [percent for percent, *_ in noted(one_key)] == [80, 100]


def test_reserving_records_no_alert_because_it_may_be_voided(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(10)
    assert noted(one_key) == []
    one_key.ledger.charges.void(reservation.purchase.request_id)
    assert noted(one_key) == []


def test_a_failing_charge_records_no_alert(one_key: OneKeyLedger) -> None:
    reservation = one_key.reserve(10)

    def broken(entry: LedgerEntry) -> bytes:
        raise RuntimeError(entry.request_id)

    with pytest.raises(RuntimeError):
        one_key.ledger.charges.post(reservation, model="m", model_fingerprint="f", render=broken)
    assert noted(one_key) == []


def test_a_threshold_crossed_again_after_a_correction_is_not_recorded_again(
    one_key: OneKeyLedger,
) -> None:
    charge = one_key.buy(9)
    one_key.ledger.records.correct(charge.request_id, units=9, reason="r", actor="ann")
    one_key.buy(9)
    assert len(noted(one_key)) == 1


def test_a_topped_up_budget_has_thresholds_of_its_own(one_key: OneKeyLedger) -> None:
    one_key.buy(8)
    one_key.ledger.keys.top_up(one_key.key.id, units=10, price_version="p1")
    one_key.buy(7)
    assert len(noted(one_key)) == 1
    one_key.buy(1)
    assert noted(one_key)[1:] == [(80, "budget:20", 16, 20)]


def test_each_day_has_thresholds_of_its_own(one_key: OneKeyLedger) -> None:
    one_key.now[0] = 20_000 * 86_400_000
    one_key.open_key(10, period="day")
    one_key.buy(8)
    one_key.now[0] += 86_400_000
    one_key.buy(8)
    assert noted(one_key) == [(80, "2024-10-04", 8, 10), (80, "2024-10-05", 8, 10)]


def test_concurrent_charges_over_a_threshold_record_it_once(one_key: OneKeyLedger) -> None:
    held = [one_key.reserve(1) for _ in range(10)]
    at_once([partial(one_key.post, reservation) for reservation in held])
    assert sorted(percent for percent, *_ in noted(one_key)) == [80, 100]
    assert one_key.faults == ()


def test_an_alert_is_leased_to_one_caller_at_a_time(one_key: OneKeyLedger) -> None:
    one_key.buy(10)
    taken = at_once([lambda: one_key.ledger.records.pending_alerts(1)] * 6)
    ids = [alert.id for batch in taken for alert in batch]
    assert len(ids) == len(set(ids)) <= 2
    one_key.ledger.records.pending_alerts(9)
    assert one_key.ledger.records.pending_alerts(9) == []
    one_key.now[0] += 60_000
    assert len(one_key.ledger.records.pending_alerts(9)) == 2


def test_a_delivered_alert_is_never_leased_again(one_key: OneKeyLedger) -> None:
    one_key.buy(8)
    (alert,) = one_key.ledger.records.pending_alerts(9)
    one_key.ledger.records.alert_delivered(alert.id)
    one_key.now[0] += 10**9
    assert one_key.ledger.records.pending_alerts(9) == []
    (kept,) = alerts_of(one_key)
    assert (kept.id, kept.attempts) == (alert.id, 1)
    assert kept.delivered_ms == one_key.now[0] - 10**9


def test_a_failed_alert_is_leased_again_under_its_id_with_growing_delays(
    one_key: OneKeyLedger,
) -> None:
    one_key.buy(8)
    (first,) = one_key.ledger.records.pending_alerts(9)
    for seconds in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600):
        one_key.ledger.records.alert_failed(first.id)
        one_key.now[0] += seconds * 1000 - 1
        assert one_key.ledger.records.pending_alerts(9) == []
        one_key.now[0] += 1
        assert [alert.id for alert in one_key.ledger.records.pending_alerts(9)] == [first.id]


def test_reporting_the_outcome_of_an_unknown_alert_changes_nothing(one_key: OneKeyLedger) -> None:
    one_key.buy(8)
    one_key.ledger.records.alert_failed("alert_x")
    one_key.ledger.records.alert_delivered("alert_x")
    assert len(one_key.ledger.records.pending_alerts(9)) == 1
