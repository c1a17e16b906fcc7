"""One pass over a cache that decodes every record and collects the corrupt records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from cache.errors import CacheError, CacheUnavailable, CorruptRow
from cache.integrity.stored_answers import StoredAnswers
from cache.records.purchase_records import (
    Intent,
    PaidEmbedding,
    Purchase,
    Refusal,
    RunRecord,
    Spend,
    StoredReceipt,
    WriteOff,
)
from cache.storage import record_codec
from cache.storage.database import StoredRecord
from cache.storage.plain_row import PlainRow, plain_row, read_plain_row
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import ReceiptCopies, read_copies
from cache.storage.record_codec import Tag
from cache.storage.row_codec import decode_row
from cache.storage.unstored_receipts import unstored

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault: the name of the record (or part of the cache) and a sentence about it."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptRecord:
    """A record that is not what was written, with the reason."""

    record: StoredRecord
    reason: str


@dataclass(slots=True)
class ScanResult:
    """The result of one pass: decoded records, counts, and the corrupt records.

    `bought` counts rows by request and modality. `paid` maps an idempotency key to the name of its
    receipt. `unreadable` holds SQLite's messages about parts of the file that cannot be read.
    `unstored` holds purchases in receipts.jsonl that the database should have and has not.
    `answers` holds the digests of the answers whose rows are stored one after the other.
    """

    tags: Counter[str] = field(default_factory=Counter)
    bought: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dims: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    receipts: list[StoredReceipt] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)
    write_offs: list[WriteOff] = field(default_factory=list)
    paid: dict[str, str] = field(default_factory=dict)
    totals: Spend | None = None
    corrupt: list[CorruptRecord] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    copies: ReceiptCopies = field(default_factory=lambda: ReceiptCopies(purchases={}, damaged=()))
    unstored: list[Purchase] = field(default_factory=list)
    answers: StoredAnswers = field(default_factory=StoredAnswers)

    def add_row(self, row: PlainRow) -> None:
        """Count the next intact row."""
        self.bought[row.request_id][row.modality] += 1
        self.dims[row.model_fingerprint][row.dim] += 1
        self.answers.add(row)

    @property
    def paid_keys(self) -> set[str]:
        """The idempotency keys that have a receipt."""
        return {stored.receipt.idempotency_key for stored in self.receipts}

    def counted(self) -> Spend:
        """Return the totals of the intact records."""
        paid = self.paid_keys
        return Spend(
            receipt_units=sum(stored.receipt.units for stored in self.receipts),
            open_units=sum(intent.units for intent in self.intents),
            cost_micro_usd=sum(stored.receipt.cost_micro_usd for stored in self.receipts),
            written_off_units=sum(
                write_off.units
                for write_off in self.write_offs
                if write_off.idempotency_key not in paid
            ),
        )

    def without_copy(self) -> list[StoredReceipt]:
        """Return the receipts that have no line in receipts.jsonl."""
        copies = self.copies.purchases
        return [stored for stored in self.receipts if stored.name not in copies]

    def without_digest(self) -> list[StoredReceipt]:
        """Return the receipts of version 1, which do not commit to their embeddings."""
        return [stored for stored in self.receipts if stored.receipt.embeddings_sha256 is None]


def scan(cache: CacheReader) -> ScanResult:
    """Read and decode every record, as far as the file can be read, and receipts.jsonl."""
    scan_result = ScanResult()
    for (health,) in _readable(scan_result, cache.query("PRAGMA integrity_check")):
        if health != "ok":
            scan_result.unreadable.append(str(health))
    for record in _readable(scan_result, cache.scan_all()):
        scan_result.tags[str(record.tag)] += 1
        try:
            _add_record(scan_result, record)
        except CorruptRow as error:
            scan_result.corrupt.append(CorruptRecord(record=record, reason=error.reason))
        except CacheError as error:
            scan_result.corrupt.append(CorruptRecord(record=record, reason=str(error)))
    scan_result.copies = read_copies(cache.folder)
    purchases = scan_result.copies.purchases.values()
    scan_result.unstored = list(_readable(scan_result, unstored(cache, purchases)))
    return scan_result


def _add_record(scan_result: ScanResult, record: StoredRecord) -> None:
    """Add a record to `scan_result`. Raises CorruptRow or PickleRefused."""
    if record.tag == Tag.ROW and isinstance(record.key, bytes):
        # Nearly every record is an intact row, so that its way decides how long a scan takes.
        row = read_plain_row(record.key, record.content())
        if row is not None:
            scan_result.add_row(row)
            return
    add_to_result(scan_result, *read_record(record))


class PaidMark(NamedTuple):
    """The mark that a purchase is paid, with the name of its receipt."""

    idempotency_key: str
    receipt_name: str


def read_record(record: StoredRecord) -> tuple[Tag, Any]:
    """Decode a record to its kind and value. Raises CorruptRow or PickleRefused."""
    content = record.content()
    try:
        tag = Tag(str(record.tag))
    except ValueError:
        reason = f"there is no record kind {str(record.tag)!r}"
        raise CorruptRow(record.name, reason) from None
    expected, value = _DECODE[tag](record, content)
    if record.key != expected:
        raise CorruptRow(record.name, f"its content belongs under the name {printable(expected)}")
    return tag, value


def add_to_result(scan_result: ScanResult, tag: Tag, value: Any) -> None:
    """Add the value of one intact record to `scan_result`."""
    match tag:
        case Tag.ROW | Tag.AGAIN:
            scan_result.add_row(plain_row(value))
        case Tag.RECEIPT:
            scan_result.receipts.append(value)
        case Tag.PAID:
            scan_result.paid[value.idempotency_key] = value.receipt_name
        case Tag.INTENT:
            scan_result.intents.append(value)
        case Tag.WRITE_OFF:
            scan_result.write_offs.append(value)
        case Tag.TOTALS:
            scan_result.totals = value
        case Tag.REFUSAL | Tag.RUN:
            pass


def _row(record: StoredRecord, content: bytes) -> tuple[bytes, PaidEmbedding]:
    digest = record.key if isinstance(record.key, bytes) else record.name.encode()
    row = decode_row(digest, content)
    return row.key.digest, row


def _again(record: StoredRecord, content: bytes) -> tuple[str, PaidEmbedding]:
    row = record_codec.decode_again(record.name, content)
    return record_codec.again_name(row.key, row.request_id), row


def _receipt(record: StoredRecord, content: bytes) -> tuple[str, StoredReceipt]:
    stored = record_codec.decode_receipt(record.name, content)
    return record_codec.receipt_name(*stored.name), stored


def _paid(record: StoredRecord, content: bytes) -> tuple[str, PaidMark]:
    account, request_id = record_codec.decode_paid(record.name, content)
    idempotency_key = record.name.removeprefix(record_codec.paid_name(""))
    mark = PaidMark(idempotency_key, record_codec.receipt_name(account, request_id))
    return record_codec.paid_name(idempotency_key), mark


def _intent(record: StoredRecord, content: bytes) -> tuple[str, Intent]:
    intent = record_codec.decode_intent(record.name, content)
    return record_codec.intent_name(intent.idempotency_key), intent


def _write_off(record: StoredRecord, content: bytes) -> tuple[str, WriteOff]:
    write_off = record_codec.decode_write_off(record.name, content)
    return record_codec.write_off_name(write_off.idempotency_key), write_off


def _refusal(record: StoredRecord, content: bytes) -> tuple[str, Refusal]:
    refusal = record_codec.decode_refusal(record.name, content)
    return record_codec.refusal_name(refusal.key), refusal


def _run(record: StoredRecord, content: bytes) -> tuple[str, RunRecord]:
    run = record_codec.decode_run(record.name, content)
    return record_codec.run_name(run.run), run


def _totals(record: StoredRecord, content: bytes) -> tuple[str, Spend]:
    return record_codec.TOTALS, record_codec.decode_totals(content)


_DECODE: Final[dict[Tag, Callable[[StoredRecord, bytes], tuple[bytes | str, Any]]]] = {
    Tag.ROW: _row,
    Tag.AGAIN: _again,
    Tag.RECEIPT: _receipt,
    Tag.PAID: _paid,
    Tag.INTENT: _intent,
    Tag.WRITE_OFF: _write_off,
    Tag.REFUSAL: _refusal,
    Tag.RUN: _run,
    Tag.TOTALS: _totals,
}


def _readable(scan_result: ScanResult, found: Iterator[Found]) -> Iterator[Found]:
    """Yield what comes before the first damage; record the damage as unreadable."""
    try:
        yield from found
    except CacheUnavailable as error:
        scan_result.unreadable.append(str(error))


def printable(name: bytes | str) -> str:
    """Return a record's name as text for messages."""
    return name.hex() if isinstance(name, bytes) else name
