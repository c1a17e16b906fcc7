"""Export of a cache as CSV, JSON or Parquet, for other programs."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from cache.errors import ReportImpossible
from cache.storage.atomic_file import replacing
from cache.storage.reader import CacheReader

What = Literal["receipts", "rows", "runs"]
Format = Literal["csv", "json", "parquet"]


def write_export(cache: CacheReader, what: What, format: Format, out: Path | None) -> int:
    """Write records to the file `out`, or to standard output; return the number of records.

    Raises ReportImpossible for Parquet without a file.
    """
    if format == "parquet":
        if out is None:
            message = "Parquet is not text: name the file with --out"
            raise ReportImpossible(message)
        with open_binary_output(out) as binary:
            return export_parquet(cache, what, binary)
    write = export_csv if format == "csv" else export_json
    if out is None:
        return write(cache, what, sys.stdout)
    with open_output(out) as file:
        return write(cache, what, file)


def export_csv(cache: CacheReader, what: What, out: IO[str]) -> int:
    """Write one line for each record under a line of names; return the number of records."""
    records = _records(cache, what)
    first = next(records, None)
    if first is None:
        return 0
    writer = csv.DictWriter(out, list(first), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    count = 0
    for record in chain([first], records):
        writer.writerow(record)
        count += 1
    return count


def export_json(cache: CacheReader, what: What, out: IO[str]) -> int:
    """Write one JSON array, one record a line; return the number of records."""
    count = 0
    for record in _records(cache, what):
        out.write("[\n" if count == 0 else ",\n")
        out.write(json.dumps(record, ensure_ascii=True))
        count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


def export_parquet(cache: CacheReader, what: What, out: BinaryIO) -> int:
    """Write one Parquet table with a column for each field; return the number of records.

    A field that a record does not have is null. Raises ReportImpossible without pyarrow, or if a
    column holds what Parquet has no type for, such as a number beyond 64 bits.
    """
    if find_spec("pyarrow") is None:
        message = "Parquet needs pyarrow: pip install 'rented-teacher[parquet]', or use csv or json"
        raise ReportImpossible(message)
    import pyarrow as pa
    from pyarrow import parquet

    records = list(_records(cache, what))
    columns = dict.fromkeys(name for record in records for name in record)
    table = {}
    for name in columns:
        try:
            table[name] = pa.array([record.get(name) for record in records])
        except (pa.ArrowException, OverflowError) as error:
            message = f"the field {name} does not fit a Parquet column ({error}): use csv or json"
            raise ReportImpossible(message) from error
    parquet.write_table(pa.table(table), out)
    return len(records)


@contextmanager
def open_output(path: Path) -> Iterator[IO[str]]:
    """Open `path` for text as `open_binary_output` does, in UTF-8."""
    with open_binary_output(path) as binary:
        text = io.TextIOWrapper(binary, "utf-8", newline="")
        yield text
        # Flushes; `open_binary_output` closes the file.
        text.detach()


@contextmanager
def open_binary_output(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for bytes; a regular file, or what a link leads to, is replaced atomically.

    Writes directly to what is not a regular file, such as a pipe. Raises OSError, with nothing left
    behind, if the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    # Ask `path` itself: the target of /dev/stdout may have no name of its own.
    if target.is_symlink() or (path.exists() and not path.is_file()):
        # A folder or a circle of links raises OSError here.
        with path.open("wb") as file:
            yield file
        return
    with replacing(target) as file:
        yield file


def _records(cache: CacheReader, what: What) -> Iterator[dict[str, Any]]:
    sources = {"receipts": _receipts, "rows": _rows, "runs": _runs}
    return iter(sources[what](cache))


def _receipts(cache: CacheReader) -> Iterable[dict[str, Any]]:
    for stored in cache.stored_receipts():
        yield {"account": stored.account, "run": stored.run, **stored.receipt.entry()}


def _rows(cache: CacheReader) -> Iterable[dict[str, Any]]:
    """What each embedding is and cost, without its vector (see `materialise` for those)."""
    for row in chain(cache.rows(), cache.rows_bought_again()):
        yield {
            "digest": row.key.digest.hex(),
            **row.key.fields(),
            "dim": int(row.vector.size),
            "sent_sha256": row.sent_sha256,
            "model": row.model,
            "request_id": row.request_id,
            "price_version": row.price_version,
            "created_ms": row.created_ms,
        }


def _runs(cache: CacheReader) -> Iterable[dict[str, Any]]:
    for run in cache.runs():
        yield {**asdict(run), "saved_micro_usd": run.saved_micro_usd}
