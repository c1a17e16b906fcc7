"""What vendors without receipts said of their work, beside what the client counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cache.records.purchase_records import StoredReceipt
from cache.records.usage import numbers_in
from cache.reports.spend_schema import VendorUsage


def vendor_usage(stored: Sequence[StoredReceipt]) -> list[VendorUsage]:
    """Add up the receipts that the client wrote, by model and wire, with the vendors' own usage."""
    found: dict[tuple[str, str], VendorUsage] = {}
    sums: dict[tuple[str, str], Counter[str]] = {}
    for one in stored:
        receipt = one.receipt
        if not receipt.is_from_client:
            continue
        name = receipt.model, receipt.wire
        total = found.setdefault(
            name,
            VendorUsage(
                model=receipt.model,
                wire=receipt.wire,
                receipts=0,
                images=0,
                texts=0,
                cost_micro_usd=0,
                usage={},
            ),
        )
        total["receipts"] += 1
        total["images"] += receipt.images
        total["texts"] += receipt.texts
        total["cost_micro_usd"] += receipt.cost_micro_usd
        figures = sums.setdefault(name, Counter())
        for spelt, figure in numbers_in(receipt.usage):
            figures[spelt] += figure  # type: ignore[assignment]  # a float, if the vendor says so
    for name, figures in sums.items():
        found[name]["usage"] = dict(figures)
    return list(found.values())


def usage_text(usage: Mapping[str, int | float]) -> str:
    """A usage on one line."""
    return ", ".join(f"{name} {figure}" for name, figure in usage.items()) or "nothing"
