"""Write docs/reliability.md from the JSON results of the benchmarks.

    python -m benchmarks.reliability

Every figure on the page comes from docs/results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs/results", ROOT / "docs/reliability.md"
Result = Mapping[str, Any]

_HEAD = """\
# Reliability in figures

<!-- Written by `python -m benchmarks.reliability` from docs/results/*.json; do not edit. -->

Below each table is the command that measured it and the commit it ran at. A `+` after the commit
means that the working tree had uncommitted changes. Run the command again to repeat a measurement,
then `python -m benchmarks.reliability` to write this page.

Commands appear as they were run. The programs have moved since: `tests.chaos.run` is now
`benchmarks.chaos.run`, `tests.attacks.image_corpus` is `benchmarks.fuzz.image_corpus`, and
`tests.attacks.fuzz` is `benchmarks.fuzz.api_fuzz`.
"""
_CHAOS = """\
Real vendors and real clients with real caches run as processes of their own. A TCP proxy between
them injects network faults. Processes are killed with `kill -9`, at random moments and at named
points in wrappers around the product's objects. The clients want more queries than the budgets can
pay for. Three caches buy with two keys: two caches are limited by their key's budget at the vendor,
the third by its client's `--budget`. Two of the caches are shared by two clients each. On Ray
Serve, replicas of the API and of the model are killed, at least one of each in the middle of a
batch.

Afterwards a separate checker replays the vendor's ledger as a vendor would that serves one request
at a time. It compares the ledger with the history of every client, with every stored answer and
with the caches, vector by vector (tolerance 1e-5 against the encoder run alone). The checker is
itself tested with histories that were altered.
"""
_DOUBTFUL = """\
The same network faults and kills, with a vendor of the other kind: it issues no receipts, knows no
idempotency keys, and charges for every request that it reads. Its book is written before its answer
is sent. Clients buy over `--wire openai`; two caches could pay for everything, the third cannot.
Here nobody can promise that a query is charged once. A checker of its own knows the weaker promise:
never over budget, nothing that was paid and answered is lost, and every doubt is on record.
"""
_OVERSHOOT = """\
{requests:,} concurrent requests of {units_each} queries each share a budget of {cap} queries.
Check-then-add reads what is spent, works for 50 ms and then adds the cost, as a gateway does that
counts after the answer. It is measured on the same database in the same run, to show that the
benchmark detects an overshoot. If other requests hold the remaining budget, a request is retried
until it is sold or refused for good. Over HTTP the model takes no time, so the metering alone is
measured. PostgreSQL runs with `fsync` off, as in the tests; a durable server handles fewer requests
per second.
"""

_IMAGES = """\
{inputs} image files: decompression bombs, truncated files, extreme sizes, every mode and
orientation, broken colour profiles, polyglots, other formats, wrong file names, random damage,
structures that are slow to decode, noise, and invalid base64. Each is either embedded with the
pixels that Pillow decodes, or refused with a 4xx status and not charged. The vendor answers the
next request in both cases.
"""
_FUZZ = """\
schemathesis sends requests to every operation of the OpenAPI document over HTTP, including the
links between operations, and checks each answer: {checks}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page from the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder of JSON results (default: %(default)s)",
    )
    parser.add_argument(
        "--page", type=Path, default=PAGE, help="file to write (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    arguments.page.write_text(render(read_results(arguments.results)), encoding="utf-8")
    return 0


def read_results(folder: Path) -> dict[str, Result]:
    """Read the results by name; those that do not exist are left out."""
    names = (
        *("chaos-sqlite", "chaos-postgresql", "chaos-pgbouncer", "chaos-ray"),
        *("chaos-doubtful", "overshoot"),
        *("api-fuzz", "image-corpus"),
    )
    files = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def render(results: Mapping[str, Result]) -> str:
    """Return the page as Markdown, with a section for each result that exists."""
    sections = [_HEAD]
    chaos = ("chaos-sqlite", "chaos-postgresql", "chaos-pgbouncer", "chaos-ray")
    runs = [results[name] for name in chaos if name in results]
    if runs:
        sections.append("\n".join(_chaos(runs)))
    if "chaos-doubtful" in results:
        sections.append("\n".join(_doubtful(results["chaos-doubtful"])))
    if "overshoot" in results:
        sections.append("\n".join(_overshoot(results["overshoot"])))
    if "image-corpus" in results:
        sections.append("\n".join(_images(results["image-corpus"])))
    if "api-fuzz" in results:
        sections.append("\n".join(_fuzz(results["api-fuzz"])))
    return "\n".join(sections)


def _chaos(runs: Sequence[Result]) -> Iterator[str]:
    yield "## Chaos test: every query is charged once\n"
    yield _CHAOS
    heads = [f"{_database(run)}, {_vendors(run)}" for run in runs]
    yield from _table(["", *heads], _chaos_rows(runs))
    yield "\nNetwork faults and killed processes:\n"
    yield from _table(["fault", *heads], _counters(runs, "faults"))
    yield ""
    yield from _table(["killed", *heads], _counters(runs, "kills"))
    yield ""
    yield from (f"- {_source(run)}" for run in runs)
    yield ""


def _chaos_rows(runs: Sequence[Result]) -> Iterator[list[str]]:
    for title, name in (
        ("queries wanted", "queries_wanted"),
        ("queries that the budgets can pay for", "budget"),
        ("**queries charged**", "charged"),
        ("**queries on the clients' receipts**", "receipts"),
        ("**charged but lost**", "lost"),
        ("**charged twice**", "doubled"),
        ("**over budget**", "overshoot"),
        ("**affordable but not charged**", "unspent"),
        ("**still reserved at the end**", "stuck"),
        ("purchase and recovery requests", "requests"),
        ("answers replayed free of charge", "replayed"),
        ("connections", "connections"),
        ("stored answers read back and compared", "answers_checked"),
        ("vectors compared with the encoder's own", "vectors_checked"),
    ):
        yield [title, *(f"{run[name]:,}" for run in runs)]
    yield ["requests without a complete answer", *(f"{_unanswered(run):,}" for run in runs)]
    yield ["network faults injected", *(f"{sum(run['faults'].values()):,}" for run in runs)]
    yield ["processes killed with -9", *(f"{sum(run['kills'].values()):,}" for run in runs)]
    yield ["vendor processes started", *(f"{_vendors_started(run):,}" for run in runs)]
    yield ["client processes started", *(f"{run['lives']['client']:,}" for run in runs)]
    yield ["faults found by the checker", *(f"{len(run['faults_found']):,}" for run in runs)]
    yield ["seconds", *(f"{run['seconds']:,.0f}" for run in runs)]


def _doubtful(run: Result) -> Iterator[str]:
    yield "## Chaos test: a vendor that knows no purchases\n"
    yield _DOUBTFUL
    named = ", ".join(f"{name} {budget:,}" for name, budget in run["budgets"].items())
    rows = [
        ["queries wanted", f"{run['queries_wanted']:,}"],
        ["budgets, in queries", named],
        ["queries charged", f"{run['charged']:,}"],
        ["queries on the clients' receipts", f"{run['receipts']:,}"],
        ["**over budget**", f"{run['over_budget']:,}"],
        ["**charged, and neither answered nor on record as doubt**", f"{run['lost']:,}"],
        ["queries in doubt, on record", f"{run['in_doubt']:,}"],
        ["of these charged without an answer", f"{run['unanswered']:,}"],
        ["charged more than once for an item", f"{run['paid_twice']:,}"],
        ["items not bought, the budget being spent", f"{run['missing']:,}"],
        ["network faults injected", f"{sum(run['faults'].values()):,}"],
        ["processes killed with -9", f"{sum(run['kills'].values()):,}"],
        ["faults found by the checker", f"{len(run['faults_found']):,}"],
        ["seconds", f"{run['seconds']:,.0f}"],
    ]
    yield from _table(["", "one vendor"], rows)
    yield ""
    yield f"- {_source(run)}"
    yield ""


def _database(run: Result) -> str:
    pooler = run.get("pooler")  # not in results from before there was one
    return f"{run['database']} behind {pooler}" if pooler else str(run["database"])


def _vendors(run: Result) -> str:
    if run.get("serve_with") == "ray":  # not in results from before there was a choice
        return f"Ray Serve, {_count(run['vendors'], 'replica')} of API and of model"
    return _count(run["vendors"], "vendor")


def _vendors_started(run: Result) -> int:
    return sum(run["lives"].get(role, 0) for role in ("vendor", "api", "encoder"))


def _unanswered(run: Result) -> int:
    return sum(n for outcome, n in run["outcomes"].items() if outcome.endswith(" unheard"))


def _counters(runs: Sequence[Result], field: str) -> Iterator[list[str]]:
    for kind in sorted({kind for run in runs for kind in run[field]}):
        yield [kind, *(f"{run[field].get(kind, 0):,}" for run in runs)]


def _overshoot(result: Result) -> Iterator[str]:
    yield "## A thousand requests for a small budget\n"
    yield _OVERSHOOT.format_map(result)
    yield from _table(
        ["meter", "database", f"queries sold, of {result['cap']}", "overshoot", "requests/s"],
        (
            [
                row["meter"],
                row["database"],
                f"{row['spent']:,}",
                f"{row['overshoot']:,}",
                f"{row['requests_per_second']:,}",
            ]
            for row in result["rows"]
        ),
    )
    yield f"\n{result['machine']}. {_source(result)}\n"


def _images(result: Result) -> Iterator[str]:
    yield "## Hostile images\n"
    yield _IMAGES.format_map(result)
    yield from _table(["group", "images"], _counts(result["groups"]))
    yield ""
    outcomes = [["embedded", f"{result['embedded']:,}"]]
    outcomes += [[f"refused: `{code}`", n] for code, n in _counts(result["refused"])]
    outcomes += [
        ["queries charged for refused images", f"{result['charged_when_refused']:,}"],
        ["answers with status 500 or above", f"{result['server_errors']:,}"],
        ["unexpected outcomes", f"{len(result['not_as_foreseen']):,}"],
        ["ledger faults afterwards", f"{len(result['faults_in_the_books']):,}"],
    ]
    yield from _table(["outcome", "images"], outcomes)
    yield f"\n{_source(result)}\n"


def _fuzz(result: Result) -> Iterator[str]:
    yield "## API fuzzing\n"
    yield _FUZZ.format(checks=", ".join(f"`{name}`" for name in sorted(result["checks"])))
    statuses = sorted({status for of_phase in result["answers"].values() for status in of_phase})
    yield from _table(
        ["phase", *statuses],
        (
            [phase, *(f"{of_phase.get(status, 0):,}" for status in statuses)]
            for phase, of_phase in result["answers"].items()
        ),
    )
    yield (
        f"\n{result['requests']:,} requests, {len(result['failures'])} failures. Queries charged: "
        f"{result['units_on_receipts']} by the receipts, {result['units_on_the_books']} by the "
        f"ledger, with {len(result['faults_in_the_books'])} ledger faults. schemathesis "
        f"{result['schemathesis']}.\n\n{_source(result)}\n"
    )


def _counts(counted: Mapping[str, int]) -> list[list[str]]:
    return [[kind, f"{number:,}"] for kind, number in sorted(counted.items())]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(heads: Sequence[str], rows: Iterator[list[str]] | Sequence[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|---{'|--:' * (len(heads) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _source(result: Result) -> str:
    return f"`{result['command']}` at {result['commit'][:12]}{_plus(result)}."


def _plus(result: Result) -> str:
    return "+" if result["commit"].endswith("+") else ""


if __name__ == "__main__":
    raise SystemExit(main())
