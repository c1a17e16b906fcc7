"""A vendor's invoice or usage export, read from a CSV file."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from cache.errors import AuditImpossible
from cache.records.money import MICRO_USD

Place = tuple[str, str]
"""A day (ISO, UTC) and a model; "" for what the file does not say."""

DATE: Final = ("date", "day", "usage_date", "timestamp", "time", "start_time")
MODEL: Final = ("model", "model_name", "model_id")
# Other spellings of what receipts count. Any other name is looked for in the vendor's usage.
_SPELT: Final = {
    "image": "images",
    "text": "texts",
    "request": "requests",
    "n_requests": "requests",
    "num_requests": "requests",
    "num_model_requests": "requests",
    "calls": "requests",
    "units": "queries",
    "tokens": "total_tokens",
    "pixels": "image_pixels",
    "cost_micro_usd": "micro_usd",
}
_DOLLARS: Final = frozenset({"usd", "cost", "amount", "cost_usd", "amount_usd", "total_usd"})
_US_DATE: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")


@dataclass(slots=True)
class Invoice:
    """What the file says: a sum for each place and column, in whole numbers or micro-USD.

    `rounding` is how far its micro-USD may be off, because dollars are written with few digits.
    `ignored` are columns with other than numbers.
    """

    columns: tuple[str, ...]
    has_days: bool
    has_models: bool
    figures: dict[Place, dict[str, Decimal]] = field(default_factory=dict)
    rounding: dict[Place, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    ignored: tuple[str, ...] = ()


def read_invoice(path: Path) -> Invoice:
    """Read the file. Raises AuditImpossible, naming the line, if it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        raise AuditImpossible(message) from error
    sample = text.partition("\n")[0]
    delimiter = max(",;\t", key=sample.count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    names = {spelt: _name(spelt) for row in rows[:1] for spelt in row if spelt is not None}
    day = next((spelt for spelt, name in names.items() if name in DATE), None)
    model = next((spelt for spelt, name in names.items() if name in MODEL), None)
    others = {spelt: name for spelt, name in names.items() if spelt not in (day, model)}
    counted = {spelt: name for spelt, name in others.items() if _is_numeric(rows, spelt)}
    if not counted:
        message = (
            f"{path} has no line or no column of numbers: it needs a line of names, such as"
            " date,model,images,texts,total_tokens,micro_usd"
        )
        raise AuditImpossible(message)
    invoice = Invoice(
        columns=tuple(dict.fromkeys(map(_quantity, counted.values()))),
        has_days=day is not None,
        has_models=model is not None,
        ignored=tuple(spelt for spelt in others if spelt not in counted),
    )
    for line, row in enumerate(rows, start=2):
        place = (
            _day(row[day] or "", path, line) if day else "",
            (row[model] or "").strip() if model else "",
        )
        _add(invoice, place, {name: row[spelt] or "" for spelt, name in counted.items()})
    return invoice


def _add(invoice: Invoice, place: Place, cells: Mapping[str, str]) -> None:
    sums = invoice.figures.setdefault(place, {name: Decimal() for name in invoice.columns})
    for name, cell in cells.items():
        value = _number(cell) or Decimal()
        if name in _DOLLARS:
            digits = -int(value.as_tuple().exponent)
            invoice.rounding[place] += MICRO_USD * Decimal(10) ** -digits / 2
            value *= MICRO_USD
        sums[_quantity(name)] += value


def _name(spelt: str) -> str:
    plain = re.sub(r"[^a-z0-9.]+", "_", spelt.lower()).strip("_")
    return _SPELT.get(plain, plain)


def _quantity(name: str) -> str:
    return "micro_usd" if name in _DOLLARS else name


def _is_numeric(rows: Iterable[Mapping[str, str | None]], spelt: str) -> bool:
    cells = [row[spelt] or "" for row in rows]
    return any(cells) and all(not cell.strip() or _number(cell) is not None for cell in cells)


def _number(cell: str) -> Decimal | None:
    try:
        value = Decimal(cell.strip().lstrip("$").replace(",", ""))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _day(cell: str, path: Path, line: int) -> str:
    text = cell.strip()
    if american := _US_DATE.match(text):
        month, day, year = map(int, american.groups())
        text = f"{year:04}-{month:02}-{day:02}"
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError as error:
        message = f"{path}, line {line}: {cell!r} is not a day such as 2026-11-29"
        raise AuditImpossible(message) from error
