"""Receipts in any order are entries of one ledger; otherwise the vendor has two ledgers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.paid_cache import PaidCache
from cache.records.receipt import GENESIS_HASH, Receipt, entry_hash
from student.errors import VendorMisbehaved
from student.vendor.receipt_chain import ReceiptChain
from tests.support.purchase_setup import PurchaseSetup


def ledger(count: int, *, tag: str = "a") -> list[Receipt]:
    lines: list[Receipt] = []
    for seq in range(1, count + 1):
        entry: dict[str, Any] = {
            "seq": seq,
            "kind": "charge",
            "request_id": f"req_{tag}{seq}",
            "idempotency_key": f"buy-{tag}{seq}",
            "model": "tiny",
            "model_fingerprint": "sha256:" + "0" * 64,
            "images": 1,
            "texts": 0,
            "units": 1,
            "cost_micro_usd": 100,
            "price_version": "v",
            "balance_units": 1000 - seq,
            "created_ms": seq,
            "prev_hash": lines[-1].hash if lines else GENESIS_HASH,
        }
        lines.append(Receipt.model_validate({**entry, "hash": entry_hash(entry)}))
    return lines


LINES = ledger(8)
OTHERS = ledger(8, tag="b")


@given(order=st.lists(st.sampled_from(LINES), max_size=20))
def test_the_entries_of_one_ledger_fit_in_any_order_and_number(order: list[Receipt]) -> None:
    chain = ReceiptChain()
    assert [chain.fault(line) for line in order] == [None] * len(order)


@given(
    known=st.sets(st.integers(1, 8), min_size=1),
    seq=st.integers(1, 8),
)
def test_an_entry_of_another_ledger_is_detected_beside_any_neighbour(
    known: set[int], seq: int
) -> None:
    chain = ReceiptChain()
    for number in known:
        assert chain.fault(LINES[number - 1]) is None
    fault = chain.fault(OTHERS[seq - 1])
    is_detectable = bool(known & {seq - 1, seq, seq + 1})
    assert (fault is not None) == is_detectable


def test_the_first_entry_has_no_predecessor() -> None:
    entry = {**LINES[0].entry(), "prev_hash": "1" * 64}
    fault = ReceiptChain().fault(Receipt.model_validate({**entry, "hash": entry_hash(entry)}))
    assert fault == "entry 1 of the ledger does not follow the entry before it"


def test_a_refused_entry_is_not_kept() -> None:
    chain = ReceiptChain()
    assert chain.fault(LINES[3]) is None
    assert chain.fault(OTHERS[3]) is not None
    assert chain.fault(LINES[4]) is None


def forked(body: dict[str, Any]) -> None:
    body["receipt"]["prev_hash"] = "2" * 64
    body["receipt"]["hash"] = entry_hash(body["receipt"])


def repeated(body: dict[str, Any]) -> None:
    body["receipt"]["seq"] = 1
    body["receipt"]["hash"] = entry_hash(body["receipt"])


@pytest.mark.parametrize(
    ("lie", "fact"),
    [
        (forked, "entry 2 of the ledger does not follow"),
        (repeated, "entry 1 .* another hash before"),
    ],
    ids=["another chain", "a line twice"],
)
async def test_a_vendor_with_two_ledgers_stops_the_run_and_the_purchase_stays_open(
    setup: PurchaseSetup, lie: Callable[[dict[str, Any]], None], fact: str
) -> None:
    def second(body: dict[str, Any]) -> None:
        if body["receipt"]["seq"] == 2:
            lie(body)

    setup.vendor.lie = second
    with pytest.raises(VendorMisbehaved, match=fact) as caught:
        await setup.buy(setup.images(12), concurrency=1)
    assert caught.value.charged is True
    assert sum(setup.paid(setup.images(12))) == 4
    with PaidCache.open(setup.folder) as cache:
        assert len(cache.open_intents()) == 1
        assert cache.spend_on_record().open_units == 4
