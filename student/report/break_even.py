"""The student's size and speed compared with the vendor's price and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cache.records.money import dollars
from cache.records.purchase_records import StoredReceipt
from cache.records.receipt import Receipt
from student.evaluation.results import Purchase
from student.models.student import Student
from student.training.metrics import latency, num_parameters

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: a later time on a receipt is in another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Economics:
    """`break_even` is the number of predictions whose price at the vendor is what was paid."""

    parameters: int
    student_milliseconds: float
    vendor_milliseconds: float | None
    micro_usd_per_image: int
    cost_micro_usd: int
    break_even: int

    def paying(self, purchase: Purchase) -> Economics:
        """The same student and vendor, where this much was paid."""
        paid, price = purchase.cost_micro_usd, self.micro_usd_per_image
        return replace(self, cost_micro_usd=paid, break_even=-(-paid // price) if price else 0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """For a table of a label and a figure."""
        vendor = self.vendor_milliseconds
        return [
            ["student", f"{self.parameters / 1e6:.2f} million parameters"],
            ["student, one image on this CPU", f"{self.student_milliseconds:.1f} ms, free"],
            [
                "vendor, one image in bulk",
                ("not told by the receipts" if vendor is None else f"{vendor:.1f} ms")
                + f", {dollars(self.micro_usd_per_image)}",
            ],
            ["paid for the student's embeddings", dollars(self.cost_micro_usd)],
            ["paid back after", f"{self.break_even:,} predictions"],
        ]


def bulk_milliseconds(stored: Sequence[StoredReceipt]) -> float | None:
    """What an embedding took while the largest run bought in bulk; None where that was one request
    or a receipt's time is no Unix millisecond.

    By the times on the receipts, which are the vendor's: what was bought after the first receipt,
    over the time from the first to the last.
    """
    runs: dict[str, list[Receipt]] = {}
    for one in stored:
        runs.setdefault(one.run, []).append(one.receipt)
    largest = max(runs.values(), key=lambda receipts: len(receipts), default=[])
    largest.sort(key=lambda receipt: receipt.created_ms)
    if largest and not 0 <= largest[0].created_ms <= largest[-1].created_ms <= LAST_MS:
        return None
    items = sum(receipt.images + receipt.texts for receipt in largest[1:])
    return (largest[-1].created_ms - largest[0].created_ms) / items if items else None


def weigh(student: Student, purchase: Purchase) -> Economics:
    """Measures the student on the CPU and sets it beside the purchase."""
    on_cpu = student.to("cpu")
    measured = Economics(
        parameters=num_parameters(on_cpu),
        student_milliseconds=round(latency(on_cpu), 2),
        vendor_milliseconds=(
            None if purchase.vendor_milliseconds is None else round(purchase.vendor_milliseconds, 2)
        ),
        micro_usd_per_image=purchase.micro_usd_per_image,
        cost_micro_usd=0,
        break_even=0,
    )
    return measured.paying(purchase)
