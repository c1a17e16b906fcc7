"""`distill-client bench`: from a command line to rows and a report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from student.bench.purchase import VendorEndpoint
from student.bench.report import folder_grid, write_report
from student.bench.runner import Source, run_grid
from student.commands.bench_options import OUT
from student.config import JobSettings, api_key, read_settings
from student.console import Terminal
from student.errors import BadInput
from student.vendor.client import connect


def run_bench(
    options: argparse.Namespace, rest: Sequence[str], terminal: Terminal, *, command: str
) -> None:
    """Does what `distill-client bench` promises, with its own options read and the rest not.

    Raises StudentError and CacheError.
    """
    settings = _settings(rest)
    if options.seeds < 1 or options.processes < 1:
        message = "--seeds and --processes must be at least 1"
        raise BadInput(message)
    if settings.budget is None and not settings.dry_run:
        message = "no budget: name the most queries to pay for with --budget (see --dry-run first)"
        raise BadInput(message)
    grid = folder_grid(
        settings,
        methods=options.methods,
        seeds=range(settings.seed, settings.seed + options.seeds),
        shares=options.shares,
    )

    @contextmanager
    def counter(_: str) -> Iterator[VendorEndpoint]:
        key = api_key(settings)
        yield VendorEndpoint(
            open=lambda: connect(settings.vendor, key, connections=settings.concurrency),
            model=settings.teacher,
        )

    rows = settings.out / "rows.jsonl"
    run_grid(
        grid,
        rows,
        counters=counter,
        budget=settings.budget,
        processes=options.processes,
        source=Source(command=command, commit=_version()),
        terminal=terminal,
    )
    if not settings.dry_run:
        page = write_report(grid, rows, settings.out)
        terminal.say(f"wrote {rows} and {page}")


def _settings(arguments: Sequence[str]) -> JobSettings:
    settings = read_settings(arguments)
    named = settings.model_fields_set
    update: dict[str, object] = {}
    if "out" not in named:
        update["out"] = OUT
    if "method" not in named:
        update["method"] = "ours"
    return settings.model_copy(update=update)


def _version() -> str:
    try:
        return f"rented-teacher {version('rented-teacher')}"
    except PackageNotFoundError:
        return "rented-teacher, not installed"
