"""The cache's speed: storing, looking up, making a table of and verifying 512 numbers a row.

Each is held against SQLite or plain memory doing only what no cache of this kind can leave out.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from benchmarks.performance.comparison import Comparison, Subject, compare
from benchmarks.support.synthetic_cache import (
    DIM,
    ROWS_PER_PURCHASE,
    SyntheticVendor,
    buy,
    image_key,
)
from cache.embedding_table import EMBEDDINGS, materialise, open_table
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.storage.folder import DATABASE, RECEIPTS

SECTION: Final = "cache"
_FULL: Final = (1_000, 10_000, 50_000)
_QUICK: Final = (1_000, 5_000)
_KEYS_PER_QUERY: Final = 500
_CHECKSUM_BYTES: Final = 16

Report = Callable[[Comparison], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """A cache of N paid rows in `folder / "cache"`, and room beside it."""

    folder: Path
    rows: int

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def database(self) -> Path:
        return self.cache / DATABASE

    def new_keys(self) -> list[EmbeddingKey]:
        """The keys, made anew: a key that was used knows its digest."""
        return [image_key(number) for number in range(self.rows)]

    def per_row(self, work: Callable[[], object]) -> float:
        """The microseconds of `work` for a row."""
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / self.rows * 1e6


def measure(*, quick: bool, report: Report) -> None:
    """Report every comparison of this section."""
    sizes = _QUICK if quick else _FULL
    for rows in sizes:
        with TemporaryDirectory() as folder:
            filled = _Filled(folder=Path(folder), rows=rows)
            report(_commit(filled))
            with PaidCache.open(filled.cache) as cache:
                buy(cache, SyntheticVendor(), filled.new_keys())
            report(_look_up(filled))
            report(_table(filled))
            report(_verify(filled))
            if rows == sizes[-1]:
                report(_open_table(filled))
                report(_read_table(filled))


def _subject(name: str, rows: int, peer: str, goal: float | None = None) -> Subject:
    return Subject(
        section=SECTION,
        name=f"{name}, {rows:,} rows",
        unit="µs a row",
        peer=peer,
        better="lower",
        goal=goal,
    )


def _commit(filled: _Filled) -> Comparison:
    """Reserve and commit purchases of 64 rows; the peer writes what they leave on the disk."""
    sample = filled.folder / "sample"
    vendor = SyntheticVendor()
    with PaidCache.open(sample) as cache:
        buy(cache, vendor, filled.new_keys())
    with closing(sqlite3.connect(sample / DATABASE)) as connection:
        records = connection.execute("SELECT key, value FROM Cache WHERE tag = 'row'").fetchall()
    lines = (sample / RECEIPTS).read_bytes().splitlines(keepends=True)

    def ours() -> float:
        with TemporaryDirectory(dir=filled.folder) as folder, PaidCache.open(folder) as cache:
            return buy(cache, SyntheticVendor(), filled.new_keys()) / filled.rows * 1e6

    def theirs() -> float:
        with TemporaryDirectory(dir=filled.folder) as folder:
            return filled.per_row(lambda: _write(Path(folder), records, lines))

    peer = "SQLite and a file taking the same bytes, synced before and after each purchase"
    return compare(_subject("commit", filled.rows, peer, goal=2.0), ours, theirs)


def _write(folder: Path, records: Sequence[tuple[bytes, bytes]], lines: Sequence[bytes]) -> None:
    database = sqlite3.connect(folder / "peer.db", isolation_level=None)
    with closing(database), (folder / "lines").open("ab", buffering=0) as file:
        database.execute("PRAGMA page_size = 16384")
        database.execute("PRAGMA journal_mode = wal")
        database.execute("PRAGMA synchronous = full")
        database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")
        for number, line in enumerate(lines):
            start = number * ROWS_PER_PURCHASE
            chunk = records[start : start + ROWS_PER_PURCHASE]
            # Before a purchase is sent it is on the disk.
            database.execute("INSERT INTO rows (key, value) VALUES ('open', ?)", (line,))
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM rows WHERE key = 'open'")
            database.executemany("INSERT INTO rows (key, value) VALUES (?, ?)", chunk)
            file.write(line)
            os.fsync(file.fileno())
            database.execute("COMMIT")


def _look_up(filled: _Filled) -> Comparison:
    digests = [key.digest for key in filled.new_keys()]

    def theirs() -> float:
        def select() -> None:
            for start in range(0, len(digests), _KEYS_PER_QUERY):
                chunk = digests[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(chunk))
                sql = f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({marks})"  # nosec B608
                connection.execute(sql, chunk).fetchall()

        with closing(sqlite3.connect(filled.database)) as connection:
            return filled.per_row(select)

    def ours() -> float:
        with PaidCache.open(filled.cache) as cache:
            keys = filled.new_keys()
            return filled.per_row(lambda: cache.missing(keys))

    peer = "SQLite looking up the same digests, 500 in a statement"
    return compare(_subject("look up", filled.rows, peer, goal=2.0), ours, theirs)


def _table(filled: _Filled) -> Comparison:
    keys = filled.new_keys()

    def ours() -> float:
        with TemporaryDirectory(dir=filled.folder) as out, PaidCache.open(filled.cache) as cache:
            return filled.per_row(lambda: materialise(cache, keys, Path(out)))

    def theirs() -> float:
        with TemporaryDirectory(dir=filled.folder) as out:
            return filled.per_row(lambda: _copy_vectors(filled.database, Path(out)))

    peer = "SQLite reading the same rows in order, their checksums, a file and its SHA-256, synced"
    return compare(_subject("into a table", filled.rows, peer, goal=1.5), ours, theirs)


def _copy_vectors(database: Path, out: Path) -> None:
    sql = "SELECT value FROM Cache WHERE tag = 'row' ORDER BY rowid"
    sha256 = hashlib.sha256()
    with closing(sqlite3.connect(database)) as connection, (out / "vectors").open("wb") as file:
        for (record,) in connection.execute(sql):
            _check(record)
            vector = record[-4 * DIM - _CHECKSUM_BYTES : -_CHECKSUM_BYTES]
            file.write(vector)
            sha256.update(vector)
        file.flush()
        os.fsync(file.fileno())


def _verify(filled: _Filled) -> Comparison:
    def ours() -> float:
        with PaidCache.open(filled.cache) as cache:
            return filled.per_row(lambda: verify(cache))

    def theirs() -> float:
        return filled.per_row(lambda: _checksums(filled.database))

    peer = "SQLite's integrity_check, every record's checksum, and the SHA-256 of the vectors"
    return compare(_subject("verify", filled.rows, peer, goal=1.5), ours, theirs)


def _checksums(database: Path) -> None:
    sha256 = hashlib.sha256()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA integrity_check").fetchall()
        for (record,) in connection.execute("SELECT value FROM Cache ORDER BY rowid"):
            _check(record)
            sha256.update(record[-4 * DIM - _CHECKSUM_BYTES : -_CHECKSUM_BYTES])


def _check(record: bytes) -> None:
    body = record[:-_CHECKSUM_BYTES]
    digest = hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()
    if digest != record[-_CHECKSUM_BYTES:]:
        raise AssertionError(record)


def _open_table(filled: _Filled) -> Comparison:
    """Opening checks the keys and the file's SHA-256; the peer hashes bytes that it has."""
    keys, folder = filled.new_keys(), filled.folder / "table"
    with PaidCache.open(filled.cache) as cache:
        materialise(cache, keys, folder)
    content = (folder / EMBEDDINGS).read_bytes()
    peer = "SHA-256 of the same bytes in memory"
    return compare(
        _subject("open a table, with its checks", filled.rows, peer, goal=1.5),
        lambda: filled.per_row(lambda: open_table(folder, keys)),
        lambda: filled.per_row(lambda: hashlib.sha256(content).digest()),
    )


def _read_table(filled: _Filled) -> Comparison:
    table = open_table(filled.folder / "table", filled.new_keys())
    memory = np.array(table.vectors)
    out = np.empty_like(memory)
    gigabytes = memory.nbytes / 1e9

    def speed(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return gigabytes / (time.perf_counter() - started)

    subject = Subject(
        section=SECTION,
        name=f"read a table, {filled.rows:,} rows",
        unit="GB/s",
        peer="the same copy from memory to memory",
        better="higher",
        goal=0.7,
    )
    return compare(
        subject,
        lambda: speed(lambda: np.copyto(out, np.load(filled.folder / "table" / EMBEDDINGS, "r"))),
        lambda: speed(lambda: np.copyto(out, memory)),
    )
