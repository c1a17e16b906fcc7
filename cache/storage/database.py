"""Read-only access to the cache's SQLite file: one connection a thread, undecoded records."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from cache.errors import CacheUnavailable, PickleRefused
from cache.storage.fenced_diskcache import MODE_RAW, inline_bytes
from cache.storage.folder import DATABASE

COLUMNS: Final = "key, raw, tag, mode, filename, value"


class StoredRecord(NamedTuple):
    """One row of the database, not checked in any way."""

    key: object
    raw: object
    tag: object
    mode: object
    filename: object
    value: object

    @property
    def name(self) -> str:
        """Its name in messages: the digest in hex, or the key itself."""
        return self.key.hex() if isinstance(self.key, bytes) else str(self.key)

    def content(self) -> bytes:
        """Return its bytes. Raises PickleRefused if another program wrote it."""
        if self.raw != 1:
            message = f"the key of stored record {self.name} is pickled"
            raise PickleRefused(message)
        if self.mode == MODE_RAW and self.filename is None and type(self.value) is bytes:
            return self.value
        return inline_bytes(mode=self.mode, filename=self.filename, value=self.value)


class ReadOnlyDatabase:
    """The database of one cache folder; safe for threads and forked processes.

    Methods raise CacheUnavailable if SQLite cannot read the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._local = threading.local()
        self._opened: list[_Opened] = []
        self._opening = threading.Lock()

    def close(self) -> None:
        """Close every connection."""
        while self._opened:
            self._opened.pop().connection.close()
        self._local = threading.local()

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one read-only SQL statement."""
        try:
            # Not "yield from": it would close the cursor of a reader that stops half way, and
            # that fails if the connection was closed first.
            for row in self.connection().execute(sql, values):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            message = f"cannot read the cache in {self._folder}: {error}"
            raise CacheUnavailable(message) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the database as it is at the first read of the block, whatever others write."""
        connection = self.connection()
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def connection(self) -> sqlite3.Connection:
        """Return the connection of this thread, opening it if needed."""
        # SQLite's locks do not survive a fork, so a child process needs a connection of its own.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = _connect(self._folder)
            self._local.pid = os.getpid()
            with self._opening:
                self._close_for_dead_threads()
                self._opened.append(_Opened(self._local.connection, threading.current_thread()))
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _close_for_dead_threads(self) -> None:
        """Close the connections of threads that have ended; each holds files open."""
        pid = os.getpid()
        for opened in [item for item in self._opened if item.pid == pid and not item.is_in_use]:
            self._opened.remove(opened)
            opened.connection.close()


class _Opened:
    """A connection with its owner. A forked child must not close its parent's connections."""

    def __init__(self, connection: sqlite3.Connection, thread: threading.Thread) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self._thread = thread

    @property
    def is_in_use(self) -> bool:
        return self._thread.is_alive()


def _connect(folder: Path) -> sqlite3.Connection:
    database = folder / DATABASE
    # On a read-only medium SQLite cannot create its -shm file. It needs none if no log is pending.
    log = database.with_name(f"{DATABASE}-wal")
    is_sealed = not os.access(folder, os.W_OK) and not (log.exists() and log.stat().st_size)
    uri = f"{database.resolve().as_uri()}?mode=ro{'&immutable=1' if is_sealed else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
