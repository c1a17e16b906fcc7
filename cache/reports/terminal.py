"""The reports as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cache.audit.audit import Audit
from cache.integrity.repair import Repair
from cache.integrity.verify import Verification
from cache.maintenance.merge import Merged
from cache.reports.spend import usd

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
        title = "Open purchases: sent or about to be, not settled"
        _show(out, title, columns, _shortened(summary["open_intents"]))
    if summary["lost"]:
        columns = ("idempotency_key", "run", "items", "units", "detail")
        _show(out, "Lost: counted as spent, no answer", columns, _shortened(summary["lost"]))
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
    if result.receipts_without_copy:
        out.print(
            f"{result.receipts_without_copy} receipts have no second copy: --repair makes it."
        )
    if result.losses:
        out.print(f"{result.losses} answers are on record as lost.")
    state = "sound" if result.is_sound else f"NOT SOUND, {len(result.problems)} problems"
    out.print(f"{result.rows} embeddings and {result.receipts} receipts checked: {state}.")


def show_repair(out: Console, result: Repair) -> None:
    """What was moved aside and written anew, what is still missing, and how the cache is now."""
    for moved in result.moved:
        out.print(f"moved aside: {moved.name}: {moved.detail}", soft_wrap=True)
    for place in result.quarantine:
        out.print(f"kept in {place}", soft_wrap=True)
    for restored in result.restored:
        out.print(f"written anew: {restored.name}: {restored.detail}", soft_wrap=True)
    if result.copies_written:
        out.print(f"{result.copies_written} receipts copied to receipts.jsonl.")
    if not result.changed:
        out.print("Nothing to repair.")
    for short in result.shortages:
        free = "free of charge by the client's next run, or" if short.is_replayable else "only by"
        out.print(
            f"purchase {short.idempotency_key} (request {short.request_id}): {short.queries} paid"
            f" queries are missing; they come back {free} buying them again for"
            f" {usd(short.rebuy_micro_usd)} USD",
            soft_wrap=True,
        )
    show_verification(out, result.verification)


def show_merge(out: Console, result: Merged) -> None:
    """What was added."""
    out.print(
        f"added: {result.receipts} receipts ({result.units} queries,"
        f" {usd(result.cost_micro_usd)} USD), {result.rows} embeddings, {result.intents} open"
        f" purchases, {result.losses} losses, {result.refusals} refusals, {result.runs} runs,"
        f" {result.copies} lines of receipts.jsonl; {result.intents_ended} open purchases ended."
    )


def show_audit(out: Console, result: Audit) -> None:
    """Both sides' sums and every line on which they differ."""
    for account, count in result.not_audited.items():
        out.print(f"not audited here: {count} receipts of {account}", soft_wrap=True)
    for account, count in result.bought_elsewhere.items():
        out.print(f"bought at another address of this key: {count}, {account}", soft_wrap=True)
    for credit in result.credits:
        out.print(
            f"{credit.line}: the vendor gave back {credit.units} queries and"
            f" {usd(credit.cost_micro_usd)} USD of request {credit.corrects}",
            soft_wrap=True,
        )
    for lost in result.lost:
        out.print(f"lost: {lost.line}: {lost.detail}", soft_wrap=True)
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


def _shortened(purchases: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for purchase in purchases:
        yield {**purchase, "idempotency_key": f"{purchase['idempotency_key'][:16]}…"}


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
