"""`distill-client`: reads the command line, runs the job, maps errors to exit codes."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from student.errors import StudentError
from student.settings import read_settings

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand or, with none, the whole job; returns the exit code.

    0 done, 1 other, 2 bad input, 3 over budget, 4-7 the vendor, 8 training, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    subcommands = {"predict": _predict, "demo-data": _demo_data}
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
    from student.job import run_job
    from student.terminal import Terminal

    command = shlex.join(["distill-client", *arguments])  # the key is never in argv
    try:
        run_job(settings, Terminal(Console()), command=command)
    except CacheError as error:
        print(f"error: the cache: {error}", file=sys.stderr)
        return 1
    return 0


def _predict(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "distill-client predict", description="Name what images show, with no vendor."
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--student", type=Path, default=Path("runs/student"), metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    from student.predict import describe, predict_images

    for prediction in predict_images(options.images, options.student):
        print(describe(prediction, as_json=options.json))
    return 0


def _demo_data(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "distill-client demo-data", description="Lay out emoji in ten styles: OUT/<style>/<class>/."
    )
    parser.add_argument("--out", type=Path, default=Path("data/emoji"))
    options = parser.parse_args(arguments)
    from student.demo_data.lay_out import lay_out

    total = lay_out(options.out, progress=lambda style, n: print(f"{style:10} {n} pictures"))
    print(f"{total} pictures of ten styles under {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
