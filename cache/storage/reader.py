"""Read access to a cache: everything that was paid for, without writing a byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from cache.errors import CacheUnavailable, CorruptRow
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import (
    Intent,
    PaidEmbedding,
    Refusal,
    RunRecord,
    Spend,
    StoredReceipt,
    WriteOff,
)
from cache.records.receipt import Receipt
from cache.storage import record_codec, run_locks
from cache.storage.database import COLUMNS, ReadOnlyDatabase, StoredRecord
from cache.storage.fenced_diskcache import FORMAT
from cache.storage.folder import DATABASE, user_path
from cache.storage.plain_row import plain_row, read_plain_vector
from cache.storage.record_codec import Tag
from cache.storage.row_codec import decode_row

_KEYS_PER_QUERY: Final = 500
_SPARSE: Final = 3

Found = TypeVar("Found")


class CacheReader:
    """The paid answers in one folder, read-only; works on a copy and while a client is buying.

    Every method raises CacheUnavailable if the database cannot be read, and CorruptRow or
    PickleRefused, with the name of the record, if a record is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = ReadOnlyDatabase(folder)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open the cache in `folder`. Raises CacheUnavailable if there is none."""
        reader = cls(user_path(folder))
        if not (reader.folder / DATABASE).is_file():
            message = f"there is no cache in {reader.folder} (no {DATABASE})"
            raise CacheUnavailable(message)
        ((version,),) = reader.query("PRAGMA user_version")
        if version != FORMAT:
            message = f"{reader.folder} has cache format {version}; this program reads {FORMAT}"
            raise CacheUnavailable(message)
        return reader

    def close(self) -> None:
        """Close the database file."""
        self._database.close()

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
        """Return the keys that are not in the cache, without repeats, in first-seen order."""
        by_digest = {key.digest: key for key in keys}
        for digest, _ in self._found(by_digest.keys()):
            by_digest.pop(digest, None)
        return list(by_digest.values())

    def places(self, digests: Set[bytes]) -> dict[bytes, int]:
        """Return the place in the database (the rowid) of those of `digests` that are in it."""
        return dict(self._found(digests))

    def _found(self, digests: Set[bytes]) -> Iterator[tuple[bytes, int]]:
        """Yield those of `digests` that are in the database, each with its rowid."""
        ((highest,),) = self.query("SELECT max(rowid) FROM Cache")
        if (highest or 0) <= _SPARSE * len(digests):
            # To read all of the index takes less time than to look up a good part of it.
            for digest, place in self.query("SELECT key, rowid FROM Cache WHERE raw = 1"):
                if digest in digests:
                    yield digest, place
            return
        for chunk in _chunks(list(digests)):
            for digest, place in self._where_key_in("key, rowid", chunk):
                yield digest, place

    def get(self, key: EmbeddingKey) -> PaidEmbedding | None:
        """Return the embedding under `key`, or None if it is not in the cache."""
        return self.fetch([key]).get(key)

    def fetch(self, keys: Sequence[EmbeddingKey]) -> dict[EmbeddingKey, PaidEmbedding]:
        """Return those of `keys` that are in the cache; about 10 microseconds each in bulk."""
        found = {}
        for chunk in _chunks(list({key.digest for key in keys})):
            for row in self._where_key_in(COLUMNS, chunk):
                paid = _decode(StoredRecord(*row))
                found[paid.key] = paid
        return found

    def vectors_at(self, places: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """Yield digest and vector of the rows at these places, in the order of storing.

        A vector is its bytes, in little-endian float32.
        """
        for chunk in _chunks(sorted(set(places))):
            first, last = chunk[0], chunk[-1]
            wanted = set(chunk)
            values: Sequence[int] = chunk
            if last - first < _SPARSE * len(chunk):
                where, values = "rowid BETWEEN ? AND ? ORDER BY rowid", (first, last)
            else:
                where = f"rowid IN ({_marks(chunk)}) ORDER BY rowid"
            sql = f"SELECT rowid, {COLUMNS} FROM Cache WHERE {where}"  # constants  # nosec B608
            for place, *columns in self.query(sql, *values):
                if place in wanted:
                    yield _vector(StoredRecord._make(columns))

    def spend_on_record(self) -> Spend:
        """Return the running totals: paid, open and written-off queries, and the cost."""
        for record in self.named(record_codec.TOTALS):
            return record_codec.decode_totals(record.content())
        return Spend()

    def rows(self) -> Iterator[PaidEmbedding]:
        """Yield every paid embedding, in the order of purchase."""
        return (_decode(record) for record in self.scan(Tag.ROW))

    def rows_bought_again(self) -> Iterator[PaidEmbedding]:
        """Yield embeddings that were paid for when another request had already bought them."""
        for record in self.scan(Tag.AGAIN):
            yield record_codec.decode_again(record.name, record.content())

    def rows_as_stored(self) -> Iterator[tuple[PaidEmbedding, bool]]:
        """Yield what `rows` and `rows_bought_again` yield, in the order of storing, and whether it
        was bought again.

        Without receipts.jsonl only this order says in which order a request was sent, on which the
        digest of its receipt depends.
        """
        for record in self.scan_all():
            if record.tag == Tag.ROW:
                yield _decode(record), False
            elif record.tag == Tag.AGAIN:
                yield record_codec.decode_again(record.name, record.content()), True

    def stored_receipts(self) -> Iterator[StoredReceipt]:
        """Yield every receipt with its account and run, in the order of storing."""
        for record in self.scan(Tag.RECEIPT):
            yield record_codec.decode_receipt(record.name, record.content())

    def receipts(self) -> Iterator[Receipt]:
        """Yield every receipt, in the order of storing."""
        return (stored.receipt for stored in self.stored_receipts())

    def open_intents(self) -> list[Intent]:
        """Return the open purchases, oldest first: about to be sent or sent, outcome unknown."""
        return [record_codec.decode_intent(r.name, r.content()) for r in self.scan(Tag.INTENT)]

    def is_running(self, run: str) -> bool:
        """Whether any process holds the lock of `run` (see `PaidCache.hold_run_lock`)."""
        return run_locks.is_running(self.folder, run)

    def write_offs(self) -> Iterator[WriteOff]:
        """Yield every purchase that was written off: its answer is gone for good."""
        for record in self.scan(Tag.WRITE_OFF):
            yield record_codec.decode_write_off(record.name, record.content())

    def refusals(self) -> Iterator[Refusal]:
        """Yield every item that the vendor refuses to embed."""
        for record in self.scan(Tag.REFUSAL):
            yield record_codec.decode_refusal(record.name, record.content())

    def refused(self, keys: Iterable[EmbeddingKey]) -> dict[EmbeddingKey, Refusal]:
        """Return those of `keys` that the vendor refuses to embed, with the reason."""
        names = [record_codec.refusal_name(key) for key in dict.fromkeys(keys)]
        found = {}
        for chunk in _chunks(names):
            for row in self._where_key_in(COLUMNS, chunk):
                record = StoredRecord(*row)
                refusal = record_codec.decode_refusal(record.name, record.content())
                found[refusal.key] = refusal
        return found

    def runs(self) -> Iterator[RunRecord]:
        """Yield every recorded run, oldest first."""
        for record in self.scan(Tag.RUN):
            yield record_codec.decode_run(record.name, record.content())

    def configurations(self) -> dict[str, str]:
        """The second fingerprint of each fingerprint in the cache's keys, as far as it is known.

        The first fingerprint leaves a model's configuration out. Of two models that share it, the
        first that this cache bought from keeps it; the other is kept under its second.
        """
        known: dict[str, str] = {}
        for run in self.runs():
            if run.model_fingerprint_v2:
                known.setdefault(run.model_fingerprint, run.model_fingerprint_v2)
        return known

    def scan(self, tag: Tag) -> Iterator[StoredRecord]:
        """Yield every record of one kind, undecoded, in the order of storing."""
        sql = f"SELECT {COLUMNS} FROM Cache WHERE tag = ? ORDER BY rowid"  # constants  # nosec B608
        return map(StoredRecord._make, self.query(sql, tag.value))

    def named(self, *names: str | bytes) -> Iterator[StoredRecord]:
        """Yield the records of these names that exist, undecoded."""
        return map(StoredRecord._make, self._where_key_in(COLUMNS, names))

    def scan_all(self) -> Iterator[StoredRecord]:
        """Yield every record of the file, undecoded, in the order of storing."""
        sql = f"SELECT {COLUMNS} FROM Cache ORDER BY rowid"  # constants  # nosec B608
        return map(StoredRecord._make, self.query(sql))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the database as it is at the first read of the block, whatever others write."""
        with self._database.snapshot():
            yield

    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one read-only SQL statement."""
        return self._database.query(sql, *values)

    def _where_key_in(self, columns: str, keys: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        where = f"raw = 1 AND key IN ({_marks(keys)})"
        sql = f"SELECT {columns} FROM Cache WHERE {where}"  # constants  # nosec B608
        return self.query(sql, *keys)


def _decode(record: StoredRecord) -> PaidEmbedding:
    content = record.content()
    if not isinstance(record.key, bytes):
        raise CorruptRow(record.name, "it is filed as an embedding but its name is not a digest")
    return decode_row(record.key, content)


def _vector(record: StoredRecord) -> tuple[bytes, bytes]:
    key, content = record.key, record.content()
    if isinstance(key, bytes):
        vector = read_plain_vector(key, content)
        if vector is not None:
            return key, vector
    paid = _decode(record)
    return paid.key.digest, plain_row(paid).vector


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _chunks(keys: Sequence[Found]) -> Iterator[Sequence[Found]]:
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        yield keys[start : start + _KEYS_PER_QUERY]
