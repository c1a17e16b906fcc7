"""Audits of credits, write-offs and missing rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.audit.audit import Audit
from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt
from cache.reports.terminal import console, show_audit
from cache.storage import record_codec
from cache.storage.missing_rows import find_missing_rows
from tests.support.cache_command import audited, differences
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    altered,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rehashed,
    rows_of,
    tamper,
    vendor_of,
)


def write_offs(result: Audit) -> list[tuple[str, str]]:
    """The name and detail of each write-off."""
    return [(entry.line, entry.detail) for entry in result.write_offs]


def missing_rows(result: Audit) -> list[tuple[str, str]]:
    """The name and detail of each paid answer with missing rows."""
    return [(entry.line, entry.detail) for entry in result.missing_rows]


def test_a_correction_is_a_credit_and_needs_no_receipt(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """The charge stays what its receipt says; both sides still agree on it."""
    ledger.correct(receipts[1], units=1, cost_micro_usd=100)
    result = audited(cache, vendor_of(ledger.entries))
    assert result.is_balanced
    assert (result.ledger_units, result.receipt_units) == (5, 5)
    ((line, corrects, units, cost),) = [
        (credit.line, credit.corrects, credit.units, credit.cost_micro_usd)
        for credit in result.credits
    ]
    assert line == "seq 5, request corr_0005"
    assert (corrects, units, cost) == (receipts[1].request_id, 1, 100)


def test_a_correction_of_the_price_alone_is_a_credit_too(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """LiteLLM #20615: a bad price could only be put right by deleting rows."""
    ledger.correct(receipts[0], units=0, cost_micro_usd=150)
    ledger.correct(receipts[0], units=0, cost_micro_usd=50)
    result = audited(cache, vendor_of(ledger.entries))
    assert result.is_balanced
    assert [credit.cost_micro_usd for credit in result.credits] == [150, 50]


@pytest.mark.parametrize(
    ("units", "cost_micro_usd", "detail"),
    [
        (3, 0, "gives back more of request req_0002 than was charged"),
        (0, 201, "gives back more of request req_0002 than was charged"),
        (-1, 0, "takes 1 queries and 0 micro-USD more"),
        (0, -5, "takes 0 queries and 5 micro-USD more"),
    ],
)
def test_a_correction_that_takes_queries_is_named(
    cache: PaidCache,
    ledger: Ledger,
    receipts: list[Receipt],
    units: int,
    cost_micro_usd: int,
    detail: str,
) -> None:
    """A correction must not be a hidden charge."""
    ledger.correct(receipts[0], units=units, cost_micro_usd=cost_micro_usd)
    assert ("seq 5, request corr_0005", detail) in differences(cache, vendor_of(ledger.entries))


def test_a_correction_of_an_unknown_request_is_named(cache: PaidCache, ledger: Ledger) -> None:
    """It names a request that this ledger never charged."""
    ledger.correct(rehashed(ledger.entries[0], request_id="req_x"), units=0, cost_micro_usd=0)
    assert differences(cache, vendor_of(ledger.entries)) == [
        ("seq 2, request corr_0002", "corrects request 'req_x', which the ledger does not charge")
    ]


def test_the_spent_figure_may_go_down_by_a_credit_but_not_up(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """Read before the credit or after it, but never above the charges."""
    ledger.correct(receipts[1], units=2, cost_micro_usd=200)
    vendor = vendor_of(ledger.entries)
    for spent in (3, 5):
        vendor.key["spent_units"] = spent
        assert differences(cache, vendor) == []
    vendor.key["spent_units"] = 6
    assert differences(cache, vendor) == [
        ("sum of units", "/v1/key reports 6 spent, the vendor's charges add up to 5")
    ]


def test_a_charge_whose_answer_the_vendor_deleted_is_named_as_a_write_off(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """Both sides agree on it, so it is no difference, but it is reported."""
    assert receipts
    intent = intent_of(*images(7, 8))
    charge = ledger.charge(intent)
    cache.reserve(intent, budget=100)
    cache.write_off(intent, account=ACCOUNT, detail="the vendor purged it")
    result = audited(cache, vendor_of(ledger.entries))
    assert result.is_balanced
    assert write_offs(result) == [
        (
            f"seq 5, request {charge.request_id}",
            "charged 2 queries, and the answer is gone: the vendor purged it",
        )
    ]


def test_a_write_off_explains_one_charge_of_its_size_and_no_more(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Otherwise a vendor could charge anything and claim that the answer is deleted."""
    intent = intent_of(*images(7, 8))
    dear = ledger.charge(intent_of(*images(7, 8), units=9))
    second = ledger.charge(intent)
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    found = differences(cache, vendor_of(ledger.entries))
    assert (
        f"seq 2, request {dear.request_id}",
        "it charges 9 queries for a purchase of 2",
    ) in found
    assert (f"seq 3, request {second.request_id}", "missing in the cache") in found


def test_a_write_off_that_was_never_charged_is_named(cache: PaidCache, ledger: Ledger) -> None:
    """It takes queries from the client's budget for nothing."""
    intent = intent_of(image(7), name="never")
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    cache.write_off(intent_of(image(8), name="other"), account="http://v#k2", detail="purged")
    result = audited(cache, vendor_of(ledger.entries))
    assert result.is_balanced
    assert write_offs(result) == [
        (
            "purchase never",
            "it counts as spent in the cache, but the vendor never charged it (purged)",
        )
    ]


def test_missing_rows_are_named_with_the_remedy(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], folder: Path
) -> None:
    """A free replay, as long as the vendor has the answer."""
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(2).digest)
    vendor = vendor_of(ledger.entries)
    name = f"request {receipts[0].request_id}"
    said = "1 of its embeddings are paid but not in the cache"
    remedy = "the client's next run fetches them again, free of charge"
    assert missing_rows(audited(cache, vendor)) == [(name, f"{said}: {remedy}")]
    (answer,) = find_missing_rows(cache)
    cache.write_off(answer.purchase.intent, account=ACCOUNT, detail="the vendor purged it")
    result = audited(cache, vendor)
    assert missing_rows(result) == [(name, f"{said}: the vendor purged it")]
    assert result.is_balanced


def test_a_write_off_whose_answer_came_later_is_not_reported(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Its receipt counts."""
    intent = intent_of(image(1))
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    result = audited(cache, vendor_of(ledger.entries))
    assert (result.is_balanced, result.write_offs, result.missing_rows) == (True, (), ())


def test_an_audit_continues_past_damaged_rows_and_open_purchases(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], folder: Path
) -> None:
    """verify reports those."""
    assert receipts
    cache.reserve(intent_of(image(9)), budget=100)
    overwrite(folder, record_codec.intent_name(intent_of(image(9)).idempotency_key), b"rubbish")
    overwrite(folder, image(1).digest, b"rubbish")
    assert audited(cache, vendor_of(ledger.entries)).is_balanced


def test_credits_and_write_offs_are_shown(
    cache: PaidCache, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in a line of its own."""
    receipt = buy(cache, ledger, *images(1, 2))
    ledger.correct(receipt, units=1, cost_micro_usd=100)
    intent = intent_of(image(3))
    ledger.charge(intent)
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    show_audit(console(), audited(cache, vendor_of(ledger.entries)))
    shown = capsys.readouterr().out
    assert "the vendor gave back 1 queries and 0.000100 USD of request req_0002" in shown
    assert (
        "written off: seq 4, request req_0004: charged 1 queries, and the answer is gone" in shown
    )


def test_an_altered_correction_breaks_the_ledger_s_chain(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """It is an entry like any other."""
    ledger.correct(receipts[1], units=1, cost_micro_usd=100)
    ledger.entries[-1] = altered(ledger.entries[-1], cost_micro_usd=-50)
    assert ("vendor's ledger", "seq 5: its hash is not the hash of its fields") in differences(
        cache, vendor_of(ledger.entries)
    )
