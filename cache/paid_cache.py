"""The cache of paid embeddings: the only class that writes to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from cache.errors import (
    AlreadyPaid,
    AnswerNotStored,
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
from cache.storage import record_codec, run_locks
from cache.storage.consistency import require_consistent, require_same_purchase, require_same_vector
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import RECEIPTS, prepare_folder, user_path
from cache.storage.reader import CacheReader
from cache.storage.transaction import Transaction, transaction
from cache.storage.unstored_receipts import find_unstored_receipts

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
    """Return the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class PaidCache(CacheReader):
    """A cache of paid embeddings and their receipts, open for reading and writing.

    Threads and processes can share it. When a method returns, its changes are on disk; when it
    raises, nothing has changed. A method waits at most `patience_s` seconds for another writer,
    then raises CacheUnavailable.
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
        for_repair: bool = False,
    ) -> Self:
        """Open the cache in `folder`, or create one there.

        Raises CacheUnavailable if that is impossible, and also if the database lacks receipts that
        receipts.jsonl has: their purchases would be bought again. `for_repair` skips that check.
        """
        path = user_path(folder)
        prepare_folder(path)
        cache = cls(path, FencedCache(path, patience_s=patience_s), clock)
        try:
            if not for_repair:
                cache._require_all_receipts()
            with cache.transaction() as changes:
                if not changes.has_totals:
                    changes.totals = cache._recounted(changes)
        except BaseException:
            cache.close()
            raise
        return cache

    def close(self) -> None:
        """Close the files. Everything is on disk already."""
        super().close()
        self._store.close()

    @contextmanager
    def hold_run_lock(self, run: str) -> Iterator[None]:
        """Mark `run` as running, for every process that shares the cache.

        Hold it from before the first `reserve` until the last answer is stored: other runs leave
        the open purchases of a running run alone. The mark ends with the process, also on kill -9.
        Raises CacheUnavailable if `run` is running already, or while the cache is repaired or
        merged.
        """
        with run_locks.hold_run_lock(self.folder, run):
            yield

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Make several changes, all or none of them, while other writers wait."""
        with transaction(self._store, self.folder) as changes:
            yield changes

    def reserve(self, intent: Intent, *, budget: int) -> None:
        """Record a purchase as open before it is sent, if the budget covers it.

        `budget` is in queries, over the lifetime of the cache and all processes that share it.
        Paid, open and written-off queries count. Reserving an open purchase again changes nothing.
        Raises ClientBudgetExceeded, AlreadyPaid if its receipt is stored, AnswerWrittenOff, and
        IntentConflict if its idempotency key belongs to a different purchase.
        """
        with self.transaction() as changes:
            _require_not_settled(changes, intent.idempotency_key)
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
        """Store a paid answer: its rows and its receipt, and close the purchase.

        `account` is `account_name(vendor url, key id)`. Committing the same receipt again only
        restores missing rows. An embedding that another request bought before is kept beside the
        first. Raises InconsistentAnswer if rows and receipt do not belong together (the purchase
        stays open), ReceiptConflict if the request id has a different receipt, and AnswerNotStored
        if the answer cannot be stored; it is charged then, and the next run fetches it again.
        """
        require_consistent(intent, embeddings, receipt, account)
        stored = StoredReceipt(account=account, run=intent.run, receipt=receipt)
        with _note_that_it_was_charged(receipt), self.transaction() as changes:
            if changes.same_charge(stored) is None:
                changes.add_receipt(stored)
                changes.add_to_receipts_file(stored.paying_for(intent.keys))
            changes.add_rows(embeddings)
            changes.close(intent.idempotency_key, expected=intent)

    def restore(self, purchase: Purchase, embeddings: Sequence[PaidEmbedding]) -> int:
        """Put back the missing rows of a paid purchase and return their number. Costs nothing.

        `embeddings` is the vendor's complete answer, sent again. Raises, with nothing changed,
        InconsistentAnswer if it does not belong to the receipt or contradicts a row in the cache,
        and ReceiptConflict if the receipt is not stored.
        """
        require_consistent(purchase.intent, embeddings, purchase.receipt, purchase.account)
        with self.transaction() as changes:
            if changes.same_charge(purchase) is None:
                message = f"request {purchase.receipt.request_id} has no receipt in this cache"
                raise ReceiptConflict(message)
            for row in embeddings:
                require_same_vector(changes.row(row.key.digest), row)
            return changes.add_rows(embeddings)

    def abandon(self, idempotency_key: str) -> None:
        """Close an open purchase that the vendor did not charge; do nothing if there is none."""
        with self.transaction() as changes:
            changes.close(idempotency_key)

    def write_off(self, intent: Intent, *, account: str, detail: str) -> None:
        """Write off a purchase whose answer nobody has and nobody can fetch; close it.

        Its queries stay counted as spent. Does nothing if it is written off already.
        """
        write_off = WriteOff(
            idempotency_key=intent.idempotency_key,
            account=account,
            run=intent.run,
            units=intent.units,
            keys=intent.keys,
            detail=detail,
            created_ms=self._clock(),
        )
        with self.transaction() as changes:
            changes.add_write_off(write_off)
            changes.close(intent.idempotency_key)

    def refuse(self, key: EmbeddingKey, *, code: str, detail: str) -> None:
        """Record that the vendor refuses to embed an item; the first reason stays."""
        refusal = Refusal(key=key, code=code, detail=detail, created_ms=self._clock())
        with self.transaction() as changes:
            changes.add_refusal(refusal)

    def record_run(self, run: RunRecord) -> None:
        """Store what a run planned, found and bought, replacing its earlier record."""
        with self.transaction() as changes:
            changes.put_run(run)

    def _require_all_receipts(self) -> None:
        if not find_unstored_receipts(self):
            return
        # A merge appends its lines before it commits: under the lock no merge is half done.
        with self.transaction():
            unstored = find_unstored_receipts(self)
        if unstored:
            message = (
                f"{self.folder} has {len(unstored)} receipts in {RECEIPTS} that the database does"
                " not have: run cache-report verify --repair; nothing was bought"
            )
            raise CacheUnavailable(message)

    def _recounted(self, changes: Transaction) -> Spend:
        totals = Spend()
        for receipt in self.receipts():
            totals = record_codec.with_receipt(totals, receipt)
        for intent in self.open_intents():
            totals = record_codec.with_open_units(totals, intent.units)
        for write_off in self.write_offs():
            if changes.paid_by(write_off.idempotency_key) is None:
                totals = record_codec.with_written_off_units(totals, write_off.units)
        return totals


@contextmanager
def _note_that_it_was_charged(receipt: Receipt) -> Iterator[None]:
    """Raise AnswerNotStored for CacheUnavailable: the answer is charged and will be recovered."""
    try:
        yield
    except CacheUnavailable as error:
        raise AnswerNotStored(
            str(error),
            [(receipt.idempotency_key, receipt.units)],
            can_be_fetched=not receipt.is_from_client,
        ) from error


def _require_not_settled(changes: Transaction, idempotency_key: str) -> None:
    paid = changes.paid_by(idempotency_key)
    if paid is not None:
        raise AlreadyPaid(idempotency_key=idempotency_key, request_id=paid[1])
    write_off = changes.write_off(idempotency_key)
    if write_off is not None:
        raise AnswerWrittenOff(idempotency_key=idempotency_key, detail=write_off.detail)
