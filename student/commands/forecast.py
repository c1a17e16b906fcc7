"""`distill-client forecast`: what more queries would add."""

from __future__ import annotations

import argparse
import json

from student.options.section import user_path

_EXPLANATION = (
    "added: accuracy gained beyond the largest purchase, by a saturating power law; 95%: interval "
    "over other seeds and test images, if the law holds. held back: mean error, in points, of "
    "forecasting the larger budgets from the smaller ones; no change: the same error if nothing is "
    "forecast to be added. If the forecast error is not below the no-change error, ignore the "
    "forecast."
)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client forecast",
        description="Forecast the accuracy that more queries would add, from several budgets.",
    )
    made.add_argument(
        "results",
        nargs="+",
        type=user_path,
        metavar="RESULT",
        help="output folder of a finished run, or the rows.jsonl of a bench",
    )
    made.add_argument(
        "--queries",
        type=int,
        default=1000,
        metavar="N",
        help="number of further queries (default: 1000)",
    )
    made.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="SPLIT",
        help="evaluate on this split instead of the held-out domains (repeatable)",
    )
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="random seed for the bootstrap interval (default: 0)",
    )
    made.add_argument("--json", action="store_true", help="print one JSON object per line")
    return made


def main(arguments: list[str]) -> int:
    """Prints a forecast for each curve in the results. Raises BadInput."""
    made = parser()
    options = made.parse_args(arguments)
    if options.queries < 1 or options.seed < 0:
        made.error("--queries must be at least 1, and --seed not negative")
    from student.forecast.curves import COLUMNS, as_json, cells, forecast_curves, read_curves

    curves = read_curves(options.results, parts=options.part)
    forecasts = forecast_curves(curves, further=options.queries, seed=options.seed)
    if options.json:
        for title, result in forecasts:
            print(json.dumps(as_json(title, result)))
        return 0
    from student.console import terminal

    out = terminal()
    out.heading(f"the next {options.queries:,} queries")
    out.table(COLUMNS, [cells(title, result) for title, result in forecasts])
    out.say(_EXPLANATION)
    return 0
