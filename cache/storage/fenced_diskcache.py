"""diskcache with settings and checks under which no paid row can be lost.

By default diskcache deletes rows beyond 1 GiB, unpickles what it finds, writes big values to files
without fsync, can lose the last commits in a power cut, and waits forever for a stuck lock.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import diskcache

from cache.errors import CacheUnavailable, PickleRefused, UnsafeSettings
from cache.storage.folder import DATABASE

FORMAT: Final = 1
MODE_RAW: Final = 1

SETTINGS: Final[dict[str, str | int]] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 1,
    "disk_min_file_size": 2**62,
    "sqlite_auto_vacuum": 0,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 2,
}

# A page of 16 KiB holds five rows of 512 floats; a page of 4 KiB holds one row and wastes the rest.
_PAGE_BYTES: Final = 16384
_LOCK_SLICE_S: Final = 1.0
_PAUSE_S: Final = 0.01
_KEYS_PER_QUERY: Final = 500
# FAIL, because ABORT makes SQLite copy the pages of its counters for each record, which takes as
# long as all else. An error here rolls back the whole transaction in any case.
_INSERT: Final = (
    "INSERT OR FAIL INTO Cache(key, raw, store_time, expire_time, access_time, access_count, tag,"
    " size, mode, filename, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

# They also protect paid rows from programs that open the file with other settings.
_TRIGGERS: Final = (
    "CREATE TRIGGER IF NOT EXISTS paid_is_kept BEFORE DELETE ON Cache"
    " WHEN OLD.tag IN ('row', 'again', 'receipt', 'paid', 'run', 'totals', 'refusal')"
    " BEGIN SELECT RAISE(ABORT, 'what was paid for is never deleted'); END",
    "CREATE TRIGGER IF NOT EXISTS paid_is_immutable BEFORE UPDATE ON Cache"
    " WHEN OLD.tag IN ('row', 'again', 'receipt', 'paid')"
    " BEGIN SELECT RAISE(ABORT, 'what was paid for is never changed'); END",
    "CREATE TRIGGER IF NOT EXISTS loss_is_kept BEFORE DELETE ON Cache"
    " WHEN OLD.tag = 'loss' BEGIN SELECT RAISE(ABORT, 'a loss is never deleted'); END",
    "CREATE TRIGGER IF NOT EXISTS loss_is_immutable BEFORE UPDATE ON Cache"
    " WHEN OLD.tag = 'loss' BEGIN SELECT RAISE(ABORT, 'a loss is never changed'); END",
)


class BytesOnlyDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores bytes under keys of bytes or str, in the database. Else raises PickleRefused."""

    def put(self, key: object) -> tuple[object, bool]:
        """Return the database's form of a key."""
        if type(key) is bytes:
            return sqlite3.Binary(key), True
        if type(key) is str:
            return key, True
        message = f"a key must be bytes or str, not {type(key).__name__}: it would be pickled"
        raise PickleRefused(message)

    def get(self, key: object, raw: object) -> object:
        """Return the key of a database row."""
        if not raw:
            message = "the cache holds a pickled key, which this program did not write"
            raise PickleRefused(message)
        return key

    def store(
        self, value: object, read: bool, key: object = None
    ) -> tuple[int, int, None, memoryview]:
        """Return the database's form of a value: always inline, never a separate file."""
        if type(value) is not bytes:
            message = f"a value must be bytes, not {type(value).__name__}: it would be pickled"
            raise PickleRefused(message)
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """Return the value of a database row."""
        return inline_bytes(mode=mode, filename=filename, value=value)


def inline_bytes(*, mode: object, filename: object, value: object) -> bytes:
    """Return the value of a row as bytes. Raises PickleRefused for any other kind of value."""
    if mode != MODE_RAW or filename is not None or type(value) is not bytes:
        message = (
            f"the cache holds a value that is not inline bytes (mode {mode!r}),"
            " which this program did not write"
        )
        raise PickleRefused(message)
    return value


class FencedCache(diskcache.Cache):  # type: ignore[misc]
    """A diskcache.Cache that evicts nothing, syncs every commit and bounds its lock waits."""

    def __init__(self, folder: Path, *, patience_s: float) -> None:
        if os.path.expandvars(folder) != str(folder):
            message = f"{folder} has the name of a variable in it, which diskcache would replace"
            raise CacheUnavailable(message)
        _prepare_file(folder / DATABASE, patience_s)
        self.patience_s = patience_s
        deadline = time.monotonic() + patience_s
        while True:
            try:
                super().__init__(
                    str(folder),
                    timeout=min(patience_s / 4, _LOCK_SLICE_S),
                    disk=BytesOnlyDisk,
                    **SETTINGS,
                )
                health = _health(folder / DATABASE, patience_s)
                break
            except sqlite3.Error as error:
                self.close()
                # Another process may be creating the same file. diskcache retries only some of the
                # statements that this takes.
                if not _is_locked(error) or time.monotonic() >= deadline:
                    message = f"cannot open the cache in {folder}: {error}"
                    raise CacheUnavailable(message) from error
                time.sleep(_PAUSE_S)
        if health != "ok":
            message = (
                f"the cache in {folder} is damaged ({health}): make a copy of the folder, then run"
                " cache-report verify --repair"
            )
            raise CacheUnavailable(message)
        with self.exclusive():
            for trigger in _TRIGGERS:
                self._sql(trigger)
        self.check_settings()

    def check_settings(self) -> None:
        """Raise UnsafeSettings unless every setting holds here, in the file and in SQLite.

        diskcache keeps settings in the file and each connection reads them from there, so another
        program can change them.
        """
        stored = dict(self._sql("SELECT key, value FROM Settings").fetchall())
        for name, wanted in SETTINGS.items():
            found = [getattr(self, name), stored.get(name)]
            if name.startswith("sqlite_"):
                found += self._sql(f"PRAGMA {name.removeprefix('sqlite_')}").fetchone()
            if any(value != wanted for value in found):
                message = f"the cache's setting {name} must be {wanted!r} and is {found!r}"
                raise UnsafeSettings(message)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Run one transaction under the write lock; it is on disk when the block ends.

        Raises CacheUnavailable, with nothing changed, if the lock cannot be taken within
        `patience_s` seconds or the disk does not take the changes.
        """
        try:
            with ExitStack() as stack:
                self._begin(stack)
                yield
        except sqlite3.Error as error:
            # A failed COMMIT leaves the transaction open on this connection.
            if self._con.in_transaction:
                self._sql("ROLLBACK")
            message = f"cannot write to the cache in {self.directory}: {error}"
            raise CacheUnavailable(message) from error

    @contextmanager
    def unprotected(self) -> Iterator[None]:
        """Allow paid records to be deleted, inside a transaction. For repair only."""
        for trigger in _TRIGGERS:
            self._sql(f"DROP TRIGGER {trigger.split()[5]}")
        yield
        # Not in a finally: an error rolls back the dropping of the triggers, too.
        for trigger in _TRIGGERS:
            self._sql(trigger)

    def insert(self, records: Iterable[tuple[bytes | str, bytes, str]]) -> None:
        """Insert records (key, value, tag) whose keys are new, inside a transaction.

        What is stored is what `set` stores, without its look-up and its statement for each record.
        """
        now = time.time()

        def columns() -> Iterator[tuple[object, ...]]:
            for key, value, tag in records:
                db_key, raw = self.disk.put(key)
                size, mode, filename, db_value = self.disk.store(value, read=False)
                yield db_key, raw, now, None, now, 0, tag, size, mode, filename, db_value

        self._con.executemany(_INSERT, columns())

    def stored_keys(self, keys: Sequence[bytes | str]) -> set[bytes | str]:
        """Return those of `keys` that are in the database."""
        found: set[bytes | str] = set()
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            chunk = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({marks})"  # nosec B608
            found.update(key for (key,) in self._sql(sql, chunk))
        return found

    def remove(self, *, key: object, raw: object) -> None:
        """Delete one record, whatever its key is."""
        self._sql("DELETE FROM Cache WHERE key IS ? AND raw IS ?", (key, raw))

    def _begin(self, stack: ExitStack) -> None:
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                # diskcache's own retry=True never gives up, not even on a full disk.
                stack.enter_context(self.transact(retry=False))
            except diskcache.Timeout as error:
                cause = error.__context__
                if not _is_locked(cause) or time.monotonic() >= deadline:
                    message = f"cannot lock the cache in {self.directory} for writing: {cause}"
                    raise CacheUnavailable(message) from cause
                time.sleep(_PAUSE_S)
            else:
                break
        if self._sql("PRAGMA synchronous").fetchone() != (SETTINGS["sqlite_synchronous"],):
            message = (
                f"the cache in {self.directory} is unsafe: another program has changed the setting"
                " synchronous"
            )
            raise UnsafeSettings(message)


def _health(database: Path, patience_s: float) -> str:
    """What SQLite's check of the whole file says, "ok" for a sound one.

    On a connection of its own, because that of diskcache would keep 128 MiB of what is read.
    """
    with closing(sqlite3.connect(database, timeout=patience_s)) as connection:
        ((health,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    return str(health)


def _is_locked(cause: BaseException | None) -> bool:
    return "locked" in str(cause) or "busy" in str(cause)


def _prepare_file(database: Path, patience_s: float) -> None:
    """Take the write lock once before diskcache does, which waits a minute for each statement.

    Also sets the page size, which only an empty database accepts.
    """
    try:
        with closing(
            sqlite3.connect(database, timeout=patience_s, isolation_level=None)
        ) as connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("BEGIN IMMEDIATE")
            if _is_new(database, connection):
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        message = f"cannot open the cache in {database.parent} for writing: {error}"
        raise CacheUnavailable(message) from error


def _is_new(database: Path, connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != FORMAT and (version or tables):
        message = f"{database} has format {version}; this program reads and writes {FORMAT}"
        raise CacheUnavailable(message)
    return bool(version != FORMAT)
