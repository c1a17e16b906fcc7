"""Whether a cache is still what was written to it, record by record and in its sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cache.errors import CacheUnavailable
from cache.integrity.scan import Problem, ScanResult, scan
from cache.records.purchase_records import Spend
from cache.records.receipt import Receipt
from cache.storage import record_types as journal
from cache.storage.fenced_diskcache import SETTINGS
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.record_types import Tag

__all__ = ["Problem", "Verification", "verification_of", "verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked, everything that is wrong with it, and two things that are not wrong.

    `receipts_without_copy` have no line in receipts.jsonl, as in caches from before that file;
    `losses` are answers on record as lost.
    """

    rows: int
    receipts: int
    problems: tuple[Problem, ...]
    receipts_without_copy: int = 0
    losses: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(cache: CacheReader) -> Verification:
    """Check every record's checksum and name, every receipt's hash and links, and all sums.

    Reads the whole file, as far as it can be read, and writes nothing.
    """
    return verification_of(scan(cache), cache)


def verification_of(findings: ScanResult, cache: CacheReader) -> Verification:
    """As `verify`, of a pass that was made already."""
    problems = [Problem(name="database", detail=detail) for detail in findings.unreadable]
    problems += [
        Problem(name=corrupt.record.name, detail=corrupt.reason) for corrupt in findings.corrupt
    ]
    problems += _settings_hold(cache)
    for check in _CHECKS:
        problems += check(findings)
    named = {problem.name for problem in problems}
    problems += [one for one in _copies_agree(findings) if one.name not in named]
    return Verification(
        rows=findings.tags[Tag.ROW] + findings.tags[Tag.AGAIN],
        receipts=findings.tags[Tag.RECEIPT],
        problems=tuple(problems),
        receipts_without_copy=len(findings.without_copy()),
        losses=len(findings.losses),
    )


def _settings_hold(cache: CacheReader) -> Iterator[Problem]:
    try:
        stored = dict(cache.query("SELECT key, value FROM Settings"))
    except CacheUnavailable as error:
        yield Problem(name="database", detail=str(error))
        return
    for name, wanted in SETTINGS.items():
        if stored.get(name) != wanted:
            detail = f"is {stored.get(name)!r} and must be {wanted!r}: another program changed it"
            yield Problem(name=f"setting {name}", detail=detail)


def _receipts_are_whole(findings: ScanResult) -> Iterator[Problem]:
    for stored in findings.receipts:
        if not stored.receipt.verify():
            name = journal.receipt_name(stored.account, stored.receipt.request_id)
            yield Problem(name=name, detail="its hash is not the hash of its fields")


def _receipts_are_linked(findings: ScanResult) -> Iterator[Problem]:
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


def _rows_match_receipts(findings: ScanResult) -> Iterator[Problem]:
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


def _purchases_end_once(findings: ScanResult) -> Iterator[Problem]:
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


def _totals_add_up(findings: ScanResult) -> Iterator[Problem]:
    counted = findings.counted()
    if (findings.totals or Spend()) != counted:
        detail = f"the running totals are {findings.totals}, the records add up to {counted}"
        yield Problem(name=journal.TOTALS, detail=detail)


def _models_have_one_dim(findings: ScanResult) -> Iterator[Problem]:
    for fingerprint, dims in findings.dims.items():
        if len(dims) > 1:
            detail = f"its embeddings have different lengths: {sorted(dims)}"
            yield Problem(name=f"model {fingerprint}", detail=detail)


def _copies_agree(findings: ScanResult) -> Iterator[Problem]:
    """Every line of receipts.jsonl is whole and says what the database says."""
    for line in findings.copies.damaged:
        yield Problem(name=f"{RECEIPTS} line {line.number}", detail=line.reason)
    for purchase in findings.stray:
        name = journal.receipt_name(*purchase.name)
        yield Problem(name=name, detail=f"it is in {RECEIPTS} and not in the database")
    for stored in findings.receipts:
        copy = findings.copies.purchases.get(stored.name)
        if copy is not None and copy.receipt != stored.receipt:
            name = journal.receipt_name(*stored.name)
            yield Problem(name=name, detail=f"{RECEIPTS} has another receipt for it")


_CHECKS: tuple[Callable[[ScanResult], Iterator[Problem]], ...] = (
    _receipts_are_whole,
    _receipts_are_linked,
    _rows_match_receipts,
    _purchases_end_once,
    _totals_add_up,
    _models_have_one_dim,
)
