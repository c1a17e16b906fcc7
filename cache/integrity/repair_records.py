"""What repair does within one database: judge every corrupt record, then write all at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cache.errors import CacheUnavailable, CorruptRow, PickleRefused
from cache.integrity.quarantine import Quarantine
from cache.integrity.repair_intents import IntentRepair
from cache.integrity.scan import CorruptRecord, Problem, ScanResult, scan
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import PaidEmbedding, StoredReceipt
from cache.storage import receipts_file as second_copy
from cache.storage import record_types as journal
from cache.storage.codec import encode_row, unseal
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.reader import CacheReader, StoredRecord
from cache.storage.record_types import Tag

_IN_FLIGHT_UNKNOWN: Final = (
    "what was in flight is not known any more: cache-report audit names what was charged of it"
)


class RecordRepair:
    """One repair of one database; afterwards it tells what was `moved` and `restored`."""

    def __init__(self, store: FencedCache, records: CacheReader, aside: Quarantine) -> None:
        self.moved: list[Problem] = []
        self.restored: list[Problem] = []
        self.places: list[Path] = []
        self.copies_written = 0
        self._store = store
        self._records = records
        self._aside = aside
        self._removed: list[tuple[StoredRecord, str]] = []
        self._written: dict[str | bytes, tuple[bytes, Tag]] = {}

    def mend(self, *, may_lack_intents: bool) -> None:
        """Bring the database as near to what was written as can be known.

        `may_lack_intents`: some journalled purchases may have been lost with their records, and
        what the totals count too many of them stays counted. Raises CacheUnavailable.
        """
        with self._store.exclusive():
            findings = scan(self._records)
            receipts = self._receipts(findings)
            purchases = IntentRepair(findings, receipts, self._aside)
            for corrupt in findings.corrupt:
                self._judge(corrupt, purchases)
            purchases.settle(may_lack_intents=may_lack_intents)
            if may_lack_intents and findings.totals is None:
                self.moved.append(Problem(name="intents", detail=_IN_FLIGHT_UNKNOWN))
            self._take_over(purchases)
            self._mark_as_paid(findings, receipts)
            self._recount(findings, receipts, purchases)
            self._write(findings, receipts)

    def _receipts(self, findings: ScanResult) -> dict[tuple[str, str], StoredReceipt]:
        """Every receipt as it should be: sound, from the second copy or proven by its hash."""
        receipts = {stored.name: stored for stored in findings.receipts}
        copies = findings.copies.purchases
        for stored in findings.receipts:
            copy = copies.get(stored.name)
            if copy is not None and not stored.receipt.verify() and copy.receipt.verify():
                reason = "its hash is not the hash of its fields"
                self._remove(self._record(stored), reason)
                self._restore_receipt(receipts, copy.stored, reason)
        for corrupt in findings.corrupt:
            for stored in self._proven(corrupt.record, findings):
                self._remove(corrupt.record, corrupt.reason)
                if stored.name not in receipts:
                    self._restore_receipt(receipts, stored, corrupt.reason)
        charges = {stored.charge for stored in receipts.values()}
        for copy in findings.stray:
            # One charge may have two lines, when the vendor was reached at two addresses.
            if copy.charge not in charges:
                charges.add(copy.charge)
                self._restore_receipt(receipts, copy.stored, "it was in receipts.jsonl only")
        return receipts

    def _proven(self, record: StoredRecord, findings: ScanResult) -> Iterator[StoredReceipt]:
        """The receipts that a corrupt record was, holds or waited for, as far as they are sure."""
        for copy in findings.copies.purchases.values():
            if journal.intent_name(copy.receipt.idempotency_key) == record.name:
                yield copy.stored
        if not record.name.startswith(journal.receipt_name("", "")[:-1]):
            return
        for copy in findings.copies.purchases.values():
            if journal.receipt_name(*copy.name) == record.name:
                yield copy.stored
        try:
            said = journal.read_damaged_receipt(record.name, record.content())
        except (CorruptRow, PickleRefused):
            return
        # The vendor's hash proves the receipt; the name, kept apart from it, proves the account.
        is_filed_right = journal.receipt_name(*said.name) == record.name
        if said.receipt.verify() and (is_filed_right or _is_sealed(record)):
            yield said

    def _remove(self, record: StoredRecord, reason: str) -> None:
        if (record, reason) not in self._removed:
            self._removed.append((record, reason))

    def _restore_receipt(
        self,
        receipts: dict[tuple[str, str], StoredReceipt],
        stored: StoredReceipt,
        reason: str,
    ) -> None:
        receipts[stored.name] = stored
        name = journal.receipt_name(*stored.name)
        self._restore(name, journal.write_receipt(stored), Tag.RECEIPT, reason)

    def _judge(self, corrupt: CorruptRecord, purchases: IntentRepair) -> None:
        record = corrupt.record
        kind, _, rest = record.name.partition("/") if isinstance(record.key, str) else ("", "", "")
        if kind == Tag.RECEIPT:
            # Moved by now if its receipt is known; else it is all that is left of the money.
            return
        self._remove(record, corrupt.reason)
        if kind == Tag.INTENT:
            purchases.take_intent(rest, record)
        elif kind == Tag.LOSS:
            purchases.take_loss(rest, record)
        elif record.tag == Tag.ROW:
            self._file_again(record, corrupt.reason)

    def _file_again(self, record: StoredRecord, reason: str) -> None:
        """Put a whole row that is under another row's name where it belongs, if that is free."""
        try:
            row = _whole_row(record)
        except (CorruptRow, PickleRefused):
            return
        if row is not None and self._records.missing([row.key]):
            self._restore(row.key.digest, encode_row(row), Tag.ROW, reason)

    def _take_over(self, purchases: IntentRepair) -> None:
        for intent in purchases.resealed_intents:
            name = journal.intent_name(intent.idempotency_key)
            self._restore(name, journal.write_intent(intent), Tag.INTENT, "its fields were whole")
        for loss in purchases.new_losses:
            name = journal.loss_name(loss.idempotency_key)
            self._restore(name, journal.write_loss(loss), Tag.LOSS, loss.detail)
        for intent in purchases.settled:
            name = journal.intent_name(intent.idempotency_key)
            reason = "it was still open although its receipt is stored"
            self._removed += [(record, reason) for record in self._named(name)]

    def _mark_as_paid(
        self, findings: ScanResult, receipts: dict[tuple[str, str], StoredReceipt]
    ) -> None:
        named: dict[str, list[StoredReceipt]] = defaultdict(list)
        for stored in receipts.values():
            named[stored.receipt.idempotency_key].append(stored)
        for idempotency_key, found in named.items():
            mark = findings.paid.get(idempotency_key)
            if mark not in [journal.receipt_name(*stored.name) for stored in found]:
                name = journal.paid_name(idempotency_key)
                content = journal.write_paid(*found[0].name)
                self._restore(name, content, Tag.PAID, "the purchase has a receipt")

    def _recount(
        self,
        findings: ScanResult,
        receipts: dict[tuple[str, str], StoredReceipt],
        purchases: IntentRepair,
    ) -> None:
        after = ScanResult(
            receipts=list(receipts.values()),
            intents=list(purchases.intents.values()),
            losses=list(purchases.losses.values()),
        )
        if findings.totals != after.counted():
            content = journal.write_totals(after.counted())
            self._restore(journal.TOTALS, content, Tag.TOTALS, "the records were counted again")

    def _restore(self, name: str | bytes, content: bytes, tag: Tag, reason: str) -> None:
        self._written[name] = (content, tag)
        shown = name.hex() if isinstance(name, bytes) else name
        self.restored.append(Problem(name=shown, detail=reason))

    def _write(self, findings: ScanResult, receipts: dict[tuple[str, str], StoredReceipt]) -> None:
        """Save what is taken out, then write the second copies, then change the database."""
        try:
            if self._removed:
                self.places.append(self._aside.keep_records(self._removed))
            if findings.copies.damaged:
                self.places.append(self._aside.keep_lines(findings.copies.damaged))
            self._write_copies(findings, receipts)
        except OSError as error:
            message = f"the cache in {self._aside.folder} cannot be repaired: {error}"
            raise CacheUnavailable(message) from error
        if self._removed or self._written:
            with self._store.unprotected():
                for record, reason in self._removed:
                    self._store.remove(key=record.key, raw=record.raw)
                    self.moved.append(Problem(name=record.name, detail=reason))
                for name, (content, tag) in self._written.items():
                    self._store.set(name, content, tag=tag.value)

    def _write_copies(
        self, findings: ScanResult, receipts: dict[tuple[str, str], StoredReceipt]
    ) -> None:
        known = findings.copies.purchases
        lacking = [stored for stored in receipts.values() if stored.name not in known]
        keys = self._keys_of({stored.receipt.request_id for stored in lacking})
        added = [stored.paying_for(tuple(keys[stored.receipt.request_id])) for stored in lacking]
        folder = self._aside.folder
        if findings.copies.damaged:
            second_copy.rewrite(folder, [*known.values(), *added])
            self.moved += [
                Problem(name=f"receipts.jsonl line {line.number}", detail=line.reason)
                for line in findings.copies.damaged
            ]
        elif added:
            second_copy.append(folder, added)
        self.copies_written = len(added)

    def _keys_of(self, request_ids: set[str]) -> dict[str, list[EmbeddingKey]]:
        """The keys of each request's rows, in the order of storing, which is that of sending."""
        keys: dict[str, list[EmbeddingKey]] = defaultdict(list)
        if not request_ids:
            return keys
        for record in self._records.scan_all():
            try:
                row = _whole_row(record)
            except (CorruptRow, PickleRefused):
                continue
            if row is not None and row.request_id in request_ids:
                keys[row.request_id].append(row.key)
        return keys

    def _record(self, stored: StoredReceipt) -> StoredRecord:
        return self._named(journal.receipt_name(*stored.name))[0]

    def _named(self, name: str) -> list[StoredRecord]:
        return list(self._records.named(name))


def _is_sealed(record: StoredRecord) -> bool:
    try:
        unseal(record.name, record.content())
    except CorruptRow:
        return False
    return True


def _whole_row(record: StoredRecord) -> PaidEmbedding | None:
    """The row that is in a record, wherever it is filed; None for a record of another kind."""
    if record.tag == Tag.AGAIN:
        return journal.read_again(record.name, record.content())
    if record.tag != Tag.ROW:
        return None
    return journal.read_row_anywhere(record.name, record.content())
