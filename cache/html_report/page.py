"""The report: all figures of a cache in one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cache.audit.audit import Audit, audit_cache
from cache.audit.ledger_client import VendorLedger
from cache.html_report.attribution import by_modality, by_place
from cache.html_report.receipt_groups import (
    Group,
    NumberedReceipt,
    Range,
    grouped,
    number_receipts,
    ranges_of,
    whole,
)
from cache.html_report.students import student_cost
from cache.integrity.verify import verify
from cache.records.money import dollars
from cache.records.receipt import key_id_of
from cache.reports.export import open_binary_output
from cache.reports.spend import iso_time, short_fingerprint, spend_by_day, spend_summary
from cache.storage.reader import CacheReader

_HERE: Final = Path(__file__).parent
_MOST_DAYS: Final = 400
_KINDS: Final = {
    "image": "images",
    "text": "texts",
    "both": "images and texts in one request, prices not known apart",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a report reads beside the cache.

    `data` is the folder or the manifest of the images, for domains and classes; `students` are the
    folders of finished runs, for the cost of accuracy; `vendor` has the ledger, for refunds and the
    audit.
    """

    data: Path | None = None
    students: Sequence[Path] = ()
    vendor: VendorLedger | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A day in the chart: its name, its cost, and its height in percent of the highest."""

    day: str
    cost_micro_usd: int
    height: float


def write_html_report(cache: CacheReader, sources: Sources, out: Path) -> int:
    """Write the report of this moment to `out`; return the number of receipts in it."""
    page = html_report(cache, sources, made_ms=round(time.time() * 1000))
    with open_binary_output(out) as file:
        # A file name that is not UTF-8 is written as an escape.
        file.write(page.encode("utf-8", "backslashreplace"))
    return page.count('<tr id="receipt-')


def html_report(cache: CacheReader, sources: Sources, *, made_ms: int) -> str:
    """Return the report as an HTML page. `made_ms` is the time to write on it.

    Every figure is of one moment, whatever a client buys meanwhile. Raises ReportImpossible for a
    folder that cannot be used, AuditImpossible if the ledger cannot be read, and CorruptRow for a
    damaged record.
    """
    audit = None if sources.vendor is None else audit_cache(cache, sources.vendor)
    with cache.snapshot():
        receipts = number_receipts(cache)
        summary = spend_summary(cache)
        context = {
            "folder": str(cache.folder),
            "made": iso_time(made_ms),
            "summary": summary,
            "receipts": receipts,
            "verification": verify(cache),
            "audit": audit,
            "retries": {run.run: run.retries for run in cache.runs()},
            "links": _links(receipts),
            "days": spend_by_day(cache),
            "bars": _bars({day["day"]: day["cost_micro_usd"] for day in spend_by_day(cache)}),
            "modalities": _named(grouped(by_modality(receipts))),
            "places": None if sources.data is None else _places(cache, receipts, sources.data),
            "data": sources.data,
            "students": [student_cost(folder, receipts) for folder in sources.students],
            "bought_again": _bought_again(cache, receipts),
            "refunds": _refunds(audit, receipts),
        }
    return _render(context)


def _render(context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "usd": dollars,
        "time": iso_time,
        "short": short_fingerprint,
        "number": lambda value: "not on record" if value is None else f"{value:,}",
        "sum_of": _count,
        "decimal": lambda value: "none" if value is None else f"{value:,.1f}",
    }
    style = (_HERE / "style.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.get_template("report.html")
    return template.render(style=style, style_hash=digest, **context)


def _links(receipts: Sequence[NumberedReceipt]) -> dict[str, dict[Any, list[Range]]]:
    """The receipts of each day, run, model, account and idempotency key."""

    def by(names: Sequence[Any]) -> dict[Any, list[Range]]:
        shares = grouped((name, whole(one)) for name, one in zip(names, receipts, strict=True))
        return {name: group.ranges for name, group in shares.items()}

    times = [iso_time(one.receipt.created_ms) or "" for one in receipts]
    return {
        "day": by([time.partition("T")[0] for time in times]),
        "run": by([one.stored.run for one in receipts]),
        "model": by([(one.receipt.model, one.receipt.model_fingerprint) for one in receipts]),
        "account": by([one.stored.account for one in receipts]),
        "key": by([one.receipt.idempotency_key for one in receipts]),
    }


def _count(ranges: Sequence[Range]) -> str:
    number = sum(last - first + 1 for first, last in ranges)
    return "1 receipt" if number == 1 else f"{number:,} receipts"


def _bars(costs: Mapping[str, int]) -> list[Bar]:
    """A bar for every day from the first to the last, or only for those with a purchase."""
    days = list(costs)
    try:
        first, last = (date.fromisoformat(day) for day in (min(days), max(days)))
        if (last - first).days < _MOST_DAYS:
            days = [str(first + timedelta(n)) for n in range((last - first).days + 1)]
    except ValueError:  # no purchases, or a time that is no date
        pass
    highest = max(costs.values(), default=0) or 1
    return [
        Bar(day=day, cost_micro_usd=costs.get(day, 0), height=100 * costs.get(day, 0) / highest)
        for day in days
    ]


def _named(groups: Mapping[Any, Group[Any]]) -> list[tuple[str, Group[Any]]]:
    return [(_KINDS[kind], groups[kind]) for kind in _KINDS if kind in groups]


def _places(
    cache: CacheReader, receipts: Sequence[NumberedReceipt], data: Path
) -> dict[str, list[Group[Any]]]:
    """The groups of domains and of classes: real names first, then why there is none."""
    shares = by_place(cache, receipts, data)
    domains = grouped((domain, share) for domain, _, share in shares)
    classes = grouped((class_name, share) for _, class_name, share in shares)
    return {
        "domain": sorted(domains.values(), key=lambda group: group.name),
        "class": sorted(classes.values(), key=lambda group: group.name),
    }


def _bought_again(cache: CacheReader, receipts: Sequence[NumberedReceipt]) -> list[Range]:
    """The receipts of embeddings that another request had already bought."""
    requests = {(row.request_id, row.created_ms) for row in cache.rows_bought_again()}
    return ranges_of(
        one.number
        for one in receipts
        if (one.receipt.request_id, one.receipt.created_ms) in requests
    )


def _refunds(audit: Audit | None, receipts: Sequence[NumberedReceipt]) -> dict[str, Any]:
    """The receipts of the audited key by request id, and what the vendor gave back of each."""
    if audit is None:
        return {"numbers": {}, "micro_usd": {}}
    numbers = {
        one.receipt.request_id: one.number
        for one in receipts
        if key_id_of(one.stored.account) == key_id_of(audit.account)
    }
    given_back: Counter[int] = Counter()
    for credit in audit.credits:
        if credit.corrects in numbers:
            given_back[numbers[credit.corrects]] += credit.cost_micro_usd
    return {"numbers": numbers, "micro_usd": given_back}
