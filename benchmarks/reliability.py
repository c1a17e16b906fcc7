"""Writes docs/reliability.md, wholly, from the JSON that the measuring commands wrote.

    python -m benchmarks.reliability

A figure that is not in docs/results is not in the page.
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
# Reliability, in figures

<!-- Written by `python -m benchmarks.reliability` from docs/results/*.json; edit neither. -->

Every table names the command that made it and the commit it was made at (a `+` says that the tree
had changes). Run the command again and the page can be written again.
"""
_CHAOS = """\
Real vendor processes, real clients with real caches, a TCP proxy that breaks connections between
them, and `kill -9` for all of them: at named points, by standing around the product's objects, and
at random moments. The budgets cannot pay for what is wanted. Three caches buy with two keys: one
key's budget at the vendor is the wall for two caches, the client's own `--budget` is the wall for
the third, and two of the caches are shared by two clients each.

Afterwards a separate checker replays the vendor's ledger through a model that serves one request at
a time, and compares it with the history of every client, with every stored answer and with the
caches, vector by vector (1e-5 against the encoder run alone). The checker itself is tested with
histories that were tampered with.
"""
_OVERSHOOT = """\
{requests:,} requests at once, {units_each} units each, against a cap of {cap}. Check-then-add looks
at what is spent, works for 50 ms and writes down the cost, as gateways do that count after the
answer; it stands beside the ledger, on the same database in the same run, so that the benchmark is
seen to catch an overshoot. A request that others hold the budget of is asked again until it is sold
or refused for good. Over HTTP the model takes no time, so that the meter is measured. PostgreSQL
runs as the tests start it, with `fsync` off: its requests a second are not a durable one's.
"""

_IMAGES = """\
{inputs} image files: bombs, files cut off at every sixteenth, extreme sizes, every mode and
orientation, broken profiles, polyglots, foreign and misnamed formats, damage at random, costly
structures, noise, and base64 that is none. Each is embedded as Pillow shows it, or refused with a
4xx; the next request is answered, and a refusal costs nothing.
"""
_FUZZ = """\
schemathesis drives every operation of the OpenAPI document over HTTP, links between them included,
and checks each answer: {checks}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Read, render, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.reliability", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    arguments.page.write_text(render(read_results(arguments.results)), encoding="utf-8")
    return 0


def read_results(folder: Path) -> dict[str, Result]:
    """The results that the page is made of, by name, as far as they are there."""
    names = ("chaos-sqlite", "chaos-postgresql", "overshoot", "api-fuzz", "image-corpus")
    files = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def render(results: Mapping[str, Result]) -> str:
    """The page."""
    sections = [_HEAD]
    runs = [results[name] for name in ("chaos-sqlite", "chaos-postgresql") if name in results]
    if runs:
        sections.append("\n".join(_chaos(runs)))
    if "overshoot" in results:
        sections.append("\n".join(_overshoot(results["overshoot"])))
    if "image-corpus" in results:
        sections.append("\n".join(_images(results["image-corpus"])))
    if "api-fuzz" in results:
        sections.append("\n".join(_fuzz(results["api-fuzz"])))
    return "\n".join(sections)


def _chaos(runs: Sequence[Result]) -> Iterator[str]:
    yield "## Chaos: every query is charged once\n"
    yield _CHAOS
    heads = [f"{run['database']}, {_count(run['vendors'], 'vendor')}" for run in runs]
    yield from _table(["", *heads], _chaos_rows(runs))
    yield "\nFaults on the wire, and processes killed:\n"
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
        ("**paid but lost**", "lost"),
        ("**charged twice**", "doubled"),
        ("**over budget**", "overshoot"),
        ("**of the budget left unused**", "unspent"),
        ("**units still reserved in the end**", "stuck"),
        ("requests about purchases", "requests"),
        ("answers replayed free of charge", "replayed"),
        ("connections", "connections"),
        ("stored answers read back and compared", "answers_checked"),
        ("vectors compared with the encoder's own", "vectors_checked"),
    ):
        yield [title, *(f"{run[name]:,}" for run in runs)]
    yield ["requests whose answer never came", *(f"{_unheard(run):,}" for run in runs)]
    yield ["faults injected on the wire", *(f"{sum(run['faults'].values()):,}" for run in runs)]
    yield ["processes killed with -9", *(f"{sum(run['kills'].values()):,}" for run in runs)]
    yield ["lives of vendors", *(f"{run['lives']['vendor']:,}" for run in runs)]
    yield ["lives of clients", *(f"{run['lives']['client']:,}" for run in runs)]
    yield ["faults that the checker found", *(f"{len(run['faults_found']):,}" for run in runs)]
    yield ["seconds", *(f"{run['seconds']:,.0f}" for run in runs)]


def _unheard(run: Result) -> int:
    return sum(n for outcome, n in run["outcomes"].items() if outcome.endswith(" unheard"))


def _counters(runs: Sequence[Result], field: str) -> Iterator[list[str]]:
    for kind in sorted({kind for run in runs for kind in run[field]}):
        yield [kind, *(f"{run[field].get(kind, 0):,}" for run in runs)]


def _overshoot(result: Result) -> Iterator[str]:
    yield "## A small cap and a thousand requests\n"
    yield _OVERSHOOT.format_map(result)
    yield from _table(
        ["meter", "database", "sold, of " + str(result["cap"]), "overshoot", "requests/s"],
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
    yield "## Images made to do harm\n"
    yield _IMAGES.format_map(result)
    yield from _table(["group", "images"], _counts(result["groups"]))
    yield ""
    outcomes = [["embedded", f"{result['embedded']:,}"]]
    outcomes += [[f"refused: `{code}`", n] for code, n in _counts(result["refused"])]
    outcomes += [
        ["units charged for a refused one", f"{result['charged_when_refused']:,}"],
        ["answers of 500 and above", f"{result['server_errors']:,}"],
        ["not as foreseen", f"{len(result['not_as_foreseen']):,}"],
        ["faults in the books afterwards", f"{len(result['faults_in_the_books']):,}"],
    ]
    yield from _table(["outcome", "images"], outcomes)
    yield f"\n{_source(result)}\n"


def _fuzz(result: Result) -> Iterator[str]:
    yield "## The API, fuzzed\n"
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
        f"\n{result['requests']:,} requests, {len(result['failures'])} failures. Charged: "
        f"{result['units_on_receipts']} units on receipts, {result['units_on_the_books']} on the "
        f"books, {len(result['faults_in_the_books'])} faults in them. schemathesis "
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
