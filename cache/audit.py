"""Whether the client's receipts and the vendor's ledger say the same, line by line, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cache import journal
from cache.errors import CorruptRow, PickleRefused
from cache.journal import Tag
from cache.receipt import Receipt, account_name, chain_breaks, key_id_of
from cache.records import Records
from cache.values import StoredReceipt
from cache.vendor_ledger import VendorLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One line on which the two sides do not agree: which, and how."""

    line: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The outcome; counts of units are queries, costs are micro-USD."""

    account: str
    ledger_lines: int
    ledger_charges: int
    ledger_units: int
    ledger_cost_micro_usd: int
    receipts: int
    receipt_units: int
    receipt_cost_micro_usd: int
    differences: tuple[Difference, ...]
    not_audited: dict[str, int]
    bought_elsewhere: dict[str, int]

    @property
    def is_balanced(self) -> bool:
        """Whether both sides agree on every line and on the sums."""
        return not self.differences


def audit(cache: Records, vendor: VendorLedger) -> Audit:
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
    in_flight = {intent.idempotency_key for intent in cache.open_intents()}
    charges = [entry for entry in ledger if entry.kind == "charge"]
    differences = [
        *(Difference(line="vendor's ledger", detail=fault) for fault in chain_breaks(ledger)),
        *damage,
        *_false_hashes(receipts),
        *compare(receipts, charges, in_flight),
        *_sums(receipts, ledger, account.spent_units),
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
            yield Difference(line=_line(receipt), detail="missing in the vendor's ledger")
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
        yield Difference(line=_line(charge), detail=detail)


def _readable_receipts(cache: Records, damage: list[Difference]) -> Iterator[StoredReceipt]:
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
            yield Difference(line=_line(receipt), detail=detail)


def _sums(receipts: list[Receipt], ledger: list[Receipt], spent: int) -> Iterator[Difference]:
    charged = [entry for entry in ledger if entry.kind == "charge"]
    for name, ours, theirs in (
        ("units", sum(r.units for r in receipts), sum(c.units for c in charged)),
        (
            "cost_micro_usd",
            sum(r.cost_micro_usd for r in receipts),
            sum(c.cost_micro_usd for c in charged),
        ),
    ):
        if ours != theirs:
            detail = f"the receipts add up to {ours}, the vendor's charges to {theirs}"
            yield Difference(line=f"sum of {name}", detail=detail)
    total = sum(charge.units for charge in charged)
    # Corrections may move what counts as spent; and what was charged since /v1/key adds to `total`.
    if spent > total and not any(entry.kind == "correction" for entry in ledger):
        detail = f"/v1/key says {spent} are spent, the vendor's charges add up to {total}"
        yield Difference(line="sum of units", detail=detail)


def _field_differences(receipt: Receipt, charge: Receipt) -> Iterator[Difference]:
    ours, theirs = receipt.entry(), charge.entry()
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in ours or name not in theirs or ours[name] != theirs[name]:
            detail = (
                f"field {name} differs: {ours.get(name)!r} in the cache,"
                f" {theirs.get(name)!r} in the vendor's ledger"
            )
            yield Difference(line=_line(receipt), detail=detail)


def _grouped(charges: Iterable[Receipt]) -> dict[str, list[Receipt]]:
    grouped: dict[str, list[Receipt]] = {}
    for charge in charges:
        grouped.setdefault(charge.request_id, []).append(charge)
    return grouped


def _line(entry: Receipt) -> str:
    return f"seq {entry.seq}, request {entry.request_id}"
