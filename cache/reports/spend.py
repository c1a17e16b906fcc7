"""What was bought and what it cost, as typed JSON values made from the cache alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from cache.records.money import dollars
from cache.records.purchase_records import RunRecord, StoredReceipt
from cache.records.receipt import Receipt
from cache.reports.spend_schema import DaySpend, RunSpend, SpendSummary, Totals
from cache.reports.vendor_usage import vendor_usage
from cache.storage.reader import CacheReader

_FINGERPRINT_CHARACTERS: Final = len("sha256:") + 12
Name = TypeVar("Name", str, tuple[str, str])


@dataclass(slots=True)
class SpendTotals:
    """A sum of receipts: units are queries, cost is in micro-USD, times are Unix milliseconds."""

    receipts: int = 0
    images: int = 0
    texts: int = 0
    units: int = 0
    cost_micro_usd: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, receipt: Receipt) -> None:
        """Add one receipt."""
        self.receipts += 1
        self.images += receipt.images
        self.texts += receipt.texts
        self.units += receipt.units
        self.cost_micro_usd += receipt.cost_micro_usd
        times = [receipt.created_ms, *(t for t in (self.first_ms, self.last_ms) if t is not None)]
        self.first_ms, self.last_ms = min(times), max(times)

    def as_dict(self) -> Totals:
        """Return the sums by name, for JSON."""
        return {
            "receipts": self.receipts,
            "images": self.images,
            "texts": self.texts,
            "units": self.units,
            "cost_micro_usd": self.cost_micro_usd,
            "cost_usd": dollars(self.cost_micro_usd, plain=True),
            "first_purchase": iso_time(self.first_ms),
            "last_purchase": iso_time(self.last_ms),
        }


def iso_time(unix_ms: int | None) -> str | None:
    """Format Unix milliseconds as ISO 8601 in UTC; as the bare number if out of range."""
    if unix_ms is None:
        return None
    seconds, rest = divmod(unix_ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        # A vendor may use another unit, such as nanoseconds; its receipt is stored all the same.
        return str(unix_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def short_fingerprint(fingerprint: str) -> str:
    """Return the beginning of a fingerprint, which is enough to tell two models apart."""
    return fingerprint[:_FINGERPRINT_CHARACTERS]


def spend_summary(cache: CacheReader) -> SpendSummary:
    """Summarise the spend: in total, by model, by account and by run, and what is unsettled."""
    stored = list(cache.stored_receipts())
    total = SpendTotals()
    for receipt in stored:
        total.add(receipt.receipt)
    spend = cache.spend_on_record()
    by_model = _totals_by(stored, [(r.receipt.model, r.receipt.model_fingerprint) for r in stored])
    by_account = _totals_by(stored, [receipt.account for receipt in stored])
    summary: SpendSummary = {
        "total": total.as_dict(),
        "in_flight_units": spend.open_units,
        "lost_units": spend.written_off_units,
        "receipts_digest": receipts_digest(receipt.receipt for receipt in stored),
        "models": [
            {"model": model, "model_fingerprint": fingerprint, **totals.as_dict()}
            for (model, fingerprint), totals in by_model.items()
        ],
        "accounts": [
            {"account": account, **totals.as_dict()} for account, totals in by_account.items()
        ],
        "runs": _runs(stored, list(cache.runs())),
        "open_intents": [
            {
                "idempotency_key": intent.idempotency_key,
                "run": intent.run,
                "items": len(intent.keys),
                "units": intent.units,
                "created": iso_time(intent.created_ms),
            }
            for intent in cache.open_intents()
        ],
        "refused": [
            {
                "item": refusal.key.item,
                "modality": refusal.key.modality,
                "view": refusal.key.view,
                "code": refusal.code,
                "detail": refusal.detail,
                "created": iso_time(refusal.created_ms),
            }
            for refusal in cache.refusals()
        ],
        "lost": [
            {
                "idempotency_key": write_off.idempotency_key,
                "run": write_off.run,
                "items": len(write_off.keys),
                "units": write_off.units,
                "detail": write_off.detail,
                "created": iso_time(write_off.created_ms),
            }
            for write_off in cache.write_offs()
        ],
        "bought_twice": sum(1 for _ in cache.rows_bought_again()),
    }
    if in_doubt := sum(one.units for one in cache.write_offs() if one.is_in_doubt):
        summary["in_doubt_units"] = in_doubt
    if usage := vendor_usage(stored):
        summary["vendor_usage"] = usage
    return summary


def spend_by_day(cache: CacheReader) -> list[DaySpend]:
    """Sum the receipts of each day (UTC) on which something was bought, oldest first."""
    stored = sorted(cache.stored_receipts(), key=lambda receipt: receipt.receipt.created_ms)
    days = [(iso_time(item.receipt.created_ms) or "").partition("T")[0] for item in stored]
    return [{"day": day, **totals.as_dict()} for day, totals in _totals_by(stored, days).items()]


def receipts_digest(receipts: Iterable[Receipt]) -> str:
    """Return the SHA-256 (hex) of a set of receipts, whatever their order."""
    hashes = sorted(receipt.hash for receipt in receipts)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _totals_by(stored: list[StoredReceipt], names: Sequence[Name]) -> dict[Name, SpendTotals]:
    totals: dict[Name, SpendTotals] = {}
    for receipt, name in zip(stored, names, strict=True):
        totals.setdefault(name, SpendTotals()).add(receipt.receipt)
    return totals


def _runs(stored: list[StoredReceipt], records: list[RunRecord]) -> list[RunSpend]:
    """Runs that recorded themselves, then those that only receipts name: killed before the end."""
    by_run = _totals_by(stored, [receipt.run for receipt in stored])
    known = {record.run: record for record in sorted(records, key=lambda run: run.started_ms)}
    names = list(dict.fromkeys([*known, *by_run]))
    return [_run(name, known.get(name), by_run.get(name, SpendTotals())) for name in names]


def _run(name: str, record: RunRecord | None, totals: SpendTotals) -> RunSpend:
    return {
        "run": name,
        "started": iso_time(record.started_ms) if record else None,
        "command": record.command if record else None,
        "model": record.model if record else None,
        "planned": record.planned if record else None,
        "already_paid": record.already_paid if record else None,
        "saved_micro_usd": record.saved_micro_usd if record else 0,
        **totals.as_dict(),
    }
