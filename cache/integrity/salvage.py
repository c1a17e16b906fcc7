"""Salvage: a new database with every record that can be read from a malformed database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache.errors import CacheError, CacheUnavailable
from cache.integrity.quarantine import Quarantine
from cache.integrity.scan import Problem, read_record
from cache.storage.atomic_file import sync_folder
from cache.storage.database import COLUMNS, StoredRecord
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import DATABASE, RECEIPTS

_FILES: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
_HEADER: Final = b"SQLite format 3\0"
# A record with its entries in two indices is never smaller.
_MIN_RECORD_BYTES: Final = 64
_ROWS_PER_READ: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """Where the malformed database is now, and which of its records could not be salvaged."""

    quarantine_folders: tuple[Path, ...]
    moved: tuple[Problem, ...]


def salvage_database(folder: Path, quarantine: Quarantine, *, patience_s: float) -> Salvaged | None:
    """Replace the database in `folder` if SQLite calls it malformed; return None if it is not.

    The new database has every record that can be read and is intact. If this is interrupted, the
    next repair completes it. Raises CacheUnavailable if the file is not a database and there is no
    receipts.jsonl beside it: then it never was a cache.
    """
    ready = folder / "rebuilt"
    if not (ready / DATABASE).is_file():
        fault = _fault(folder / DATABASE, patience_s)
        if fault is None:
            # An earlier repair was interrupted just before it removed this folder.
            shutil.rmtree(ready, ignore_errors=True)
            return None
        moved = [Problem(name=DATABASE, detail=fault), *_salvage_into(folder, ready, patience_s)]
    else:
        moved = [Problem(name=DATABASE, detail="an earlier repair was interrupted")]
    moved_to = quarantine.keep_database(list(_FILES))
    (ready / DATABASE).replace(folder / DATABASE)
    sync_folder(folder)
    shutil.rmtree(ready)
    return Salvaged(quarantine_folders=(moved_to,), moved=tuple(moved))


def _fault(database: Path, patience_s: float) -> str | None:
    """Return what SQLite reports about the file; None if it is sound, empty or missing."""
    if not database.is_file() or database.stat().st_size == 0:
        return None
    with database.open("rb") as file:
        is_database = file.read(len(_HEADER)) == _HEADER
    if not is_database and not database.with_name(RECEIPTS).is_file():
        message = f"{database} is not a database and there is no {RECEIPTS}: this is not a cache"
        raise CacheUnavailable(message)
    try:
        with closing(sqlite3.connect(database, timeout=patience_s)) as connection:
            ((health, *_),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            message = f"the cache in {database.parent} is in use: {error}"
            raise CacheUnavailable(message) from error
        return str(error)
    return None if health == "ok" else str(health)


def _salvage_into(folder: Path, ready: Path, patience_s: float) -> Iterator[Problem]:
    """Make the new database; it gets its name `ready` only when it is complete."""
    part = folder / "rebuilding"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    with FencedCache(part, patience_s=patience_s) as store, store.exclusive():
        for record in _salvage(folder / DATABASE):
            try:
                tag, _ = read_record(record)
            except CacheError as error:
                yield Problem(name=record.name, detail=getattr(error, "reason", str(error)))
            else:
                store.set(record.key, record.content(), tag=tag.value)
    part.replace(ready)
    sync_folder(folder)


def _salvage(database: Path) -> Iterator[StoredRecord]:
    """Yield every record that SQLite can still read, in order, halving the ranges that fail."""
    sql = f"SELECT {COLUMNS} FROM Cache WHERE rowid BETWEEN ? AND ? ORDER BY rowid"  # constants  # nosec B608
    with closing(sqlite3.connect(database)) as connection:
        last = _last_rowid(connection, database)
        ranges = [
            (first, min(first + _ROWS_PER_READ - 1, last))
            for first in range(1, last + 1, _ROWS_PER_READ)
        ][::-1]
        while ranges:
            first, end = ranges.pop()
            try:
                found = connection.execute(sql, (first, end)).fetchall()
            except sqlite3.Error:
                if first < end:
                    middle = (first + end) // 2
                    ranges += [(middle + 1, end), (first, middle)]
            else:
                yield from (StoredRecord(*row) for row in found)


def _last_rowid(connection: sqlite3.Connection, database: Path) -> int:
    files = [database.with_name(name) for name in _FILES]
    highest = sum(file.stat().st_size for file in files if file.exists()) // _MIN_RECORD_BYTES
    try:
        ((last,),) = connection.execute("SELECT max(rowid) FROM Cache").fetchall()
    except sqlite3.Error:
        return highest
    # A damaged page can state any number.
    return min(int(last or 0), highest)
