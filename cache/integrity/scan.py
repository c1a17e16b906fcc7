"""One pass over a cache: what every record says, and which records say nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from cache.errors import CacheError, CacheUnavailable, CorruptRow
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
from cache.storage import record_types as journal
from cache.storage.codec import decode_row
from cache.storage.reader import CacheReader, StoredRecord
from cache.storage.receipts_file import Copies, read_copies
from cache.storage.record_types import Tag
from cache.storage.unstored_receipts import stray

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: the record (or the part of the cache) and a sentence."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptRecord:
    """A record that is not what was written, and why."""

    record: StoredRecord
    reason: str


@dataclass(slots=True)
class ScanResult:
    """What one pass has seen: values of sound records, counts, and the corrupt ones.

    `bought` counts rows by request and modality; `paid` leads from an idempotency key to the name
    of its receipt; `stray` are lines of receipts.jsonl that the database should know and does not.
    """

    tags: Counter[str] = field(default_factory=Counter)
    bought: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dims: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    receipts: list[StoredReceipt] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)
    losses: list[WriteOff] = field(default_factory=list)
    paid: dict[str, str] = field(default_factory=dict)
    totals: Spend | None = None
    corrupt: list[CorruptRecord] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    copies: Copies = field(default_factory=lambda: Copies(purchases={}, damaged=()))
    stray: list[Purchase] = field(default_factory=list)

    @property
    def ended(self) -> set[str]:
        """The idempotency keys that have a receipt."""
        return {stored.receipt.idempotency_key for stored in self.receipts}

    def counted(self) -> Spend:
        """What the sound records add up to."""
        ended = self.ended
        return Spend(
            receipt_units=sum(stored.receipt.units for stored in self.receipts),
            in_flight_units=sum(intent.units for intent in self.intents),
            cost_micro_usd=sum(stored.receipt.cost_micro_usd for stored in self.receipts),
            lost_units=sum(loss.units for loss in self.losses if loss.idempotency_key not in ended),
        )

    def without_copy(self) -> list[StoredReceipt]:
        """The receipts of which receipts.jsonl has no line."""
        return [one for one in self.receipts if one.name not in self.copies.purchases]


def scan(cache: CacheReader) -> ScanResult:
    """Read every record in full, as far as the file can be read, and receipts.jsonl."""
    findings = ScanResult()
    for (health,) in _readable(findings, cache.query("PRAGMA integrity_check")):
        if health != "ok":
            findings.unreadable.append(str(health))
    for record in _readable(findings, cache.scan_all()):
        findings.tags[str(record.tag)] += 1
        try:
            keep(findings, *read_record(record))
        except CorruptRow as error:
            findings.corrupt.append(CorruptRecord(record=record, reason=error.reason))
        except CacheError as error:
            findings.corrupt.append(CorruptRecord(record=record, reason=str(error)))
    findings.copies = read_copies(cache.folder)
    findings.stray = list(_readable(findings, stray(cache, findings.copies.purchases.values())))
    return findings


class PaidMark(NamedTuple):
    """That a purchase is finished: which receipt it has."""

    idempotency_key: str
    receipt_name: str


def read_record(record: StoredRecord) -> tuple[Tag, Any]:
    """The kind and value of a record; CorruptRow or PickleRefused say what is wrong with it."""
    content = record.content()
    try:
        tag = Tag(str(record.tag))
    except ValueError:
        reason = f"records of kind {str(record.tag)!r} do not exist"
        raise CorruptRow(record.name, reason) from None
    expected, value = _READ[tag](record, content)
    if record.key != expected:
        raise CorruptRow(record.name, f"it holds what belongs under {printable(expected)}")
    return tag, value


def keep(findings: ScanResult, tag: Tag, value: Any) -> None:
    """Add the value of one sound record to what was found."""
    match tag:
        case Tag.ROW | Tag.AGAIN:
            findings.bought[value.request_id][value.key.modality] += 1
            findings.dims[value.key.model_fingerprint][int(value.vector.size)] += 1
        case Tag.RECEIPT:
            findings.receipts.append(value)
        case Tag.PAID:
            findings.paid[value.idempotency_key] = value.receipt_name
        case Tag.INTENT:
            findings.intents.append(value)
        case Tag.LOSS:
            findings.losses.append(value)
        case Tag.TOTALS:
            findings.totals = value
        case Tag.REFUSAL | Tag.RUN:
            pass


def _row(record: StoredRecord, content: bytes) -> tuple[bytes, PaidEmbedding]:
    digest = record.key if isinstance(record.key, bytes) else record.name.encode()
    row = decode_row(digest, content)
    return row.key.digest, row


def _again(record: StoredRecord, content: bytes) -> tuple[str, PaidEmbedding]:
    row = journal.read_again(record.name, content)
    return journal.again_name(row), row


def _receipt(record: StoredRecord, content: bytes) -> tuple[str, StoredReceipt]:
    stored = journal.read_receipt(record.name, content)
    return journal.receipt_name(*stored.name), stored


def _paid(record: StoredRecord, content: bytes) -> tuple[str, PaidMark]:
    account, request_id = journal.read_paid(record.name, content)
    idempotency_key = record.name.removeprefix(journal.paid_name(""))
    mark = PaidMark(idempotency_key, journal.receipt_name(account, request_id))
    return journal.paid_name(idempotency_key), mark


def _intent(record: StoredRecord, content: bytes) -> tuple[str, Intent]:
    intent = journal.read_intent(record.name, content)
    return journal.intent_name(intent.idempotency_key), intent


def _loss(record: StoredRecord, content: bytes) -> tuple[str, WriteOff]:
    loss = journal.read_loss(record.name, content)
    return journal.loss_name(loss.idempotency_key), loss


def _refusal(record: StoredRecord, content: bytes) -> tuple[str, Refusal]:
    refusal = journal.read_refusal(record.name, content)
    return journal.refusal_name(refusal.key), refusal


def _run(record: StoredRecord, content: bytes) -> tuple[str, RunRecord]:
    run = journal.read_run(record.name, content)
    return journal.run_name(run.run), run


def _totals(record: StoredRecord, content: bytes) -> tuple[str, Spend]:
    return journal.TOTALS, journal.read_totals(content)


_READ: Final[dict[Tag, Callable[[StoredRecord, bytes], tuple[bytes | str, Any]]]] = {
    Tag.ROW: _row,
    Tag.AGAIN: _again,
    Tag.RECEIPT: _receipt,
    Tag.PAID: _paid,
    Tag.INTENT: _intent,
    Tag.LOSS: _loss,
    Tag.REFUSAL: _refusal,
    Tag.RUN: _run,
    Tag.TOTALS: _totals,
}


def _readable(findings: ScanResult, found: Iterator[Found]) -> Iterator[Found]:
    """What comes before the damage, and the damage as a problem."""
    try:
        yield from found
    except CacheUnavailable as error:
        findings.unreadable.append(str(error))


def printable(name: bytes | str) -> str:
    """How a record's name is written in a message."""
    return name.hex() if isinstance(name, bytes) else name
