"""The spend reports."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.paid_cache import PaidCache
from cache.reports.markdown import markdown_report
from cache.reports.spend import iso_time, receipts_digest, spend_by_day, spend_summary
from cache.reports.spend_schema import SpendSummary
from tests.support.cache_purchases import (
    ACCOUNT,
    FINGERPRINT,
    KEY_ID,
    MODEL,
    NOON,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    run_record,
    text,
)

HOUR = 3_600_000


@pytest.fixture
def summary(cache: PaidCache, ledger: Ledger) -> SpendSummary:
    """The summary of a cache with two models, two runs, an open intent and a refusal."""
    cache.record_run(run_record("run-1", planned=5, already_paid=0))
    buy(cache, ledger, *images(1, 2), text("a"))
    buy(cache, ledger, image(3))
    buy(cache, ledger, image(1, fingerprint="sha256:new"), run="run-2", account="http://b#k2")
    cache.reserve(intent_of(*images(7, 8), run="run-2"), budget=100)
    cache.refuse(image(9), code="invalid_image", detail="it is truncated")
    return spend_summary(cache)


def test_times_are_written_in_utc_to_the_millisecond() -> None:
    """On every machine alike."""
    assert iso_time(0) == "1970-01-01T00:00:00.000Z"
    assert iso_time(1_764_000_000_007) == "2025-11-24T16:00:00.007Z"
    assert iso_time(None) is None


def test_the_total_is_the_sum_of_the_receipts(summary: SpendSummary) -> None:
    """Images, texts, queries and cost."""
    assert summary["total"] == {
        "receipts": 3,
        "images": 4,
        "texts": 1,
        "units": 5,
        "cost_micro_usd": 500,
        "cost_usd": "0.000500",
        "first_purchase": iso_time(NOON + 2 * HOUR),
        "last_purchase": iso_time(NOON + 4 * HOUR),
    }
    assert summary["in_flight_units"] == 2
    assert summary["bought_twice"] == 0


def test_the_spend_of_each_model_is_listed(summary: SpendSummary) -> None:
    """A new fingerprint under the old name is another model."""
    assert [
        (m["model"], m["model_fingerprint"], m["units"], m["images"], m["texts"])
        for m in summary["models"]
    ] == [(MODEL, FINGERPRINT, 4, 3, 1), (MODEL, "sha256:new", 1, 1, 0)]


def test_the_spend_of_each_account_is_listed(summary: SpendSummary) -> None:
    """As it is audited."""
    assert {a["account"]: a["units"] for a in summary["accounts"]} == {ACCOUNT: 4, "http://b#k2": 1}
    assert ACCOUNT.endswith(f"#{KEY_ID}")


def test_a_run_shows_its_plan_its_purchases_and_what_the_cache_saved(
    cache: PaidCache, ledger: Ledger
) -> None:
    """The second run pays nothing and shows what that saved."""
    cache.record_run(run_record("one", planned=2, already_paid=0))
    buy(cache, ledger, *images(1, 2), run="one")
    cache.record_run(run_record("two", planned=2, already_paid=2, started_ms=NOON + 1))
    first, second = spend_summary(cache)["runs"]
    assert (first["run"], first["planned"], first["units"], first["saved_micro_usd"]) == (
        "one",
        2,
        2,
        0,
    )
    assert (second["run"], second["already_paid"], second["units"], second["cost_micro_usd"]) == (
        "two",
        2,
        0,
        0,
    )
    assert second["saved_micro_usd"] == 200
    assert second["command"] == "distill-client --budget 50000"


def test_a_killed_run_is_shown_by_its_receipts(
    summary: SpendSummary,
) -> None:
    """Money is never missing from the runs."""
    assert [(run["run"], run["planned"], run["units"]) for run in summary["runs"]] == [
        ("run-1", 5, 4),
        ("run-2", None, 1),
    ]
    assert sum(run["cost_micro_usd"] for run in summary["runs"]) == 500


def test_open_purchases_are_shown(summary: SpendSummary) -> None:
    """With what they may still cost."""
    (intent,) = summary["open_intents"]
    assert (intent["run"], intent["items"], intent["units"]) == ("run-2", 2, 2)
    assert intent["created"] == iso_time(NOON)


def test_refused_items_are_shown_with_the_reason(summary: SpendSummary) -> None:
    """A user can find the file by its hash."""
    assert summary["refused"] == [
        {
            "item": image(9).item,
            "modality": "image",
            "view": "original",
            "code": "invalid_image",
            "detail": "it is truncated",
            "created": iso_time(NOON),
        }
    ]


def test_what_was_bought_twice_is_counted(cache: PaidCache, ledger: Ledger) -> None:
    """It was paid for twice."""
    buy(cache, ledger, image(1))
    intent = intent_of(image(1), name="again")
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert spend_summary(cache)["bought_twice"] == 1


def test_an_empty_cache_has_an_empty_summary(cache: PaidCache) -> None:
    """Zeros, not errors."""
    summary = spend_summary(cache)
    assert summary["total"]["units"] == 0
    assert summary["total"]["first_purchase"] is None
    assert (summary["models"], summary["runs"], summary["refused"]) == ([], [], [])
    assert spend_by_day(cache) == []
    assert "**0 queries paid**" in markdown_report(cache)


def test_a_summary_is_plain_json(summary: SpendSummary) -> None:
    """It is printed and embedded as such."""
    assert json.loads(json.dumps(summary)) == summary


def test_days_are_days_in_utc(cache: PaidCache, ledger: Ledger) -> None:
    """One entry for each day, oldest first."""
    midnight = NOON - NOON % (24 * HOUR) + 24 * HOUR
    for number, created_ms in enumerate((midnight, midnight - 1, midnight + 1)):
        intent = intent_of(image(number))
        receipt = ledger.charge(intent, created_ms=created_ms)
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert [(day["day"], day["units"]) for day in spend_by_day(cache)] == [
        ("2025-11-24", 1),
        ("2025-11-25", 2),
    ]


@given(order=st.permutations(range(4)))
def test_the_digest_of_receipts_does_not_depend_on_their_order(order: list[int]) -> None:
    """The same purchases, the same student."""
    ledger = Ledger()
    receipts = [ledger.charge(intent_of(image(number))) for number in range(4)]
    shuffled = [receipts[index] for index in order]
    assert receipts_digest(shuffled) == receipts_digest(receipts)
    assert receipts_digest(receipts[:3]) != receipts_digest(receipts)


@pytest.mark.usefixtures("summary")
def test_the_markdown_report_holds_every_figure(cache: PaidCache) -> None:
    """The client's report embeds it as it is."""
    report = markdown_report(cache)
    assert (
        "**5 queries paid** (4 images, 1 texts) in 3 requests, 0.000500 USD;"
        " 2 queries in open purchases." in report
    )
    assert f"| {MODEL} | 3 | 1 | 4 | 0.000400 |" in report
    assert f"| run-1 | {iso_time(NOON)} | 5 | 0 | 4 | 0.000400 | 0.000000 |" in report
    assert "| run-2 |  |  |  | 1 | 0.000100 | 0.000000 |" in report
    assert "Open purchases: 1." in report
    assert "free of charge: 1." in report


def test_a_name_cannot_break_the_markdown_table(cache: PaidCache, ledger: Ledger) -> None:
    """The vendor chooses model names."""
    buy(cache, ledger, image(1), run="a|b\nc")
    assert "| a\\|b c |" in markdown_report(cache)


@given(created_ms=st.integers(-(10**30), 10**30))
def test_no_time_that_a_vendor_may_give_breaks_a_report(created_ms: int) -> None:
    """A time out of range is shown as the bare number."""
    shown = iso_time(created_ms)
    assert shown is not None
    assert shown.endswith("Z") or shown == str(created_ms)


def test_a_receipt_dated_in_nanoseconds_is_shown_like_any_other(
    cache: PaidCache, ledger: Ledger
) -> None:
    """It is paid, stored and never changed, so the reports must show it."""
    buy(cache, ledger, image(1))
    intent, odd = intent_of(*images(2, 3)), NOON * 10**6
    receipt = ledger.charge(intent, created_ms=odd)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    total = spend_summary(cache)["total"]
    assert (total["units"], total["last_purchase"]) == (3, str(odd))
    assert [(day["day"], day["units"]) for day in spend_by_day(cache)] == [
        ("2025-11-24", 1),
        (str(odd), 2),
    ]
    assert f"| {odd} |" in markdown_report(cache)
