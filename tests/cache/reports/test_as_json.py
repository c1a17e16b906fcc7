"""The JSON of verify, repair, merge and audit: its keys never change, new ones come last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cache.cli import main
from cache.paid_cache import PaidCache
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    tamper,
    vendor_of,
)

VERIFICATION = [
    *("rows", "receipts", "problems", "receipts_without_copy", "losses"),
    "receipts_without_digest",
]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints."""
    main([*arguments, "--json"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_verify_prints_the_keys_of_version_0_1(
    bought: Path, cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """`losses` counts the write-offs."""
    assert bought.is_dir()
    cache.write_off(intent_of(image(9)), account=ACCOUNT, detail="purged")
    result = printed(capsys, "verify")
    assert list(result) == ["is_sound", *VERIFICATION]
    assert result["losses"] == 1


def test_repair_prints_the_keys_of_version_0_1(
    bought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shortages are listed with their price."""
    tamper(bought, "DELETE FROM Cache WHERE key = ?", image(1).digest)
    result = printed(capsys, "verify", "--repair")
    assert list(result) == [
        *("is_sound", "changed", "quarantine", "moved", "restored", "copies_written"),
        *("shortages", "verification"),
    ]
    assert list(result["verification"]) == VERIFICATION
    (shortage,) = result["shortages"]
    assert list(shortage) == [
        *("account", "request_id", "idempotency_key", "run", "images", "texts"),
        *("rebuy_micro_usd", "is_replayable"),
    ]


def test_merge_prints_the_keys_of_version_0_1(
    bought: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts of records, queries and micro-USD."""
    other = shutil.copytree(bought, tmp_path / "other")
    assert list(printed(capsys, "merge", str(bought), str(other))) == [
        *("receipts", "units", "cost_micro_usd", "rows", "intents", "intents_ended"),
        *("refusals", "runs", "losses", "copies"),
    ]


def test_audit_prints_the_keys_of_version_0_1(
    bought: Path, cache: PaidCache, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lost` lists the write-offs and then the missing rows."""
    receipt = buy(cache, ledger, *images(7, 8))
    gone = intent_of(image(9))
    cache.reserve(gone, budget=100)
    charge = ledger.charge(gone)
    cache.write_off(gone, account=ACCOUNT, detail="purged")
    tamper(bought, "DELETE FROM Cache WHERE key = ?", image(7).digest)
    with vendor_of(ledger.entries).serving() as url:
        result = printed(capsys, "audit", "--vendor", url)
    assert list(result) == [
        *("is_balanced", "account", "ledger_lines", "ledger_charges", "ledger_units"),
        *("ledger_cost_micro_usd", "receipts", "receipt_units", "receipt_cost_micro_usd"),
        *("differences", "credits", "lost", "not_audited", "bought_elsewhere"),
        "receipts_without_digest",
    ]
    assert [entry["line"] for entry in result["lost"]] == [
        f"seq {charge.seq}, request {charge.request_id}",
        f"request {receipt.request_id}",
    ]
