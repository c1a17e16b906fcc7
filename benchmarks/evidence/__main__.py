"""Makes the missing rows of docs/results/evidence.jsonl, then writes docs/evidence.md from them.

    python -m benchmarks.evidence [--grid headline ...] [--quick] [--page]

After a kill at any point, run the same command again: a run with a row is not repeated, and a paid
answer is not bought again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.evidence.grids import RUNS, grid, quick
from benchmarks.evidence.page import write_page
from benchmarks.evidence.protocol import FOLDER
from benchmarks.evidence.user_data import GRIDS
from benchmarks.evidence.vendors import local_vendors
from student.bench.report import write_report
from student.bench.run import Grid, Run
from student.bench.runner import Source, missing_runs, run_grid
from student.console import Terminal
from student.errors import StudentError
from tools.provenance import commit

ROOT = Path(__file__).parents[2]
ROWS, DOCS = ROOT / "docs/results/evidence.jsonl", ROOT / "docs"
BUDGET = 600_000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the named grids, or all of them, and writes the page."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    terminal = Terminal(Console())
    grids = [quick()] if options.quick else [grid(name) for name in options.grid or _possible(RUNS)]
    rows: Path = FOLDER / "quick/rows.jsonl" if options.quick else ROWS
    source = Source(
        command=shlex.join(["python", "-m", "benchmarks.evidence", *arguments]), commit=commit()
    )
    try:
        for planned in [] if options.page else grids:
            base = planned.base.changed(device=options.device, budget=options.budget)
            current = Grid(name=planned.name, base=base, runs=_current(planned.runs))
            if options.most is not None:
                current = replace(current, runs=tuple(missing_runs(current, rows)[: options.most]))
            run_grid(
                current,
                rows,
                endpoints=local_vendors(FOLDER / "vendor", budget=options.budget),
                processes=options.processes,
                source=source,
                terminal=terminal,
            )
        if options.quick:
            page = write_report(grids[0], rows, FOLDER / "quick")
        else:
            page = DOCS / "evidence.md"
            write_page(rows, DOCS)
    except KeyboardInterrupt:
        terminal.say(
            "interrupted: rows and paid answers are stored; run the same command again to resume"
        )
        return 130
    except StudentError as error:
        terminal.warn(str(error))
        return error.exit_code
    terminal.say(f"wrote {page}")
    return 0


def _possible(names: Iterable[str]) -> list[str]:
    """Those whose data is there, or is the project's to lay out."""
    return [name for name in names if name not in GRIDS or grid(name).base.data.data.is_dir()]


def _current(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs that can still be made: rows of the others are only read."""
    return tuple(run for run in runs if not run.retired)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description="Accuracy on unseen domains, per query."
    )
    parser.add_argument("--grid", action="append", choices=list(RUNS), help="repeatable; all")
    parser.add_argument("--quick", action="store_true", help="a few short runs, in minutes")
    parser.add_argument("--page", action="store_true", help="only write the page from the rows")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--most", type=int, default=None, help="runs to make at most, of each grid")
    parser.add_argument("--budget", type=int, default=BUDGET, help="queries ever, of all grids")
    parser.add_argument("--device", default="auto", help='"auto", "cpu", "cuda"')
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
