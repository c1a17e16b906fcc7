"""A cache with something of everything that the report shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cache.audit.ledger_client import VendorLedger
from cache.html_report.page import Sources, html_report
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey, image_item
from tests.support.cache_purchases import (
    ACCOUNT,
    FINGERPRINT,
    NOON,
    SECRET,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    run_record,
    text,
    vendor_of,
)
from tests.support.html_tables import Page

DAY = 24 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A cache, and the ledger of the vendor that it bought from."""

    cache: PaidCache
    ledger: Ledger

    def page(self, **sources: Any) -> Page:
        """The report, read."""
        return Page(self.report(**sources))

    def report(self, *, with_ledger: bool = False, **sources: Any) -> str:
        """The report as text; `with_ledger` also audits against the vendor."""
        if not with_ledger:
            return html_report(self.cache, Sources(**sources), made_ms=NOON)
        with vendor_of(self.ledger.entries).serving() as url:
            vendor = VendorLedger(url=url, key=SECRET, timeout_s=10)
            return html_report(self.cache, Sources(**sources, vendor=vendor), made_ms=NOON)


@pytest.fixture
def full(cache: PaidCache, ledger: Ledger) -> Audited:
    """Two days, runs, models and accounts; refunds, write-offs, open purchases and refusals."""
    cache.record_run(run_record("run-1", planned=5, already_paid=0, retries=2))
    cache.record_run(run_record("run-0", planned=2, already_paid=2, paid_units=3, started_ms=1))
    first = buy(cache, ledger, *images(1, 2), text("a"))
    intent = intent_of(image(3))
    receipt = ledger.charge(intent, created_ms=NOON + 2 * DAY)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    buy(cache, ledger, image(1), name="again")
    buy(cache, ledger, image(1, fingerprint="sha256:new"), run="run-2")
    ledger.correct(first, units=1, cost_micro_usd=100)
    cache.reserve(intent_of(*images(7, 8), run="run-2"), budget=100)
    cache.refuse(image(9), code="invalid_image", detail="it is truncated")
    gone = intent_of(*images(10, 11), text("b"), run="run-2")
    cache.reserve(gone, budget=100)
    ledger.charge(gone)
    cache.write_off(gone, account=ACCOUNT, detail="the vendor kept it for 30 days")
    return Audited(cache=cache, ledger=ledger)


@pytest.fixture
def photos(cache: PaidCache, ledger: Ledger, tmp_path: Path) -> Path:
    """A data folder of two domains and two classes, of which most images are bought."""
    folder = tmp_path / "photos"
    for domain in ("paper", "screen"):
        for class_name in ("cat", "dog"):
            (folder / domain / class_name).mkdir(parents=True)
            content = f"{domain} {class_name}".encode()
            (folder / domain / class_name / "0.png").write_bytes(content)
    (folder / "screen" / "dog" / "copy.png").write_bytes(b"paper dog")
    (folder / "paper" / "cat" / "not-bought.png").write_bytes(b"other")
    bought = [photo(b"paper cat"), photo(b"paper dog"), photo(b"screen cat"), image(77)]
    buy(cache, ledger, *bought, text("a cat"), run="mixed")
    buy(cache, ledger, text("a dog"))
    return folder


def photo(content: bytes) -> EmbeddingKey:
    """The key of an image file."""
    return EmbeddingKey(model_fingerprint=FINGERPRINT, modality="image", item=image_item(content))


def write_meta(folder: Path, **changes: Any) -> Path:
    """The folder of a finished run, as far as the report reads it."""
    scores = {"outline": {"correct": 30, "images": 50}, "ink": {"correct": 30, "images": 50}}
    erm = {"outline": {"correct": 20, "images": 50}, "ink": {"correct": 15, "images": 50}}
    meta = {
        "method": "vl2v-adip",
        "targets": ["outline", "ink"],
        "scores": scores,
        "compared": {"vl2v-adip": scores, "erm": erm},
        "queries": 75,
        "cost_micro_usd": 7500,
        "receipts_digest": "0" * 64,
        **changes,
    }
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
