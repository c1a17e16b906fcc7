"""Charges whose answer is not, or not completely, in the cache: write-offs and missing rows."""

from __future__ import annotations

from collections.abc import Sequence

from cache.audit.corrections import Difference, entry_name
from cache.integrity.scan import ScanResult
from cache.integrity.shortages import find_shortages
from cache.records.purchase_records import WriteOff
from cache.records.receipt import Receipt, key_id_of


class LostChargeReport:
    """The write-offs and missing rows of one account.

    `differences` holds write-offs that do not fit the ledger. `charges_with_receipt` are the
    charges that must have a receipt in the cache: all that are not written off.
    """

    def __init__(
        self,
        scan_result: ScanResult,
        receipts: Sequence[Receipt],
        charges: Sequence[Receipt],
        *,
        key_id: str,
    ) -> None:
        self.write_offs: list[Difference] = []
        self.missing_rows: list[Difference] = []
        self.differences: list[Difference] = []
        self.charges_with_receipt: list[Receipt] = []
        stored = {receipt.request_id for receipt in receipts}
        paid = {receipt.idempotency_key for receipt in receipts}
        unmatched = {
            write_off.idempotency_key: write_off
            for write_off in scan_result.write_offs
            if write_off.idempotency_key not in paid
        }
        for charge in charges:
            write_off = unmatched.get(charge.idempotency_key)
            if write_off is None or charge.request_id in stored:
                self.charges_with_receipt.append(charge)
            else:
                # A write-off explains one charge; a second charge for the purchase is an error.
                del unmatched[charge.idempotency_key]
                self._add_charged(charge, write_off)
        for write_off in unmatched.values():
            if key_id_of(write_off.account) == key_id:
                detail = "it counts as spent in the cache, but the vendor never charged it"
                line = f"purchase {write_off.idempotency_key}"
                self.write_offs.append(
                    Difference(line=line, detail=f"{detail} ({write_off.detail})")
                )
        self._add_shortages(scan_result, key_id)

    def _add_charged(self, charge: Receipt, write_off: WriteOff) -> None:
        detail = f"charged {charge.units} queries, and the answer is gone: {write_off.detail}"
        self.write_offs.append(Difference(line=entry_name(charge), detail=detail))
        if write_off.keys and write_off.units != charge.units:
            detail = f"it charges {charge.units} queries for a purchase of {write_off.units}"
            self.differences.append(Difference(line=entry_name(charge), detail=detail))

    def _add_shortages(self, scan_result: ScanResult, key_id: str) -> None:
        details = {
            write_off.idempotency_key: write_off.detail for write_off in scan_result.write_offs
        }
        for shortage in find_shortages(scan_result):
            if key_id_of(shortage.account) != key_id:
                continue
            remedy = "the client's next run fetches them again, free of charge"
            if not shortage.is_replayable:
                remedy = details.get(shortage.idempotency_key, "their keys are no longer known")
            detail = f"{shortage.queries} of its embeddings are paid but not in the cache: {remedy}"
            line = f"request {shortage.request_id}"
            self.missing_rows.append(Difference(line=line, detail=detail))
