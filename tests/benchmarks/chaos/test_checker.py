"""The checker accepts an honest history, and names what is wrong with each doctored one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.chaos.checker import check
from benchmarks.chaos.collect import unexcused
from benchmarks.chaos.observations import Process
from tests.support.history_fixture import ITEMS, KEY, Story, line_of, resealed, seal, vector


def test_an_honest_history_has_no_fault_and_adds_up() -> None:
    verdict = check(Story().evidence)
    assert verdict.faults == ()
    assert (verdict.charged, verdict.receipts, verdict.unspent) == (5, 5, 0)
    assert (verdict.lost, verdict.doubled, verdict.overshoot, verdict.stuck) == (0, 0, 0, 0)
    assert (verdict.answers_checked, verdict.vectors_checked) == (2, 10)


def charged_again(story: Story) -> None:
    again = line_of("charge", "b", 3) | {"request_id": "req_b2"}
    grant = line_of("grant", "", 8)
    story.rewrite([grant, *story.ledger[1:], again])


def charged_beyond_the_budget(story: Story) -> None:
    story.rewrite([*story.ledger, line_of("charge", "c", 1)])
    story.events[-1] = {"t": 90, "kind": "info", "op": 4, "cause": "ReadTimeout"}


def charged_for_nobody(story: Story) -> None:
    story.rewrite([*story.ledger[:2], story.ledger[2] | {"idempotency_key": "z"}])


def charged_more_than_was_sent(story: Story) -> None:
    story.rewrite([*story.ledger[:2], story.ledger[2] | {"units": 4, "images": 4}])


def charged_after_a_refusal(story: Story) -> None:
    refused = {"t": 30, "kind": "fail", "op": 1, "status": 422, "charged_units": 0}
    story.events[2] = refused


def answered_but_not_charged(story: Story) -> None:
    story.ledger = resealed(story.ledger[:2])


def answered_and_lost(story: Story) -> None:
    story.rows = story.rows[:2]


def a_row_lost(story: Story) -> None:
    del story.rows[3]


def no_stored_answer(story: Story) -> None:
    del story.answers["b"]


def another_stored_answer(story: Story) -> None:
    story.answers["b"] = ("other bytes", story.answers["b"][1])


def vectors_swapped_in_the_answer(story: Story) -> None:
    digest, vectors = story.answers["b"]
    story.answers["b"] = (digest, [vectors[1], vectors[0], vectors[2]])


def vectors_swapped_in_the_cache(story: Story) -> None:
    first, second = story.rows[0], story.rows[1]
    story.rows[0] = replace(first, vector=second.vector)
    story.rows[1] = replace(second, vector=first.vector)


def bought_twice(story: Story) -> None:
    story.rows[3] = replace(story.rows[3], item=ITEMS[0], vector=vector(ITEMS[0]))


def a_reservation_stuck(story: Story) -> None:
    story.reserved = 1


def a_purchase_left_open(story: Story) -> None:
    story.in_flight = 3


def refused_too_early(story: Story) -> None:
    story.events[-1]["remaining"] = 4
    story.events[-1]["needed"] = 5


def refused_for_no_reason(story: Story) -> None:
    story.events[-1]["needed"] = 0


def answered_500(story: Story) -> None:
    story.events[4] = {"t": 50, "kind": "fail", "op": 2, "status": 500}


def out_of_order(story: Story) -> None:
    story.rewrite([story.ledger[0], story.ledger[2], story.ledger[1]])


def a_broken_chain(story: Story) -> None:
    story.ledger[1] = story.ledger[1] | {"created_ms": 1}


def a_gap(story: Story) -> None:
    story.ledger[2] = seal(story.ledger[2] | {"seq": 4})


def two_answers(story: Story) -> None:
    again = {"t": 95, "kind": "invoke", "op": 5, "what": "recover", "key": "a"}
    other = {"t": 96, "kind": "ok", "op": 5, "sha256": "x", "receipt": story.ledger[1]}
    story.events += [again, other]


def forgotten(story: Story) -> None:
    again = {"t": 95, "kind": "invoke", "op": 5, "what": "recover", "key": "a"}
    story.events += [again, {"t": 96, "kind": "fail", "op": 5, "status": 404, "charged_units": 0}]


def not_all_of_the_budget(story: Story) -> None:
    story.events = story.events[:3]
    story.rows = story.rows[:2]
    story.rewrite(story.ledger[:2])


@pytest.mark.parametrize(
    ("doctor", "sentence"),
    [
        (charged_again, "purchase b is charged more than once"),
        (charged_beyond_the_budget, "the budget is overshot by 1"),
        (charged_for_nobody, "no client made purchase z"),
        (charged_more_than_was_sent, "4 units are charged for 3 items"),
        (charged_after_a_refusal, "purchase a was refused every time, and charged"),
        (answered_but_not_charged, "the ledger has no such line"),
        (answered_and_lost, "no cache has its receipt and its rows"),
        (a_row_lost, "no cache has its receipt and its rows"),
        (no_stored_answer, "the vendor has no answer to b"),
        (another_stored_answer, "the stored answer is not the one that was sent"),
        (vectors_swapped_in_the_answer, "a vector is not that of item"),
        (vectors_swapped_in_the_cache, "is not that item's"),
        (bought_twice, "was bought 2 times"),
        (a_reservation_stuck, "1 units are still reserved"),
        (a_purchase_left_open, "3 units are still in flight"),
        (refused_too_early, "says that 4 are left; at no moment"),
        (refused_for_no_reason, "says 0 needed, 0 left"),
        (answered_500, "client-1 was answered 500 to b"),
        (out_of_order, "a later line was answered before this purchase was asked for"),
        (a_broken_chain, "the chain is broken"),
        (a_gap, "number 3 was due"),
        (two_answers, "was answered with different bytes"),
        (forgotten, "a was answered, and unknown afterwards"),
        (not_all_of_the_budget, "2 units are charged where 5 could be"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_doctored_history_is_refused(doctor: Callable[[Story], None], sentence: str) -> None:
    story = Story()
    doctor(story)
    faults = check(story.evidence).faults
    assert any(sentence in fault for fault in faults), faults


def test_what_is_lost_doubled_and_overshot_is_counted_in_queries() -> None:
    story = Story()
    charged_again(story)
    verdict = check(story.evidence)
    assert (verdict.doubled, verdict.lost, verdict.overshoot) == (3, 3, 3)


@pytest.mark.parametrize(
    ("end", "is_excused"),
    [
        ({"error": "VendorUnreachable", "status": 0}, True),
        ({"error": "CacheUnavailable", "status": None}, True),
        ({"error": "VendorError", "status": 429}, True),
        ({"error": "VendorError", "status": 422}, False),
        ({"error": "VendorMisbehaved", "status": 200}, False),
        ({"error": "CorruptRow", "status": None}, False),
    ],
)
def test_a_client_may_only_give_up_for_want_of_an_answer(
    end: dict[str, Any], is_excused: bool
) -> None:
    event = {"t": 1, "kind": "end", "detail": "why"} | end
    process = Process(name="client-1", key_id=KEY, events=[event])
    assert (list(unexcused([process])) == []) == is_excused
