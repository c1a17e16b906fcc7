"""Shortages: paid answers with missing rows, and what it costs to get those rows again."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from cache.integrity.scan import ScanResult
from cache.records.purchase_records import StoredReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """One paid purchase with missing rows; `images` and `texts` count the missing items.

    `is_replayable`: the client's next run can fetch them from the vendor again, free of charge, as
    long as the vendor keeps the answer. `rebuy_micro_usd` is the cost of buying them again at the
    price that was paid, rounded up to a micro-USD.
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
        """The number of missing items."""
        return self.images + self.texts


def find_shortages(scan_result: ScanResult) -> list[Shortage]:
    """Return every paid purchase with missing rows, in the order of the receipts."""
    by_request: dict[str, list[StoredReceipt]] = defaultdict(list)
    for stored in scan_result.receipts:
        by_request[stored.receipt.request_id].append(stored)
    written_off = {write_off.idempotency_key for write_off in scan_result.write_offs}
    found = []
    for request_id, receipts in by_request.items():
        bought = Counter(scan_result.bought.get(request_id, Counter()))
        for stored in receipts:
            due = Counter(image=stored.receipt.images, text=stored.receipt.texts)
            missing = due - bought
            bought -= due
            if missing:
                purchase = scan_result.copies.purchases.get(stored.name)
                is_known = purchase is not None and purchase.is_whole
                is_written_off = stored.receipt.idempotency_key in written_off
                # A vendor that issues no receipts keeps no answers either.
                is_kept = not is_written_off and not stored.receipt.is_from_client
                found.append(_shortage(stored, missing, is_known and is_kept))
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
