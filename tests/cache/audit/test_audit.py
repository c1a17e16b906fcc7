"""Receipts against the vendor's ledger, over a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.paid_cache import PaidCache, StoredReceipt
from cache.records.receipt import Receipt
from cache.storage import record_codec
from tests.support.cache_command import audited, differences
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    altered,
    overwrite,
    rehashed,
    tamper,
    vendor_of,
)

FIELDS = {
    "seq": 99,
    "request_id": "req_forged",
    "idempotency_key": "another",
    "model": "another",
    "model_fingerprint": "sha256:another",
    "images": 9,
    "texts": 9,
    "embeddings_sha256": "9" * 64,
    "units": 9,
    "cost_micro_usd": 9,
    "price_version": "another",
    "balance_units": 9,
    "created_ms": 9,
    "prev_hash": "9" * 64,
    "hash": "9" * 64,
}


def test_equal_entries_on_both_sides_balance(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """Entry by entry and in sum; only the vendor has the grant."""
    result = audited(cache, vendor_of(ledger.entries))
    assert result.differences == ()
    assert result.is_balanced
    assert (result.ledger_lines, result.ledger_charges, result.receipts) == (4, 3, len(receipts))
    assert (result.ledger_units, result.receipt_units) == (5, 5)
    assert (result.ledger_cost_micro_usd, result.receipt_cost_micro_usd) == (500, 500)


def test_an_unused_key_balances(cache: PaidCache) -> None:
    """Also with a vendor whose ledger is empty."""
    assert audited(cache, vendor_of(Ledger().entries)).is_balanced
    assert audited(cache, vendor_of([])).is_balanced


@pytest.mark.usefixtures("receipts")
def test_the_ledger_is_read_page_by_page_until_an_empty_page(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Whatever a page holds."""
    for page_lines, pages in ((1, 5), (2, 3), (3, 3), (4, 2), (1000, 2)):
        vendor = vendor_of(ledger.entries)
        vendor.page_lines = page_lines
        assert audited(cache, vendor).is_balanced
        assert sum(path.startswith("/v1/ledger") for path in vendor.asked) == pages


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_altered_at_the_vendor_is_named_with_both_values(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], field: str
) -> None:
    """And the ledger's own chain is seen to be broken."""
    ledger.entries[2] = altered(receipts[1], **{field: FIELDS[field]})
    found = differences(cache, vendor_of(ledger.entries))
    ours, theirs = getattr(receipts[1], field), FIELDS[field]
    assert (
        f"seq 3, request {receipts[1].request_id}",
        f"field {field} differs: {ours!r} in the cache, {theirs!r} in the vendor's ledger",
    ) in found
    assert any(line == "vendor's ledger" for line, _ in found)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_altered_in_the_cache_is_named_with_both_values(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], folder: Path, field: str
) -> None:
    """Even with a valid checksum; the vendor's chain is intact."""
    forged = altered(receipts[1], **{field: FIELDS[field]})
    stored = StoredReceipt(account=ACCOUNT, run="run-1", receipt=forged)
    name = record_codec.receipt_name(ACCOUNT, receipts[1].request_id)
    overwrite(folder, name, record_codec.encode_receipt(stored))
    found = differences(cache, vendor_of(ledger.entries))
    line = f"seq {forged.seq}, request {forged.request_id}"
    ours, theirs = FIELDS[field], getattr(receipts[1], field)
    assert (
        line,
        f"field {field} differs: {ours!r} in the cache, {theirs!r} in the vendor's ledger",
    ) in found
    assert (line, "in the cache, its hash is not the hash of its fields") in found
    assert not any(line == "vendor's ledger" for line, _ in found)


def test_a_byte_altered_in_the_cache_s_file_is_named(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], folder: Path
) -> None:
    """Its checksum is wrong, and its content is compared all the same."""
    name = record_codec.receipt_name(ACCOUNT, receipts[0].request_id)
    (record,) = [record for record in cache.scan(record_codec.Tag.RECEIPT) if record.name == name]
    changed = record.content().replace(b'"units":2', b'"units":1')
    overwrite(folder, name, changed)
    found = differences(cache, vendor_of(ledger.entries))
    assert (name, "in the cache, its checksum does not match its bytes") in found
    assert (
        f"seq 2, request {receipts[0].request_id}",
        "field units differs: 1 in the cache, 2 in the vendor's ledger",
    ) in found
    assert ("sum of units", "the receipts add up to 4, the vendor's charges to 5") in found


@pytest.mark.parametrize("content", [b"rubbish", b""])
def test_a_receipt_that_cannot_be_read_at_all_is_named_and_missing(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], folder: Path, content: bytes
) -> None:
    """The audit goes on with the others."""
    name = record_codec.receipt_name(ACCOUNT, receipts[0].request_id)
    overwrite(folder, name, content)
    found = dict(differences(cache, vendor_of(ledger.entries)))
    assert "unreadable in the cache" in found[name]
    assert found[f"seq 2, request {receipts[0].request_id}"] == "missing in the cache"


def test_an_entry_missing_in_the_cache_is_named(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt], folder: Path
) -> None:
    """The vendor's ledger has the charge."""
    name = record_codec.receipt_name(ACCOUNT, receipts[1].request_id)
    tamper(folder, "DELETE FROM Cache WHERE key = ?", name)
    assert differences(cache, vendor_of(ledger.entries)) == [
        (f"seq 3, request {receipts[1].request_id}", "missing in the cache"),
        ("sum of units", "the receipts add up to 3, the vendor's charges to 5"),
        ("sum of cost_micro_usd", "the receipts add up to 300, the vendor's charges to 500"),
    ]


def test_an_entry_missing_in_the_ledger_is_named(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """In the middle it also breaks the chain; at the end only the cache has it."""
    found = differences(cache, vendor_of(ledger.entries[:-1]))
    assert found == [
        (f"seq 4, request {receipts[2].request_id}", "missing in the vendor's ledger"),
        ("sum of units", "the receipts add up to 5, the vendor's charges to 4"),
        ("sum of cost_micro_usd", "the receipts add up to 500, the vendor's charges to 400"),
    ]
    middle = differences(cache, vendor_of([*ledger.entries[:2], *ledger.entries[3:]]))
    assert (
        f"seq 3, request {receipts[1].request_id}",
        "missing in the vendor's ledger",
    ) in middle
    assert (
        "vendor's ledger",
        "seq 4: follows seq 2: the ledger has a gap or is out of order",
    ) in middle


def test_a_broken_chain_is_named_even_where_every_charge_agrees(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """The entry of the grant was rewritten."""
    assert receipts
    ledger.entries[0] = rehashed(ledger.entries[0], units=10)
    assert differences(cache, vendor_of(ledger.entries)) == [
        ("vendor's ledger", "seq 2: prev_hash is not the hash of seq 1")
    ]
