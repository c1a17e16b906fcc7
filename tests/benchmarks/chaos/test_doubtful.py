"""The chaos run of a vendor that knows no purchases, and the checker of its weaker promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos.doubtful import chaos, parser
from benchmarks.chaos.doubtful_checker import BuyerFacts, check_doubts
from benchmarks.chaos.doubtful_vendor import expected_vector
from benchmarks.chaos.observations import Row

A, B = "aa" * 32, "bb" * 32


def row(item: str) -> Row:
    return Row(item=item, vector=expected_vector(item), request_id="own_1")


SOUND = BuyerFacts(
    name="alone",
    budget=10,
    wanted=[A, B],
    charged=Counter({A: 2, B: 1}),
    rows=[row(A), row(B)],
    receipt_units=2,
    written_off=Counter({A: 1}),
    written_off_units=1,
    committed=3,
    open_units=0,
)


def test_a_charge_without_an_answer_is_no_fault_if_the_doubt_is_on_record() -> None:
    verdict = check_doubts([SOUND])
    assert verdict.faults == ()
    assert (verdict.charged, verdict.unanswered, verdict.in_doubt) == (3, 1, 1)
    assert (verdict.paid_twice, verdict.lost, verdict.over_budget) == (1, 0, 0)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"written_off": Counter()}, "charged 1 times without an answer or a doubt"),
        ({"budget": 2}, "3 queries are charged, of a budget of 2"),
        ({"committed": 2}, "other than receipts and write-offs"),
        ({"charged": Counter({A: 9, B: 1})}, "10 queries are charged, but only 3 on record"),
        ({"open_units": 4}, "still in open purchases"),
        ({"charged": Counter({A: 1})}, "that the vendor has not charged"),
        ({"rows": [row(A), row(A)]}, "is stored 2 times"),
        ({"rows": [row(A), replace(row(B), vector=expected_vector(A))]}, "wrong vector"),
        ({"wanted": [A, B, "cc" * 32]}, "1 items are missing, and the budget is not spent"),
        ({"rows": [row(A)]}, "receipts for 2 queries, and 1 rows"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_each_breach_of_the_promise_is_found(broken: dict[str, object], said: str) -> None:
    faults = check_doubts([replace(SOUND, **broken)]).faults  # type: ignore[arg-type]
    assert any(said in fault for fault in faults), faults


def test_a_budget_that_pays_for_no_more_than_a_canary_is_spent() -> None:
    wanted = [A, B, "cc" * 32]
    assert check_doubts([replace(SOUND, budget=5, wanted=wanted)]).faults == ()  # 3 are committed
    assert check_doubts([replace(SOUND, budget=6, wanted=wanted)]).faults


async def test_killed_at_random_nothing_is_over_budget_or_lost_and_doubt_is_on_record(
    tmp_path: Path,
) -> None:
    given = "--queries 300 --seconds 40 --calm-bytes 60000 --kill-every 0.2 --seed 1"
    arguments = parser().parse_args(given.split())
    result = await chaos(arguments, tmp_path)
    assert result["faults_found"] == []
    assert (result["over_budget"], result["lost"]) == (0, 0)
    assert result["in_doubt"] >= result["unanswered"] > 0
    assert {name.partition(" ")[0] for name in result["kills"]} == {"vendor", "client"}
