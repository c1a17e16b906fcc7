"""Corrections: a wrong charge is refunded by a new entry; no entry is changed."""

from __future__ import annotations

import pytest

from teacher_server.errors import ChargeUnknown, CorrectionRefused, CorrectionReused
from teacher_server.ledger.entry import LedgerEntry
from tests.support.ledger_operations import OneKeyLedger
from tests.support.racing import at_once


def give_back(
    one_key: OneKeyLedger, charge: LedgerEntry, units: int = 0, cost: int = 0
) -> LedgerEntry:
    return one_key.ledger.records.correct(
        charge.request_id, units=units, cost_micro_usd=cost, reason="priced twice", actor="ann"
    )


def test_a_correction_is_a_new_entry_that_names_what_it_corrects(one_key: OneKeyLedger) -> None:
    charge = one_key.buy(4)
    before = one_key.entries
    entry = give_back(one_key, charge, units=3, cost=400)
    assert one_key.entries == [*before, entry]
    assert (entry.kind, entry.idempotency_key) == ("correction", charge.request_id)
    assert (entry.units, entry.cost_micro_usd, entry.balance_units) == (-3, -400, 9)
    assert (entry.images, entry.texts) == (0, 0)
    assert (entry.model, entry.model_fingerprint) == (charge.model, charge.model_fingerprint)
    assert entry.price_version == charge.price_version
    assert entry.request_id.startswith("corr_")
    assert one_key.state == (10, 1, 0)
    assert one_key.faults == ()


def test_the_reason_and_its_author_are_recorded(one_key: OneKeyLedger) -> None:
    charge = one_key.buy(4)
    one_key.now[0] += 5
    entry = give_back(one_key, charge, units=1)
    (kept,) = one_key.ledger.records.corrections(charge.request_id)
    assert (kept.request_id, kept.corrects) == (entry.request_id, charge.request_id)
    assert (kept.reason, kept.actor, kept.created_ms) == ("priced twice", "ann", one_key.now[0])
    assert (kept.units, kept.cost_micro_usd) == (1, 0)
    other = give_back(one_key, one_key.buy(1), cost=3)
    assert [correction.request_id for correction in one_key.ledger.records.corrections()] == [
        entry.request_id,
        other.request_id,
    ]
    assert one_key.ledger.records.corrections("req_other") == []
    for change in ("UPDATE corrections SET reason = 'none'", "DELETE FROM corrections"):
        one_key.assert_database_refuses(change)


def test_refunded_units_can_be_spent_again(one_key: OneKeyLedger) -> None:
    charge = one_key.buy(10)
    give_back(one_key, charge, units=4)
    assert one_key.buy(4).balance_units == 0
    assert one_key.faults == ()


def test_a_charge_is_refunded_in_parts_and_never_beyond_its_amount(one_key: OneKeyLedger) -> None:
    charge = one_key.buy(4)
    give_back(one_key, charge, units=3)
    give_back(one_key, charge, cost=400)
    for units, cost in ((2, 0), (0, 1), (5, 0)):
        with pytest.raises(CorrectionRefused, match="1 queries and 0 micro-USD of the charge"):
            give_back(one_key, charge, units=units, cost=cost)
    give_back(one_key, charge, units=1)
    with pytest.raises(CorrectionRefused, match="0 queries"):
        give_back(one_key, charge, units=1)
    assert one_key.state == (10, 0, 0)
    assert one_key.faults == ()


@pytest.mark.parametrize(("units", "cost"), [(0, 0), (-1, 0), (0, -1)])
def test_a_correction_that_refunds_nothing_is_refused(
    one_key: OneKeyLedger, units: int, cost: int
) -> None:
    charge = one_key.buy(4)
    with pytest.raises(CorrectionRefused):
        give_back(one_key, charge, units=units, cost=cost)
    assert one_key.state == (10, 4, 0)


@pytest.mark.parametrize(("reason", "actor"), [(" ", "ann"), ("why", ""), ("why", "a" * 201)])
def test_a_correction_without_a_reason_or_a_name_is_refused(
    one_key: OneKeyLedger, reason: str, actor: str
) -> None:
    charge = one_key.buy(4)
    with pytest.raises(CorrectionRefused):
        one_key.ledger.records.correct(charge.request_id, units=1, reason=reason, actor=actor)


def test_only_charges_can_be_corrected(one_key: OneKeyLedger) -> None:
    correction = give_back(one_key, one_key.buy(4), units=1)
    reserved = one_key.reserve(1)
    grant = one_key.entries[0]
    for request_id in (
        correction.request_id,
        reserved.purchase.request_id,
        grant.request_id,
        "req_that_never_was",
    ):
        with pytest.raises(ChargeUnknown, match=request_id):
            one_key.ledger.records.correct(request_id, units=1, reason="r", actor="a")


def test_corrections_racing_for_one_charge_refund_it_once(one_key: OneKeyLedger) -> None:
    charge = one_key.buy(5)

    def race() -> bool:
        try:
            give_back(one_key, charge, units=5)
        except CorrectionRefused:
            return False
        return True

    assert sum(at_once([race] * 6)) == 1
    assert one_key.state == (10, 0, 0)
    assert one_key.faults == ()


def test_one_correction_racing_with_its_own_retries_is_made_once(one_key: OneKeyLedger) -> None:
    charge = one_key.buy(5)

    def retry() -> str:
        entry = one_key.ledger.records.correct(
            charge.request_id, units=2, reason="r", actor="ann", correction_id="ticket-7"
        )
        return entry.request_id

    assert len(set(at_once([retry] * 6))) == 1
    assert one_key.state == (10, 3, 0)
    with pytest.raises(CorrectionReused, match="refunded 2 queries"):
        one_key.ledger.records.correct(
            charge.request_id, units=1, reason="r", actor="ann", correction_id="ticket-7"
        )
    assert one_key.faults == ()
