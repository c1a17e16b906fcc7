"""Write transactions: the single changes that every change of a cache is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

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
from cache.storage import receipts_file, record_codec
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.record_codec import Tag
from cache.storage.row_codec import decode_row, encode_row

_ROWS_PER_STATEMENT: Final = 500


class Transaction:
    """Reads and writes under the write lock; every change keeps `totals` up to date."""

    def __init__(self, store: FencedCache) -> None:
        self._store = store
        self._purchases: list[Purchase] = []
        self._totals: Spend | None = None

    @property
    def has_totals(self) -> bool:
        """Whether the cache has running totals; a new cache has none yet."""
        return self._read(record_codec.TOTALS) is not None

    @property
    def totals(self) -> Spend:
        """The running totals so far. Reading damaged totals raises CorruptRow."""
        if self._totals is None:
            content = self._read(record_codec.TOTALS)
            self._totals = Spend() if content is None else record_codec.decode_totals(content)
        return self._totals

    @totals.setter
    def totals(self, spend: Spend) -> None:
        if spend != self.totals or not self.has_totals:
            self._totals = spend
            self._set(record_codec.TOTALS, record_codec.encode_totals(spend), Tag.TOTALS)

    def intent(self, idempotency_key: str) -> Intent | None:
        """Return the open purchase of this key, if there is one."""
        name = record_codec.intent_name(idempotency_key)
        content = self._read(name)
        return None if content is None else record_codec.decode_intent(name, content)

    def paid_by(self, idempotency_key: str) -> tuple[str, str] | None:
        """Return account and request id of the receipt of this purchase, if it is paid."""
        name = record_codec.paid_name(idempotency_key)
        content = self._read(name)
        return None if content is None else record_codec.decode_paid(name, content)

    def write_off(self, idempotency_key: str) -> WriteOff | None:
        """Return the write-off of this purchase, if it was written off."""
        name = record_codec.write_off_name(idempotency_key)
        content = self._read(name)
        return None if content is None else record_codec.decode_write_off(name, content)

    def same_charge(self, stored: StoredReceipt) -> StoredReceipt | None:
        """Return the stored receipt of the same charge, if any, at whatever vendor address.

        Raises ReceiptConflict if a different receipt is stored under the same name.
        """
        receipt = stored.receipt
        known = self._receipt(*stored.name)
        if known is not None and known.receipt != receipt:
            message = (
                f"request {receipt.request_id} already has the receipt {known.receipt.hash};"
                f" {receipt.hash} is a different one"
            )
            raise ReceiptConflict(message)
        paid = self.paid_by(receipt.idempotency_key)
        if known is None and paid is not None:
            known = self._receipt(*paid)
        return known if known is not None and known.charge == stored.charge else None

    def row(self, digest: bytes) -> PaidEmbedding | None:
        """Return the row under `digest`; None if there is none or it is damaged."""
        try:
            return decode_row(digest, self._read(digest) or b"")
        except CorruptRow:
            return None

    def open(self, intent: Intent) -> None:
        """Record a purchase as open. It must not be open already."""
        name = record_codec.intent_name(intent.idempotency_key)
        self._set(name, record_codec.encode_intent(intent), Tag.INTENT)
        self.totals = record_codec.with_open_units(self.totals, intent.units)

    def close(self, idempotency_key: str, *, expected: Intent | None = None) -> None:
        """Remove an open purchase; do nothing if there is none.

        If it is `expected`, which the caller has at hand, it need not be decoded.
        """
        content = self._read(record_codec.intent_name(idempotency_key))
        is_known = expected is not None and content == record_codec.encode_intent(expected)
        intent = expected if is_known else self.intent(idempotency_key)
        if intent is not None:
            self._store.delete(record_codec.intent_name(idempotency_key))
            self.totals = record_codec.with_open_units(self.totals, -intent.units)

    def add_receipt(self, stored: StoredReceipt) -> None:
        """Store a new receipt and mark its purchase as paid."""
        receipt = stored.receipt
        name = record_codec.receipt_name(stored.account, receipt.request_id)
        self._add(name, record_codec.encode_receipt(stored), Tag.RECEIPT)
        self.totals = record_codec.with_receipt(self.totals, receipt)
        paid = record_codec.encode_paid(stored.account, receipt.request_id)
        is_first = self._add(record_codec.paid_name(receipt.idempotency_key), paid, Tag.PAID)
        write_off = self.write_off(receipt.idempotency_key)
        if write_off is not None and is_first:
            # The answer came after all: its queries are counted by the receipt from now on.
            self.totals = record_codec.with_written_off_units(self.totals, -write_off.units)

    def add_to_receipts_file(self, purchase: Purchase) -> None:
        """Append a purchase to receipts.jsonl at the end of this transaction (see `finish`)."""
        self._purchases.append(purchase)

    def add_write_off(self, write_off: WriteOff) -> bool:
        """Store a write-off; False if its purchase was written off already."""
        name = record_codec.write_off_name(write_off.idempotency_key)
        if not self._add(name, record_codec.encode_write_off(write_off), Tag.WRITE_OFF):
            return False
        if self.paid_by(write_off.idempotency_key) is None:
            self.totals = record_codec.with_written_off_units(self.totals, write_off.units)
        return True

    def add_row(self, row: PaidEmbedding) -> bool:
        """Store a row; False if it is there already. The row of another request stays, too."""
        return self.add_rows([row]) == 1

    def add_rows(self, rows: Iterable[PaidEmbedding]) -> int:
        """Store rows in their order; return the number of those that were not there."""
        rows = iter(rows)
        added = 0
        while chunk := list(islice(rows, _ROWS_PER_STATEMENT)):
            known = self._store.stored_keys([row.key.digest for row in chunk])
            new: list[tuple[bytes | str, bytes, str]] = []
            for row in chunk:
                digest = row.key.digest
                if digest not in known:
                    known.add(digest)
                    new.append((digest, encode_row(row), Tag.ROW.value))
                    continue
                # In the order of the rows, which is that of sending: receipts' digests need it.
                self._store.insert(new)
                added += len(new) + self._add_again(row)
                new.clear()
            self._store.insert(new)
            added += len(new)
        return added

    def _add_again(self, row: PaidEmbedding) -> bool:
        """Store a row whose key is taken; False if that is the same row or it is there, too."""
        known = self.row(row.key.digest)
        if known is not None and known.request_id == row.request_id:
            return False
        name = record_codec.again_name(row.key, row.request_id)
        return self._add(name, record_codec.encode_again(row), Tag.AGAIN)

    def add_refusal(self, refusal: Refusal) -> bool:
        """Store a refusal; False if the item was refused before, and the first reason stays."""
        name = record_codec.refusal_name(refusal.key)
        return self._add(name, record_codec.encode_refusal(refusal), Tag.REFUSAL)

    def put_refusal(self, refusal: Refusal) -> None:
        """Store a refusal, replacing another reason for the same item."""
        name = record_codec.refusal_name(refusal.key)
        self._set(name, record_codec.encode_refusal(refusal), Tag.REFUSAL)

    def put_run(self, run: RunRecord) -> None:
        """Store the record of a run, replacing an earlier record of the same run."""
        self._set(record_codec.run_name(run.run), record_codec.encode_run(run), Tag.RUN)

    def finish(self, folder: Path) -> None:
        """Append to receipts.jsonl, as the last step: no rollback takes that back.

        The line of a transaction that then fails does no harm; a receipt without a line has no
        second copy. Raises CacheUnavailable if the disk does not take the lines.
        """
        if self._purchases:
            try:
                receipts_file.append(folder, self._purchases)
            except OSError as error:
                message = f"cannot append to the second copy of the receipts in {folder}: {error}"
                raise CacheUnavailable(message) from error

    def _receipt(self, account: str, request_id: str) -> StoredReceipt | None:
        name = record_codec.receipt_name(account, request_id)
        content = self._read(name)
        return None if content is None else record_codec.decode_receipt(name, content)

    def _read(self, name: str | bytes) -> bytes | None:
        content: bytes | None = self._store.get(name)
        return content

    def _add(self, name: str | bytes, content: bytes, tag: Tag) -> bool:
        if self._store.stored_keys([name]):
            return False
        self._store.insert([(name, content, tag.value)])
        return True

    def _set(self, name: str | bytes, content: bytes, tag: Tag) -> None:
        if not self._add(name, content, tag):
            self._store.set(name, content, tag=tag.value)


@contextmanager
def transaction(store: FencedCache, folder: Path) -> Iterator[Transaction]:
    """Run one transaction on `store`; it is on disk when the block ends.

    If the block raises, nothing is changed. Raises CacheUnavailable if the write lock cannot be
    taken or the disk does not take the changes.
    """
    with store.exclusive():
        changes = Transaction(store)
        yield changes
        changes.finish(folder)
