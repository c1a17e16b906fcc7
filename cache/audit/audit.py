"""Audit: the receipts in a cache against the vendor's ledger, entry by entry, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cache.audit.corrections import (
    Credit,
    Difference,
    credits_of,
    entry_name,
    false_credits,
    most_spent,
)
from cache.audit.ledger_client import VendorLedger
from cache.audit.lost_charges import LostChargeReport
from cache.errors import AuditImpossible, CorruptRow, PickleRefused
from cache.integrity.embedding_digests import digest_faults
from cache.integrity.scan import ScanResult, scan
from cache.records.purchase_records import StoredReceipt
from cache.records.receipt import Receipt, account_name, chain_breaks, key_id_of
from cache.storage import record_codec
from cache.storage.reader import CacheReader
from cache.storage.record_codec import Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The outcome of an audit; `units` are queries, costs are micro-USD.

    `credits` are the vendor's corrections, which need no receipt. `write_offs` are purchases whose
    answer is gone for good, `missing_rows` paid answers that are not completely in the cache:
    neither is a difference. `not_audited` counts receipts of other keys, `bought_elsewhere` those
    of this key at other addresses, both by account. `receipts_without_digest` do not commit to
    their embeddings.
    """

    account: str
    ledger_lines: int
    ledger_charges: int
    ledger_units: int
    ledger_cost_micro_usd: int
    receipts: int
    receipt_units: int
    receipt_cost_micro_usd: int
    differences: tuple[Difference, ...]
    credits: tuple[Credit, ...]
    write_offs: tuple[Difference, ...]
    missing_rows: tuple[Difference, ...]
    not_audited: dict[str, int]
    bought_elsewhere: dict[str, int]
    receipts_without_digest: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether cache and ledger agree on every entry and on the sums."""
        return not self.differences


def audit_cache(cache: CacheReader, vendor: VendorLedger) -> Audit:
    """Compare the receipts in the cache with the vendor's ledger of one API key.

    Their digests are among the fields compared, and the embeddings in the cache must have them.
    A receipt belongs to the key if its account has the same key id, at whatever address of the
    vendor. Run it while no client is buying: a purchase made meanwhile counts as a difference.
    Raises AuditImpossible if the vendor's ledger cannot be read, or keeps none.
    """
    _require_ledger(cache)
    account = vendor.account()
    ledger = vendor.entries()
    name = account_name(vendor.url, account.id)
    damage: list[Difference] = []
    receipts: list[Receipt] = []
    other_keys: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for stored in _readable_receipts(cache, damage):
        if key_id_of(stored.account) != account.id:
            other_keys[stored.account] += 1
            continue
        receipts.append(stored.receipt)
        if stored.account != name:
            elsewhere[stored.account] += 1
    scan_result = scan(cache)
    open_keys = {intent.idempotency_key for intent in scan_result.intents}
    charges = [entry for entry in ledger if entry.kind == "charge"]
    lost = LostChargeReport(scan_result, receipts, charges, key_id=account.id)
    differences = [
        *(Difference(line="vendor's ledger", detail=fault) for fault in chain_breaks(ledger)),
        *damage,
        *_false_hashes(receipts),
        *compare(receipts, lost.charges_with_receipt, open_keys),
        *_false_digests(scan_result, cache, account.id),
        *lost.differences,
        *false_credits(ledger),
        *_sums(receipts, lost.charges_with_receipt),
        *_spent(ledger, account.spent_units),
    ]
    return Audit(
        account=name,
        ledger_lines=len(ledger),
        ledger_charges=len(charges),
        ledger_units=sum(entry.units for entry in charges),
        ledger_cost_micro_usd=sum(entry.cost_micro_usd for entry in charges),
        receipts=len(receipts),
        receipt_units=sum(receipt.units for receipt in receipts),
        receipt_cost_micro_usd=sum(receipt.cost_micro_usd for receipt in receipts),
        differences=tuple(differences),
        credits=tuple(credits_of(ledger)),
        write_offs=tuple(lost.write_offs),
        missing_rows=tuple(lost.missing_rows),
        not_audited=dict(other_keys),
        bought_elsewhere=dict(elsewhere),
        receipts_without_digest=sum(one.embeddings_sha256 is None for one in receipts),
    )


def _require_ledger(cache: CacheReader) -> None:
    """Raise AuditImpossible if no receipt of the cache is of a vendor that keeps a ledger."""
    issuers = {stored.receipt.is_from_client for stored in _readable_receipts(cache, [])}
    if issuers == {True}:
        message = (
            "every receipt in this cache was written by the client: its vendor keeps no ledger to"
            " audit. Hold its invoice against the cache with cache-report reconcile"
        )
        raise AuditImpossible(message)


def compare(
    receipts: Sequence[Receipt], charges: Sequence[Receipt], open_keys: Iterable[str] = ()
) -> Iterator[Difference]:
    """Yield every difference between the cache's `receipts` and the vendor's `charges`.

    Entries are paired by request id and the rest by sequence number, so that an entry altered on
    one side is still reported as one entry. `open_keys` are the idempotency keys of the open
    purchases.
    """
    unmatched: list[Receipt] = []
    by_request = _grouped(charges)
    for receipt in receipts:
        same = by_request.get(receipt.request_id)
        if same:
            yield from _field_differences(receipt, same.pop(0))
        else:
            unmatched.append(receipt)
    left = {id(charge): charge for same in by_request.values() for charge in same}
    by_seq = {charge.seq: charge for charge in left.values()}
    for receipt in unmatched:
        charge = by_seq.pop(receipt.seq, None)
        if charge is None:
            yield Difference(line=entry_name(receipt), detail="missing in the vendor's ledger")
        else:
            del left[id(charge)]
            yield from _field_differences(receipt, charge)
    open_purchases = set(open_keys)
    for charge in left.values():
        if charge.idempotency_key in open_purchases:
            detail = (
                "charged, but its answer is not stored yet: the purchase is open in the cache; run"
                " the client again, it fetches the answer under the same key, free of charge"
            )
        else:
            detail = "missing in the cache"
        yield Difference(line=entry_name(charge), detail=detail)


def _readable_receipts(cache: CacheReader, damage: list[Difference]) -> Iterator[StoredReceipt]:
    """Yield every receipt that can be decoded; faults of records are added to `damage`."""
    for record in cache.scan(Tag.RECEIPT):
        try:
            content = record.content()
            try:
                yield record_codec.decode_receipt(record.name, content)
            except CorruptRow as error:
                damage.append(Difference(line=record.name, detail=f"in the cache, {error.reason}"))
                yield record_codec.decode_damaged_receipt(record.name, content)
        except (CorruptRow, PickleRefused) as error:
            damage.append(Difference(line=record.name, detail=f"unreadable in the cache: {error}"))


def _false_hashes(receipts: Iterable[Receipt]) -> Iterator[Difference]:
    for receipt in receipts:
        if not receipt.verify():
            detail = "in the cache, its hash is not the hash of its fields"
            yield Difference(line=entry_name(receipt), detail=detail)


def _false_digests(
    scan_result: ScanResult, cache: CacheReader, key_id: str
) -> Iterator[Difference]:
    for fault in digest_faults(scan_result, cache):
        if key_id_of(fault.stored.account) == key_id:
            detail = f"in the cache, {fault.problem.detail}"
            yield Difference(line=entry_name(fault.stored.receipt), detail=detail)


def _sums(receipts: Sequence[Receipt], charges: Sequence[Receipt]) -> Iterator[Difference]:
    for name in ("units", "cost_micro_usd"):
        ours = sum(getattr(receipt, name) for receipt in receipts)
        theirs = sum(getattr(charge, name) for charge in charges)
        if ours != theirs:
            detail = f"the receipts add up to {ours}, the vendor's charges to {theirs}"
            yield Difference(line=f"sum of {name}", detail=detail)


def _spent(ledger: Sequence[Receipt], spent: int) -> Iterator[Difference]:
    # The ledger was read after /v1/key: it may have new charges or credits, so compare with the
    # highest sum that it ever had.
    most = most_spent(ledger)
    if spent > most:
        detail = f"/v1/key reports {spent} spent, the vendor's charges add up to {most}"
        yield Difference(line="sum of units", detail=detail)


def _field_differences(receipt: Receipt, charge: Receipt) -> Iterator[Difference]:
    ours, theirs = receipt.entry(), charge.entry()
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs or ours[name] != theirs[name]:
            detail = (
                f"field {name} differs: {ours.get(name)!r} in the cache,"
                f" {theirs.get(name)!r} in the vendor's ledger"
            )
            yield Difference(line=entry_name(receipt), detail=detail)


def _grouped(charges: Iterable[Receipt]) -> dict[str, list[Receipt]]:
    grouped: dict[str, list[Receipt]] = {}
    for charge in charges:
        grouped.setdefault(charge.request_id, []).append(charge)
    return grouped
