"""What embeddings cost, by the receipts that the cache keeps of them."""

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
    """Queries, micro-USD, and the receipts of which they are a part or all."""

    units: int
    cost_micro_usd: int
    receipts: tuple[StoredReceipt, ...]

    @property
    def digest(self) -> str:
        """One sha256 for these receipts."""
        return receipts_digest(one.receipt for one in self.receipts)


def purchase_cost(
    cache: CacheReader, keys: Collection[EmbeddingKey], prices: Prices
) -> PurchaseCost:
    """What was paid for these embeddings on the day that each was bought.

    Of a receipt that also paid for others, the part of these; a whole receipt costs what it says.
    """
    # Two vendors may give one request id; not in the same millisecond.
    held: dict[tuple[str, int], list[EmbeddingKey]] = {}
    wanted = set(keys)
    for row in cache.rows():
        if row.key in wanted:
            held.setdefault((row.request_id, row.created_ms), []).append(row.key)
    units = cost_micro_usd = 0
    receipts: list[StoredReceipt] = []
    for one in cache.stored_receipts():
        receipt = one.receipt
        # Popped: a charge that came by two addresses of one vendor was paid once.
        if (paid := held.pop((receipt.request_id, receipt.created_ms), None)) is None:
            continue
        images = sum(key.modality == "image" for key in paid)
        # A receipt has one sum for its images and texts. Today's prices only say how it is shared
        # between the two: where a request bought one kind, or all is on hand, they cancel out.
        part = _weight(prices, images, len(paid) - images)
        whole = _weight(prices, receipt.images, receipt.texts)
        units += receipt.units * part // whole
        cost_micro_usd += receipt.cost_micro_usd * part // whole
        receipts.append(one)
    return PurchaseCost(units=units, cost_micro_usd=cost_micro_usd, receipts=tuple(receipts))


def _weight(prices: Prices, images: int, texts: int) -> int:
    return images * prices.units.image + texts * prices.units.text
