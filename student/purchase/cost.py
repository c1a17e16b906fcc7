"""What embeddings cost, according to the receipts in the cache."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import StoredReceipt
from cache.reports.spend import receipts_digest
from cache.storage.reader import CacheReader
from student.vendor.schemas import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseCost:
    """Units (queries) and micro-USD, and the receipts that they are all or part of."""

    units: int
    cost_micro_usd: int
    receipts: tuple[StoredReceipt, ...]

    @property
    def digest(self) -> str:
        """A SHA-256 over these receipts."""
        return receipts_digest(stored.receipt for stored in self.receipts)


def purchase_cost(
    cache: CacheReader, keys: Collection[EmbeddingKey], prices: Prices
) -> PurchaseCost:
    """What was paid for these embeddings when they were bought.

    If a receipt also paid for other embeddings, it counts in proportion; otherwise in full.
    """
    # Two vendors may use the same request id, but not in the same millisecond.
    held: dict[tuple[str, int], list[EmbeddingKey]] = {}
    wanted = set(keys)
    for row in cache.rows():
        if row.key in wanted:
            held.setdefault((row.request_id, row.created_ms), []).append(row.key)
    units = cost_micro_usd = 0
    receipts: list[StoredReceipt] = []
    for stored in cache.stored_receipts():
        receipt = stored.receipt
        # Popped: a charge seen under two addresses of one vendor was paid once.
        if (paid := held.pop((receipt.request_id, receipt.created_ms), None)) is None:
            continue
        images = sum(key.modality == "image" for key in paid)
        # A receipt has a single sum for its images and texts. Today's prices only divide it between
        # the two; if it paid for one kind, or all of it is counted, they cancel out.
        part = _weight(prices, images, len(paid) - images)
        whole = _weight(prices, receipt.images, receipt.texts)
        units += receipt.units * part // whole
        cost_micro_usd += receipt.cost_micro_usd * part // whole
        receipts.append(stored)
    return PurchaseCost(units=units, cost_micro_usd=cost_micro_usd, receipts=tuple(receipts))


def _weight(prices: Prices, images: int, texts: int) -> int:
    return images * prices.units.image + texts * prices.units.text
