"""Whether a cache is still what was written to it, record by record and in its sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from cache import journal
from cache.codec import decode_row
from cache.disk import SETTINGS
from cache.errors import CacheError, CacheUnavailable, CorruptRow
from cache.journal import Tag
from cache.receipt import Receipt
from cache.records import Records, StoredRecord
from cache.values import Intent, PaidEmbedding, Spend, StoredReceipt

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: the record (or the part of the cache) and a sentence."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked and everything that is wrong with it."""

    rows: int
    receipts: int
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(slots=True)
class _Findings:
    """What one pass over the file has seen."""

    problems: list[Problem] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    bought: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dims: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    receipts: list[StoredReceipt] = field(default_factory=list)
    intents: list[Intent] = field(default_factory=list)
    paid: dict[str, str] = field(default_factory=dict)
    totals: Spend | None = None


def verify(cache: Records) -> Verification:
    """Check every record's checksum and name, every receipt's hash and links, and all sums.

    Reads the whole file, as far as it can be read, and writes nothing.
    """
    findings = _Findings()
    for (health,) in _readable(findings, cache.query("PRAGMA integrity_check")):
        if health != "ok":
            findings.problems.append(Problem(name="database", detail=str(health)))
    for record in _readable(findings, cache.scan_all()):
        try:
            _take(findings, record)
        except CorruptRow as error:
            findings.problems.append(Problem(name=record.name, detail=error.reason))
        except CacheError as error:
            findings.problems.append(Problem(name=record.name, detail=str(error)))
    stored = dict(_readable(findings, cache.query("SELECT key, value FROM Settings")))
    findings.problems.extend(_settings_hold(stored))
    for check in _CHECKS:
        findings.problems.extend(check(findings))
    return Verification(
        rows=findings.tags[Tag.ROW] + findings.tags[Tag.AGAIN],
        receipts=findings.tags[Tag.RECEIPT],
        problems=tuple(findings.problems),
    )


def _readable(findings: _Findings, found: Iterator[Found]) -> Iterator[Found]:
    """What comes before the damage, and the damage as a problem."""
    try:
        yield from found
    except CacheUnavailable as error:
        findings.problems.append(Problem(name="database", detail=str(error)))


def _take(findings: _Findings, record: StoredRecord) -> None:
    """Read one record in full; raise what is wrong with it."""
    content = record.content()
    tag = str(record.tag)
    findings.tags[tag] += 1
    take = _TAKE.get(tag)
    if take is None:
        raise CorruptRow(record.name, f"records of kind {tag!r} do not exist")
    expected = take(findings, record, content)
    if record.key != expected:
        raise CorruptRow(record.name, f"it holds what belongs under {_printable(expected)}")


def _take_row(findings: _Findings, record: StoredRecord, content: bytes) -> bytes:
    digest = record.key if isinstance(record.key, bytes) else record.name.encode()
    row = decode_row(digest, content)
    _count(findings, row)
    return row.key.digest


def _take_again(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    row = journal.read_again(record.name, content)
    _count(findings, row)
    return journal.again_name(row)


def _count(findings: _Findings, row: PaidEmbedding) -> None:
    findings.bought[row.request_id][row.key.modality] += 1
    findings.dims[row.key.model_fingerprint][int(row.vector.size)] += 1


def _take_receipt(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    stored = journal.read_receipt(record.name, content)
    findings.receipts.append(stored)
    return journal.receipt_name(stored.account, stored.receipt.request_id)


def _take_paid(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    account, request_id = journal.read_paid(record.name, content)
    idempotency_key = record.name.removeprefix(journal.paid_name(""))
    findings.paid[idempotency_key] = journal.receipt_name(account, request_id)
    return journal.paid_name(idempotency_key)


def _take_intent(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    intent = journal.read_intent(record.name, content)
    findings.intents.append(intent)
    return journal.intent_name(intent.idempotency_key)


def _take_refusal(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    return journal.refusal_name(journal.read_refusal(record.name, content).key)


def _take_run(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    return journal.run_name(journal.read_run(record.name, content).run)


def _take_totals(findings: _Findings, record: StoredRecord, content: bytes) -> str:
    findings.totals = journal.read_totals(content)
    return journal.TOTALS


_TAKE: dict[str, Callable[[_Findings, StoredRecord, bytes], bytes | str]] = {
    Tag.ROW: _take_row,
    Tag.AGAIN: _take_again,
    Tag.RECEIPT: _take_receipt,
    Tag.PAID: _take_paid,
    Tag.INTENT: _take_intent,
    Tag.REFUSAL: _take_refusal,
    Tag.RUN: _take_run,
    Tag.TOTALS: _take_totals,
}


def _settings_hold(stored: dict[str, object]) -> Iterator[Problem]:
    for name, wanted in SETTINGS.items():
        if stored.get(name) != wanted:
            detail = f"is {stored.get(name)!r} and must be {wanted!r}: another program changed it"
            yield Problem(name=f"setting {name}", detail=detail)


def _receipts_are_whole(findings: _Findings) -> Iterator[Problem]:
    for stored in findings.receipts:
        if not stored.receipt.verify():
            name = journal.receipt_name(stored.account, stored.receipt.request_id)
            yield Problem(name=name, detail="its hash is not the hash of its fields")


def _receipts_are_linked(findings: _Findings) -> Iterator[Problem]:
    """Within an account no sequence number twice, and neighbours joined by their hashes.

    Gaps are no problem: grants, corrections and other clients' charges have their own lines.
    """
    accounts: dict[str, dict[int, Receipt]] = defaultdict(dict)
    for stored in findings.receipts:
        receipts, receipt = accounts[stored.account], stored.receipt
        name = journal.receipt_name(stored.account, receipt.request_id)
        if receipt.seq in receipts:
            other = receipts[receipt.seq].request_id
            yield Problem(name=name, detail=f"request {other} has the same seq {receipt.seq}")
        receipts[receipt.seq] = receipt
    for account, receipts in accounts.items():
        for seq, receipt in receipts.items():
            before = receipts.get(seq - 1)
            if before is not None and receipt.prev_hash != before.hash:
                name = journal.receipt_name(account, receipt.request_id)
                yield Problem(name=name, detail=f"its prev_hash is not the hash of seq {seq - 1}")


def _rows_match_receipts(findings: _Findings) -> Iterator[Problem]:
    """Every request has exactly the rows that its receipt charges, and every row a receipt.

    Two vendors may give the same request id; a row does not say whose it is, so they are summed.
    """
    charged: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[str, str] = {}
    for stored in findings.receipts:
        receipt = stored.receipt
        charged[receipt.request_id].update(image=receipt.images, text=receipt.texts)
        names[receipt.request_id] = journal.receipt_name(stored.account, receipt.request_id)
    for request_id, due in charged.items():
        found = findings.bought.get(request_id, Counter())
        if (found["image"], found["text"]) != (due["image"], due["text"]):
            detail = (
                f"it charges {due['image']} images and {due['text']} texts,"
                f" {found['image']} and {found['text']} of them are in the cache"
            )
            yield Problem(name=names[request_id], detail=detail)
    for request_id, found in findings.bought.items():
        if request_id not in charged:
            detail = f"{found.total()} embeddings are stored without a receipt"
            yield Problem(name=f"request {request_id}", detail=detail)


def _purchases_end_once(findings: _Findings) -> Iterator[Problem]:
    """One receipt an idempotency key, a mark for it, and no intent still open beside it."""
    by_key: dict[str, str] = {}
    for stored in findings.receipts:
        key = stored.receipt.idempotency_key
        name = journal.receipt_name(stored.account, stored.receipt.request_id)
        if key in by_key:
            yield Problem(
                name=name, detail=f"{by_key[key]} was charged for the same purchase {key}"
            )
        elif key not in findings.paid:
            yield Problem(name=name, detail=f"its purchase {key} is not marked as paid")
        by_key.setdefault(key, name)
    for key, name in findings.paid.items():
        if by_key.get(key) != name:
            detail = f"it names {name}, which is not there"
            yield Problem(name=journal.paid_name(key), detail=detail)
    for intent in findings.intents:
        if intent.idempotency_key in by_key:
            name = journal.intent_name(intent.idempotency_key)
            yield Problem(name=name, detail="it is still open although its receipt is stored")


def _totals_add_up(findings: _Findings) -> Iterator[Problem]:
    counted = Spend(
        receipt_units=sum(stored.receipt.units for stored in findings.receipts),
        in_flight_units=sum(intent.units for intent in findings.intents),
        cost_micro_usd=sum(stored.receipt.cost_micro_usd for stored in findings.receipts),
    )
    if (findings.totals or Spend()) != counted:
        detail = f"the running totals are {findings.totals}, the records add up to {counted}"
        yield Problem(name=journal.TOTALS, detail=detail)


def _models_have_one_dim(findings: _Findings) -> Iterator[Problem]:
    for fingerprint, dims in findings.dims.items():
        if len(dims) > 1:
            detail = f"its embeddings have different lengths: {sorted(dims)}"
            yield Problem(name=f"model {fingerprint}", detail=detail)


def _printable(name: bytes | str) -> str:
    return name.hex() if isinstance(name, bytes) else name


_CHECKS: tuple[Callable[[_Findings], Iterator[Problem]], ...] = (
    _receipts_are_whole,
    _receipts_are_linked,
    _rows_match_receipts,
    _purchases_end_once,
    _totals_add_up,
    _models_have_one_dim,
)
