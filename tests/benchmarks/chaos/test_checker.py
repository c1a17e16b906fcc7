"""The checker accepts a correct history, and reports the fault of each altered history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.chaos.checker import check
from benchmarks.chaos.collect import unexpected_ends
from benchmarks.chaos.observations import Process
from student.errors import VendorError
from tests.support.history_fixture import (
    ITEMS,
    KEY,
    HistoryFixture,
    entry_of,
    resealed,
    seal,
    vector,
)


def test_a_correct_history_has_no_fault_and_its_totals_agree() -> None:
    verdict = check(HistoryFixture().evidence)
    assert verdict.faults == ()
    assert (verdict.charged, verdict.receipts, verdict.unspent) == (5, 5, 0)
    assert (verdict.lost, verdict.doubled, verdict.overshoot, verdict.stuck) == (0, 0, 0, 0)
    assert (verdict.answers_checked, verdict.vectors_checked) == (2, 10)


def charged_again(history: HistoryFixture) -> None:
    again = entry_of("charge", "b", 3) | {"request_id": "req_b2"}
    grant = entry_of("grant", "", 8)
    history.rewrite([grant, *history.ledger[1:], again])


def charged_beyond_the_budget(history: HistoryFixture) -> None:
    history.rewrite([*history.ledger, entry_of("charge", "c", 1)])
    history.events[-1] = {"t": 90, "kind": "info", "op": 4, "cause": "ReadTimeout"}


def charged_without_a_request(history: HistoryFixture) -> None:
    history.rewrite([*history.ledger[:2], history.ledger[2] | {"idempotency_key": "z"}])


def charged_more_than_was_sent(history: HistoryFixture) -> None:
    history.rewrite([*history.ledger[:2], history.ledger[2] | {"units": 4, "images": 4}])


def charged_after_a_refusal(history: HistoryFixture) -> None:
    refused = {"t": 30, "kind": "fail", "op": 1, "status": 422, "charged_units": 0}
    history.events[2] = refused


def answered_but_not_charged(history: HistoryFixture) -> None:
    history.ledger = resealed(history.ledger[:2])


def answered_but_not_stored(history: HistoryFixture) -> None:
    history.rows = history.rows[:2]


def a_row_lost(history: HistoryFixture) -> None:
    del history.rows[3]


def no_stored_answer(history: HistoryFixture) -> None:
    del history.answers["b"]


def another_stored_answer(history: HistoryFixture) -> None:
    history.answers["b"] = ("other bytes", history.answers["b"][1])


def vectors_swapped_in_the_answer(history: HistoryFixture) -> None:
    digest, vectors = history.answers["b"]
    history.answers["b"] = (digest, [vectors[1], vectors[0], vectors[2]])


def vectors_swapped_in_the_cache(history: HistoryFixture) -> None:
    first, second = history.rows[0], history.rows[1]
    history.rows[0] = replace(first, vector=second.vector)
    history.rows[1] = replace(second, vector=first.vector)


def bought_twice(history: HistoryFixture) -> None:
    history.rows[3] = replace(history.rows[3], item=ITEMS[0], vector=vector(ITEMS[0]))


def a_reservation_left(history: HistoryFixture) -> None:
    history.reserved = 1


def a_purchase_left_open(history: HistoryFixture) -> None:
    history.open_units = 3


def refused_too_early(history: HistoryFixture) -> None:
    history.events[-1]["remaining"] = 4
    history.events[-1]["needed"] = 5


def refused_for_no_reason(history: HistoryFixture) -> None:
    history.events[-1]["needed"] = 0


def answered_500(history: HistoryFixture) -> None:
    history.events[4] = {"t": 50, "kind": "fail", "op": 2, "status": 500}


def entries_swapped(history: HistoryFixture) -> None:
    history.rewrite([history.ledger[0], history.ledger[2], history.ledger[1]])


def a_broken_chain(history: HistoryFixture) -> None:
    history.ledger[1] = history.ledger[1] | {"created_ms": 1}


def a_gap(history: HistoryFixture) -> None:
    history.ledger[2] = seal(history.ledger[2] | {"seq": 4})


def two_answers(history: HistoryFixture) -> None:
    again = {"t": 95, "kind": "invoke", "op": 5, "what": "recover", "key": "a"}
    other = {"t": 96, "kind": "ok", "op": 5, "sha256": "x", "receipt": history.ledger[1]}
    history.events += [again, other]


def unknown_after_its_answer(history: HistoryFixture) -> None:
    again = {"t": 95, "kind": "invoke", "op": 5, "what": "recover", "key": "a"}
    history.events += [again, {"t": 96, "kind": "fail", "op": 5, "status": 404, "charged_units": 0}]


def budget_left_unspent(history: HistoryFixture) -> None:
    history.events = history.events[:3]
    history.rows = history.rows[:2]
    history.rewrite(history.ledger[:2])


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (charged_again, "purchase b is charged more than once"),
        (charged_beyond_the_budget, "the budget is exceeded by 1"),
        (charged_without_a_request, "no client made purchase z"),
        (charged_more_than_was_sent, "4 queries are charged for 3 items"),
        (charged_after_a_refusal, "purchase a was refused every time, but charged"),
        (answered_but_not_charged, "the ledger has no such entry"),
        (answered_but_not_stored, "no cache has its receipt and its rows"),
        (a_row_lost, "no cache has its receipt and its rows"),
        (no_stored_answer, "the vendor has no answer for b"),
        (another_stored_answer, "the stored answer differs from the one that was sent"),
        (vectors_swapped_in_the_answer, "k1 entry 3: wrong vector for item"),
        (vectors_swapped_in_the_cache, "cache c: wrong vector for item"),
        (bought_twice, "was bought 2 times"),
        (a_reservation_left, "1 queries are still reserved"),
        (a_purchase_left_open, "3 queries are in open purchases"),
        (refused_too_early, "reports 4 remaining, but the balance was between"),
        (refused_for_no_reason, "reports 0 needed, 0 remaining"),
        (answered_500, "client-1 received 500 for b"),
        (entries_swapped, "a later entry was answered before this purchase was requested"),
        (a_broken_chain, "the hash chain is broken"),
        (a_gap, "expected number 3"),
        (two_answers, "was answered with different bytes"),
        (unknown_after_its_answer, "a was answered, but unknown afterwards"),
        (budget_left_unspent, "2 queries are charged, expected 5"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_an_altered_history_is_reported(
    alter: Callable[[HistoryFixture], None], sentence: str
) -> None:
    history = HistoryFixture()
    alter(history)
    faults = check(history.evidence).faults
    assert any(sentence in fault for fault in faults), faults


def test_lost_doubled_and_overspent_queries_are_counted() -> None:
    history = HistoryFixture()
    charged_again(history)
    verdict = check(history.evidence)
    assert (verdict.doubled, verdict.lost, verdict.overshoot) == (3, 3, 3)


@pytest.mark.parametrize(
    ("end", "is_expected"),
    [
        ({"error": "VendorUnreachable", "status": 0}, True),
        ({"error": "CacheUnavailable", "status": None}, True),
        ({"error": VendorError.__name__, "status": 429}, True),
        ({"error": VendorError.__name__, "status": 422}, False),
        ({"error": "VendorMisbehaved", "status": 200}, False),
        ({"error": "CorruptRow", "status": None}, False),
    ],
)
def test_a_client_may_end_with_an_error_only_if_no_answer_came(
    end: dict[str, Any], is_expected: bool
) -> None:
    event = {"t": 1, "kind": "end", "detail": "why"} | end
    process = Process(name="client-1", key_id=KEY, events=[event])
    assert (list(unexpected_ends([process])) == []) == is_expected
