"""Whether the stored embeddings are those that the receipts pay for, by the receipts' digests."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheUnavailable, CorruptRow, PickleRefused
from cache.integrity.scan import Problem, ScanResult
from cache.records.embedding_key import EmbeddingKey
from cache.records.embeddings_digest import embeddings_sha256
from cache.records.purchase_records import PaidEmbedding, StoredReceipt
from cache.records.receipt import Receipt
from cache.storage import record_codec
from cache.storage.database import StoredRecord
from cache.storage.reader import CacheReader
from cache.storage.record_codec import Tag

_KEYS_PER_QUERY: Final = 250
_DIFFERS: Final = (
    "its embeddings are not those that it pays for: their digest is not the receipt's, so a vector"
    " was changed or two were swapped. --repair moves them to quarantine, and the next run "
)
_FETCHED: Final = "fetches them again, free of charge"
_BOUGHT: Final = "buys them again, because this vendor keeps no answers"
_ORDER_UNKNOWN: Final = (
    "its embeddings cannot be compared with its digest: receipts.jsonl does not say in which order"
    " they were sent, and in the order in which they are stored the digest differs"
)


@dataclass(slots=True)
class StoringOrder:
    """The keys of one request's rows in the order of storing, and the digest of their vectors."""

    keys: list[EmbeddingKey] = field(default_factory=list)
    sha256: Any = field(default_factory=hashlib.sha256)

    def add(self, row: PaidEmbedding) -> None:
        """Add the next row."""
        self.keys.append(row.key)
        self.sha256.update(row.vector.astype("<f4", copy=False).tobytes())

    def contradicts(self, receipt: Receipt) -> bool:
        """Whether all rows of the receipt are here, and not in the order of its digest."""
        if receipt.embeddings_sha256 is None or len(self.keys) != receipt.images + receipt.texts:
            return False
        return bool(self.sha256.hexdigest() != receipt.embeddings_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestFault:
    """A receipt whose stored embeddings do not have its digest; `keys` are () if not known."""

    stored: StoredReceipt
    keys: tuple[EmbeddingKey, ...]
    problem: Problem


def digest_faults(scan_result: ScanResult, cache: CacheReader) -> Iterator[DigestFault]:
    """Yield each receipt whose stored embeddings do not have its digest.

    A purchase with missing or corrupt rows is left out: `verify` reports those by themselves. The
    order of the items is that of receipts.jsonl or, without an intact line, that of storing.
    """
    try:
        yield from _faults(scan_result, cache)
    except CacheUnavailable:
        # A part of the file that cannot be read; the scan has reported it.
        return


def _faults(scan_result: ScanResult, cache: CacheReader) -> Iterator[DigestFault]:
    without_line = []
    for stored in scan_result.receipts:
        receipt = stored.receipt
        if receipt.embeddings_sha256 is None:
            continue
        copy = scan_result.copies.purchases.get(stored.name)
        # Only what the scan did not find in the order of sending is read a second time.
        as_stored = scan_result.answers.has(receipt.request_id, receipt.embeddings_sha256)
        if copy is None or not copy.is_whole:
            if not as_stored:
                without_line.append(stored)
            continue
        if as_stored and scan_result.answers.has_keys(receipt.request_id, copy.keys):
            continue
        vectors = _vectors_of(cache, copy.keys, receipt.request_id)
        is_whole = len(vectors) == len(copy.keys)
        if is_whole and embeddings_sha256(vectors) != receipt.embeddings_sha256:
            remedy = _BOUGHT if receipt.is_from_client else _FETCHED
            yield _fault(stored, copy.keys, _DIFFERS + remedy)
    order = storing_order(cache, {stored.receipt.request_id for stored in without_line})
    for stored in without_line:
        if order[stored.receipt.request_id].contradicts(stored.receipt):
            yield _fault(stored, (), _ORDER_UNKNOWN)


def _fault(stored: StoredReceipt, keys: tuple[EmbeddingKey, ...], detail: str) -> DigestFault:
    problem = Problem(name=record_codec.receipt_name(*stored.name), detail=detail)
    return DigestFault(stored=stored, keys=keys, problem=problem)


def storing_order(cache: CacheReader, request_ids: set[str]) -> dict[str, StoringOrder]:
    """The intact rows of these requests, in the order in which they are stored.

    It is the order of sending, unless rows were fetched again after the purchase.
    """
    found: dict[str, StoringOrder] = defaultdict(StoringOrder)
    if request_ids:
        for row in _intact_rows(cache.scan_all()):
            if row.request_id in request_ids:
                found[row.request_id].add(row)
    return found


def _vectors_of(
    cache: CacheReader, keys: tuple[EmbeddingKey, ...], request_id: str
) -> list[NDArray[np.float32]]:
    """What this request bought, in the order of `keys`, as far as its rows are intact."""
    found = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        names: list[str | bytes] = [key.digest for key in chunk]
        names += [record_codec.again_name(key, request_id) for key in chunk]
        rows = _intact_rows(cache.named(*names))
        found.update({row.key: row.vector for row in rows if row.request_id == request_id})
    return [found[key] for key in keys if key in found]


def intact_row(record: StoredRecord) -> PaidEmbedding | None:
    """Decode the row in a record, whatever its name; None for a record of another kind."""
    if record.tag == Tag.AGAIN:
        return record_codec.decode_again(record.name, record.content())
    if record.tag != Tag.ROW:
        return None
    return record_codec.decode_row_anywhere(record.name, record.content())


def _intact_rows(records: Iterator[StoredRecord]) -> Iterator[PaidEmbedding]:
    for record in records:
        with suppress(CorruptRow, PickleRefused):
            row = intact_row(record)
            if row is not None:
                yield row
