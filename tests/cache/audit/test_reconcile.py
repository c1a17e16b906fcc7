"""`cache-report reconcile` holds a vendor's own figures against what was counted here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cache.cli import main
from student.purchase import doubt
from tests.support.foreign_vendor import OPENAI, ForeignVendor, answered, lost_answer, lost_request
from tests.support.wire_setup import WireSetup

BOUGHT = {"requests": 3, "images": 4, "texts": 2, "total_tokens": 7, "micro_usd": 400}


@pytest.fixture
async def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WireSetup:
    """Three images, a text and the canary, bought at 100 micro-USD an image, in three requests."""
    monkeypatch.setattr(doubt, "PAUSE_SECONDS", 0.0)
    setup = WireSetup(tmp_path / "cache", ForeignVendor(OPENAI), {"price_image": 100})
    setup.options["input_shape"] = "strings"
    setup.vendor.faults.extend([answered] * 20)
    await setup.buy([setup.text("a bird"), *setup.images(3)], batch_size=8)
    return setup


@pytest.fixture
def today() -> str:
    return datetime.now(UTC).date().isoformat()


def run(setup: WireSetup, text: str, *more: str) -> int:
    file = setup.folder.parent / "invoice.csv"
    file.write_text(text)
    return main(["--cache", str(setup.folder), "reconcile", str(file), *more])


def invoice(day: str, **changed: object) -> str:
    figures = {**BOUGHT, **changed}
    names, values = ",".join(figures), ",".join(map(str, figures.values()))
    return f"date,model,{names}\n{day},clip,{values}\n"


def test_an_invoice_that_says_the_same_agrees(
    setup: WireSetup, today: str, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = len(setup.receipts())
    assert run(setup, invoice(today, requests=requests)) == 0
    assert "all agree" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "by"), [("images", 5, "+1"), ("total_tokens", 6, "-1"), ("micro_usd", 1, "-")]
)
def test_a_figure_that_differs_is_named_with_both_sides(
    setup: WireSetup, today: str, capsys: pytest.CaptureFixture[str], name: str, value: int, by: str
) -> None:
    text = invoice(today, **{"requests": len(setup.receipts()), name: value})
    assert run(setup, text) == 1
    said = capsys.readouterr().out
    assert f"{name}: {BOUGHT[name]} counted here, {value} invoiced: DIFFERS by {by}" in said
    assert "1 DIFFER" in said


def test_money_in_dollars_may_be_off_by_its_last_digit(setup: WireSetup, today: str) -> None:
    assert run(setup, f"Date;Cost (USD)\n{today};$0.0004\n") == 0
    assert run(setup, f"Date;Amount USD\n{today};0.00\n") == 0
    assert run(setup, f"Date;Amount USD\n{today};0.01\n") == 1


def test_lines_of_one_day_and_model_are_added_up(setup: WireSetup, today: str) -> None:
    assert run(setup, f"day,model,images\n{today}T01:00,clip,1\n{today}T02:00,clip,3\n") == 0


def test_a_model_that_was_not_bought_and_a_day_without_receipts_differ(
    setup: WireSetup, today: str
) -> None:
    assert run(setup, f"date,model,images\n{today},clip,4\n{today},other,1\n") == 1
    assert run(setup, "date,images\n2020-01-01,4\n") == 1


def test_receipts_of_other_days_and_accounts_are_not_compared_and_counted(
    setup: WireSetup, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(setup, "date,images\n2020-01-01,0\n", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["receipts_not_compared"] == len(setup.receipts())
    assert run(setup, "images\n0\n", "--account", "elsewhere.example") == 0
    assert run(setup, "images\n4\n", "--account", "foreign.test") == 0


@pytest.mark.parametrize("fault", [lost_answer, lost_request])
async def test_what_is_in_doubt_may_be_on_the_invoice_or_not(
    setup: WireSetup, capsys: pytest.CaptureFixture[str], fault: Any
) -> None:
    setup.vendor.faults.clear()
    setup.vendor.faults.extend([answered, fault])
    setup.options["price_image"] = 0
    await setup.buy(setup.images(4)[3:])
    images = sum(receipt.images for receipt in setup.receipts())
    for invoiced in (images, images + 1):
        assert run(setup, f"images\n{invoiced}\n") == 0
    assert "1 more in doubt" in capsys.readouterr().out
    assert run(setup, f"images\n{images + 2}\n") == 1
    assert run(setup, f"images\n{images - 1}\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it needs a line of names"),
        ("date,model\n2026-11-29,clip\n", "no column of numbers"),
        ("date,images\nyesterday,4\n", "line 2: 'yesterday' is not a day"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    setup: WireSetup, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert run(setup, text) == 2
    assert said in capsys.readouterr().err


def test_an_american_day_and_a_column_of_words_are_understood(
    setup: WireSetup, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    assert run(setup, f"Date,Project,Images\n{now:%m/%d/%Y},mine,4\n") == 0
    assert "they are no numbers: Project" in capsys.readouterr().out


def test_an_audit_of_a_cache_without_a_ledger_says_what_to_do_instead(
    setup: WireSetup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "key")
    assert main(["--cache", str(setup.folder), "audit", "--vendor", "http://127.0.0.1:9"]) == 2
    assert "cache-report reconcile" in capsys.readouterr().err
