"""`distill-client bench`: compares methods on a folder and writes a report."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from student.commands.bench_options import ONE_QUERY, OUT, parser
from student.console import Terminal, terminal
from student.errors import BadInput, TrainingError
from student.options import Options
from student.options.purchase import api_key
from student.options.read import read_options
from student.options.training import AUTO_METHODS


def main(arguments: list[str]) -> int:
    """Reads the options, then runs the bench. Raises StudentError and CacheError."""
    own, rest = parser().parse_known_args(arguments)
    command = shlex.join(["distill-client", "bench", *arguments])
    run_bench(own, rest, terminal(), command=command)
    return 0


def run_bench(
    own: argparse.Namespace, rest: Sequence[str], terminal: Terminal, *, command: str
) -> None:
    """Runs the bench; `own` are its own options, `rest` the other arguments.

    Raises StudentError and CacheError.
    """
    options = _options(rest)
    if own.seeds < 1 or own.processes < 1:
        message = "--seeds and --processes must be at least 1"
        raise BadInput(message)
    if not options.purchase.has_budget and not options.run.dry_run:
        message = "no budget: set the maximum number of queries with --budget (try --dry-run first)"
        raise BadInput(message)
    if options.purchase.part is not None:
        message = "--shard buys and trains nothing, and the bench trains: buy with distill-client"
        raise BadInput(message)
    from student.bench.purchase import VendorEndpoint
    from student.bench.report import folder_grid, write_report
    from student.bench.runner import Source, run_grid
    from student.wires.open import open_vendor

    grid = folder_grid(
        options,
        methods=own.methods,
        seeds=range(options.run.seed, options.run.seed + own.seeds),
        shares=own.shares,
    )

    @contextmanager
    def endpoint_for(_: str) -> Iterator[VendorEndpoint]:
        key, purchase = api_key(options.purchase), options.purchase
        yield VendorEndpoint(
            open=lambda: open_vendor(purchase, key),
            model=purchase.teacher,
        )

    rows = options.run.out / "rows.jsonl"
    failed: TrainingError | None = None
    try:
        run_grid(
            grid,
            rows,
            endpoints=endpoint_for,
            processes=own.processes,
            source=Source(command=command, commit=_version()),
            terminal=terminal,
        )
    except TrainingError as error:  # the report says which runs it lacks
        failed = error
    if not options.run.dry_run and rows.exists():
        page = write_report(grid, rows, options.run.out)
        terminal.say(f"wrote {rows} and {page}")
    if failed is not None:
        raise failed


def _options(arguments: Sequence[str]) -> Options:
    """Reads the other options, with the bench's own defaults for --out and --method."""
    options = read_options(arguments)
    if options.data.unlabelled or options.data.hold_out_classes:
        message = "a bench compares accuracies over all classes: leave out --unlabelled and "
        message += "--hold-out-classes. Nothing was bought"
        raise BadInput(message)
    if options.run.track:
        message = "a bench is not tracked: leave out --track. Nothing was bought"
        raise BadInput(message)
    defaults = {"out": OUT, "method": ONE_QUERY}
    options = options.changed(
        **{name: value for name, value in defaults.items() if name not in options.named}
    )
    if options.training.is_auto:
        message = "a bench trains the methods that are named to it, and auto is a choice between "
        message += f"{' and '.join(AUTO_METHODS)}: name one of them with --method, for --shares. "
        message += "Nothing was bought"
        raise BadInput(message)
    return options


def _version() -> str:
    try:
        return f"rented-teacher {version('rented-teacher')}"
    except PackageNotFoundError:
        return "rented-teacher, not installed"
