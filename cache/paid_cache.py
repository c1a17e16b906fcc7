"""The cache of paid embeddings, and the only place that writes to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from cache.errors import (
    AlreadyPaid,
    AnswerWrittenOff,
    CacheUnavailable,
    ClientBudgetExceeded,
    ReceiptConflict,
)
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import (
    Intent,
    MissingRows,
    PaidEmbedding,
    Purchase,
    Refusal,
    RunRecord,
    Spend,
    StoredReceipt,
    WriteOff,
)
from cache.records.receipt import Receipt
from cache.storage import record_types as journal
from cache.storage import run_locks as alive
from cache.storage.consistency import require_consistent, require_same_purchase, require_same_vector
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import RECEIPTS, prepare_folder
from cache.storage.reader import CacheReader
from cache.storage.transaction import Transaction, transaction
from cache.storage.unstored_receipts import lost_receipts

__all__ = [
    "Intent",
    "MissingRows",
    "PaidCache",
    "PaidEmbedding",
    "Purchase",
    "Refusal",
    "RunRecord",
    "Spend",
    "StoredReceipt",
    "WriteOff",
    "now_ms",
]


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class PaidCache(CacheReader):
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
        to_mend: bool = False,
    ) -> Self:
        """The cache in `folder`, made when it is not there; CacheUnavailable when it cannot be.

        Also when the database lacks receipts that receipts.jsonl has, and so would pay again what
        is paid: only `to_mend` opens such a cache.
        """
        place = Path(folder)
        prepare_folder(place)
        cache = cls(place, FencedCache(place, patience_s=patience_s), clock)
        try:
            if not to_mend:
                cache._require_all_receipts()
            with cache.transaction() as changes:
                if not changes.has_totals:
                    changes.totals = cache._recounted(changes)
        except BaseException:
            cache.close()
            raise
        return cache

    def close(self) -> None:
        """Let go of the files; everything is on disk already."""
        super().close()
        self._store.close()

    @contextmanager
    def alive(self, run: str) -> Iterator[None]:
        """Be known to all processes that share the cache as the living run `run`.

        Hold it from before the first `reserve` until the last answer is stored: others leave the
        open intents of a living run alone. It ends with the process, also on kill -9. Raises
        CacheUnavailable when `run` is alive already, or while the cache is repaired or merged.
        """
        with alive.hold_run_lock(self.folder, run):
            yield

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several changes of which all are kept or none, with every other writer shut out."""
        with transaction(self._store, self.folder) as changes:
            yield changes

    def reserve(self, intent: Intent, *, budget: int) -> None:
        """Journal a purchase before it is sent, if all receipts and open intents leave room for it.

        `budget` is in queries, over the whole life of the cache and over all processes that share
        it. Reserving an open intent again changes nothing. Raises ClientBudgetExceeded, AlreadyPaid
        when its receipt is stored, AnswerLost when it is on record as lost, IntentConflict when its
        key names another purchase.
        """
        with self.transaction() as changes:
            _refuse_if_ended(changes, intent.idempotency_key)
            known = changes.intent(intent.idempotency_key)
            if known is not None:
                require_same_purchase(known, intent)
                return
            remaining = max(0, budget - changes.totals.committed_units)
            if intent.units > remaining:
                raise ClientBudgetExceeded(needed=intent.units, remaining=remaining)
            changes.open(intent)

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
        receipt do not belong together, ReceiptConflict when the request id has another receipt, and
        CacheUnavailable, which then says that the answer is charged and comes again for nothing.
        """
        require_consistent(intent, embeddings, receipt, account)
        stored = StoredReceipt(account=account, run=intent.run, receipt=receipt)
        with _charged_already(receipt), self.transaction() as changes:
            if changes.same_charge(stored) is None:
                changes.add_receipt(stored)
                changes.copy(stored.paying_for(intent.keys))
            for row in embeddings:
                changes.add_row(row)
            changes.end(intent.idempotency_key)

    def restore(self, purchase: Purchase, embeddings: Sequence[PaidEmbedding]) -> int:
        """Put back the rows of a paid purchase that are gone; how many they were. Costs nothing.

        `embeddings` is the vendor's whole answer, given again. Raises InconsistentAnswer, with
        nothing changed, when it is not the answer to that receipt or when a row that is still there
        says otherwise, and ReceiptConflict when that receipt is not stored.
        """
        require_consistent(purchase.intent, embeddings, purchase.receipt, purchase.account)
        with self.transaction() as changes:
            if changes.same_charge(purchase) is None:
                message = f"request {purchase.receipt.request_id} has no receipt in this cache"
                raise ReceiptConflict(message)
            for row in embeddings:
                require_same_vector(changes.row(row.key.digest), row)
            return sum(changes.add_row(row) for row in embeddings)

    def abandon(self, idempotency_key: str) -> None:
        """Close an intent that the vendor has certainly not charged; without one, do nothing."""
        with self.transaction() as changes:
            changes.end(idempotency_key)

    def lose(self, intent: Intent, *, account: str, detail: str) -> None:
        """End a purchase whose answer the vendor does not have any more, and keep that on record.

        Its units stay counted as spent. Does nothing when it is on record already.
        """
        loss = WriteOff(
            idempotency_key=intent.idempotency_key,
            account=account,
            run=intent.run,
            units=intent.units,
            keys=intent.keys,
            detail=detail,
            created_ms=self._clock(),
        )
        with self.transaction() as changes:
            changes.add_loss(loss)
            changes.end(intent.idempotency_key)

    def refuse(self, key: EmbeddingKey, *, code: str, detail: str) -> None:
        """Remember that the vendor will never embed this item; the first reason given stays."""
        refusal = Refusal(key=key, code=code, detail=detail, created_ms=self._clock())
        with self.transaction() as changes:
            changes.add_refusal(refusal)

    def record_run(self, run: RunRecord) -> None:
        """Keep what a run planned, found and bought; recording it again replaces it."""
        with self.transaction() as changes:
            changes.put_run(run)

    def _require_all_receipts(self) -> None:
        if not lost_receipts(self):
            return
        # A merge writes its lines before it commits: behind the lock none is half way.
        with self.transaction():
            lost = lost_receipts(self)
        if lost:
            message = (
                f"{self.folder} has {len(lost)} receipts in {RECEIPTS} that the database does not"
                " have: run cache-report verify --repair; nothing was bought"
            )
            raise CacheUnavailable(message)

    def _recounted(self, changes: Transaction) -> Spend:
        totals = Spend()
        for receipt in self.receipts():
            totals = journal.with_receipt(totals, receipt)
        for intent in self.open_intents():
            totals = journal.with_in_flight(totals, intent.units)
        for loss in self.losses():
            if changes.paid_by(loss.idempotency_key) is None:
                totals = journal.with_lost(totals, loss.units)
        return totals


@contextmanager
def _charged_already(receipt: Receipt) -> Iterator[None]:
    """Say of what cannot be stored that it is paid, and that nothing of it is lost."""
    try:
        yield
    except CacheUnavailable as error:
        message = (
            f"{error}. The answer to {receipt.idempotency_key} was charged ({receipt.units} queries"
            ") and is not stored: the next run gets it again under the same key, free of charge"
        )
        raise type(error)(message) from error


def _refuse_if_ended(changes: Transaction, idempotency_key: str) -> None:
    paid = changes.paid_by(idempotency_key)
    if paid is not None:
        raise AlreadyPaid(idempotency_key=idempotency_key, request_id=paid[1])
    loss = changes.loss(idempotency_key)
    if loss is not None:
        raise AnswerWrittenOff(idempotency_key=idempotency_key, detail=loss.detail)
