"""Reading a cache: everything that was paid for, without writing a byte to it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from cache.errors import CacheUnavailable, CorruptRow, PickleRefused
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import (
    Intent,
    MissingRows,
    PaidEmbedding,
    Refusal,
    RunRecord,
    Spend,
    StoredReceipt,
    WriteOff,
)
from cache.records.receipt import Receipt
from cache.storage import missing_rows as lost
from cache.storage import record_types as journal
from cache.storage import run_locks as alive
from cache.storage.codec import decode_row
from cache.storage.fenced_diskcache import FORMAT, inline_bytes
from cache.storage.folder import DATABASE
from cache.storage.record_types import Tag

_KEYS_A_QUERY: Final = 500
COLUMNS: Final = "key, raw, tag, mode, filename, value"


class StoredRecord(NamedTuple):
    """One row of the database as it is, nothing of it trusted yet."""

    key: object
    raw: object
    tag: object
    mode: object
    filename: object
    value: object

    @property
    def name(self) -> str:
        """What to call it in a message: the digest in hex, or its name."""
        return self.key.hex() if isinstance(self.key, bytes) else str(self.key)

    def content(self) -> bytes:
        """Its bytes; PickleRefused when it was not written by this program."""
        if self.raw != 1:
            message = f"the key of stored record {self.name} is pickled"
            raise PickleRefused(message)
        return inline_bytes(mode=self.mode, filename=self.filename, value=self.value)


class CacheReader:
    """The paid answers of one folder, read-only; also from a copy, or while a client is buying.

    Every method raises CacheUnavailable when the database cannot be read, and CorruptRow or
    PickleRefused, naming the record, when a record is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._local = threading.local()
        self._opened: list[_Opened] = []
        self._opening = threading.Lock()

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """The records in `folder`; CacheUnavailable when no cache is there."""
        records = cls(Path(folder))
        if not (records.folder / DATABASE).is_file():
            message = f"there is no cache in {records.folder} (no {DATABASE})"
            raise CacheUnavailable(message)
        ((version,),) = records.query("PRAGMA user_version")
        if version != FORMAT:
            message = f"{records.folder} has cache format {version}, this program reads {FORMAT}"
            raise CacheUnavailable(message)
        return records

    def close(self) -> None:
        """Let go of the files."""
        while self._opened:
            self._opened.pop().connection.close()
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def missing(self, keys: Iterable[EmbeddingKey]) -> list[EmbeddingKey]:
        """The keys still to be paid for, once each, in first-seen order."""
        by_digest = {key.digest: key for key in keys}
        for chunk in _chunks(list(by_digest)):
            for (digest,) in self._where_key_in("key", chunk):
                by_digest.pop(digest, None)
        return list(by_digest.values())

    def get(self, key: EmbeddingKey) -> PaidEmbedding | None:
        """What was paid for under `key`, or None when it was never bought."""
        return self.fetch([key]).get(key)

    def fetch(self, keys: Sequence[EmbeddingKey]) -> dict[EmbeddingKey, PaidEmbedding]:
        """Those of `keys` that were bought; about 10 microseconds each when asked for in bulk."""
        found = {}
        for chunk in _chunks(list({key.digest for key in keys})):
            for row in self._where_key_in(COLUMNS, chunk):
                paid = _decode(StoredRecord(*row))
                found[paid.key] = paid
        return found

    def spend_on_record(self) -> Spend:
        """What all receipts cost together and what is in flight."""
        for record in self.named(journal.TOTALS):
            return journal.read_totals(record.content())
        return Spend()

    def rows(self) -> Iterator[PaidEmbedding]:
        """Every paid embedding, in the order in which they were bought."""
        return (_decode(record) for record in self.scan(Tag.ROW))

    def rows_bought_again(self) -> Iterator[PaidEmbedding]:
        """Embeddings paid for when another request had already bought the same."""
        for record in self.scan(Tag.AGAIN):
            yield journal.read_again(record.name, record.content())

    def stored_receipts(self) -> Iterator[StoredReceipt]:
        """Every receipt with its account and run, in the order in which they were stored."""
        for record in self.scan(Tag.RECEIPT):
            yield journal.read_receipt(record.name, record.content())

    def receipts(self) -> Iterator[Receipt]:
        """Every receipt, in the order in which they were stored."""
        return (stored.receipt for stored in self.stored_receipts())

    def open_intents(self) -> list[Intent]:
        """The purchases that were about to be sent and whose end is not known, oldest first."""
        return [journal.read_intent(r.name, r.content()) for r in self.scan(Tag.INTENT)]

    def is_alive(self, run: str) -> bool:
        """Whether a process holds `run` alive (see `PaidCache.alive`), this one included."""
        return alive.is_alive(self.folder, run)

    def lost_answers(self) -> list[MissingRows]:
        """Paid purchases some of whose rows are gone, unless on record as lost for good.

        The vendor gives their answers again under the same key, free of charge. Quick while as
        many rows are there as receipts pay for, else every row is read. Only purchases whose keys
        receipts.jsonl knows are found; `verify` counts the others, too.
        """
        return lost.lost_answers(self)

    def losses(self) -> Iterator[WriteOff]:
        """Every purchase whose answer is on record as lost."""
        for record in self.scan(Tag.LOSS):
            yield journal.read_loss(record.name, record.content())

    def refusals(self) -> Iterator[Refusal]:
        """Every item that the vendor will not embed."""
        for record in self.scan(Tag.REFUSAL):
            yield journal.read_refusal(record.name, record.content())

    def refused(self, keys: Iterable[EmbeddingKey]) -> dict[EmbeddingKey, Refusal]:
        """Those of `keys` that the vendor will not embed, and why."""
        names = [journal.refusal_name(key) for key in dict.fromkeys(keys)]
        found = {}
        for chunk in _chunks(names):
            for row in self._where_key_in(COLUMNS, chunk):
                record = StoredRecord(*row)
                refusal = journal.read_refusal(record.name, record.content())
                found[refusal.key] = refusal
        return found

    def runs(self) -> Iterator[RunRecord]:
        """Every recorded run, oldest first."""
        for record in self.scan(Tag.RUN):
            yield journal.read_run(record.name, record.content())

    def scan(self, tag: Tag) -> Iterator[StoredRecord]:
        """Every record of one kind as it stands in the file, in the order of storing."""
        sql = f"SELECT {COLUMNS} FROM Cache WHERE tag = ? ORDER BY rowid"  # constants  # nosec B608
        return (StoredRecord(*row) for row in self.query(sql, tag.value))

    def named(self, *names: str | bytes) -> Iterator[StoredRecord]:
        """The records of these names as they stand in the file, those that are there."""
        return (StoredRecord(*row) for row in self._where_key_in(COLUMNS, names))

    def scan_all(self) -> Iterator[StoredRecord]:
        """Every record of the file, of whatever kind."""
        sql = f"SELECT {COLUMNS} FROM Cache ORDER BY rowid"  # constants  # nosec B608
        return (StoredRecord(*row) for row in self.query(sql))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read the database as it is at the first read, whatever others write meanwhile."""
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of one read-only SQL statement."""
        try:
            # Not "yield from", which would close the cursor of a reader that stops half way, and
            # fail when the connection went first.
            for row in self._connection().execute(sql, values):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            message = f"the cache in {self.folder} cannot be read: {error}"
            raise CacheUnavailable(message) from error

    def _where_key_in(self, columns: str, keys: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        marks = ",".join("?" * len(keys))
        sql = f"SELECT {columns} FROM Cache WHERE raw = 1 AND key IN ({marks})"  # constants  # nosec B608
        return self.query(sql, *keys)

    def _connection(self) -> sqlite3.Connection:
        # A connection belongs to one thread of one process: SQLite's locks do not survive a fork.
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = _connect(self.folder)
            self._local.pid = os.getpid()
            with self._opening:
                self._forget_dead_threads()
                self._opened.append(_Opened(self._local.connection, threading.current_thread()))
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _forget_dead_threads(self) -> None:
        """Close what belonged to threads that are gone, or each would leave its files open."""
        dead = [one for one in self._opened if one.pid == os.getpid() and not one.is_in_use]
        for opened in dead:
            self._opened.remove(opened)
            opened.connection.close()


class _Opened:
    """A connection and whose it is: what a parent opened is not its forked child's to close."""

    def __init__(self, connection: sqlite3.Connection, thread: threading.Thread) -> None:
        self.connection = connection
        self.pid = os.getpid()
        self._thread = thread

    @property
    def is_in_use(self) -> bool:
        return self._thread.is_alive()


def _decode(record: StoredRecord) -> PaidEmbedding:
    content = record.content()
    if not isinstance(record.key, bytes):
        raise CorruptRow(record.name, "it is filed as an embedding and is none")
    return decode_row(record.key, content)


def _chunks(keys: Sequence[object]) -> Iterator[Sequence[object]]:
    for start in range(0, len(keys), _KEYS_A_QUERY):
        yield keys[start : start + _KEYS_A_QUERY]


def _connect(folder: Path) -> sqlite3.Connection:
    database = folder / DATABASE
    # On a read-only medium SQLite cannot make its -shm file; with no log to replay, none is needed.
    log = database.with_name(f"{DATABASE}-wal")
    is_sealed = not os.access(folder, os.W_OK) and not (log.exists() and log.stat().st_size)
    uri = f"{database.resolve().as_uri()}?mode=ro{'&immutable=1' if is_sealed else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
