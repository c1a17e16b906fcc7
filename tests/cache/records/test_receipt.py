"""The vendor's receipt, which is a copy of the vendor's ledger entry."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cache.records.receipt import Receipt, account_name, chain_breaks, entry_hash, key_id_of
from tests.support.cache_purchases import Ledger, altered, image, intent_of, rehashed


def ledger_of(charges: int) -> list[Receipt]:
    """A grant and that many charges."""
    ledger = Ledger()
    for number in range(charges):
        ledger.charge(intent_of(image(number)))
    return ledger.entries


def test_the_hash_is_computed_as_the_api_contract_says() -> None:
    """The test computes it from the text of the contract, without the package."""
    entry = ledger_of(1)[1].entry()
    rest = {name: value for name, value in entry.items() if name != "hash"}
    line = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert entry["hash"] == hashlib.sha256(line.encode()).hexdigest()


@given(
    name=st.sampled_from(["images", "texts", "units", "cost_micro_usd", "balance_units", "seq"]),
    more=st.integers(1, 10**9),
)
def test_a_receipt_with_an_altered_number_does_not_verify(name: str, more: int) -> None:
    """Its hash covers every field."""
    receipt = ledger_of(1)[1]
    assert receipt.verify()
    assert not altered(receipt, **{name: getattr(receipt, name) + more}).verify()


@pytest.mark.parametrize(
    "name", ["request_id", "idempotency_key", "model", "model_fingerprint", "price_version"]
)
def test_a_receipt_with_an_altered_name_does_not_verify(name: str) -> None:
    """Nor can it be assigned to another request or model."""
    assert not altered(ledger_of(1)[1], **{name: "another"}).verify()


def test_a_field_of_a_newer_vendor_is_kept_because_the_hash_covers_it() -> None:
    """Dropping it would make every receipt of that vendor look forged."""
    newer = rehashed(ledger_of(1)[1], region="eu-1")
    assert newer.verify()
    assert newer.entry()["region"] == "eu-1"
    assert not altered(newer, region="us-1").verify()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("units", "1"),
        ("units", 1.0),
        ("units", True),
        ("seq", 0),
        ("images", -1),
        ("texts", -1),
        ("kind", "gift"),
        ("hash", "0" * 63),
        ("prev_hash", "G" * 64),
        ("created_ms", None),
        ("model", None),
    ],
)
def test_an_entry_that_breaks_the_contract_is_rejected(name: str, value: object) -> None:
    """Text and fractions are not accepted as amounts."""
    entry: dict[str, Any] = {**ledger_of(1)[1].entry(), name: value}
    with pytest.raises(ValidationError, match=name):
        Receipt.model_validate(entry)


@pytest.mark.parametrize("name", sorted({*Receipt.model_fields} - {"embeddings_sha256"}))
def test_every_field_is_needed(name: str) -> None:
    """A line without any of them is not an entry; version 1 has no digest."""
    entry = ledger_of(1)[1].entry()
    del entry[name]
    with pytest.raises(ValidationError, match=name):
        Receipt.model_validate(entry)


def test_a_receipt_cannot_be_changed() -> None:
    """It is evidence."""
    receipt = ledger_of(1)[1]
    with pytest.raises(ValidationError, match="frozen"):
        receipt.units = 0  # type: ignore[misc]


def test_a_whole_ledger_has_no_breaks() -> None:
    """Grants and charges alike; and an empty one has none either."""
    assert list(chain_breaks(ledger_of(5))) == []
    assert list(chain_breaks([])) == []


@given(gone=st.integers(0, 4))
def test_an_entry_removed_from_a_ledger_is_a_gap(gone: int) -> None:
    """Wherever it was, except at the end, which only the balance shows."""
    entries = ledger_of(5)
    del entries[gone]
    (fault,) = chain_breaks(entries)
    assert f"seq {gone + 2}: follows seq {gone}" in fault


def test_an_altered_entry_is_named() -> None:
    """By its sequence number, once."""
    entries = ledger_of(3)
    entries[2] = altered(entries[2], units=99)
    assert list(chain_breaks(entries)) == ["seq 3: its hash is not the hash of its fields"]


def test_an_altered_entry_with_a_new_hash_breaks_the_next_link() -> None:
    """A forger would have to rewrite all later entries."""
    entries = ledger_of(3)
    entries[2] = rehashed(entries[2], units=99)
    assert list(chain_breaks(entries)) == ["seq 4: prev_hash is not the hash of seq 3"]


def test_swapped_entries_are_noticed() -> None:
    """Order is part of a ledger."""
    entries = ledger_of(3)
    entries[1], entries[2] = entries[2], entries[1]
    assert any("out of order" in fault for fault in chain_breaks(entries))


def test_a_ledger_that_starts_with_another_hash_is_noticed() -> None:
    """The first entry links to zeros."""
    (entry, *_) = ledger_of(0)
    assert list(chain_breaks([rehashed(entry, prev_hash="1" * 64)])) == [
        "seq 1: prev_hash is not the hash of seq 0"
    ]


@pytest.mark.parametrize(
    ("vendor", "account"),
    [
        ("http://vendor:8000", "http://vendor:8000#k1"),
        ("http://vendor:8000/", "http://vendor:8000#k1"),
        ("HTTP://Vendor:8000", "http://vendor:8000#k1"),
        ("https://api.example.com/clip/", "https://api.example.com/clip#k1"),
    ],
)
def test_an_account_has_one_name_however_its_address_is_written(vendor: str, account: str) -> None:
    """Otherwise its receipts would count for two accounts."""
    assert account_name(vendor, "k1") == account
    assert key_id_of(account) == "k1"


def test_the_hash_ignores_the_order_of_the_fields() -> None:
    """JSON objects have none."""
    entry = ledger_of(1)[1].entry()
    assert entry_hash(dict(reversed(entry.items()))) == entry["hash"]
