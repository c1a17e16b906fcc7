"""The reports as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cache.audit import Audit
from cache.report import usd
from cache.verify import Verification

_BILL = ("images", "texts", "units", "cost_micro_usd", "cost_usd")
_NUMBERS = frozenset((*_BILL, "planned", "already_paid", "saved_micro_usd", "items", "receipts"))
_TITLES = {
    "units": "queries",
    "cost_micro_usd": "micro-USD",
    "cost_usd": "USD",
    "already_paid": "already paid",
    "saved_micro_usd": "saved, micro-USD",
    "first_purchase": "first purchase",
    "last_purchase": "last purchase",
    "idempotency_key": "idempotency key",
}


def console() -> Console:
    """Standard output; wide where nobody watches, so that a pipe loses no column."""
    return Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, markup=False
    )


def show_summary(out: Console, summary: dict[str, Any]) -> None:
    """What was bought, of which model and for which run."""
    dated = ("first_purchase", "last_purchase")
    _show(out, "Paid, by model", ("model", *_BILL, *dated), summary["models"])
    _show(
        out,
        "Runs",
        ("run", "started", "planned", "already_paid", *_BILL[2:], "saved_micro_usd"),
        summary["runs"],
    )
    if summary["open_intents"]:
        columns = ("idempotency_key", "run", "items", "units", "created")
        _show(out, "Open purchases: sent or about to be, not settled", columns, _open(summary))
    if summary["refused"]:
        columns = ("modality", "item", "view", "code", "detail")
        _show(out, "Refused by the vendor, free of charge", columns, summary["refused"])
    total = summary["total"]
    out.print(
        f"{total['units']} queries paid in {total['receipts']} requests: {total['cost_micro_usd']}"
        f" micro-USD ({total['cost_usd']} USD). In flight: {summary['in_flight_units']}."
        f" Bought twice: {summary['bought_twice']}."
    )


def show_days(out: Console, days: list[dict[str, Any]]) -> None:
    """What was bought on each day."""
    _show(out, "Paid, by day (UTC)", ("day", "receipts", *_BILL), days)


def show_verification(out: Console, result: Verification) -> None:
    """What was checked, and everything that is wrong."""
    for problem in result.problems:
        out.print(f"{problem.name}: {problem.detail}", soft_wrap=True)
    state = "sound" if result.is_sound else f"NOT SOUND, {len(result.problems)} problems"
    out.print(f"{result.rows} embeddings and {result.receipts} receipts checked: {state}.")


def show_audit(out: Console, result: Audit) -> None:
    """Both sides' sums and every line on which they differ."""
    for account, count in result.not_audited.items():
        out.print(f"not audited here: {count} receipts of {account}", soft_wrap=True)
    for account, count in result.bought_elsewhere.items():
        out.print(f"bought at another address of this key: {count}, {account}", soft_wrap=True)
    for difference in result.differences:
        out.print(f"{difference.line}: {difference.detail}", soft_wrap=True)
    out.print(
        f"vendor: {result.ledger_charges} charges in {result.ledger_lines} lines,"
        f" {result.ledger_units} queries, {usd(result.ledger_cost_micro_usd)} USD"
    )
    out.print(
        f"cache:  {result.receipts} receipts,"
        f" {result.receipt_units} queries, {usd(result.receipt_cost_micro_usd)} USD"
    )
    state = "balanced" if result.is_balanced else f"NOT BALANCED, {len(result.differences)} differ"
    out.print(f"{result.account}: {state}", soft_wrap=True)


def _open(summary: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for intent in summary["open_intents"]:
        yield {**intent, "idempotency_key": f"{intent['idempotency_key'][:16]}…"}


def _show(
    out: Console, title: str, columns: Sequence[str], records: Iterable[dict[str, Any]]
) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_number = column in _NUMBERS
        table.add_column(_TITLES.get(column, column), justify="right" if is_number else "left")
    for record in records:
        values = (record.get(column) for column in columns)
        table.add_row(*(Text("" if value is None else str(value)) for value in values))
    out.print(table)
