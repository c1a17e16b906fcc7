"""What the money bought: the reports that need nothing but the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cache.records.purchase_records import RunRecord, StoredReceipt
from cache.records.receipt import Receipt
from cache.storage.reader import CacheReader


@dataclass(slots=True)
class SpendTotals:
    """Receipts added up: units are queries, cost is micro-USD, times are Unix milliseconds."""

    receipts: int = 0
    images: int = 0
    texts: int = 0
    units: int = 0
    cost_micro_usd: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, receipt: Receipt) -> None:
        """Count one more receipt."""
        self.receipts += 1
        self.images += receipt.images
        self.texts += receipt.texts
        self.units += receipt.units
        self.cost_micro_usd += receipt.cost_micro_usd
        times = [receipt.created_ms, *(t for t in (self.first_ms, self.last_ms) if t is not None)]
        self.first_ms, self.last_ms = min(times), max(times)

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return {
            "receipts": self.receipts,
            "images": self.images,
            "texts": self.texts,
            "units": self.units,
            "cost_micro_usd": self.cost_micro_usd,
            "cost_usd": usd(self.cost_micro_usd),
            "first_purchase": when(self.first_ms),
            "last_purchase": when(self.last_ms),
        }


def usd(micro_usd: int) -> str:
    """Micro-USD as an exact decimal number of dollars."""
    sign, size = "-" if micro_usd < 0 else "", abs(micro_usd)
    return f"{sign}{size // 1_000_000}.{size % 1_000_000:06d}"


def when(created_ms: int | None) -> str | None:
    """Unix milliseconds as ISO 8601 in UTC; the bare number where no calendar has that day."""
    if created_ms is None:
        return None
    seconds, rest = divmod(created_ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        # A vendor may count in nanoseconds, and what it was paid for is stored as it said.
        return str(created_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def spend_summary(cache: CacheReader) -> dict[str, Any]:
    """Everything about the spend as plain JSON values.

    `total`, `models` and `accounts` are bills; `runs` tell what was planned, what was found paid
    (hits) and what that saved; then open intents, refused items, lost answers and what was bought
    twice.
    """
    stored = list(cache.stored_receipts())
    total = _bill(stored)
    spend = cache.spend_on_record()
    return {
        "total": total.as_dict(),
        "in_flight_units": spend.in_flight_units,
        "lost_units": spend.lost_units,
        "receipts_digest": receipts_digest(receipt.receipt for receipt in stored),
        "models": [
            {"model": model, "model_fingerprint": fingerprint, **bill.as_dict()}
            for (model, fingerprint), bill in _bills_by_model(stored).items()
        ],
        "accounts": [
            {"account": account, **bill.as_dict()}
            for account, bill in _bills(stored, [receipt.account for receipt in stored]).items()
        ],
        "runs": _runs(stored, list(cache.runs())),
        "open_intents": [
            {
                "idempotency_key": intent.idempotency_key,
                "run": intent.run,
                "items": len(intent.keys),
                "units": intent.units,
                "created": when(intent.created_ms),
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
                "created": when(refusal.created_ms),
            }
            for refusal in cache.refusals()
        ],
        "lost": [
            {
                "idempotency_key": loss.idempotency_key,
                "run": loss.run,
                "items": len(loss.keys),
                "units": loss.units,
                "detail": loss.detail,
                "created": when(loss.created_ms),
            }
            for loss in cache.losses()
        ],
        "bought_twice": sum(1 for _ in cache.rows_bought_again()),
    }


def spend_by_day(cache: CacheReader) -> list[dict[str, Any]]:
    """One bill a day (UTC) on which something was bought, oldest first; see `when`."""
    stored = sorted(cache.stored_receipts(), key=lambda receipt: receipt.receipt.created_ms)
    days = [(when(one.receipt.created_ms) or "").partition("T")[0] for one in stored]
    return [{"day": day, **bill.as_dict()} for day, bill in _bills(stored, days).items()]


def receipts_digest(receipts: Iterable[Receipt]) -> str:
    """One sha256 for a set of receipts, whatever their order: what a student was made from."""
    hashes = sorted(receipt.hash for receipt in receipts)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def markdown_report(cache: CacheReader) -> str:
    """The spend as a section of Markdown, for other reports to embed."""
    summary = spend_summary(cache)
    total = summary["total"]
    lines = [
        f"**{total['units']} queries paid** ({total['images']} images, {total['texts']} texts) in"
        f" {total['receipts']} requests, {total['cost_usd']} USD;"
        f" {summary['in_flight_units']} in flight.",
        "",
        "| Model | Images | Texts | Queries | USD | First purchase | Last purchase |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    for model in summary["models"]:
        lines.append(
            f"| {_cell(model['model'])} | {model['images']} | {model['texts']} | {model['units']} |"
            f" {model['cost_usd']} | {model['first_purchase']} | {model['last_purchase']} |"
        )
    lines += [
        "",
        "| Run | Started | Planned | Already paid | Queries | USD | USD saved by the cache |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for run in summary["runs"]:
        lines.append(
            f"| {_cell(run['run'])} | {run['started'] or ''} | {_number(run['planned'])} |"
            f" {_number(run['already_paid'])} | {run['units']} | {run['cost_usd']} |"
            f" {usd(run['saved_micro_usd'])} |"
        )
    lines += [
        "",
        f"Open purchases: {len(summary['open_intents'])}. Refused by the vendor, free of charge:"
        f" {len(summary['refused'])}. Bought twice: {summary['bought_twice']}."
        f" Answers lost: {len(summary['lost'])}."
        f" Receipts digest: `{summary['receipts_digest']}`.",
        "",
    ]
    return "\n".join(lines)


def _bill(stored: Iterable[StoredReceipt]) -> SpendTotals:
    bill = SpendTotals()
    for receipt in stored:
        bill.add(receipt.receipt)
    return bill


def _bills(stored: list[StoredReceipt], names: list[str]) -> dict[str, SpendTotals]:
    bills: dict[str, SpendTotals] = {}
    for receipt, name in zip(stored, names, strict=True):
        bills.setdefault(name, SpendTotals()).add(receipt.receipt)
    return bills


def _bills_by_model(stored: list[StoredReceipt]) -> dict[tuple[str, str], SpendTotals]:
    bills: dict[tuple[str, str], SpendTotals] = {}
    for receipt in stored:
        name = (receipt.receipt.model, receipt.receipt.model_fingerprint)
        bills.setdefault(name, SpendTotals()).add(receipt.receipt)
    return bills


def _runs(stored: list[StoredReceipt], records: list[RunRecord]) -> list[dict[str, Any]]:
    """Runs that recorded themselves, then those that only receipts know: killed before the end."""
    bills = _bills(stored, [receipt.run for receipt in stored])
    known = {record.run: record for record in sorted(records, key=lambda run: run.started_ms)}
    names = list(dict.fromkeys([*known, *bills]))
    return [_run(name, known.get(name), bills.get(name, SpendTotals())) for name in names]


def _run(name: str, record: RunRecord | None, bill: SpendTotals) -> dict[str, Any]:
    return {
        "run": name,
        "started": when(record.started_ms) if record else None,
        "command": record.command if record else None,
        "model": record.model if record else None,
        "planned": record.planned if record else None,
        "already_paid": record.already_paid if record else None,
        "saved_micro_usd": record.saved_micro_usd if record else 0,
        **bill.as_dict(),
    }


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
