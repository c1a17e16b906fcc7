"""Whether the client's receipts and the vendor's ledger say the same, line by line, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cache.audit.corrections import (
    Credit,
    Difference,
    credits_of,
    false_credits,
    line_name,
    most_spent,
)
from cache.audit.ledger_client import VendorLedger
from cache.audit.lost_charges import LostChargeReport
from cache.errors import CorruptRow, PickleRefused
from cache.integrity.scan import scan
from cache.records.purchase_records import StoredReceipt
from cache.records.receipt import Receipt, account_name, chain_breaks, key_id_of
from cache.storage import record_types as journal
from cache.storage.reader import CacheReader
from cache.storage.record_types import Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The outcome; counts of units are queries, costs are micro-USD.

    `credits` are the vendor's corrections, which need no receipt. `lost` names charges that are
    known to be paid and whose answers are gone, wholly or in part: no difference, but a loss.
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
    lost: tuple[Difference, ...]
    not_audited: dict[str, int]
    bought_elsewhere: dict[str, int]

    @property
    def is_balanced(self) -> bool:
        """Whether both sides agree on every line and on the sums."""
        return not self.differences


def audit(cache: CacheReader, vendor: VendorLedger) -> Audit:
    """Compare the receipts in the cache with the vendor's ledger of the key that asks.

    Receipts belong to the account of the same key id: a vendor may have moved to another address.
    Ask while no client is buying, or what is bought meanwhile is a difference. Raises
    AuditImpossible when the vendor cannot be asked.
    """
    account = vendor.account()
    ledger = vendor.entries()
    name = account_name(vendor.url, account.id)
    damage: list[Difference] = []
    receipts: list[Receipt] = []
    strangers: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for stored in _readable_receipts(cache, damage):
        if key_id_of(stored.account) != account.id:
            strangers[stored.account] += 1
            continue
        receipts.append(stored.receipt)
        if stored.account != name:
            elsewhere[stored.account] += 1
    findings = scan(cache)
    in_flight = {intent.idempotency_key for intent in findings.intents}
    charges = [entry for entry in ledger if entry.kind == "charge"]
    lost = LostChargeReport(findings, receipts, charges, key_id=account.id)
    differences = [
        *(Difference(line="vendor's ledger", detail=fault) for fault in chain_breaks(ledger)),
        *damage,
        *_false_hashes(receipts),
        *compare(receipts, lost.explainable, in_flight),
        *lost.differences,
        *false_credits(ledger),
        *_sums(receipts, lost.explainable),
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
        lost=tuple(lost.named),
        not_audited=dict(strangers),
        bought_elsewhere=dict(elsewhere),
    )


def compare(
    receipts: Sequence[Receipt], charges: Sequence[Receipt], in_flight: Iterable[str] = ()
) -> Iterator[Difference]:
    """Every line that is not the same in the cache (`receipts`) and at the vendor (`charges`).

    Lines are paired by request id, what is left by sequence number, so that a line altered in
    either is still named as one line. `in_flight` are the idempotency keys of open intents.
    """
    unmatched: list[Receipt] = []
    by_request = _grouped(charges)
    for receipt in receipts:
        same = by_request.get(receipt.request_id)
        if same:
            yield from _field_differences(receipt, same.pop(0))
        else:
            unmatched.append(receipt)
    left = [charge for same in by_request.values() for charge in same]
    by_seq = {charge.seq: charge for charge in left}
    for receipt in unmatched:
        charge = by_seq.pop(receipt.seq, None)
        if charge is None:
            yield Difference(line=line_name(receipt), detail="missing in the vendor's ledger")
        else:
            left.remove(charge)
            yield from _field_differences(receipt, charge)
    awaited = set(in_flight)
    for charge in left:
        if charge.idempotency_key in awaited:
            detail = (
                "paid but not yet collected: its intent is open in the cache, run the client again"
                " and it asks for the answer under the same key, free of charge"
            )
        else:
            detail = "missing in the cache"
        yield Difference(line=line_name(charge), detail=detail)


def _readable_receipts(cache: CacheReader, damage: list[Difference]) -> Iterator[StoredReceipt]:
    """Every receipt that still says something; what is wrong with a record goes to `damage`."""
    for record in cache.scan(Tag.RECEIPT):
        try:
            content = record.content()
            try:
                yield journal.read_receipt(record.name, content)
            except CorruptRow as error:
                damage.append(Difference(line=record.name, detail=f"in the cache, {error.reason}"))
                yield journal.read_damaged_receipt(record.name, content)
        except (CorruptRow, PickleRefused) as error:
            damage.append(Difference(line=record.name, detail=f"unreadable in the cache: {error}"))


def _false_hashes(receipts: Iterable[Receipt]) -> Iterator[Difference]:
    for receipt in receipts:
        if not receipt.verify():
            detail = "in the cache, its hash is not the hash of its fields"
            yield Difference(line=line_name(receipt), detail=detail)


def _sums(receipts: Sequence[Receipt], charges: Sequence[Receipt]) -> Iterator[Difference]:
    for name in ("units", "cost_micro_usd"):
        ours = sum(getattr(receipt, name) for receipt in receipts)
        theirs = sum(getattr(charge, name) for charge in charges)
        if ours != theirs:
            detail = f"the receipts add up to {ours}, the vendor's charges to {theirs}"
            yield Difference(line=f"sum of {name}", detail=detail)


def _spent(ledger: Sequence[Receipt], spent: int) -> Iterator[Difference]:
    # The ledger was read after /v1/key: it may have grown or given back since, hence the most.
    most = most_spent(ledger)
    if spent > most:
        detail = f"/v1/key says {spent} are spent, the vendor's charges add up to {most}"
        yield Difference(line="sum of units", detail=detail)


def _field_differences(receipt: Receipt, charge: Receipt) -> Iterator[Difference]:
    ours, theirs = receipt.entry(), charge.entry()
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs or ours[name] != theirs[name]:
            detail = (
                f"field {name} differs: {ours.get(name)!r} in the cache,"
                f" {theirs.get(name)!r} in the vendor's ledger"
            )
            yield Difference(line=line_name(receipt), detail=detail)


def _grouped(charges: Iterable[Receipt]) -> dict[str, list[Receipt]]:
    grouped: dict[str, list[Receipt]] = {}
    for charge in charges:
        grouped.setdefault(charge.request_id, []).append(charge)
    return grouped
