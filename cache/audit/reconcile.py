"""Reconciliation: what the cache counted against a vendor's invoice or usage export."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from cache.audit.invoice import Invoice, Place
from cache.records.purchase_records import StoredReceipt, WriteOff
from cache.records.usage import numbers_in
from cache.storage.reader import CacheReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One quantity of one day and model: ours, theirs, and how much of ours is in doubt.

    `in_doubt` may or may not be in the vendor's figure, and `rounding` is how far that may be off.
    """

    day: str
    model: str
    quantity: str
    counted: Decimal
    in_doubt: Decimal
    invoiced: Decimal
    rounding: Decimal

    @property
    def agrees(self) -> bool:
        """Whether the invoice is between what was answered and that with all doubts."""
        least = self.counted - self.rounding
        return least <= self.invoiced <= self.counted + self.in_doubt + self.rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The outcome; `not_compared` receipts are of days or accounts that the file does not cover."""

    comparisons: tuple[Comparison, ...]
    ignored: tuple[str, ...]
    receipts: int
    not_compared: int
    doubts: int

    @property
    def differences(self) -> tuple[Comparison, ...]:
        """The comparisons that do not agree."""
        return tuple(one for one in self.comparisons if not one.agrees)


def reconcile(cache: CacheReader, invoice: Invoice, *, account: str = "") -> Reconciliation:
    """Hold every figure of the invoice against the receipts, by its days and models.

    `account` is part of the name of the accounts to compare; "" takes all. Only days from the
    invoice's first to its last are compared.
    """
    days = [day for day, _ in invoice.figures]
    first, last = min(days), max(days)
    ours: dict[Place, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    doubts: dict[Place, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    compared = total = in_doubt = 0
    known_models = {
        stored.receipt.model_fingerprint: stored.receipt.model for stored in cache.stored_receipts()
    }
    for stored in cache.stored_receipts():
        total += 1
        place = _place(invoice, stored.receipt.created_ms, stored.receipt.model)
        if account not in stored.account or not first <= place[0] <= last:
            continue
        compared += 1
        for name, figure in _figures(stored, invoice.columns):
            ours[place][name] += figure
    for write_off in cache.write_offs():
        fingerprint = write_off.keys[0].model_fingerprint
        place = _place(invoice, write_off.created_ms, known_models.get(fingerprint, ""))
        if account in write_off.account and first <= place[0] <= last:
            in_doubt += 1
            for name, units in _doubtful(write_off):
                doubts[place][name] += units
    return Reconciliation(
        comparisons=tuple(_compared(invoice, ours, doubts)),
        ignored=invoice.ignored,
        receipts=compared,
        not_compared=total - compared,
        doubts=in_doubt,
    )


def _place(invoice: Invoice, created_ms: int, model: str) -> Place:
    day = ""
    if invoice.has_days:
        # A vendor may count in another unit; its receipt is of no day that an invoice has.
        with suppress(ValueError, OverflowError, OSError):
            day = datetime.fromtimestamp(created_ms / 1000, UTC).date().isoformat()
    return day, model if invoice.has_models else ""


def _compared(
    invoice: Invoice,
    ours: dict[Place, dict[str, Decimal]],
    doubts: dict[Place, dict[str, Decimal]],
) -> Iterable[Comparison]:
    for place in sorted({*invoice.figures, *ours, *doubts}):
        invoiced = invoice.figures.get(place, {})
        for name in invoice.columns:
            yield Comparison(
                day=place[0],
                model=place[1],
                quantity=name,
                counted=ours[place][name],
                in_doubt=doubts[place][name],
                invoiced=invoiced.get(name, Decimal()),
                rounding=invoice.rounding.get(place, Decimal())
                if name == "micro_usd"
                else Decimal(),
            )


def _figures(stored: StoredReceipt, columns: Iterable[str]) -> Iterable[tuple[str, Decimal]]:
    """What a receipt counts under these names: its own fields, or those of the vendor's usage."""
    receipt = stored.receipt
    counted = {
        "requests": 1,
        "images": receipt.images,
        "texts": receipt.texts,
        "queries": receipt.units,
        "micro_usd": receipt.cost_micro_usd,
    }
    usage = dict(numbers_in(receipt.usage))
    short = {name.rpartition(".")[2]: figure for name, figure in usage.items()}
    for name in columns:
        yield name, Decimal(str(counted.get(name, usage.get(name, short.get(name, 0)))))


def _doubtful(write_off: WriteOff) -> Iterable[tuple[str, int]]:
    images = sum(key.modality == "image" for key in write_off.keys)
    yield from (
        ("requests", 1),
        ("images", images),
        ("texts", len(write_off.keys) - images),
        ("queries", write_off.units),
    )
