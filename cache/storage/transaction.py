"""The single writes out of which every change of a cache is made, all of them kept or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import CacheUnavailable, CorruptRow, ReceiptConflict
from cache.records.purchase_records import (
    Intent,
    PaidEmbedding,
    Purchase,
    Refusal,
    RunRecord,
    Spend,
    StoredReceipt,
    WriteOff,
)
from cache.storage import receipts_file as second_copy
from cache.storage import record_types as journal
from cache.storage.codec import decode_row, encode_row
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.record_types import Tag


class Transaction:
    """Reads and writes while every other writer is shut out; `totals` follow what is written."""

    def __init__(self, store: FencedCache) -> None:
        self._store = store
        self._purchases: list[Purchase] = []
        self._totals: Spend | None = None

    @property
    def has_totals(self) -> bool:
        """Whether totals are kept, which a cache that is being made does not do yet."""
        return self._read(journal.TOTALS) is not None

    @property
    def totals(self) -> Spend:
        """What is on record so far; CorruptRow, when they are asked for, if they are damaged."""
        if self._totals is None:
            content = self._read(journal.TOTALS)
            self._totals = Spend() if content is None else journal.read_totals(content)
        return self._totals

    @totals.setter
    def totals(self, spend: Spend) -> None:
        if spend != self.totals or not self.has_totals:
            self._totals = spend
            self._store.set(journal.TOTALS, journal.write_totals(spend), tag=Tag.TOTALS.value)

    def intent(self, idempotency_key: str) -> Intent | None:
        """The open intent of a purchase."""
        name = journal.intent_name(idempotency_key)
        content = self._read(name)
        return None if content is None else journal.read_intent(name, content)

    def paid_by(self, idempotency_key: str) -> tuple[str, str] | None:
        """Account and request id of the receipt that ended a purchase."""
        name = journal.paid_name(idempotency_key)
        content = self._read(name)
        return None if content is None else journal.read_paid(name, content)

    def loss(self, idempotency_key: str) -> WriteOff | None:
        """The record that the answer to a purchase is lost."""
        name = journal.loss_name(idempotency_key)
        content = self._read(name)
        return None if content is None else journal.read_loss(name, content)

    def same_charge(self, stored: StoredReceipt) -> StoredReceipt | None:
        """How the charge of `stored` is stored, if it is; a key is one at all its addresses.

        ReceiptConflict when another receipt is under its name.
        """
        receipt = stored.receipt
        known = self._receipt(*stored.name)
        if known is not None and known.receipt != receipt:
            message = (
                f"request {receipt.request_id} already has the receipt {known.receipt.hash},"
                f" {receipt.hash} is another one"
            )
            raise ReceiptConflict(message)
        paid = self.paid_by(receipt.idempotency_key)
        if known is None and paid is not None:
            known = self._receipt(*paid)
        return known if known is not None and known.charge == stored.charge else None

    def row(self, digest: bytes) -> PaidEmbedding | None:
        """The row under `digest`; None when there is none or it is too damaged to tell."""
        try:
            return decode_row(digest, self._read(digest) or b"")
        except CorruptRow:
            return None

    def open(self, intent: Intent) -> None:
        """Journal an intent that is not there yet."""
        name = journal.intent_name(intent.idempotency_key)
        self._store.set(name, journal.write_intent(intent), tag=Tag.INTENT.value)
        self.totals = journal.with_in_flight(self.totals, intent.units)

    def end(self, idempotency_key: str) -> None:
        """Take an intent out of the journal; without one, do nothing."""
        intent = self.intent(idempotency_key)
        if intent is not None:
            self._store.delete(journal.intent_name(idempotency_key))
            self.totals = journal.with_in_flight(self.totals, -intent.units)

    def add_receipt(self, stored: StoredReceipt) -> None:
        """Keep a receipt that is not there yet, and that its purchase is paid."""
        receipt = stored.receipt
        name = journal.receipt_name(stored.account, receipt.request_id)
        self._store.add(name, journal.write_receipt(stored), tag=Tag.RECEIPT.value)
        self.totals = journal.with_receipt(self.totals, receipt)
        paid = journal.write_paid(stored.account, receipt.request_id)
        paid_name = journal.paid_name(receipt.idempotency_key)
        is_first = self._store.add(paid_name, paid, tag=Tag.PAID.value)
        loss = self.loss(receipt.idempotency_key)
        if loss is not None and is_first:
            self.totals = journal.with_lost(self.totals, -loss.units)

    def copy(self, purchase: Purchase) -> None:
        """Write a purchase to receipts.jsonl when everything else of this transaction is done."""
        self._purchases.append(purchase)

    def add_loss(self, loss: WriteOff) -> bool:
        """Whether a loss was added, which it is unless one is on record for its purchase."""
        name = journal.loss_name(loss.idempotency_key)
        if not self._store.add(name, journal.write_loss(loss), tag=Tag.LOSS.value):
            return False
        if self.paid_by(loss.idempotency_key) is None:
            self.totals = journal.with_lost(self.totals, loss.units)
        return True

    def add_row(self, row: PaidEmbedding) -> bool:
        """Whether `row` was added; a row of another request that is there keeps its place."""
        digest = row.key.digest
        if self._store.add(digest, encode_row(row), tag=Tag.ROW.value):
            return True
        known = self.row(digest)
        if known is not None and known.request_id == row.request_id:
            return False
        name = journal.again_name(row)
        return bool(self._store.add(name, journal.write_again(row), tag=Tag.AGAIN.value))

    def add_refusal(self, refusal: Refusal) -> bool:
        """Whether a refusal was added; the first reason given stays."""
        name = journal.refusal_name(refusal.key)
        return bool(self._store.add(name, journal.write_refusal(refusal), tag=Tag.REFUSAL.value))

    def put_refusal(self, refusal: Refusal) -> None:
        """Keep a refusal, in the place of another reason for the same item."""
        name = journal.refusal_name(refusal.key)
        self._store.set(name, journal.write_refusal(refusal), tag=Tag.REFUSAL.value)

    def put_run(self, run: RunRecord) -> None:
        """Keep what a run says of itself, in the place of what it said before."""
        name = journal.run_name(run.run)
        self._store.set(name, journal.write_run(run), tag=Tag.RUN.value)

    def finish(self, folder: Path) -> None:
        """Write what is written last: the second copies, which no rollback takes back.

        A line of a transaction that then fails is harmless, a receipt without one may be lost.
        """
        if self._purchases:
            try:
                second_copy.append(folder, self._purchases)
            except OSError as error:
                message = f"the second copy of the receipts in {folder} failed: {error}"
                raise CacheUnavailable(message) from error

    def _receipt(self, account: str, request_id: str) -> StoredReceipt | None:
        name = journal.receipt_name(account, request_id)
        content = self._read(name)
        return None if content is None else journal.read_receipt(name, content)

    def _read(self, name: str | bytes) -> bytes | None:
        content: bytes | None = self._store.get(name)
        return content


@contextmanager
def transaction(store: FencedCache, folder: Path) -> Iterator[Transaction]:
    """One transaction on `store`, on disk when it is left; what raises inside it changes nothing.

    Raises CacheUnavailable when the lock is not to be had or the disk does not take it.
    """
    with store.exclusive():
        changes = Transaction(store)
        yield changes
        changes.finish(folder)
