"""The reports as tables and lines for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cache.audit.audit import Audit
from cache.integrity.repair import Repair
from cache.integrity.verify import Verification
from cache.maintenance.merge import Merged
from cache.records.money import dollars
from cache.reports.spend import short_fingerprint
from cache.reports.spend_schema import DaySpend, OpenPurchase, SpendSummary, WrittenOff
from cache.reports.vendor_usage import usage_text
from cache.standard_output import discard_output

_TOTALS = ("images", "texts", "units", "cost_micro_usd", "cost_usd")
_NUMBERS = frozenset((*_TOTALS, "planned", "already_paid", "saved_micro_usd", "items", "receipts"))
_SIDES = ("_in_a", "_in_b", "difference_micro_usd")
_TITLES = {
    "model_fingerprint": "fingerprint",
    "units": "queries",
    "cost_micro_usd": "micro-USD",
    "cost_usd": "USD",
    "already_paid": "already paid",
    "saved_micro_usd": "saved, micro-USD",
    "first_purchase": "first purchase",
    "last_purchase": "last purchase",
    "idempotency_key": "idempotency key",
    "units_in_a": "queries in A",
    "units_in_b": "queries in B",
    "cost_micro_usd_in_a": "micro-USD in A",
    "cost_micro_usd_in_b": "micro-USD in B",
    "difference_micro_usd": "difference",
}
_ONLY_AN_AUDIT = (
    "A purchase erased from the cache and from receipts.jsonl alike leaves no trace here: only"
    " cache-report audit finds it."
)
_PIPE_WIDTH = 200
_KEY_CHARACTERS = 16


class _PipedConsole(Console):
    """A console that prints nothing more once the reader of its pipe, such as `head`, is gone.

    rich would end the program: here its work goes on, and its exit code says how it went.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_output()


def console() -> Console:
    """Return standard output; wide if it is not a terminal, so that no column is cut off."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return _PipedConsole(file=sys.stdout, width=width, highlight=False, markup=False)


def show_summary(out: Console, summary: SpendSummary) -> None:
    """Print what was bought, by model and by run, and what is not settled."""
    dated = ("first_purchase", "last_purchase")
    models = [
        {**one, "model_fingerprint": short_fingerprint(one["model_fingerprint"])}
        for one in summary["models"]
    ]
    show_table(out, "Paid, by model", ("model", "model_fingerprint", *_TOTALS, *dated), models)
    show_table(
        out,
        "Runs",
        ("run", "started", "planned", "already_paid", *_TOTALS[2:], "saved_micro_usd"),
        summary["runs"],
    )
    if summary["open_intents"]:
        columns = ("idempotency_key", "run", "items", "units", "created")
        title = "Open purchases: sent or about to be, not settled"
        show_table(out, title, columns, map(_with_short_key, summary["open_intents"]))
    if summary["lost"]:
        columns = ("idempotency_key", "run", "items", "units", "detail")
        title = "Written off: counted as spent, no answer"
        show_table(out, title, columns, map(_with_short_key, summary["lost"]))
    if in_doubt := summary.get("in_doubt_units"):
        out.print(
            f"{in_doubt} of the queries written off went to a vendor that knows"
            " no purchases: what was bought again of them may have been paid twice."
        )
    if said := summary.get("vendor_usage"):
        rows = [{**one, "usage": usage_text(one["usage"])} for one in said]
        title = "Counted here, and said by vendors that issue no receipts (prices are your own)"
        counted = ("model", "wire", "receipts", "images", "texts", "cost_micro_usd", "usage")
        show_table(out, title, counted, rows)
    if summary["refused"]:
        columns = ("modality", "item", "view", "code", "detail")
        show_table(out, "Refused by the vendor, free of charge", columns, summary["refused"])
    total = summary["total"]
    out.print(
        f"{total['units']} queries paid in {total['receipts']} requests: {total['cost_micro_usd']}"
        f" micro-USD ({total['cost_usd']} USD). Open: {summary['in_flight_units']}"
        f" queries in {len(summary['open_intents'])} purchases."
        f" Bought twice: {summary['bought_twice']}."
    )


def show_days(out: Console, days: Sequence[DaySpend]) -> None:
    """Print what was bought on each day."""
    show_table(out, "Paid, by day (UTC)", ("day", "receipts", *_TOTALS), days)


def show_verification(out: Console, result: Verification) -> None:
    """Print every problem, then what was checked."""
    for problem in result.problems:
        out.print(f"{problem.name}: {problem.detail}", soft_wrap=True)
    if result.receipts_without_copy:
        out.print(
            f"{result.receipts_without_copy} receipts have no second copy in receipts.jsonl:"
            " --repair adds it."
        )
    if result.receipts_without_digest:
        out.print(
            f"{result.receipts_without_digest} receipts are without a digest: they are from before"
            " receipts committed to the embeddings, so a changed embedding of theirs is found only"
            " by its checksum."
        )
    if result.write_offs:
        out.print(f"{result.write_offs} purchases are written off.")
    out.print(_ONLY_AN_AUDIT)
    state = "sound" if result.is_sound else f"NOT SOUND, {len(result.problems)} problems"
    out.print(f"{result.rows} embeddings and {result.receipts} receipts checked: {state}.")


def show_repair(out: Console, result: Repair) -> None:
    """Print what was moved to quarantine and restored, what is still missing, and the state."""
    for moved in result.moved:
        out.print(f"moved to quarantine: {moved.name}: {moved.detail}", soft_wrap=True)
    for path in result.quarantine:
        out.print(f"kept in {path}", soft_wrap=True)
    for restored in result.restored:
        out.print(f"restored: {restored.name}: {restored.detail}", soft_wrap=True)
    if result.copies_written:
        out.print(f"{result.copies_written} receipts copied to receipts.jsonl.")
    if not result.changed:
        out.print("Nothing to repair.")
    for shortage in result.shortages:
        free = "The client's next run fetches them again, free of charge; or buy"
        remedy = free if shortage.is_replayable else "Buy"
        out.print(
            f"purchase {shortage.idempotency_key} (request {shortage.request_id}):"
            f" {shortage.queries} paid embeddings are missing. {remedy} them again for"
            f" {_usd(shortage.rebuy_micro_usd)}.",
            soft_wrap=True,
        )
    show_verification(out, result.verification)


def show_merge(out: Console, result: Merged) -> None:
    """Print the counts of what was added."""
    out.print(
        f"added: {result.receipts} receipts ({result.units} queries,"
        f" {_usd(result.cost_micro_usd)}), {result.rows} embeddings, {result.intents} open"
        f" purchases, {result.write_offs} write-offs, {result.refusals} refusals,"
        f" {result.runs} runs, {result.copies} lines of receipts.jsonl;"
        f" {result.intents_ended} open purchases settled."
    )


def show_audit(out: Console, result: Audit) -> None:
    """Print every difference, then the sums of both sides."""
    for account, count in result.not_audited.items():
        out.print(f"not audited: {count} receipts of {account}", soft_wrap=True)
    for account, count in result.bought_elsewhere.items():
        out.print(f"bought at another address of this key: {count}, {account}", soft_wrap=True)
    for credit in result.credits:
        out.print(
            f"{credit.line}: the vendor gave back {credit.units} queries and"
            f" {_usd(credit.cost_micro_usd)} of request {credit.corrects}",
            soft_wrap=True,
        )
    for write_off in result.write_offs:
        out.print(f"written off: {write_off.line}: {write_off.detail}", soft_wrap=True)
    for missing in result.missing_rows:
        out.print(f"missing rows: {missing.line}: {missing.detail}", soft_wrap=True)
    for difference in result.differences:
        out.print(f"{difference.line}: {difference.detail}", soft_wrap=True)
    out.print(
        f"vendor: {result.ledger_charges} charges in {result.ledger_lines} entries,"
        f" {result.ledger_units} queries, {_usd(result.ledger_cost_micro_usd)}"
    )
    out.print(
        f"cache:  {result.receipts} receipts,"
        f" {result.receipt_units} queries, {_usd(result.receipt_cost_micro_usd)}"
    )
    if result.receipts_without_digest:
        out.print(
            f"{result.receipts_without_digest} receipts are without a digest: the vendor has not"
            " committed to their embeddings."
        )
    state = "balanced" if result.is_balanced else f"NOT BALANCED, {len(result.differences)} differ"
    out.print(f"{result.account}: {state}", soft_wrap=True)


def _usd(micro_usd: int) -> str:
    return f"{dollars(micro_usd, plain=True)} USD"


def _with_short_key(purchase: OpenPurchase | WrittenOff) -> Mapping[str, object]:
    return {**purchase, "idempotency_key": f"{purchase['idempotency_key'][:_KEY_CHARACTERS]}…"}


def show_table(
    out: Console, title: str, columns: Sequence[str], records: Iterable[Mapping[str, object]]
) -> None:
    """Print records as a table of these columns, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_number = column in _NUMBERS or column.endswith(_SIDES)
        table.add_column(_TITLES.get(column, column), justify="right" if is_number else "left")
    for record in records:
        values = (record.get(column) for column in columns)
        table.add_row(*(Text("" if value is None else str(value)) for value in values))
    out.print(table)
