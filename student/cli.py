"""`distill-client`: reads the command line, runs the job, maps errors to exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from student.config import read_settings
from student.errors import StudentError

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand or, with none, the whole job; returns the exit code.

    0 done, 1 other, 2 bad input, 3 over budget, 4-7 the vendor, 8 training, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    subcommands = {
        "bench": _bench,
        "predict": _predict,
        "plan": _plan,
        "demo-data": _demo_data,
    }
    run = subcommands.get(arguments[0] if arguments else "")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        return _job(arguments) if run is None else run(arguments[1:])
    except KeyboardInterrupt:
        print(
            "\ninterrupted: every paid answer is stored; the same command goes on from here",
            file=sys.stderr,
        )
        return INTERRUPTED
    except StudentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _job(arguments: list[str]) -> int:
    settings = read_settings(arguments)
    from rich.console import Console

    from cache.errors import CacheError
    from student.commands.distill import run_job
    from student.console import Terminal

    command = shlex.join(["distill-client", *arguments])  # the key is never in argv
    try:
        run_job(settings, Terminal(Console()), command=command)
    except CacheError as error:
        print(f"error: the cache: {error}", file=sys.stderr)
        return 1
    return 0


def _bench(arguments: list[str]) -> int:
    from student.commands.bench_options import parser

    options, rest = parser().parse_known_args(arguments)
    from rich.console import Console

    from cache.errors import CacheError
    from student.commands.bench import run_bench
    from student.console import Terminal

    command = shlex.join(["distill-client", "bench", *arguments])
    try:
        run_bench(options, rest, Terminal(Console()), command=command)
    except CacheError as error:
        print(f"error: the cache: {error}", file=sys.stderr)
        return 1
    return 0


def _predict(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "distill-client predict", description="Name what images show, with no vendor."
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--student",
        type=Path,
        default=Path("runs/student"),
        metavar="FOLDER",
        help="of a finished job (default runs/student)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    from student.evaluation.predict import describe, predict_images

    for prediction in predict_images(options.images, options.student):
        print(describe(prediction, as_json=options.json))
    return 0


def _plan(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "distill-client plan",
        description="Forecast what more queries would add, from students of several budgets.",
    )
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="RESULT", help="a job's folder or a bench's rows"
    )
    parser.add_argument("--queries", type=int, default=1000, metavar="N", help="how many more")
    parser.add_argument(
        "--part", action="append", default=[], help="measured on this part, not on the held out"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the interval")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    if options.queries < 1 or options.seed < 0:
        parser.error("--queries must be at least 1, and --seed not negative")
    from student.forecast.curves import COLUMNS, as_json, cells, forecast_curves, read_curves

    curves = read_curves(options.results, parts=options.part)
    told = forecast_curves(curves, further=options.queries, seed=options.seed)
    if options.json:
        for title, one in told:
            print(json.dumps(as_json(title, one)))
        return 0
    from rich.console import Console

    from student.console import Terminal

    terminal = Terminal(Console())
    terminal.heading(f"the next {options.queries:,} queries")
    terminal.table(COLUMNS, [cells(title, one) for title, one in told])
    terminal.say(
        "added: by a saturating power law, beyond the largest purchase; 95%: of other seeds and "
        "test images, if the law holds. How well it held: held back is its mean error, in points, "
        "on budgets forecast from smaller ones; no change is the error of saying that they add "
        "nothing. A law that does not beat it knows nothing."
    )
    return 0


def _demo_data(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "distill-client demo-data", description="Lay out emoji in ten styles: OUT/<style>/<class>/."
    )
    parser.add_argument("--out", type=Path, default=Path("data/emoji"))
    options = parser.parse_args(arguments)
    from student.data.demo.lay_out import lay_out

    total = lay_out(options.out, progress=lambda style, n: print(f"{style:10} {n} pictures"))
    print(f"{total} pictures of ten styles under {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
