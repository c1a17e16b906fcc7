"""Verification: every record and every sum of a cache is still what was written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cache.errors import CacheUnavailable
from cache.integrity.embedding_digests import digest_faults
from cache.integrity.scan import Problem, ScanResult, scan
from cache.records.purchase_records import Spend
from cache.records.receipt import Receipt
from cache.storage import record_codec
from cache.storage.fenced_diskcache import SETTINGS
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.record_codec import Tag

__all__ = ["Problem", "Verification", "verification_of", "verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome of a verification: counts of what was checked, and every problem.

    Three counts are no problems: `receipts_without_copy` have no line in receipts.jsonl, as in
    caches from before that file, `receipts_without_digest` are of version 1 and do not commit to
    their embeddings, and `write_offs` are purchases whose answer is gone for good.
    """

    rows: int
    receipts: int
    problems: tuple[Problem, ...]
    receipts_without_copy: int = 0
    write_offs: int = 0
    receipts_without_digest: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def verify(cache: CacheReader) -> Verification:
    """Check every record's checksum and name, every receipt's hash, links and digest, and the sums.

    Reads the whole file, as far as it can be read. Writes nothing. A purchase that was erased from
    the cache and from receipts.jsonl alike leaves no trace: only an audit finds it.
    """
    return verification_of(scan(cache), cache)


def verification_of(scan_result: ScanResult, cache: CacheReader) -> Verification:
    """Return the verification of a scan that was made already."""
    problems = [Problem(name="database", detail=detail) for detail in scan_result.unreadable]
    problems += [
        Problem(name=corrupt.record.name, detail=corrupt.reason) for corrupt in scan_result.corrupt
    ]
    problems += _check_settings(cache)
    for check in _CHECKS:
        problems += check(scan_result)
    problems += [fault.problem for fault in digest_faults(scan_result, cache)]
    named = {problem.name for problem in problems}
    problems += [problem for problem in _check_copies(scan_result) if problem.name not in named]
    return Verification(
        rows=scan_result.tags[Tag.ROW] + scan_result.tags[Tag.AGAIN],
        receipts=scan_result.tags[Tag.RECEIPT],
        problems=tuple(problems),
        receipts_without_copy=len(scan_result.without_copy()),
        write_offs=len(scan_result.write_offs),
        receipts_without_digest=len(scan_result.without_digest()),
    )


def _check_settings(cache: CacheReader) -> Iterator[Problem]:
    try:
        stored = dict(cache.query("SELECT key, value FROM Settings"))
    except CacheUnavailable as error:
        yield Problem(name="database", detail=str(error))
        return
    for name, wanted in SETTINGS.items():
        if stored.get(name) != wanted:
            detail = f"is {stored.get(name)!r} and must be {wanted!r}: another program changed it"
            yield Problem(name=f"setting {name}", detail=detail)


def _check_hashes(scan_result: ScanResult) -> Iterator[Problem]:
    for stored in scan_result.receipts:
        if not stored.receipt.verify():
            name = record_codec.receipt_name(stored.account, stored.receipt.request_id)
            yield Problem(name=name, detail="its hash is not the hash of its fields")


def _check_links(scan_result: ScanResult) -> Iterator[Problem]:
    """Within an account, sequence numbers are unique and neighbours are linked by their hashes.

    Gaps are allowed: grants, corrections and charges of other clients have entries of their own.
    A receipt that the client wrote itself belongs to no ledger and has no neighbours.
    """
    accounts: dict[str, dict[int, Receipt]] = defaultdict(dict)
    for stored in scan_result.receipts:
        if stored.receipt.is_from_client:
            continue
        receipts, receipt = accounts[stored.account], stored.receipt
        name = record_codec.receipt_name(stored.account, receipt.request_id)
        if receipt.seq in receipts:
            other = receipts[receipt.seq].request_id
            yield Problem(name=name, detail=f"request {other} has the same seq {receipt.seq}")
        receipts[receipt.seq] = receipt
    for account, receipts in accounts.items():
        for seq, receipt in receipts.items():
            before = receipts.get(seq - 1)
            if before is not None and receipt.prev_hash != before.hash:
                name = record_codec.receipt_name(account, receipt.request_id)
                yield Problem(name=name, detail=f"its prev_hash is not the hash of seq {seq - 1}")


def _check_row_counts(scan_result: ScanResult) -> Iterator[Problem]:
    """Every request has the rows that its receipts charge, and every row has a receipt.

    Two vendors may use the same request id. A row does not name its vendor, so both are summed.
    """
    charged: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[str, str] = {}
    for stored in scan_result.receipts:
        receipt = stored.receipt
        charged[receipt.request_id].update(image=receipt.images, text=receipt.texts)
        names[receipt.request_id] = record_codec.receipt_name(stored.account, receipt.request_id)
    for request_id, due in charged.items():
        found = scan_result.bought.get(request_id, Counter())
        if (found["image"], found["text"]) != (due["image"], due["text"]):
            detail = (
                f"it charges {due['image']} images and {due['text']} texts,"
                f" the cache has {found['image']} and {found['text']} of them"
            )
            yield Problem(name=names[request_id], detail=detail)
    for request_id, found in scan_result.bought.items():
        if request_id not in charged:
            detail = f"{found.total()} embeddings are stored without a receipt"
            yield Problem(name=f"request {request_id}", detail=detail)


def _check_purchases(scan_result: ScanResult) -> Iterator[Problem]:
    """Each idempotency key has one receipt, its mark as paid, and is no longer open."""
    by_key: dict[str, str] = {}
    for stored in scan_result.receipts:
        key = stored.receipt.idempotency_key
        name = record_codec.receipt_name(stored.account, stored.receipt.request_id)
        if key in by_key:
            yield Problem(
                name=name, detail=f"{by_key[key]} was charged for the same purchase {key}"
            )
        elif key not in scan_result.paid:
            yield Problem(name=name, detail=f"its purchase {key} is not marked as paid")
        by_key.setdefault(key, name)
    for key, name in scan_result.paid.items():
        if by_key.get(key) != name:
            detail = f"it names {name}, which does not exist"
            yield Problem(name=record_codec.paid_name(key), detail=detail)
    for intent in scan_result.intents:
        if intent.idempotency_key in by_key:
            name = record_codec.intent_name(intent.idempotency_key)
            yield Problem(name=name, detail="it is still open although its receipt is stored")


def _check_totals(scan_result: ScanResult) -> Iterator[Problem]:
    counted = scan_result.counted()
    if (scan_result.totals or Spend()) != counted:
        detail = f"the running totals are {scan_result.totals}; the records add up to {counted}"
        yield Problem(name=record_codec.TOTALS, detail=detail)


def _check_dims(scan_result: ScanResult) -> Iterator[Problem]:
    for fingerprint, dims in scan_result.dims.items():
        if len(dims) > 1:
            detail = f"its embeddings have different lengths: {sorted(dims)}"
            yield Problem(name=f"model {fingerprint}", detail=detail)


def _check_copies(scan_result: ScanResult) -> Iterator[Problem]:
    """Every line of receipts.jsonl is intact and agrees with the database."""
    for line in scan_result.copies.damaged:
        yield Problem(name=f"{RECEIPTS} line {line.number}", detail=line.reason)
    for purchase in scan_result.unstored:
        name = record_codec.receipt_name(*purchase.name)
        yield Problem(name=name, detail=f"it is in {RECEIPTS} but not in the database")
    for stored in scan_result.receipts:
        copy = scan_result.copies.purchases.get(stored.name)
        if copy is not None and copy.receipt != stored.receipt:
            name = record_codec.receipt_name(*stored.name)
            yield Problem(name=name, detail=f"{RECEIPTS} has a different receipt for it")


_CHECKS: tuple[Callable[[ScanResult], Iterator[Problem]], ...] = (
    _check_hashes,
    _check_links,
    _check_row_counts,
    _check_purchases,
    _check_totals,
    _check_dims,
)
