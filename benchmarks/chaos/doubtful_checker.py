"""Checks the weaker promise to clients of a vendor that knows no purchases.

Never over budget; nothing that was paid and answered is lost; every doubt is on record. This module
shares no code with the product, so that it cannot share its bugs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.chaos.doubtful_vendor import expected_vector
from benchmarks.chaos.observations import Row

CANARY_UNITS = 2
"""The queries of a run's canary: one text and one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerFacts:
    """One cache at the end, and what the vendor's book has for its key.

    `charged` and `written_off` are items by SHA-256, as often as they were charged and written off;
    those of the canary, whose PNG is named otherwise in a cache, are under "canary". `committed` is
    what the cache counts as spent, in queries.
    """

    name: str
    budget: int
    wanted: Sequence[str]
    charged: Counter[str]
    rows: Sequence[Row]
    receipt_units: int
    written_off: Counter[str]
    written_off_units: int
    committed: int
    open_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtVerdict:
    """Counts in queries, and `faults` as sentences.

    `in_doubt` is on record, `unanswered` what the vendor charged without an answer in a cache, and
    `paid_twice` what it charged beyond one answer for an item.
    """

    charged: int
    receipts: int
    over_budget: int
    lost: int
    in_doubt: int
    unanswered: int
    paid_twice: int
    faults: tuple[str, ...]


def check_doubts(buyers: Sequence[BuyerFacts]) -> DoubtVerdict:
    """Return every fault that is found, and the totals."""
    faults = [
        f"cache {buyer.name}: {fault}"
        for buyer in buyers
        for fault in (*_faults_of_money(buyer), *_faults_of_items(buyer))
    ]
    stored = {buyer.name: _stored(buyer) for buyer in buyers}
    return DoubtVerdict(
        charged=sum(buyer.charged.total() for buyer in buyers),
        receipts=sum(buyer.receipt_units for buyer in buyers),
        over_budget=sum(max(0, buyer.charged.total() - buyer.budget) for buyer in buyers),
        lost=sum(_lost(buyer).total() for buyer in buyers),
        in_doubt=sum(buyer.written_off_units for buyer in buyers),
        unanswered=sum((buyer.charged - stored[buyer.name]).total() for buyer in buyers),
        paid_twice=sum(
            times - 1
            for buyer in buyers
            for item, times in buyer.charged.items()
            if item != "canary"
        ),
        faults=tuple(faults),
    )


def _faults_of_money(buyer: BuyerFacts) -> Iterator[str]:
    charged, committed = buyer.charged.total(), buyer.committed
    if buyer.open_units:
        yield f"{buyer.open_units} queries are still in open purchases"
    if charged > buyer.budget:
        yield f"{charged} queries are charged, of a budget of {buyer.budget}"
    if committed > buyer.budget:
        yield f"{committed} queries are counted, of a budget of {buyer.budget}"
    if committed != buyer.receipt_units + buyer.written_off_units:
        yield f"{committed} queries are counted, other than receipts and write-offs"
    if charged > committed:
        yield f"{charged} queries are charged, but only {committed} on record"
    if buyer.receipt_units != len(buyer.rows):
        yield f"receipts for {buyer.receipt_units} queries, and {len(buyer.rows)} rows"


def _faults_of_items(buyer: BuyerFacts) -> Iterator[str]:
    for item, times in _lost(buyer).items():
        yield f"item {item[:12]} was charged {times} times without an answer or a doubt"
    for item, times in (_stored(buyer) - buyer.charged).items():
        yield f"{times} answers to item {item[:12]} that the vendor has not charged"
    rows = [row for row in buyer.rows if not _is_canary(row)]
    for item, times in Counter(row.item for row in rows).items():
        if times > 1:
            yield f"item {item[:12]} is stored {times} times"
    for row in rows:
        if not np.allclose(row.vector, expected_vector(row.item), atol=1e-6):
            yield f"wrong vector for item {row.item[:12]}"
    missing = set(buyer.wanted) - {row.item for row in rows}
    # A run asks for its canary first: what is left may not pay for that and an item.
    if missing and buyer.budget - buyer.committed > CANARY_UNITS:
        yield f"{len(missing)} items are missing, and the budget is not spent"


def _lost(buyer: BuyerFacts) -> Counter[str]:
    """Charges that neither an answer nor a doubt stands for, by item."""
    return buyer.charged - _stored(buyer) - buyer.written_off


def _stored(buyer: BuyerFacts) -> Counter[str]:
    return Counter("canary" if _is_canary(row) else row.item for row in buyer.rows)


def _is_canary(row: Row) -> bool:
    return row.item == "canary"
