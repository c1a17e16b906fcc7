"""A reconciliation with an invoice, for a terminal and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from cache.audit.reconcile import Comparison, Reconciliation


def show_reconciliation(out: Console, result: Reconciliation) -> None:
    """Print each figure that differs or is in doubt, then what was compared."""
    for one in result.comparisons:
        if not one.agrees or one.in_doubt:
            out.print(_line(one), soft_wrap=True)
    if result.ignored:
        out.print(f"Not compared, because they are no numbers: {', '.join(result.ignored)}.")
    if result.not_compared:
        out.print(
            f"{result.not_compared} receipts are of other days or accounts and were not compared."
        )
    differ = len(result.differences)
    out.print(
        f"{len(result.comparisons)} figures of {result.receipts} receipts and {result.doubts}"
        f" purchases written off compared: {f'{differ} DIFFER' if differ else 'all agree'}."
    )


def reconciliation_json(result: Reconciliation) -> dict[str, Any]:
    """Return the outcome as JSON values; figures are numbers, money is in micro-USD."""
    return {
        "agrees": not result.differences,
        "receipts": result.receipts,
        "receipts_not_compared": result.not_compared,
        "purchases_written_off": result.doubts,
        "columns_ignored": list(result.ignored),
        "figures": [
            {
                "day": one.day or None,
                "model": one.model or None,
                "quantity": one.quantity,
                "counted": float(one.counted),
                "in_doubt": float(one.in_doubt),
                "invoiced": float(one.invoiced),
                "agrees": one.agrees,
            }
            for one in result.comparisons
        ],
    }


def _line(one: Comparison) -> str:
    where = " ".join(part for part in (one.day, one.model) if part)
    doubt = f", {one.in_doubt:f} more in doubt" if one.in_doubt else ""
    verdict = "agrees" if one.agrees else f"DIFFERS by {one.invoiced - one.counted:+f}"
    return (
        f"{f'{where}: ' if where else ''}{one.quantity}: {one.counted:f} counted here{doubt},"
        f" {one.invoiced:f} invoiced: {verdict}"
    )
