"""A new database out of what can be read of a malformed one, which is moved aside whole."""

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
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.reader import COLUMNS, StoredRecord
from cache.storage.receipts_file import sync_folder

_FILES: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
_HEADER: Final = b"SQLite format 3\0"
# No record, with its entries in two indices, is smaller than this.
_LEAST_BYTES: Final = 64
_ROWS_A_READ: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """Where the malformed database is now, and what was not taken over from it."""

    places: tuple[Path, ...]
    moved: tuple[Problem, ...]


def rebuild(folder: Path, aside: Quarantine, *, patience_s: float) -> Rebuilt | None:
    """Replace the database of `folder` if SQLite calls it malformed; None when it does not.

    The new one has every record that can still be read and is what was written. A crash in
    between is made good by the next repair. Raises CacheUnavailable when the file is no database
    and there are no receipts beside it: then it was never a cache.
    """
    ready = folder / "rebuilt"
    if not (ready / DATABASE).is_file():
        fault = _fault(folder / DATABASE, patience_s)
        if fault is None:
            # An earlier repair came to its end but for this.
            shutil.rmtree(ready, ignore_errors=True)
            return None
        moved = [Problem(name=DATABASE, detail=fault), *_salvage_into(folder, ready, patience_s)]
    else:
        moved = [Problem(name=DATABASE, detail="an earlier repair did not come to its end")]
    place = aside.keep_database(list(_FILES))
    (ready / DATABASE).replace(folder / DATABASE)
    sync_folder(folder)
    shutil.rmtree(ready)
    return Rebuilt(places=(place,), moved=tuple(moved))


def _fault(database: Path, patience_s: float) -> str | None:
    """What SQLite says is wrong with the file; None when nothing is, or when it is not there."""
    if not database.is_file() or database.stat().st_size == 0:
        return None
    with database.open("rb") as file:
        is_database = file.read(len(_HEADER)) == _HEADER
    if not is_database and not database.with_name(RECEIPTS).is_file():
        message = f"{database} is not a database and no receipts are beside it: not a cache"
        raise CacheUnavailable(message)
    try:
        with closing(sqlite3.connect(database, timeout=patience_s)) as connection:
            ((health, *_),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.Error as error:
        if "locked" in str(error) or "busy" in str(error):
            message = f"the cache at {database.parent} is in use: {error}"
            raise CacheUnavailable(message) from error
        return str(error)
    return None if health == "ok" else str(health)


def _salvage_into(folder: Path, ready: Path, patience_s: float) -> Iterator[Problem]:
    """Make the new database under a name that it only has when it is whole."""
    part = folder / "rebuilding"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    with FencedCache(part, patience_s=patience_s) as store, store.exclusive():
        for record in _salvage(folder / DATABASE):
            try:
                tag, _ = read_record(record)
            except CacheError as error:
                yield Problem(name=record.name, detail=str(error))
            else:
                store.set(record.key, record.content(), tag=tag.value)
    part.replace(ready)
    sync_folder(folder)


def _salvage(database: Path) -> Iterator[StoredRecord]:
    """Every record that SQLite can still reach, in order; ranges that it cannot read are halved."""
    sql = f"SELECT {COLUMNS} FROM Cache WHERE rowid BETWEEN ? AND ? ORDER BY rowid"  # constants  # nosec B608
    with closing(sqlite3.connect(database)) as connection:
        last = _last_rowid(connection, database)
        ranges = [
            (first, min(first + _ROWS_A_READ - 1, last))
            for first in range(1, last + 1, _ROWS_A_READ)
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
    most = sum(file.stat().st_size for file in files if file.exists()) // _LEAST_BYTES
    try:
        ((last,),) = connection.execute("SELECT max(rowid) FROM Cache").fetchall()
    except sqlite3.Error:
        return most
    # A damaged page can claim any number.
    return min(int(last or 0), most)
