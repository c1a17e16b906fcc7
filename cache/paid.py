"""The cache of paid embeddings, and the only place that writes to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from cache import journal
from cache.codec import decode_row, encode_row
from cache.disk import FencedCache
from cache.errors import (
    AlreadyPaid,
    ClientBudgetExceeded,
    CorruptRow,
    InconsistentAnswer,
    IntentConflict,
    ReceiptConflict,
)
from cache.identity import EmbeddingKey
from cache.journal import Tag
from cache.place import prepare_folder
from cache.receipt import Receipt
from cache.records import Records
from cache.values import Intent, PaidEmbedding, Refusal, RunRecord, Spend, StoredReceipt

__all__ = [
    "Intent",
    "PaidCache",
    "PaidEmbedding",
    "Refusal",
    "RunRecord",
    "Spend",
    "StoredReceipt",
    "now_ms",
]


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class PaidCache(Records):
    """Every embedding that was paid for, on disk for ever, with its receipt.

    Shared safely by threads and processes. What a method has returned from is fsynced; what raised
    has changed nothing. Waits for another writer `patience_s` at most, then CacheUnavailable.
    """

    def __init__(self, folder: Path, store: FencedCache, clock: Callable[[], int]) -> None:
        super().__init__(folder)
        self._store = store
        self._clock = clock

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        patience_s: float = 20.0,
        clock: Callable[[], int] = now_ms,
    ) -> Self:
        """The cache in `folder`, made when it is not there; CacheUnavailable when it cannot be."""
        place = Path(folder)
        prepare_folder(place)
        cache = cls(place, FencedCache(place, patience_s=patience_s), clock)
        with cache._store.exclusive():
            if cache._read(journal.TOTALS) is None:
                cache._put_totals(cache._recounted())
        return cache

    def close(self) -> None:
        """Let go of the files; everything is on disk already."""
        super().close()
        self._store.close()

    def reserve(self, intent: Intent, *, budget: int) -> None:
        """Journal a purchase before it is sent, if all receipts and open intents leave room for it.

        `budget` is in queries, over the whole life of the cache and over all processes that share
        it. Reserving an open intent again changes nothing. Raises ClientBudgetExceeded, AlreadyPaid
        when its receipt is stored, IntentConflict when its key names another purchase.
        """
        with self._store.exclusive():
            self._refuse_if_paid(intent.idempotency_key)
            known = self._open_intent(intent.idempotency_key)
            if known is not None:
                _require_same_purchase(known, intent)
                return
            totals = self._totals()
            remaining = max(0, budget - totals.committed_units)
            if intent.units > remaining:
                raise ClientBudgetExceeded(needed=intent.units, remaining=remaining)
            name = journal.intent_name(intent.idempotency_key)
            self._store.set(name, journal.write_intent(intent), tag=Tag.INTENT.value)
            self._put_totals(journal.with_in_flight(totals, intent.units))

    def commit(
        self,
        intent: Intent,
        embeddings: Sequence[PaidEmbedding],
        receipt: Receipt,
        *,
        account: str,
    ) -> None:
        """Keep one paid answer: its rows, its receipt and the end of its intent, all or nothing.

        `account` is `account_name(vendor url, key id)`. Committing the same receipt again only
        puts back rows that are gone. An embedding that another request had bought already is kept
        beside the first. Raises InconsistentAnswer, with the intent still open, when rows and
        receipt do not belong together, and ReceiptConflict when the request id has another receipt.
        """
        _require_consistent(intent, embeddings, receipt, account)
        stored = StoredReceipt(account=account, run=intent.run, receipt=receipt)
        with self._store.exclusive():
            known = self._known_receipt(account, receipt.request_id)
            if known is not None and known != receipt:
                message = (
                    f"request {receipt.request_id} already has the receipt {known.hash},"
                    f" {receipt.hash} is another one"
                )
                raise ReceiptConflict(message)
            totals = self._totals()
            if known is None:
                self._add_receipt(stored)
                totals = journal.with_receipt(totals, receipt)
            for row in embeddings:
                self._add_row(row)
            self._put_totals(self._without_intent(intent.idempotency_key, totals))

    def abandon(self, idempotency_key: str) -> None:
        """Close an intent that the vendor has certainly not charged; without one, do nothing."""
        with self._store.exclusive():
            self._put_totals(self._without_intent(idempotency_key, self._totals()))

    def refuse(self, key: EmbeddingKey, *, code: str, detail: str) -> None:
        """Remember that the vendor will never embed this item; the first reason given stays."""
        refusal = Refusal(key=key, code=code, detail=detail, created_ms=self._clock())
        with self._store.exclusive():
            name = journal.refusal_name(key)
            self._store.add(name, journal.write_refusal(refusal), tag=Tag.REFUSAL.value)

    def record_run(self, run: RunRecord) -> None:
        """Keep what a run planned, found and bought; recording it again replaces it."""
        with self._store.exclusive():
            name = journal.run_name(run.run)
            self._store.set(name, journal.write_run(run), tag=Tag.RUN.value)

    def _read(self, name: str | bytes) -> bytes | None:
        content: bytes | None = self._store.get(name)
        return content

    def _totals(self) -> Spend:
        content = self._read(journal.TOTALS)
        return Spend() if content is None else journal.read_totals(content)

    def _put_totals(self, totals: Spend) -> None:
        self._store.set(journal.TOTALS, journal.write_totals(totals), tag=Tag.TOTALS.value)

    def _recounted(self) -> Spend:
        totals = Spend()
        for receipt in self.receipts():
            totals = journal.with_receipt(totals, receipt)
        for intent in self.open_intents():
            totals = journal.with_in_flight(totals, intent.units)
        return totals

    def _refuse_if_paid(self, idempotency_key: str) -> None:
        name = journal.paid_name(idempotency_key)
        content = self._read(name)
        if content is not None:
            _, request_id = journal.read_paid(name, content)
            raise AlreadyPaid(idempotency_key=idempotency_key, request_id=request_id)

    def _open_intent(self, idempotency_key: str) -> Intent | None:
        name = journal.intent_name(idempotency_key)
        content = self._read(name)
        return None if content is None else journal.read_intent(name, content)

    def _known_receipt(self, account: str, request_id: str) -> Receipt | None:
        name = journal.receipt_name(account, request_id)
        content = self._read(name)
        return None if content is None else journal.read_receipt(name, content).receipt

    def _add_receipt(self, stored: StoredReceipt) -> None:
        receipt = stored.receipt
        name = journal.receipt_name(stored.account, receipt.request_id)
        self._store.add(name, journal.write_receipt(stored), tag=Tag.RECEIPT.value)
        paid = journal.write_paid(stored.account, receipt.request_id)
        self._store.add(journal.paid_name(receipt.idempotency_key), paid, tag=Tag.PAID.value)

    def _add_row(self, row: PaidEmbedding) -> None:
        """Add `row` unless it is there; a row of another request there keeps its place."""
        digest = row.key.digest
        if self._store.add(digest, encode_row(row), tag=Tag.ROW.value):
            return
        if self._request_of(digest) != row.request_id:
            name = journal.again_name(row)
            self._store.add(name, journal.write_again(row), tag=Tag.AGAIN.value)

    def _request_of(self, digest: bytes) -> str | None:
        """The request that bought a stored row; None when the row is too damaged to tell."""
        try:
            return decode_row(digest, self._read(digest) or b"").request_id
        except CorruptRow:
            return None

    def _without_intent(self, idempotency_key: str, totals: Spend) -> Spend:
        intent = self._open_intent(idempotency_key)
        if intent is None:
            return totals
        self._store.delete(journal.intent_name(idempotency_key))
        return journal.with_in_flight(totals, -intent.units)


def _require_same_purchase(known: Intent, intent: Intent) -> None:
    if not known.is_same_purchase(intent):
        message = (
            f"the idempotency key {intent.idempotency_key} is in use for another purchase"
            f" of run {known.run}"
        )
        raise IntentConflict(message)


def _require_consistent(
    intent: Intent, embeddings: Sequence[PaidEmbedding], receipt: Receipt, account: str
) -> None:
    """Raise InconsistentAnswer unless every part speaks of one and the same charge."""
    images = sum(row.key.modality == "image" for row in embeddings)
    faults = {
        "no account is named": not account,
        f"the receipt is a {receipt.kind}, not a charge": receipt.kind != "charge",
        "the receipt's hash is not the hash of its fields": not receipt.verify(),
        "the receipt has another idempotency key": (
            receipt.idempotency_key != intent.idempotency_key
        ),
        "the rows are not those that were asked for": (
            sorted(row.key.digest for row in embeddings)
            != sorted(key.digest for key in intent.keys)
        ),
        "a row is of another request": any(
            row.request_id != receipt.request_id for row in embeddings
        ),
        f"the receipt charges {receipt.images} images and {receipt.texts} texts": (
            (receipt.images, receipt.texts) != (images, len(embeddings) - images)
        ),
    }
    found = [fault for fault, is_so in faults.items() if is_so]
    if found:
        message = (
            f"the answer to {intent.idempotency_key} was not stored: {'; '.join(found)}."
            " Its intent stays open, ask the vendor for it again under the same key"
        )
        raise InconsistentAnswer(message)
