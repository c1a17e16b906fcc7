"""How a PostgreSQL ledger sells and forgets as it grows, and what partitions would change.

    python -m benchmarks.ledger_growth [--sales N …] [--answers N] [--seconds S] [--out FILE]

One server with `fsync` on is given synthetic sales. At each size, two writers make purchases as in
`benchmarks.writers`, and the entries are copied into a table for each month, to compare. Afterwards
old answers are deleted while the writers sell. The page docs/guides/postgresql.md gets its tables
from the result.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import Engine, text

from benchmarks.ledger_growth.layouts import INSERTS, compared, size
from benchmarks.ledger_growth.synthetic_rows import add_old_answers, add_sales
from benchmarks.support.databases import open_ledger
from benchmarks.support.measured_page import described, page_parser, write_measured
from benchmarks.support.postgresql import running
from benchmarks.writers import new_key, race
from teacher_server.ledger.ledger import Ledger
from tools.provenance import ROOT

PROGRAM: Final = "benchmarks.ledger_growth"
MARK: Final = "growth"
RESULT: Final = ROOT / "docs/results/ledger-growth.json"
PAGE: Final = ROOT / "docs/guides/postgresql.md"
_ANSWER_BYTES: Final = 4096  # of one image with an embedding of 512 numbers, and its receipt
_OLD_MS: Final = 10**12  # in 2001; the sales of the measurement are later
_MB: Final = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the result and the page."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = page_parser(PROGRAM, __doc__, result=RESULT, page=PAGE)
    add = parser.add_argument
    add("--sales", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rising numbers")
    add("--answers", type=int, default=400_000, help="old answers to delete")
    add("--seconds", type=float, default=10.0, help="of each race of the writers")
    options = parser.parse_args(given)
    result = described(PROGRAM, given, options.note)
    result |= measured(options.sales, options.answers, options.seconds)
    write_measured(options, result, MARK, tables(result))
    return 0


def measured(
    sales: Sequence[int], num_answers: int, seconds: float, *, inserts: int = INSERTS
) -> dict[str, Any]:
    """The figures at each number of sales, and of deleting answers at the last of them."""
    pepper = {"pepper": secrets.token_hex(32)}
    with running(fsync=True) as server:
        dsn = server.database()
        with open_ledger(dsn, pepper) as (engine, ledger):
            sizes = [_at_size(engine, ledger, dsn, pepper, 0, seconds)]
            before = 0
            for number in sales:
                add_sales(engine, before + 1, number)
                before = number
                row = _at_size(engine, ledger, dsn, pepper, number, seconds)
                sizes.append(row | {"layouts": compared(engine, new_key(ledger), inserts)})
            add_old_answers(engine, num_answers, _ANSWER_BYTES)
            deleting = _deleting(ledger, dsn, pepper, seconds)
            with engine.connect() as connection:
                settings = {
                    name: connection.scalar(text(f"SHOW {name}"))
                    for name in ("server_version", "fsync", "shared_buffers")
                }
    return {"postgresql": settings, "sizes": sizes, "deleting": deleting}


def _at_size(
    engine: Engine, ledger: Ledger, dsn: str, pepper: dict[str, Any], sales: int, seconds: float
) -> dict[str, Any]:
    with engine.connect() as connection:
        bytes_of = {
            table: dict(zip(("table", "indexes"), size(connection, table), strict=True))
            for table in ("ledger_entries", "requests")
        }
    return {"sales": sales, "bytes": bytes_of, **_race(ledger, dsn, pepper, seconds)}


def _race(ledger: Ledger, dsn: str, pepper: dict[str, Any], seconds: float) -> dict[str, Any]:
    return race(dsn, pepper, [new_key(ledger) for _ in range(2)], seconds)


def _deleting(ledger: Ledger, dsn: str, pepper: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Two writers alone, and again while the answers from before them are deleted."""
    alone = _race(ledger, dsn, pepper, seconds)
    with ThreadPoolExecutor(1) as pool:
        purge = pool.submit(_purge, ledger)
        meanwhile = _race(ledger, dsn, pepper, seconds)
        is_over_too_soon = purge.done()
        deleted = purge.result()
    return {
        "alone": alone,
        "meanwhile": meanwhile,
        "is_over_too_soon": is_over_too_soon,
        "answer_bytes": _ANSWER_BYTES,
        **deleted,
    }


def _purge(ledger: Ledger) -> dict[str, Any]:
    started = time.monotonic()
    slowest, answers, last = 0.0, 0, started
    for deleted in ledger.records.purge_in_batches(_OLD_MS):
        now = time.monotonic()
        answers, slowest, last = answers + deleted, max(slowest, now - last), now
    return {
        "answers": answers,
        "seconds": round(time.monotonic() - started, 3),
        "slowest_batch_ms": round(slowest * 1000),
    }


def tables(result: Mapping[str, Any] | None) -> str:
    """What was measured, in Markdown; None is no result yet."""
    if result is None:
        return "Not measured yet: the command writes its tables here.\n"
    lines = [
        "| Sales | Purchases/s, 2 writers | Entries: rows, MB | Entries: indexes, MB "
        "| Requests: rows, MB | Requests: indexes, MB |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["sizes"]:
        sizes = [
            f"{row['bytes'][table][part] / _MB:,.0f}"
            for table in ("ledger_entries", "requests")
            for part in ("table", "indexes")
        ]
        lines.append(f"| {row['sales']:,} | {_rate(row):,.0f} | {' | '.join(sizes)} |")
    lines += [
        "",
        "| Entries | Layout | Rows, MB | Indexes, MB | One more entry, µs | A page of 1,000, ms |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['sales']:,} | {made['layout']} | {made['table_bytes'] / _MB:,.0f} "
        f"| {made['index_bytes'] / _MB:,.0f} | {made['insert_us']:,.0f} | {made['page_ms']:,.1f} |"
        for row in result["sizes"]
        for made in row.get("layouts", ())
    ]
    gone = result["deleting"]
    lines += [
        "",
        "| | Purchases/s, 2 writers | Slowest purchase, ms |",
        "|---|--:|--:|",
        *(
            f"| {title} | {_rate(gone[name]):,.0f} | {gone[name]['slowest_ms']:,} |"
            for title, name in (
                ("nothing is deleted", "alone"),
                ("answers are deleted", "meanwhile"),
            )
        ),
        "",
        f"{gone['answers']:,} answers of {gone['answer_bytes']:,} bytes were deleted in "
        f"{gone['seconds']:,.0f} seconds, {gone['answers'] / gone['seconds']:,.0f} a second."
        f"{_note(result)} PostgreSQL {result['postgresql']['server_version']}, fsync "
        f"{result['postgresql']['fsync']}, shared_buffers "
        f"{result['postgresql']['shared_buffers']}, on {result['machine']}. "
        f"`{result['command']}` at {result['commit'][:12]}.",
    ]
    return "\n".join(lines) + "\n"


def _rate(row: Mapping[str, Any]) -> float:
    return float(row["requests"] / row["seconds"])


def _note(result: Mapping[str, Any]) -> str:
    return f" {result['note']}" if result["note"] else ""


if __name__ == "__main__":
    raise SystemExit(main())
