"""Audits of several accounts, of open purchases and of the sums."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from cache.audit.audit import audit_cache, compare
from cache.audit.ledger_client import VendorLedger
from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt, account_name
from tests.support.cache_command import audited, differences
from tests.support.cache_purchases import (
    ACCOUNT,
    KEY_ID,
    SECRET,
    Ledger,
    altered,
    buy,
    image,
    images,
    intent_of,
    rehashed,
    rows_of,
    vendor_of,
)


def test_a_charge_of_an_open_purchase_is_reported_as_not_stored_yet(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """The next run fetches it under the same key, free of charge."""
    assert receipts
    intent = intent_of(*images(7, 8))
    cache.reserve(intent, budget=100)
    receipt = ledger.charge(intent)
    vendor = vendor_of(ledger.entries)
    (line, detail), *sums = differences(cache, vendor)
    assert line == f"seq 5, request {receipt.request_id}"
    assert detail.startswith("charged, but its answer is not stored yet")
    assert len(sums) == 2
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert differences(cache, vendor) == []


def test_receipts_of_another_account_are_listed_and_not_compared(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """They belong to a ledger that this key cannot read."""
    assert receipts
    buy(cache, Ledger(), image(50), account="http://vendor:8000#k2", name="other")
    result = audited(cache, vendor_of(ledger.entries))
    assert result.is_balanced
    assert result.not_audited == {"http://vendor:8000#k2": 1}
    assert result.receipts == 3


def test_a_vendor_at_a_new_address_is_the_same_account(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """A demo vendor has a new port each time; its receipts are compared all the same."""
    vendor = vendor_of(ledger.entries)
    with vendor.serving() as url:
        buy(cache, ledger, image(60), account=account_name(url, KEY_ID))
        vendor.lines.append(json.dumps(ledger.entries[-1].entry()))
        result = audit_cache(cache, VendorLedger(url=url, key=SECRET))
    assert result.is_balanced
    assert result.bought_elsewhere == {ACCOUNT: len(receipts)}
    assert result.account == account_name(url, KEY_ID)


def test_a_spent_figure_above_the_ledger_s_charges_is_a_difference(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """Its ledger does not add up, whatever the receipts are."""
    assert receipts
    vendor = vendor_of(ledger.entries)
    vendor.key["spent_units"] = 6
    assert differences(cache, vendor) == [
        ("sum of units", "/v1/key reports 6 spent, the vendor's charges add up to 5")
    ]


def test_a_charge_twice_in_the_ledger_is_a_difference(
    cache: PaidCache, ledger: Ledger, receipts: list[Receipt]
) -> None:
    """A vendor that bills one request twice."""
    ledger.entries.append(rehashed(receipts[0], seq=5, prev_hash=ledger.entries[-1].hash))
    found = differences(cache, vendor_of(ledger.entries))
    assert (f"seq 5, request {receipts[0].request_id}", "missing in the cache") in found
    assert not any(detail.startswith("field") for _, detail in found)


def test_the_same_receipts_compare_without_a_difference() -> None:
    """In any order, and of nothing."""
    ledger = Ledger()
    charges = [ledger.charge(intent_of(image(number))) for number in range(5)]
    assert list(compare(charges, charges[::-1])) == []
    assert list(compare([], [])) == []
    assert len(list(compare([], charges))) == len(list(compare(charges, []))) == 5


def test_a_field_that_only_one_side_has_differs() -> None:
    """The vendor added it after the sale."""
    ledger = Ledger()
    charge = ledger.charge(intent_of(image(1)))
    (found,) = compare([charge], [altered(charge, region="eu")])
    assert found.detail == "field region differs: None in the cache, 'eu' in the vendor's ledger"


def test_the_key_is_sent_to_the_vendor_and_never_shown(cache: PaidCache) -> None:
    """Not in a repr, which ends up in logs."""
    vendor = vendor_of([])
    with vendor.serving() as url:
        ledger = VendorLedger(url=url, key=SECRET)
        audit_cache(cache, ledger)
    assert vendor.authorizations == {f"Bearer {SECRET}"}
    shown: list[Any] = [ledger, replace(ledger, url="http://other")]
    assert SECRET not in repr(shown)
