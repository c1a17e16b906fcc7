"""Repairs with a fixed clock, and what they leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cache.integrity.repair import Repair
from cache.integrity.repair import repair as repair_now
from cache.records.receipt import Receipt
from cache.storage import record_codec
from tests.support.cache_purchases import (
    ACCOUNT,
    NOON,
)


def repair(folder: Path) -> Repair:
    """A repair with a fixed clock."""
    return repair_now(folder, patience_s=2.0, clock=lambda: NOON)


def quarantined(folder: Path) -> list[dict[str, Any]]:
    """The entries in quarantine."""
    files = sorted((folder / "quarantine").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def receipt_record(receipt: Receipt) -> str:
    """The name under which a receipt is stored."""
    return record_codec.receipt_name(ACCOUNT, receipt.request_id)


def is_sound(folder: Path) -> bool:
    """Whether nothing is wrong now, and a second repair agrees."""
    again = repair(folder)
    assert not again.changed
    return again.verification.is_sound
