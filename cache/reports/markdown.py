"""The spend as a section of Markdown, for other reports to embed."""

from __future__ import annotations

from cache.records.money import dollars
from cache.reports.spend import spend_summary
from cache.storage.reader import CacheReader


def markdown_report(cache: CacheReader) -> str:
    """Return the spend as Markdown: totals, a table of models, a table of runs, and the rest."""
    summary = spend_summary(cache)
    total = summary["total"]
    lines = [
        f"**{total['units']} queries paid** ({total['images']} images, {total['texts']} texts) in"
        f" {total['receipts']} requests, {total['cost_usd']} USD;"
        f" {summary['in_flight_units']} queries in open purchases.",
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
        saved = dollars(run["saved_micro_usd"], plain=True)
        lines.append(
            f"| {_cell(run['run'])} | {run['started'] or ''} | {_number(run['planned'])} |"
            f" {_number(run['already_paid'])} | {run['units']} | {run['cost_usd']} | {saved} |"
        )
    lines += [
        "",
        f"Open purchases: {len(summary['open_intents'])}. Refused by the vendor, free of charge:"
        f" {len(summary['refused'])}. Bought twice: {summary['bought_twice']}."
        f" Written off: {len(summary['lost'])}."
        f" Receipts digest: `{summary['receipts_digest']}`.",
        "",
    ]
    return "\n".join(lines)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
