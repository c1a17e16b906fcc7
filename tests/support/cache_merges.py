"""Merges of folders, and the content that equal caches have in common."""

from __future__ import annotations

from pathlib import Path

from cache.integrity.verify import verify
from cache.maintenance.merge import Merged, merge
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import read_copies


def join(source: Path, into: Path) -> Merged:
    """Merge two folders."""
    with CacheReader.open(source) as records, PaidCache.open(into, patience_s=2.0) as cache:
        return merge(records, cache)


def everything(folder: Path) -> object:
    """The complete content of a cache, without its order."""
    with CacheReader.open(folder) as records:
        assert verify(records).problems == ()
        return (
            {stored.name: stored.receipt for stored in records.stored_receipts()},
            {(r.key.digest, r.request_id, r.vector.tobytes()) for r in records.rows()}
            | {
                (r.key.digest, r.request_id, r.vector.tobytes())
                for r in records.rows_bought_again()
            },
            records.spend_on_record(),
            {intent.idempotency_key for intent in records.open_intents()},
            {write_off.idempotency_key for write_off in records.write_offs()},
            {refusal.key: refusal for refusal in records.refusals()},
            {run.run: run for run in records.runs()},
            read_copies(folder).purchases,
        )
