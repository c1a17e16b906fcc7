"""The reports, byte for byte: scripts read the JSON, and the client embeds the Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.cli import CACHE_VARIABLE, main
from cache.paid_cache import PaidCache
from cache.reports.markdown import markdown_report
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    run_record,
    text,
)

GOLDEN = Path(__file__).with_name("golden")
DAY = 24 * 3_600_000


@pytest.fixture
def full(cache: PaidCache, ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with something of everything that a report shows, on two days."""
    cache.record_run(run_record("run-1", planned=5, already_paid=0))
    cache.record_run(run_record("run-0", planned=2, already_paid=2, paid_units=3, started_ms=1))
    buy(cache, ledger, *images(1, 2), text("a"))
    intent = intent_of(image(3))
    receipt = ledger.charge(intent, created_ms=ledger.entries[0].created_ms + DAY)
    cache.reserve(intent, budget=100)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    buy(cache, ledger, image(1), name="again")
    buy(cache, ledger, image(1, fingerprint="sha256:new"), run="run-2", account="http://b#k2")
    cache.reserve(intent_of(*images(7, 8), run="run-2"), budget=100)
    cache.refuse(image(9), code="invalid_image", detail="it is truncated")
    gone = intent_of(*images(10, 11), text("b"), run="run-2")
    cache.reserve(gone, budget=100)
    cache.write_off(gone, account=ACCOUNT, detail="the vendor kept it for 30 days")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("command", ["summary", "by-day"])
@pytest.mark.parametrize("kind", ["json", "txt"])
def test_a_spend_report_is_printed_byte_for_byte_as_recorded(
    command: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A renamed or reordered key would break whoever parses it."""
    assert main([command, *(["--json"] if kind == "json" else [])]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{command}.{kind}").read_text(encoding="utf-8")


@pytest.mark.usefixtures("full")
def test_the_markdown_report_is_byte_for_byte_as_recorded(cache: PaidCache) -> None:
    """The client embeds it in the report of a run."""
    assert markdown_report(cache) == (GOLDEN / "report.md").read_text(encoding="utf-8")
