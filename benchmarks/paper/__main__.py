"""Runs a part of the paper's tables through `distill-client`, and writes the tables.

    python -m benchmarks.paper --dataset PACS --root DIR                 # what it would cost
    python -m benchmarks.paper --dataset PACS --root DIR --budget 10000  # buys, trains, writes
    python -m benchmarks.paper --tables                                  # the tables alone

Resumable: a run with a report is not repeated, and a paid answer is not bought again. Arguments
after `--` are passed to every `distill-client` unchanged.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.paper.cost import estimate
from benchmarks.paper.datasets import DATASETS, find
from benchmarks.paper.recipe import STUDENTS, Recipe, clear_scratch, targets_of
from benchmarks.paper.reports import read_reports
from benchmarks.paper.tables import render
from cache.storage.atomic_file import replace_file
from student.console import Terminal
from student.data.folder.image_folder import discover
from student.errors import BadInput, PlanExceedsBudget, StudentError, VendorError
from student.options import Options
from student.options.purchase import api_key
from student.options.renamed_options import current_method
from student.training.methods import METHODS
from student.vendor.circuit_breaker import BreakerPolicy
from student.vendor.client import connect
from student.vendor.retry import RetryPolicy
from student.vendor.schemas import Prices
from student.vendor.transport import Timing

OUT = Path("runs/paper")
PAGE = "TABLES.md"
_ITS_OWN = frozenset(
    f"--{name}"
    for name in (
        *("data", "target-domain", "method", "seed", "views", "cache", "out", "budget"),
        *("config", "dry-run", "compare"),
    )
)
Execute = Callable[[Sequence[str]], int]
"""Runs one command of the project to completion and returns its exit code."""


def main(argv: Sequence[str] | None = None, *, execute: Execute | None = None) -> int:
    """Prints the estimate; with a budget, makes the missing runs and writes the tables.

    Returns 0, the exit code of a failed command, 2 for invalid arguments, or 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = _parser()
    options = parser.parse_args(arguments[:at])
    terminal = Terminal(Console())
    try:
        if not options.tables:
            if not options.dataset or options.root is None:
                parser.error("name --dataset and --root, or --tables")
            code = _run(options, tuple(arguments[at + 1 :]), terminal, execute or _execute)
            if code or options.budget is None:
                return code
        return _write(options.out, terminal)
    except KeyboardInterrupt:
        terminal.say("interrupted: everything is stored; run the same command again to resume")
        return 130
    except StudentError as error:
        terminal.warn(str(error))
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description="The paper's tables on your copy of its data; see benchmarks/paper/README.md.",
    )
    parser.add_argument("--dataset", choices=list(DATASETS))
    parser.add_argument("--root", type=Path, help="DomainBed's data folder")
    parser.add_argument(
        "--student", default="vit", help=f"{' or '.join(STUDENTS)}, or a TOML file of options"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        type=current_method,
        default=["vl2v-adip", "erm"],
        metavar="METHOD",
    )
    parser.add_argument("--targets", nargs="+", default=[], metavar="DOMAIN", help="default: each")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--views", type=int, default=1, help="stored views bought for each image")
    parser.add_argument(
        "--budget",
        type=int,
        help="maximum total queries to pay for, over the lifetime of the set's cache; without it, "
        "nothing is bought",
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--keep-scratch", action="store_true", help="keep the rendered images")
    parser.add_argument("--tables", action="store_true", help="only write the tables")
    return parser


def _run(
    options: argparse.Namespace, more: tuple[str, ...], terminal: Terminal, execute: Execute
) -> int:
    recipe = _recipe(options, more)
    if options.student not in STUDENTS and not Path(options.student).is_file():
        message = f"no student {options.student}: {', '.join(STUDENTS)}, or a TOML file"
        raise BadInput(message)
    terminal.say(f"counting the images of {recipe.data}")
    counted = estimate(recipe, discover(recipe.data))
    runs = list(recipe.runs())
    prices = _prices(runs[0].read_options(), terminal)
    title = f"{recipe.dataset.name}, {recipe.student_name}, {len(runs)} students"
    terminal.table((title, ""), counted.rows(prices))
    if options.budget is None:
        terminal.say("nothing was bought: set the maximum number of queries with --budget")
        return 0
    if (needed := counted.units(prices)) > options.budget:
        # Images beyond the budget would train on class texts alone, unlike in the paper.
        raise PlanExceedsBudget(needed=needed, remaining=options.budget)
    for place in dict.fromkeys(run.place for run in runs):
        missing = [run for run in runs if run.place == place and not run.is_done()]
        for run in missing:
            command = run.command(budget=options.budget)
            terminal.say(f"\n$ {shlex.join(command)}")
            if code := execute(command):
                return code
            run.keep()
        if not options.keep_scratch:
            clear_scratch(place)
    return 0


def _recipe(options: argparse.Namespace, more: tuple[str, ...]) -> Recipe:
    if owned := [word for word in more if word.partition("=")[0] in _ITS_OWN]:
        message = f"{', '.join(owned)} cannot follow --: the recipe sets it"
        raise BadInput(message)
    if unknown := [name for name in options.methods if name not in METHODS]:
        message = f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}"
        raise BadInput(message)
    if options.views < 1 or min(options.seeds) < 0 or (options.budget or 0) < 0:
        message = "--views must be at least 1, and --seeds and --budget must not be negative"
        raise BadInput(message)
    dataset = DATASETS[options.dataset]
    return Recipe(
        dataset=dataset,
        data=find(options.root, dataset),
        student=options.student,
        methods=tuple(dict.fromkeys(options.methods)),
        targets=targets_of(dataset, options.targets),
        seeds=tuple(dict.fromkeys(options.seeds)),
        views=options.views,
        out=options.out,
        options=more,
    )


def _prices(options: Options, terminal: Terminal) -> Prices | None:
    """Returns the vendor's price list; prints a warning and returns None if it is unavailable."""

    async def ask() -> Prices:
        timing = Timing(
            retry=RetryPolicy(attempts=2, total_seconds=15.0),
            breaker=BreakerPolicy(total_seconds=10.0, first_contact_seconds=5.0),
        )
        key = api_key(options.purchase)
        async with connect(options.purchase.vendor, key, timing=timing) as vendor:
            return await vendor.prices()

    try:
        return asyncio.run(ask())
    except (BadInput, VendorError) as error:
        terminal.warn(f"the price is not known: {error}")
        return None


def _execute(command: Sequence[str]) -> int:
    program = Path(sys.executable).parent / command[0]
    return subprocess.run([str(program), *command[1:]], check=False).returncode


def _write(out: Path, terminal: Terminal) -> int:
    reports = read_reports(out)
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / PAGE, render(reports).encode())
    terminal.say(f"wrote {out / PAGE} from {len(reports)} reports")
    return 0


if __name__ == "__main__":
    sys.exit(main())
