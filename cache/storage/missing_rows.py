"""Purchases that were paid for and whose rows are not there any more."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import MissingRows, Purchase
from cache.storage.receipts_file import read_copies
from cache.storage.record_types import Tag

if TYPE_CHECKING:
    from cache.storage.reader import CacheReader


def lost_answers(cache: CacheReader) -> list[MissingRows]:
    """Every paid purchase of whose rows some are gone, as far as its keys are known."""
    if _counts_agree(cache):
        return []
    stored = {one.name: one for one in cache.stored_receipts()}
    given_up = {loss.idempotency_key for loss in cache.losses()}
    rows = chain(cache.rows(), cache.rows_bought_again())
    bought = {(row.key.digest, row.request_id) for row in rows}
    found = []
    for name, purchase in read_copies(cache.folder).purchases.items():
        receipt = purchase.receipt
        known = stored.get(name)
        if known is None or known.receipt != receipt or receipt.idempotency_key in given_up:
            continue
        missing = _missing(purchase, bought)
        if missing and purchase.is_whole:
            found.append(MissingRows(purchase=purchase, missing=missing))
    return found


def _missing(purchase: Purchase, bought: set[tuple[bytes, str]]) -> tuple[EmbeddingKey, ...]:
    request_id = purchase.receipt.request_id
    return tuple(key for key in purchase.keys if (key.digest, request_id) not in bought)


def _counts_agree(cache: CacheReader) -> bool:
    """Whether there are as many rows as were paid for: told without reading one of them."""
    paid = sum(receipt.images + receipt.texts for receipt in cache.receipts())
    sql = "SELECT count(*) FROM Cache WHERE tag IN (?, ?)"
    ((rows,),) = cache.query(sql, Tag.ROW.value, Tag.AGAIN.value)
    return bool(paid == rows)
