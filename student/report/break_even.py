"""The student's size and speed compared with the vendor's price and latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cache.records.money import dollars
from cache.records.purchase_records import RunRecord, StoredReceipt
from cache.records.receipt import Receipt
from student.evaluation.results import Purchase
from student.models.student import Student
from student.training.metrics import images_per_second, latency, num_parameters

BATCH = 32
"""Images in a batch of the student's own throughput."""
LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; a later time cannot be in Unix milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Economics:
    """Size, speed and cost of a student, compared with its vendor.

    Times are in milliseconds for one image; `student_images_per_second` is in batches of
    BATCH images. `vendor_milliseconds` is the vendor's time for an image in bulk, by its own clock,
    and `vendor_request_milliseconds` that of a request for `vendor_request_items`, by the client's,
    with the network. `break_even` is the number of predictions at which
    buying from the vendor would have cost as much as the student's embeddings; 0 if the vendor
    charges nothing.
    """

    parameters: int
    student_milliseconds: float
    vendor_milliseconds: float | None
    micro_usd_per_image: int
    cost_micro_usd: int
    break_even: int
    student_images_per_second: float | None = None
    vendor_request_milliseconds: int | None = None
    vendor_request_items: int | None = None

    def paying(self, purchase: Purchase) -> Economics:
        """Returns the same comparison with the cost of another purchase."""
        paid, price = purchase.cost_micro_usd, self.micro_usd_per_image
        return replace(self, cost_micro_usd=paid, break_even=-(-paid // price) if price else 0)

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as a dict, ready for JSON."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """Returns table rows, each a label and a figure."""
        vendor, in_batches = self.vendor_milliseconds, self.student_images_per_second
        return [
            ["student", f"{self.parameters / 1e6:.2f} million parameters"],
            ["student, one image on this CPU", f"{self.student_milliseconds:.1f} ms, free"],
            *(
                [[f"student, batches of {BATCH} on this CPU", f"{in_batches:,.0f} images a second"]]
                if in_batches
                else []
            ),
            [
                "vendor, one image in bulk",
                (
                    "not known from the receipts"
                    if vendor is None
                    else f"{vendor:.1f} ms ({1000 / max(vendor, 1e-3):,.0f} images a second)"
                )
                + f", {dollars(self.micro_usd_per_image)}",
            ],
            *self._request_rows(),
            ["paid for the student's embeddings", dollars(self.cost_micro_usd)],
            ["paid back after", f"{self.break_even:,} predictions"],
        ]

    def _request_rows(self) -> list[list[str]]:
        if self.vendor_request_milliseconds is None or self.vendor_request_items is None:
            return []
        label = f"vendor, a request of {self.vendor_request_items:,} items with the network, median"
        return [[label, f"{self.vendor_request_milliseconds:,} ms"]]


def request_latency(stored: Sequence[StoredReceipt], runs: Sequence[RunRecord]) -> RunRecord | None:
    """Returns the run that kept its requests' time and has the most of these receipts, if any."""
    receipts = Counter(one.run for one in stored)
    timed = [run for run in runs if run.request_milliseconds is not None and receipts[run.run]]
    return max(timed, key=lambda run: receipts[run.run], default=None)


def bulk_milliseconds(stored: Sequence[StoredReceipt]) -> float | None:
    """Returns the vendor's time for one embedding in bulk, in milliseconds.

    It is measured on the run with the most receipts, by the vendor's clock: the time from its first
    to its last receipt, divided by the embeddings bought after the first. None if that run has only
    one receipt, or if a receipt's time is not a plausible Unix time in milliseconds.
    """
    runs: dict[str, list[Receipt]] = {}
    for stored_receipt in stored:
        runs.setdefault(stored_receipt.run, []).append(stored_receipt.receipt)
    largest = max(runs.values(), key=lambda receipts: len(receipts), default=[])
    largest.sort(key=lambda receipt: receipt.created_ms)
    if largest and not 0 <= largest[0].created_ms <= largest[-1].created_ms <= LAST_MS:
        return None
    items = sum(receipt.images + receipt.texts for receipt in largest[1:])
    return (largest[-1].created_ms - largest[0].created_ms) / items if items else None


def measure_economics(student: Student, purchase: Purchase) -> Economics:
    """Measures the student's size and its latency on the CPU, and compares them with the vendor."""
    on_cpu = student.to("cpu")
    measured = Economics(
        parameters=num_parameters(on_cpu),
        student_milliseconds=round(latency(on_cpu), 2),
        student_images_per_second=round(images_per_second(on_cpu, batch=BATCH), 1),
        vendor_milliseconds=(
            None if purchase.vendor_milliseconds is None else round(purchase.vendor_milliseconds, 2)
        ),
        vendor_request_milliseconds=purchase.vendor_request_milliseconds,
        vendor_request_items=purchase.vendor_request_items,
        micro_usd_per_image=purchase.micro_usd_per_image,
        cost_micro_usd=0,
        break_even=0,
    )
    return measured.paying(purchase)
