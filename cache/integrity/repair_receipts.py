"""Recovery of receipts: from receipts.jsonl, or from a damaged record that the hash proves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from cache.errors import CorruptRow, PickleRefused
from cache.integrity.scan import ScanResult
from cache.records.purchase_records import Purchase, StoredReceipt
from cache.storage import record_codec
from cache.storage.database import StoredRecord
from cache.storage.reader import CacheReader
from cache.storage.row_codec import unseal

_RECEIPT_PREFIX = "receipt/"


class ReceiptRepair:
    """Every receipt as it should be, by account and request id.

    `recovered` lists receipts to be written, `replaced` records to be removed, each with the
    reason.
    """

    def __init__(self, scan_result: ScanResult, reader: CacheReader) -> None:
        self.receipts = {stored.name: stored for stored in scan_result.receipts}
        self.recovered: list[tuple[StoredReceipt, str]] = []
        self.replaced: list[tuple[StoredRecord, str]] = []
        self._copies = scan_result.copies.purchases
        self._copies_of_record: dict[str, list[Purchase]] = defaultdict(list)
        for copy in self._copies.values():
            intent = record_codec.intent_name(copy.receipt.idempotency_key)
            for name in (intent, record_codec.receipt_name(*copy.name)):
                self._copies_of_record[name].append(copy)
        self._replace_false_hashes(scan_result, reader)
        self._recover_from_corrupt_records(scan_result)
        self._recover_unstored(scan_result)

    def _replace_false_hashes(self, scan_result: ScanResult, reader: CacheReader) -> None:
        for stored in scan_result.receipts:
            copy = self._copies.get(stored.name)
            if copy is not None and not stored.receipt.verify() and copy.receipt.verify():
                reason = "its hash is not the hash of its fields"
                record = next(iter(reader.named(record_codec.receipt_name(*stored.name))))
                self._replace(record, reason)
                self._recover(copy.stored, reason)

    def _recover_from_corrupt_records(self, scan_result: ScanResult) -> None:
        for corrupt in scan_result.corrupt:
            for stored in self._proven_receipts(corrupt.record):
                self._replace(corrupt.record, corrupt.reason)
                if stored.name not in self.receipts:
                    self._recover(stored, corrupt.reason)

    def _recover_unstored(self, scan_result: ScanResult) -> None:
        charges = {stored.charge for stored in self.receipts.values()}
        for copy in scan_result.unstored:
            # One charge can have two lines, if the vendor was reached at two addresses.
            if copy.charge not in charges:
                charges.add(copy.charge)
                self._recover(copy.stored, "it was in receipts.jsonl only")

    def _proven_receipts(self, record: StoredRecord) -> Iterator[StoredReceipt]:
        """The receipts that a corrupt record held, or that settled the purchase it held."""
        for copy in self._copies_of_record.get(record.name, ()):
            yield copy.stored
        if not record.name.startswith(_RECEIPT_PREFIX):
            return
        try:
            found = record_codec.decode_damaged_receipt(record.name, record.content())
        except (CorruptRow, PickleRefused):
            return
        # The vendor's hash proves the receipt but not the account. The record's name, which is
        # stored apart from its content, or the record's checksum proves that.
        has_its_name = record_codec.receipt_name(*found.name) == record.name
        if found.receipt.verify() and (has_its_name or _is_sealed(record)):
            yield found

    def _replace(self, record: StoredRecord, reason: str) -> None:
        if (record, reason) not in self.replaced:
            self.replaced.append((record, reason))

    def _recover(self, stored: StoredReceipt, reason: str) -> None:
        self.receipts[stored.name] = stored
        self.recovered.append((stored, reason))


def _is_sealed(record: StoredRecord) -> bool:
    try:
        unseal(record.name, record.content())
    except CorruptRow:
        return False
    return True
