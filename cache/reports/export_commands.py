"""The commands of `cache-report` that take a cache elsewhere. Their docstrings are its help texts.

Every import is inside a function, so that `cache-report --help` does not load numpy.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def export(folder: Path, arguments: argparse.Namespace) -> int:
    """Write receipts, rows or runs as CSV, JSON or Parquet, or the whole cache as Parquet.

    With --what cache, --out is a new folder, or an address that fsspec knows, such as
    s3://BUCKET/FOLDER (extra remote; keys and endpoint from the environment). `import` makes a
    cache of it again.
    """
    from cache.errors import ReportImpossible
    from cache.reports.export import write_export
    from cache.storage.folder import user_path
    from cache.storage.reader import CacheReader

    with CacheReader.open(folder) as cache:
        if arguments.what == "cache":
            from cache.maintenance.export_parquet import export_parquet_folder

            if arguments.format != "parquet" or arguments.out is None:
                message = "the whole cache is exported with --format parquet and --out FOLDER"
                raise ReportImpossible(message)
            done = export_parquet_folder(cache, _address(arguments.out))
            sys.stderr.write(
                f"{done.rows} embeddings and {done.records} records written to {arguments.out}\n"
            )
            return 0
        out = None if arguments.out is None else user_path(arguments.out)
        count = write_export(cache, arguments.what, arguments.format, out)
    if out is not None:
        sys.stderr.write(f"{count} {arguments.what} written to {out}\n")
    return 0


def import_cache(folder: Path, arguments: argparse.Namespace) -> int:
    """Add everything that `export --what cache` wrote to the cache, which is made if need be.

    Before anything is added, every file's SHA-256, every checksum and receipt, and all sums are
    checked. Importing again adds nothing. Exit status: 0 if everything is in the cache; 2 if
    nothing was added.
    """
    from cache.maintenance.import_parquet import import_parquet_folder
    from cache.reports.as_json import merge_json
    from cache.reports.terminal import console, show_merge

    result = import_parquet_folder(_address(arguments.source), folder)
    if arguments.json:
        sys.stdout.write(json.dumps(merge_json(result), indent=2) + "\n")
    else:
        show_merge(console(), result)
    return 0


def _address(given: str) -> str:
    from cache.storage.folder import user_path

    return given if "://" in given else str(user_path(given).absolute())
