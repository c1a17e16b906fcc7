"""What an audit says of answers that were paid for and that nobody has."""

from __future__ import annotations

from collections.abc import Sequence

from cache.audit.corrections import Difference, line_name
from cache.integrity.scan import ScanResult
from cache.integrity.shortages import shortages
from cache.records.purchase_records import WriteOff
from cache.records.receipt import Receipt, key_id_of


class LostChargeReport:
    """The losses of one account: `named` one by one, and where they do not fit the ledger.

    `explainable` are the vendor's charges that must have a receipt: all others are losses.
    """

    def __init__(
        self,
        findings: ScanResult,
        receipts: Sequence[Receipt],
        charges: Sequence[Receipt],
        *,
        key_id: str,
    ) -> None:
        self.named: list[Difference] = []
        self.differences: list[Difference] = []
        self.explainable: list[Receipt] = []
        collected = {receipt.request_id for receipt in receipts}
        ended = {receipt.idempotency_key for receipt in receipts}
        awaited = {
            loss.idempotency_key: loss
            for loss in findings.losses
            if loss.idempotency_key not in ended
        }
        for charge in charges:
            loss = awaited.get(charge.idempotency_key)
            if loss is None or charge.request_id in collected:
                self.explainable.append(charge)
            else:
                # A second charge for the same purchase has no excuse.
                del awaited[charge.idempotency_key]
                self._take(charge, loss)
        for loss in awaited.values():
            if key_id_of(loss.account) == key_id:
                detail = "it counts as spent in the cache, and the vendor never charged it"
                line = f"purchase {loss.idempotency_key}"
                self.named.append(Difference(line=line, detail=f"{detail} ({loss.detail})"))
        self._name_shortages(findings, key_id)

    def _take(self, charge: Receipt, loss: WriteOff) -> None:
        detail = f"charged {charge.units} queries, and the answer is lost: {loss.detail}"
        self.named.append(Difference(line=line_name(charge), detail=detail))
        if loss.keys and loss.units != charge.units:
            detail = f"it charges {charge.units} queries for a purchase of {loss.units}"
            self.differences.append(Difference(line=line_name(charge), detail=detail))

    def _name_shortages(self, findings: ScanResult, key_id: str) -> None:
        details = {loss.idempotency_key: loss.detail for loss in findings.losses}
        for short in shortages(findings):
            if key_id_of(short.account) != key_id:
                continue
            remedy = "the client's next run gets them again, free of charge"
            if not short.is_replayable:
                remedy = details.get(short.idempotency_key, "which ones is not known any more")
            detail = f"{short.queries} of its embeddings are paid and not in the cache: {remedy}"
            self.named.append(Difference(line=f"request {short.request_id}", detail=detail))
