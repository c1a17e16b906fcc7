"""diskcache, fenced so that it keeps what was paid for.

As it comes, diskcache deletes rows past 1 GiB, unpickles what it finds, writes big values to files
that it does not fsync, forgets the last commits in a power cut, and spins for ever on a stuck lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
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

# A page of 16 KiB holds five rows of 512 floats where 4 KiB hold one and waste the rest.
_PAGE_BYTES: Final = 16384
_LOCK_SLICE_S: Final = 1.0
_PAUSE_S: Final = 0.01

# Whoever opens the file with other settings, or by hand, still cannot take a paid row away.
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
    """Stores bytes under bytes or str, inside the database; raises PickleRefused for the rest."""

    def put(self, key: object) -> tuple[object, bool]:
        """The database's form of a key."""
        if type(key) is bytes:
            return sqlite3.Binary(key), True
        if type(key) is str:
            return key, True
        message = f"a key is bytes or str, not {type(key).__name__}: it would have to be pickled"
        raise PickleRefused(message)

    def get(self, key: object, raw: object) -> object:
        """The key of a database row."""
        if not raw:
            message = "the cache holds a pickled key, which this program did not write"
            raise PickleRefused(message)
        return key

    def store(
        self, value: object, read: bool, key: object = None
    ) -> tuple[int, int, None, memoryview]:
        """The database's form of a value: always inline, never a file beside the database."""
        if type(value) is not bytes:
            message = f"a value is bytes, not {type(value).__name__}: it would have to be pickled"
            raise PickleRefused(message)
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """The value of a database row."""
        return inline_bytes(mode=mode, filename=filename, value=value)


def inline_bytes(*, mode: object, filename: object, value: object) -> bytes:
    """The value columns of a row as bytes; PickleRefused for a row in any other of their modes."""
    if mode != MODE_RAW or filename is not None or type(value) is not bytes:
        message = (
            f"the cache holds a value that is not inline bytes (mode {mode!r}),"
            " which this program did not write"
        )
        raise PickleRefused(message)
    return value


class FencedCache(diskcache.Cache):  # type: ignore[misc]
    """A diskcache.Cache that evicts nothing, syncs every commit and never waits without end."""

    def __init__(self, folder: Path, *, patience_s: float) -> None:
        _claim(folder / DATABASE, patience_s)
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
                ((health,),) = self._sql("PRAGMA quick_check(1)").fetchall()
                break
            except sqlite3.Error as error:
                self.close()
                # Another process may be laying out the same new file: diskcache retries some of the
                # statements that this takes, and lets "locked" escape from the others.
                if not _is_locked(error) or time.monotonic() >= deadline:
                    message = f"the cache at {folder} cannot be opened: {error}"
                    raise CacheUnavailable(message) from error
                time.sleep(_PAUSE_S)
        if health != "ok":
            message = f"the cache at {folder} is damaged ({health}): copy it away before all else"
            raise CacheUnavailable(message)
        with self.exclusive():
            for trigger in _TRIGGERS:
                self._sql(trigger)
        self.check_settings()

    def check_settings(self) -> None:
        """Raise UnsafeSettings unless every setting holds here, on disk and in SQLite.

        They persist in the file and are read again by each new connection, so that another program
        can change them under us.
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
        """One transaction that shuts out every other writer, on disk when it is left.

        Raises CacheUnavailable, with nothing changed, when the lock is not to be had within
        `patience_s` or the disk does not take it.
        """
        try:
            with ExitStack() as stack:
                self._begin(stack)
                yield
        except sqlite3.Error as error:
            # A failed COMMIT leaves the transaction open on this connection.
            if self._con.in_transaction:
                self._sql("ROLLBACK")
            message = f"the cache at {self.directory} could not be written: {error}"
            raise CacheUnavailable(message) from error

    @contextmanager
    def unprotected(self) -> Iterator[None]:
        """Let paid records be taken away, within the transaction around it and for repair alone."""
        for trigger in _TRIGGERS:
            self._sql(f"DROP TRIGGER {trigger.split()[5]}")
        yield
        # Not in a finally: what raised rolls back the dropping, too.
        for trigger in _TRIGGERS:
            self._sql(trigger)

    def remove(self, *, key: object, raw: object) -> None:
        """Take one record away, whatever its key is."""
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
                    message = f"the cache at {self.directory} cannot be locked for writing: {cause}"
                    raise CacheUnavailable(message) from cause
                time.sleep(_PAUSE_S)
            else:
                break
        if self._sql("PRAGMA synchronous").fetchone() != (SETTINGS["sqlite_synchronous"],):
            message = f"another program has made the cache at {self.directory} unsafe: synchronous"
            raise UnsafeSettings(message)


def _is_locked(cause: BaseException | None) -> bool:
    return "locked" in str(cause) or "busy" in str(cause)


def _claim(database: Path, patience_s: float) -> None:
    """Take the write lock once before diskcache does, which would wait a minute a statement for it.

    A new file gets its page size here: only an empty database can be given one.
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
        message = f"the cache at {database.parent} cannot be opened for writing: {error}"
        raise CacheUnavailable(message) from error


def _is_new(database: Path, connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != FORMAT and (version or tables):
        message = f"{database} has format {version}, this program reads and writes {FORMAT}"
        raise CacheUnavailable(message)
    return bool(version != FORMAT)
