"""Import of a complete export: made anew beside the cache, verified, and only then merged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cache.errors import CacheError, TransferFailed
from cache.integrity.verify import verify
from cache.maintenance.merge import Merged, merge
from cache.maintenance.parquet_folder import LINE, RECORDS, ParquetFolder
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import PaidEmbedding
from cache.storage import record_codec
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import decode_line
from cache.storage.record_codec import Tag
from cache.storage.row_codec import CHECKSUM_BYTES, encode_row
from cache.storage.transaction import Transaction

_ROWS_AT_A_TIME = 4_096
_KEY_FIELDS = ("model_fingerprint", "modality", "item", "view", "params")


def import_parquet_folder(address: str, into: Path) -> Merged:
    """Add everything in an export to the cache in `into`, which is made if there is none.

    The export is first made a cache of its own, in a temporary folder beside `into`, and verified:
    the SHA-256 of every file, the checksum of every row and record, every receipt's hash, links and
    digest, and all sums. Then it is merged. Raises TransferFailed, with nothing imported, if
    anything is not what was exported, and what `merge` raises.
    """
    folder = ParquetFolder(address)
    files = folder.files()
    if RECORDS not in files:
        message = f"{address} has no {RECORDS} in its manifest; nothing was imported"
        raise TransferFailed(message)
    into.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{into.name}-import-", dir=into.parent) as temporary:
        staged = Path(temporary) / "cache"
        try:
            with PaidCache.open(staged) as cache, cache.transaction() as changes:
                _add_records(folder, files, changes)
                changes.add_rows(_rows(folder, files))
        except TransferFailed:
            raise
        except CacheError as error:
            message = f"{address} is not what was exported: {error}; nothing was imported"
            raise TransferFailed(message) from error
        with CacheReader.open(staged) as source:
            found = verify(source)
            if found.problems:
                first = found.problems[0]
                message = (
                    f"{address} has {len(found.problems)} problems, the first: {first.name}: "
                    f"{first.detail}; nothing was imported"
                )
                raise TransferFailed(message)
            with PaidCache.open(into) as cache:
                return merge(source, cache)


def _rows(folder: ParquetFolder, files: dict[str, str]) -> Iterator[PaidEmbedding]:
    for name in sorted(files.keys() - {RECORDS}):
        with folder.fetched(name, files[name]) as file:
            from pyarrow import parquet

            with parquet.ParquetFile(file) as opened:
                for batch in opened.iter_batches(_ROWS_AT_A_TIME):
                    vectors = batch.column("vector")
                    rest = batch.drop_columns(["vector"]).to_pylist()
                    for number, fields in enumerate(rest):
                        vector = np.asarray(vectors[number].values, dtype=np.float32)
                        yield _row(folder.address, fields, vector)


def _row(address: str, fields: dict[str, Any], vector: np.ndarray[Any, Any]) -> PaidEmbedding:
    try:
        row = PaidEmbedding(
            key=EmbeddingKey(**{name: fields[name] for name in _KEY_FIELDS}),
            vector=vector,
            sent_sha256=fields["sent_sha256"],
            model=fields["model"],
            request_id=fields["request_id"],
            price_version=fields["price_version"],
            created_ms=fields["created_ms"],
        )
        is_whole = encode_row(row)[-CHECKSUM_BYTES:].hex() == fields["checksum"]
    except (KeyError, TypeError, ValueError) as error:
        message = f"{address}: an embedding cannot be read ({error}); nothing was imported"
        raise TransferFailed(message) from error
    if not is_whole:
        message = (
            f"{address}: the embedding {fields['digest']} does not have its checksum; nothing was"
            " imported"
        )
        raise TransferFailed(message)
    return row


@dataclass(frozen=True, slots=True)
class _Record:
    kind: str
    name: str
    content: bytes


def _add_records(folder: ParquetFolder, files: dict[str, str], changes: Transaction) -> None:
    records = list(_records(folder, files))
    # Receipts before write-offs and lines: each settles what the next one refers to.
    for record in records:
        if record.kind == Tag.RECEIPT:
            changes.add_receipt(record_codec.decode_receipt(record.name, record.content))
    for record in records:
        _add_record(folder.address, record, changes)


def _add_record(address: str, record: _Record, changes: Transaction) -> None:
    name, content = record.name, record.content
    match record.kind:
        case Tag.RECEIPT:
            pass  # added before
        case Tag.INTENT:
            changes.open(record_codec.decode_intent(name, content))
        case Tag.WRITE_OFF:
            changes.add_write_off(record_codec.decode_write_off(name, content))
        case Tag.REFUSAL:
            changes.put_refusal(record_codec.decode_refusal(name, content))
        case Tag.RUN:
            changes.put_run(record_codec.decode_run(name, content))
        case kind if kind == LINE:
            try:
                changes.add_to_receipts_file(decode_line(content))
            except ValueError as error:
                message = f"{address}: the line of {name} is damaged ({error})"
                raise TransferFailed(message) from error
        case kind:
            message = f"{address} has records of the unknown kind {kind!r}; nothing was imported"
            raise TransferFailed(message)


def _records(folder: ParquetFolder, files: dict[str, str]) -> Iterator[_Record]:
    with folder.fetched(RECORDS, files[RECORDS]) as file:
        from pyarrow import parquet

        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(_ROWS_AT_A_TIME):
                for fields in batch.to_pylist():
                    yield _Record(fields["kind"], fields["name"], fields["record"])
