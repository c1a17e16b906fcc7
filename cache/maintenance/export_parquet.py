"""Export of a complete cache as Parquet, from which it can be made again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from cache.errors import CacheUnavailable
from cache.maintenance.parquet_folder import (
    LINE,
    RECORDS,
    ROWS_IN_A_FILE,
    ParquetFolder,
    embeddings_name,
    facts,
)
from cache.maintenance.whole_cache import require_whole
from cache.records.purchase_records import PaidEmbedding
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import encode_line, read_copies
from cache.storage.record_codec import Tag
from cache.storage.row_codec import CHECKSUM_BYTES, encode_row

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = (Tag.RECEIPT, Tag.INTENT, Tag.WRITE_OFF, Tag.REFUSAL, Tag.RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Counts of what was written: embeddings, other records, and files without the manifest."""

    rows: int
    records: int
    files: int


def export_parquet_folder(
    cache: CacheReader, address: str, *, rows_in_a_file: int = ROWS_IN_A_FILE
) -> Exported:
    """Write everything in a cache to a new folder at `address`, a path or a URL of fsspec.

    Memory is that of `rows_in_a_file` embeddings. Raises TransferFailed if the folder is not empty
    or cannot be written, CacheUnavailable if a run uses the cache or its database lacks receipts,
    and CorruptRow for a record that is not what was written. Without a manifest, an export that
    failed is none.
    """
    require_whole(cache)
    folder = ParquetFolder(address)
    folder.require_new()
    written: dict[str, dict[str, object]] = {}
    counts = []
    with TemporaryDirectory(prefix="export-") as temporary, cache.snapshot():
        for name, table in _tables(cache, rows_in_a_file):
            from pyarrow import parquet

            file = Path(temporary) / name
            parquet.write_table(table, file)
            written[name] = facts(file, table.num_rows)
            folder.put(file, name)
            file.unlink()
            counts.append(table.num_rows)
    folder.put_manifest(written)
    return Exported(rows=sum(counts[:-1]), records=counts[-1], files=len(counts))


def _tables(cache: CacheReader, rows_in_a_file: int) -> Iterator[tuple[str, pa.Table]]:
    rows = cache.rows_as_stored()
    number = 0
    while chunk := list(islice(rows, rows_in_a_file)):
        yield embeddings_name(number), _embeddings(chunk)
        number += 1
    yield RECORDS, _records(cache)


def _embeddings(rows: list[tuple[PaidEmbedding, bool]]) -> pa.Table:
    import pyarrow as pa

    found = [row for row, _ in rows]
    offsets = np.cumsum([0, *(row.vector.size for row in found)], dtype=np.int32)
    values = np.concatenate([row.vector for row in found]).astype("<f4", copy=False)
    columns: dict[str, object] = {
        "digest": [row.key.digest.hex() for row in found],
        **{name: [row.key.fields()[name] for row in found] for name in found[0].key.fields()},
        "vector": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
        "sent_sha256": [row.sent_sha256 for row in found],
        "model": [row.model for row in found],
        "request_id": [row.request_id for row in found],
        "price_version": [row.price_version for row in found],
        "created_ms": pa.array([row.created_ms for row in found], pa.int64()),
        "bought_again": [is_again for _, is_again in rows],
        "checksum": [encode_row(row)[-CHECKSUM_BYTES:].hex() for row in found],
    }
    return pa.table(columns)


def _records(cache: CacheReader) -> pa.Table:
    import pyarrow as pa

    kinds, names, contents = [], [], []
    for kind, name, content in chain(_stored(cache), _lines(cache)):
        kinds.append(kind)
        names.append(name)
        contents.append(content)
    columns = {
        "kind": pa.array(kinds, pa.string()),
        "name": pa.array(names, pa.string()),
        "record": pa.array(contents, pa.large_binary()),
    }
    return pa.table(columns)


def _stored(cache: CacheReader) -> Iterator[tuple[str, str, bytes]]:
    for tag in KINDS:
        for record in cache.scan(tag):
            yield tag.value, record.name, record.content()


def _lines(cache: CacheReader) -> Iterable[tuple[str, str, bytes]]:
    stored = {receipt.name for receipt in cache.stored_receipts()}
    copies = read_copies(cache.folder)
    if copies.damaged:
        message = (
            f"{cache.folder / RECEIPTS} is damaged in line {copies.damaged[0].number}:"
            " run cache-report verify --repair on it"
        )
        raise CacheUnavailable(message)
    for purchase in copies.purchases.values():
        # A line without a receipt in the database belongs to a commit that did not happen.
        if purchase.name in stored:
            yield LINE, purchase.receipt.request_id, encode_line(purchase)
