"""The report as HTML: its figures, the way from each to its receipts, and what it may load."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from cache.cli import main
from cache.html_report.page import Sources, html_report
from cache.paid_cache import PaidCache
from cache.records.money import dollars
from cache.reports.spend import spend_by_day, spend_summary
from tests.cache.html_report.conftest import Audited
from tests.support.cache_command import audited
from tests.support.cache_purchases import (
    NOON,
    Ledger,
    buy,
    image,
    intent_of,
    overwrite,
    rehashed,
    rows_of,
    run_record,
    vendor_of,
)
from tests.support.html_tables import Page

GROUPS = {
    "Paid on each day": 4,
    "Paid by each run": 3,
    "Paid for each model": 4,
    "Paid by each API key at each address": 3,
    "Paid for images and for texts": 2,
}
"""The tables of the spend, with the column of the queries; the micro-USD follow."""
MARKUP = "<script>alert(1)</script>\"'&amp;<b>"


def figures(row: list[str], *columns: int) -> list[int]:
    """The numbers in these cells."""
    return [int(row[column].replace(",", "")) for column in columns]


def test_the_figures_are_those_of_summary_and_by_day(full: Audited) -> None:
    page, summary = full.page(), spend_summary(full.cache)
    for caption, records in (
        ("Paid on each day", spend_by_day(full.cache)),
        ("Paid by each run", summary["runs"]),
        ("Paid for each model", summary["models"]),
        ("Paid by each API key at each address", summary["accounts"]),
    ):
        column = GROUPS[caption]
        shown = [figures(row, column, column + 1) for row in page.rows(caption)]
        assert shown == [[one["units"], one["cost_micro_usd"]] for one in records]
        assert len(shown) > 0
    *_, last = page.rows("Every receipt, oldest first")
    assert figures(last, 6, 7, 8, 9) == [5, 1, 6, 600]
    assert last[10] == dollars(summary["total"]["cost_micro_usd"]) == "$0.0006"


def test_every_table_of_the_spend_adds_up_to_the_total(full: Audited, photos: Path) -> None:
    page, total = full.page(data=photos), spend_summary(full.cache)["total"]
    places = {f"Images paid for, by {what}": 2 for what in ("domain", "class")}
    for caption, column in (GROUPS | places).items():
        sums = [figures(row, column, column + 1) for row in page.rows(caption)]
        units, costs = (sum(each) for each in zip(*sums, strict=True))
        assert (caption, units, costs) == (caption, total["units"], total["cost_micro_usd"])


def test_every_figure_leads_to_the_receipts_that_it_is_the_sum_of(full: Audited) -> None:
    page = full.page()
    receipts = {
        int(row[0]): figures(row, 8, 9)
        for row in page.rows("Every receipt, oldest first")
        if row[0] != "all"
    }
    assert len(receipts) == 4
    for caption, column in GROUPS.items():
        if caption == "Paid for images and for texts":  # a receipt may be of both
            continue
        for row, texts in zip(page.tables[caption], page.rows(caption), strict=True):
            paid = [receipts[number] for number in row[-1].receipts]
            sums = [sum(units for units, _ in paid), sum(cost for _, cost in paid)]
            assert (texts[0], sums) == (texts[0], figures(texts, column, column + 1))
    assert all(link.removeprefix("#") in page.anchors for link in page.links)


def test_the_request_ids_of_the_ledger_are_shown_with_each_receipt(full: Audited) -> None:
    rows = full.page().rows("Every receipt, oldest first")[:-1]
    stored = sorted(full.cache.stored_receipts(), key=lambda one: one.receipt.created_ms)
    assert [row[1] for row in rows] == [one.receipt.request_id for one in stored]
    assert rows[0][2] == "2025-11-24T18:00:00.000Z"


def test_open_purchases_write_offs_and_refused_items_are_listed_with_the_reason(
    full: Audited,
) -> None:
    page, summary = full.page(), spend_summary(full.cache)
    (opened,) = page.rows("Open purchases")
    assert [opened[0], opened[1], opened[3]] == [
        *(summary["open_intents"][0]["idempotency_key"], "run-2", "2"),
    ]
    (gone,) = page.rows("Write-offs")
    assert gone[1:5] == ["run-2", "3", "3", "the vendor kept it for 30 days"]
    (refused,) = page.rows("Refused by the vendor")
    assert [refused[0], refused[3], refused[4]] == [
        *(image(9).item, "invalid_image", "it is truncated"),
    ]


def test_refunds_and_both_sides_are_those_of_the_audit(full: Audited) -> None:
    page = full.page(with_ledger=True)
    audit = audited(full.cache, vendor_of(full.ledger.entries))
    (vendor, ours) = page.rows("Both sides")
    assert figures(vendor, 1, 2, 3) == [
        *(audit.ledger_charges, audit.ledger_units, audit.ledger_cost_micro_usd),
    ]
    assert figures(ours, 1, 2, 3) == [
        *(audit.receipts, audit.receipt_units, audit.receipt_cost_micro_usd),
    ]
    (caption,) = (one for one in page.tables if one.startswith("Given back to "))
    refund, total = page.rows(caption)
    (credit,) = audit.credits
    assert [refund[0], refund[1]] == [credit.line, credit.corrects]
    assert figures(refund, 2, 3) == figures(total, 2, 3) == [1, 100]
    assert page.tables[caption][0][-1].links == ["#receipt-1"]
    refunded = [row[-1] for row in page.rows("Every receipt, oldest first")]
    assert refunded == ["100", "0", "0", "0", "100"]


def test_without_a_ledger_refunds_are_not_known_rather_than_none(full: Audited) -> None:
    page = full.page()
    refunded = {row[-1] for row in page.rows("Every receipt, oldest first")}
    assert refunded == {"not known"}
    assert not any(caption.startswith("Given back") for caption in page.tables)


def test_an_audit_that_does_not_balance_is_shown_with_its_differences(
    full: Audited,
) -> None:
    full.ledger.charge(intent_of(image(50)))
    report = full.report(with_ledger=True)
    assert "NOT BALANCED" in report
    assert "missing in the cache" in report


def test_what_the_cache_saved_is_shown_by_run_and_in_total(full: Audited) -> None:
    rows = full.page().rows("Found in the cache, by run")
    saved = {row[0]: row[1:4] for row in rows}
    assert saved == {
        "run-0": ["2", "2", "300"],
        "run-1": ["5", "0", "0"],
        "run-2": ["not on record", "not on record", "0"],
        "all runs": ["7", "2", "300"],
    }


def test_retries_that_no_run_recorded_are_not_called_none(full: Audited) -> None:
    rows = full.page().rows("Requests sent again, by run")
    assert {row[0]: row[1] for row in rows} == {
        "run-0": "not on record",
        "run-1": "2",
        "run-2": "not on record",
    }


def test_the_file_can_load_and_run_nothing(full: Audited, photos: Path) -> None:
    """It opens from disk, without a network, under its own content security policy."""
    report = full.report(with_ledger=True, data=photos)
    page = Page(report)
    assert {"script", "link", "img", "iframe", "object", "base", "form"} & {*page.tags} == set()
    assert page.loads == []
    assert all(link.startswith("#") for link in page.links)
    (style,) = re.findall(r"<style>(.*?)</style>", report, flags=re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.metas["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_the_page_has_headings_captions_and_a_labelled_chart(full: Audited) -> None:
    report = full.report()
    page = Page(report)
    assert page.headings[0] == "Spend report"
    assert len(page.headings) == len({*page.headings}) > 15
    assert "" not in page.tables
    assert len(page.tables) == page.tags.count("table")
    chart = re.search(r'<svg role="img" aria-labelledby="chart-title chart-text"', report)
    assert chart is not None
    assert {"chart-title", "chart-text"} <= page.anchors
    assert '<html lang="en">' in report
    # Three days, of which the second has no purchase.
    assert re.findall(r"<title>(2025-[-\d]+): ([$.\d]+)</title>", report) == [
        ("2025-11-24", "$0.0005"),
        ("2025-11-25", "$0.00"),
        ("2025-11-26", "$0.0001"),
    ]


def test_words_of_users_and_vendors_are_escaped(tmp_path: Path, ledger: Ledger) -> None:
    """In the names of runs, models, accounts and folders, in commands and in reasons."""
    folder = tmp_path / f"<i onload=x>{MARKUP.replace('/', '')}"
    with PaidCache.open(folder, clock=lambda: NOON) as cache:
        cache.record_run(run_record(MARKUP, command=MARKUP, model=MARKUP))
        intent = intent_of(image(1), run=MARKUP, name=MARKUP)
        receipt = rehashed(ledger.charge(intent), model=MARKUP)
        cache.commit(intent, rows_of(intent, receipt), receipt, account=f"http://{MARKUP}#k1")
        cache.reserve(intent_of(image(2), run=MARKUP, name=f"open {MARKUP}"), budget=10)
        cache.refuse(image(3), code=MARKUP, detail=MARKUP)
        gone = intent_of(image(4), run=MARKUP, name=f"gone {MARKUP}")
        cache.write_off(gone, account=MARKUP, detail=MARKUP)
        report = html_report(cache, Sources(), made_ms=NOON)
    page = Page(report)
    assert {"script", "i", "b"} & {*page.tags} == set()
    assert page.loads == []
    assert report.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    (row,) = page.rows("Paid for each model")
    assert row[0] == MARKUP


def test_the_command_writes_the_file_and_says_how_many_receipts_are_in_it(
    full: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "spend.html"
    command = ["html", "--cache", str(full.cache.folder), str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"4 receipts reported in {out}\n"
    assert "Paid by each run" in Page(out.read_text()).tables
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "receipts": 4}


def test_an_empty_cache_has_a_report_without_figures(cache: PaidCache) -> None:
    page = Page(html_report(cache, Sources(), made_ms=NOON))
    assert page.rows("Paid on each day") == []
    assert page.tags.count("rect") == 0


def test_a_damaged_cache_is_not_reported_as_sound(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    buy(cache, ledger, image(1))
    overwrite(folder, image(1).digest, b"rubbish")
    report = html_report(cache, Sources(), made_ms=NOON)
    assert "NOT SOUND" in report
    assert "its checksum does not match its bytes" in report
    assert ">sound<" not in report


def test_days_beyond_the_calendar_are_shown_as_the_vendor_wrote_them(
    cache: PaidCache, ledger: Ledger
) -> None:
    buy(cache, ledger, image(1))
    intent = intent_of(image(2))
    receipt = ledger.charge(intent, created_ms=NOON * 10**6)
    cache.commit(intent, rows_of(intent, receipt), receipt, account="http://a#k")
    rows = Page(html_report(cache, Sources(), made_ms=NOON)).rows("Paid on each day")
    assert [row[0] for row in rows] == ["2025-11-24", str(NOON * 10**6)]
