"""Answers that are paid and not, or not wholly, in the cache: what having them again costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from cache.integrity.scan import ScanResult
from cache.records.purchase_records import StoredReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """One purchase some of whose rows are gone.

    `is_replayable`: the client's next run gets them from the vendor again, free of charge, as long
    as the vendor keeps the answer. `rebuy_micro_usd` is what buying them again costs, at the price
    that was paid.
    """

    account: str
    request_id: str
    idempotency_key: str
    run: str
    images: int
    texts: int
    rebuy_micro_usd: int
    is_replayable: bool

    @property
    def queries(self) -> int:
        """How many items are missing."""
        return self.images + self.texts


def shortages(findings: ScanResult) -> list[Shortage]:
    """Every purchase of whose rows some are gone, in the order of its receipts."""
    by_request: dict[str, list[StoredReceipt]] = defaultdict(list)
    for stored in findings.receipts:
        by_request[stored.receipt.request_id].append(stored)
    given_up = {loss.idempotency_key for loss in findings.losses}
    found = []
    for request_id, receipts in by_request.items():
        bought = Counter(findings.bought.get(request_id, Counter()))
        for stored in receipts:
            due = Counter(image=stored.receipt.images, text=stored.receipt.texts)
            missing = due - bought
            bought -= due
            if missing:
                purchase = findings.copies.purchases.get(stored.name)
                is_known = purchase is not None and purchase.is_whole
                is_given_up = stored.receipt.idempotency_key in given_up
                found.append(_shortage(stored, missing, is_known and not is_given_up))
    return found


def _shortage(stored: StoredReceipt, missing: Counter[str], is_replayable: bool) -> Shortage:
    receipt = stored.receipt
    items = receipt.images + receipt.texts
    return Shortage(
        account=stored.account,
        request_id=receipt.request_id,
        idempotency_key=receipt.idempotency_key,
        run=stored.run,
        images=missing["image"],
        texts=missing["text"],
        rebuy_micro_usd=-(-receipt.cost_micro_usd * missing.total() // items),
        is_replayable=is_replayable,
    )
