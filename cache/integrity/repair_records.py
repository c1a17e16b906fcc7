"""Repair within one database: decide about every corrupt record, then write all at once."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

from cache.errors import CacheUnavailable, CorruptRow, PickleRefused
from cache.integrity.embedding_digests import digest_faults, intact_row, storing_order
from cache.integrity.quarantine import Quarantine
from cache.integrity.repair_intents import IntentRepair
from cache.integrity.repair_receipts import ReceiptRepair
from cache.integrity.scan import CorruptRecord, Problem, ScanResult, scan
from cache.records.purchase_records import Purchase, StoredReceipt
from cache.storage import receipts_file, record_codec
from cache.storage.database import StoredRecord
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.reader import CacheReader
from cache.storage.record_codec import Tag
from cache.storage.row_codec import encode_row

_OPEN_UNKNOWN: Final = (
    "which purchases were open is no longer known: run cache-report audit to see what was charged"
)


class RecordRepair:
    """One repair of one database; afterwards `moved` and `restored` list what it did."""

    def __init__(self, store: FencedCache, reader: CacheReader, quarantine: Quarantine) -> None:
        self.moved: list[Problem] = []
        self.restored: list[Problem] = []
        self.quarantine_files: list[Path] = []
        self.copies_written = 0
        self._store = store
        self._reader = reader
        self._quarantine = quarantine
        # A dictionary, because every record is looked up in it.
        self._removed: dict[tuple[StoredRecord, str], None] = {}
        self._written: dict[str | bytes, tuple[bytes, Tag]] = {}

    def run(self, *, may_lack_intents: bool) -> None:
        """Restore the database as far as its content is known.

        `may_lack_intents`: records of open purchases may be gone; their queries in the totals then
        stay counted. Raises CacheUnavailable if the cache cannot be written.
        """
        with self._store.exclusive():
            scan_result = scan(self._reader)
            receipt_repair = ReceiptRepair(scan_result, self._reader)
            receipts = receipt_repair.receipts
            self._take_receipts(receipt_repair)
            purchases = IntentRepair(scan_result, receipts, self._quarantine)
            for corrupt in scan_result.corrupt:
                self._repair_record(corrupt, purchases)
            self._remove_false_rows(scan_result)
            purchases.resolve(may_lack_intents=may_lack_intents)
            if may_lack_intents and scan_result.totals is None:
                self.moved.append(Problem(name="intents", detail=_OPEN_UNKNOWN))
            self._take_purchases(purchases)
            self._mark_as_paid(scan_result, receipts)
            self._recount(scan_result, receipts, purchases)
            self._write(scan_result, receipts)

    def _take_receipts(self, repaired: ReceiptRepair) -> None:
        for record, reason in repaired.replaced:
            self._remove(record, reason)
        for stored, reason in repaired.recovered:
            name = record_codec.receipt_name(*stored.name)
            self._restore(name, record_codec.encode_receipt(stored), Tag.RECEIPT, reason)

    def _repair_record(self, corrupt: CorruptRecord, purchases: IntentRepair) -> None:
        record = corrupt.record
        kind, _, rest = record.name.partition("/") if isinstance(record.key, str) else ("", "", "")
        if kind == Tag.RECEIPT:
            # Replaced by now if its receipt is known. If not, it is the only trace of the charge.
            return
        self._remove(record, corrupt.reason)
        if kind == Tag.INTENT:
            purchases.add_damaged_intent(rest, record)
        elif kind == Tag.WRITE_OFF:
            purchases.add_damaged_write_off(rest, record)
        elif record.tag == Tag.ROW:
            self._rename_row(record, corrupt.reason)

    def _remove_false_rows(self, scan_result: ScanResult) -> None:
        """Move the rows of a purchase that does not have its digest: one of them is false.

        The client's next run fetches them again, free of charge, like other missing rows; from a
        vendor that keeps no answers, it buys them again.
        """
        for fault in digest_faults(scan_result, self._reader):
            request_id = fault.stored.receipt.request_id
            for key in fault.keys:
                names = (key.digest, record_codec.again_name(key, request_id))
                for record in self._reader.named(*names):
                    row = intact_row(record)
                    if row is not None and row.request_id == request_id:
                        self._remove(record, "the embeddings of its purchase lack their digest")

    def _rename_row(self, record: StoredRecord, reason: str) -> None:
        """Store an intact row that is under a wrong name under its own, unless that is taken."""
        try:
            row = intact_row(record)
        except (CorruptRow, PickleRefused):
            return
        if row is not None and self._reader.missing([row.key]):
            self._restore(row.key.digest, encode_row(row), Tag.ROW, reason)

    def _take_purchases(self, purchases: IntentRepair) -> None:
        for intent in purchases.resealed_intents:
            name = record_codec.intent_name(intent.idempotency_key)
            content = record_codec.encode_intent(intent)
            self._restore(name, content, Tag.INTENT, "its fields were intact")
        for write_off in purchases.new_write_offs:
            name = record_codec.write_off_name(write_off.idempotency_key)
            content = record_codec.encode_write_off(write_off)
            self._restore(name, content, Tag.WRITE_OFF, write_off.detail)
        for intent in purchases.settled:
            name = record_codec.intent_name(intent.idempotency_key)
            reason = "it was still open although its receipt is stored"
            for record in self._reader.named(name):
                self._remove(record, reason)

    def _mark_as_paid(
        self, scan_result: ScanResult, receipts: dict[tuple[str, str], StoredReceipt]
    ) -> None:
        by_key: dict[str, list[StoredReceipt]] = defaultdict(list)
        for stored in receipts.values():
            by_key[stored.receipt.idempotency_key].append(stored)
        for idempotency_key, found in by_key.items():
            mark = scan_result.paid.get(idempotency_key)
            if mark not in [record_codec.receipt_name(*stored.name) for stored in found]:
                name = record_codec.paid_name(idempotency_key)
                content = record_codec.encode_paid(*found[0].name)
                self._restore(name, content, Tag.PAID, "the purchase has a receipt")

    def _recount(
        self,
        scan_result: ScanResult,
        receipts: dict[tuple[str, str], StoredReceipt],
        purchases: IntentRepair,
    ) -> None:
        after = ScanResult(
            receipts=list(receipts.values()),
            intents=list(purchases.intents.values()),
            write_offs=list(purchases.write_offs.values()),
        )
        if scan_result.totals != after.counted():
            content = record_codec.encode_totals(after.counted())
            self._restore(record_codec.TOTALS, content, Tag.TOTALS, "the records were counted")

    def _remove(self, record: StoredRecord, reason: str) -> None:
        self._removed[record, reason] = None

    def _restore(self, name: str | bytes, content: bytes, tag: Tag, reason: str) -> None:
        self._written[name] = (content, tag)
        shown = name.hex() if isinstance(name, bytes) else name
        self.restored.append(Problem(name=shown, detail=reason))

    def _write(
        self, scan_result: ScanResult, receipts: dict[tuple[str, str], StoredReceipt]
    ) -> None:
        """Save what is removed, then write receipts.jsonl, then change the database."""
        quarantine = self._quarantine
        try:
            if self._removed:
                self.quarantine_files.append(quarantine.keep_records(list(self._removed)))
            if scan_result.copies.damaged:
                self.quarantine_files.append(quarantine.keep_lines(scan_result.copies.damaged))
            self._write_copies(scan_result, receipts)
        except OSError as error:
            message = f"cannot repair the cache in {quarantine.folder}: {error}"
            raise CacheUnavailable(message) from error
        if self._removed or self._written:
            with self._store.unprotected():
                for record, reason in self._removed:
                    self._store.remove(key=record.key, raw=record.raw)
                    self.moved.append(Problem(name=record.name, detail=reason))
                for name, (content, tag) in self._written.items():
                    self._store.set(name, content, tag=tag.value)

    def _write_copies(
        self, scan_result: ScanResult, receipts: dict[tuple[str, str], StoredReceipt]
    ) -> None:
        known = scan_result.copies.purchases
        lacking = [stored for stored in receipts.values() if stored.name not in known]
        added = self._with_keys(lacking)
        folder = self._quarantine.folder
        if scan_result.copies.damaged:
            receipts_file.rewrite(folder, [*known.values(), *added])
            self.moved += [
                Problem(name=f"receipts.jsonl line {line.number}", detail=line.reason)
                for line in scan_result.copies.damaged
            ]
        elif added:
            receipts_file.append(folder, added)
        self.copies_written = len(added)

    def _with_keys(self, lacking: list[StoredReceipt]) -> list[Purchase]:
        """The purchases of these receipts, whose keys are those of their rows, in storing order.

        Without keys where the digest proves that this is not the order of sending: a replayed
        answer would be stored under the wrong keys.
        """
        order = storing_order(self._reader, {stored.receipt.request_id for stored in lacking})
        rows = {stored.name: order[stored.receipt.request_id] for stored in lacking}
        return [
            stored.paying_for(
                ()
                if rows[stored.name].contradicts(stored.receipt)
                else tuple(rows[stored.name].keys)
            )
            for stored in lacking
        ]
