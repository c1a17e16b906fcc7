"""Corrections: what was charged wrongly is given back by a new line, never by a changed one."""

from __future__ import annotations

import pytest

from teacher_server.errors import ChargeUnknown, CorrectionRefused, CorrectionReused
from teacher_server.ledger.entry import LedgerEntry
from tests.support.ledger_operations import Books
from tests.support.racing import at_once


def give_back(books: Books, charge: LedgerEntry, units: int = 0, cost: int = 0) -> LedgerEntry:
    return books.ledger.books.correct(
        charge.request_id, units=units, cost_micro_usd=cost, reason="priced twice", actor="ann"
    )


def test_a_correction_is_a_new_line_that_names_what_it_corrects(books: Books) -> None:
    charge = books.buy(4)
    before = books.entries
    entry = give_back(books, charge, units=3, cost=400)
    assert books.entries == [*before, entry]
    assert (entry.kind, entry.idempotency_key) == ("correction", charge.request_id)
    assert (entry.units, entry.cost_micro_usd, entry.balance_units) == (-3, -400, 9)
    assert (entry.images, entry.texts) == (0, 0)
    assert (entry.model, entry.model_fingerprint) == (charge.model, charge.model_fingerprint)
    assert entry.price_version == charge.price_version
    assert entry.request_id.startswith("corr_")
    assert books.standing == (10, 1, 0)
    assert books.faults == ()


def test_the_reason_and_who_gave_it_are_on_record(books: Books) -> None:
    charge = books.buy(4)
    books.now[0] += 5
    entry = give_back(books, charge, units=1)
    (kept,) = books.ledger.books.corrections(charge.request_id)
    assert (kept.request_id, kept.corrects) == (entry.request_id, charge.request_id)
    assert (kept.reason, kept.actor, kept.created_ms) == ("priced twice", "ann", books.now[0])
    assert (kept.units, kept.cost_micro_usd) == (1, 0)
    other = give_back(books, books.buy(1), cost=3)
    assert [one.request_id for one in books.ledger.books.corrections()] == [
        entry.request_id,
        other.request_id,
    ]
    assert books.ledger.books.corrections("req_other") == []
    for change in ("UPDATE corrections SET reason = 'none'", "DELETE FROM corrections"):
        books.refused_by_the_database(change)


def test_units_given_back_can_be_spent_again(books: Books) -> None:
    charge = books.buy(10)
    give_back(books, charge, units=4)
    assert books.buy(4).balance_units == 0
    assert books.faults == ()


def test_a_charge_is_given_back_in_parts_and_never_more_than_it_was(books: Books) -> None:
    charge = books.buy(4)
    give_back(books, charge, units=3)
    give_back(books, charge, cost=400)
    for units, cost in ((2, 0), (0, 1), (5, 0)):
        with pytest.raises(CorrectionRefused, match="1 units and 0 micro-USD are left"):
            give_back(books, charge, units=units, cost=cost)
    give_back(books, charge, units=1)
    with pytest.raises(CorrectionRefused, match="0 units"):
        give_back(books, charge, units=1)
    assert books.standing == (10, 0, 0)
    assert books.faults == ()


@pytest.mark.parametrize(("units", "cost"), [(0, 0), (-1, 0), (0, -1)])
def test_a_correction_that_gives_nothing_back_is_refused(
    books: Books, units: int, cost: int
) -> None:
    charge = books.buy(4)
    with pytest.raises(CorrectionRefused):
        give_back(books, charge, units=units, cost=cost)
    assert books.standing == (10, 4, 0)


@pytest.mark.parametrize(("reason", "actor"), [(" ", "ann"), ("why", ""), ("why", "a" * 201)])
def test_a_correction_without_a_reason_or_a_name_is_refused(
    books: Books, reason: str, actor: str
) -> None:
    charge = books.buy(4)
    with pytest.raises(CorrectionRefused):
        books.ledger.books.correct(charge.request_id, units=1, reason=reason, actor=actor)


def test_only_charges_can_be_corrected(books: Books) -> None:
    correction = give_back(books, books.buy(4), units=1)
    reserved = books.reserve(1)
    grant = books.entries[0]
    for request_id in (
        correction.request_id,
        reserved.purchase.request_id,
        grant.request_id,
        "req_that_never_was",
    ):
        with pytest.raises(ChargeUnknown, match=request_id):
            books.ledger.books.correct(request_id, units=1, reason="r", actor="a")


def test_corrections_racing_for_one_charge_give_it_back_once(books: Books) -> None:
    charge = books.buy(5)

    def race() -> bool:
        try:
            give_back(books, charge, units=5)
        except CorrectionRefused:
            return False
        return True

    assert sum(at_once([race] * 6)) == 1
    assert books.standing == (10, 0, 0)
    assert books.faults == ()


def test_one_correction_racing_with_its_own_retries_is_made_once(books: Books) -> None:
    charge = books.buy(5)

    def retry() -> str:
        entry = books.ledger.books.correct(
            charge.request_id, units=2, reason="r", actor="ann", correction_id="ticket-7"
        )
        return entry.request_id

    assert len(set(at_once([retry] * 6))) == 1
    assert books.standing == (10, 3, 0)
    with pytest.raises(CorrectionReused, match="gave back 2 units"):
        books.ledger.books.correct(
            charge.request_id, units=1, reason="r", actor="ann", correction_id="ticket-7"
        )
    assert books.faults == ()
