"""What is in a cache as CSV or JSON, for other programs."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

from cache.storage.reader import CacheReader

What = Literal["receipts", "rows", "runs"]


def export_csv(cache: CacheReader, what: What, out: IO[str]) -> int:
    """Write one line a record under a line of names; how many records there were."""
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
    """Write one JSON array, a record a line; how many records there were."""
    count = 0
    for record in _records(cache, what):
        out.write("[\n" if count == 0 else ",\n")
        out.write(json.dumps(record, ensure_ascii=True))
        count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A file to write that takes the place of `path`, or of what it links to, when it is whole.

    OSError, with nothing left behind, when it cannot; what is no regular file is written straight.
    """
    target = Path(os.path.realpath(path))
    # Asked of `path`: what /dev/stdout leads to may have no name of its own.
    if target.is_symlink() or (path.exists() and not path.is_file()):
        # A folder or a ring of links refuses this itself; a pipe is to be written, not replaced.
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _records(cache: CacheReader, what: What) -> Iterator[dict[str, Any]]:
    sources = {"receipts": _receipts, "rows": _rows, "runs": _runs}
    return iter(sources[what](cache))


def _receipts(cache: CacheReader) -> Iterable[dict[str, Any]]:
    for stored in cache.stored_receipts():
        yield {"account": stored.account, "run": stored.run, **stored.receipt.entry()}


def _rows(cache: CacheReader) -> Iterable[dict[str, Any]]:
    """What each embedding is and cost; the vectors themselves are in the table of `materialise`."""
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
