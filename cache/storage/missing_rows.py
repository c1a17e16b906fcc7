"""Missing rows: paid embeddings that are gone from the cache and can be fetched again for free."""

from __future__ import annotations

from itertools import chain

from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import MissingRows, Purchase
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import read_copies
from cache.storage.record_codec import Tag


def find_missing_rows(cache: CacheReader) -> list[MissingRows]:
    """Return every paid purchase with missing rows, except those that are written off.

    The vendor sends such an answer again under the same idempotency key, free of charge. Reads no
    row while the cache holds as many rows as its receipts charge; otherwise it reads every row.
    Finds only purchases whose keys are in receipts.jsonl; `verify` counts the others too.
    """
    if _counts_agree(cache):
        return []
    stored = {receipt.name: receipt for receipt in cache.stored_receipts()}
    written_off = {write_off.idempotency_key for write_off in cache.write_offs()}
    rows = chain(cache.rows(), cache.rows_bought_again())
    present = {(row.key.digest, row.request_id) for row in rows}
    found = []
    for name, purchase in read_copies(cache.folder).purchases.items():
        receipt = purchase.receipt
        known = stored.get(name)
        if known is None or known.receipt != receipt or receipt.idempotency_key in written_off:
            continue
        missing = _missing_keys(purchase, present)
        if missing and purchase.is_whole:
            found.append(MissingRows(purchase=purchase, missing=missing))
    return found


def _missing_keys(purchase: Purchase, present: set[tuple[bytes, str]]) -> tuple[EmbeddingKey, ...]:
    request_id = purchase.receipt.request_id
    return tuple(key for key in purchase.keys if (key.digest, request_id) not in present)


def _counts_agree(cache: CacheReader) -> bool:
    """Whether there are as many rows as the receipts charge, by counts alone."""
    paid = sum(receipt.images + receipt.texts for receipt in cache.receipts())
    sql = "SELECT count(*) FROM Cache WHERE tag IN (?, ?)"
    ((rows,),) = cache.query(sql, Tag.ROW.value, Tag.AGAIN.value)
    return bool(paid == rows)
