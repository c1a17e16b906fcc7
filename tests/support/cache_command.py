"""Reports as a command, or as functions whose results are easy to compare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cache.audit.audit import Audit, audit_cache
from cache.audit.ledger_client import VendorLedger
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.records.purchase_records import StoredReceipt
from cache.records.receipt import Receipt
from cache.storage import record_codec
from tests.support.cache_purchases import ACCOUNT, SECRET, FakeVendor, overwrite

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cache.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def audited(cache: PaidCache, vendor: FakeVendor) -> Audit:
    """The audit against a vendor that serves on a port of its own."""
    with vendor.serving() as url:
        return audit_cache(cache, VendorLedger(url=url, key=SECRET, timeout_s=10))


def differences(cache: PaidCache, vendor: FakeVendor) -> list[tuple[str, str]]:
    """Each line that differs and how."""
    return [(found.line, found.detail) for found in audited(cache, vendor).differences]


def problems(cache: PaidCache) -> list[tuple[str, str]]:
    """The names and details of all problems."""
    return [(problem.name, problem.detail) for problem in verify(cache).problems]


def store_receipt(folder: Path, receipt: Receipt, *, at: Receipt) -> None:
    """Store `receipt`, with a valid checksum, under the name of the receipt `at`."""
    stored = StoredReceipt(account=ACCOUNT, run="run-1", receipt=receipt)
    overwrite(
        folder,
        record_codec.receipt_name(ACCOUNT, at.request_id),
        record_codec.encode_receipt(stored),
    )
