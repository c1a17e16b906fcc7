"""Measures each stage at a few sizes, predicts larger ones, and checks one that was not fitted.

    python -m benchmarks.scale [--out FILE] [--quick] [--fit FILE]

Writes the measurements, the lines, the check and the predictions as JSON, and prints the tables of
docs/guides/scale.md. --fit reads the measurements of FILE instead of measuring.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.scale.fit import fit_stages
from benchmarks.scale.machine import Machine, predict
from benchmarks.scale.stages import cost_of
from benchmarks.scale.tables import check_table, prediction_table
from tools.provenance import ROOT, commit

RESULTS: Final = ROOT / "docs/results/scale.json"
SIZES: Final = (1_000, 3_000, 10_000, 30_000, 100_000, 200_000)
READ_SIZES: Final = (100, 300, 1_000, 2_500)
"""Photographs take milliseconds each: fewer of them are measured. The largest size of each is not
fitted."""
PREDICTED: Final = (10**6, 10**8, 10**9)
_REPEATS: Final = 2
_REPEATED: Final = 3_000  # up to so many images, a stage is measured several times


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, fit, check and predict."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    if options.fit is None:
        rows = []
        for row in measured(_QUICK if options.quick else _WHOLE):
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
        provenance: dict[str, Any] = {
            "command": shlex.join(["python", "-m", "benchmarks.scale", *arguments]),
            "commit": commit(),
            "seed": 0,
            "machine": f"{os.cpu_count()} hardware threads; processor time, beside other work",
        }
    else:
        earlier = json.loads(options.fit.read_text())
        rows, provenance = earlier["rows"], earlier["provenance"]
    result = evaluated(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"provenance": provenance, **result}, indent=1) + "\n")
    sys.stdout.write(check_table(result["check"]) + "\n" + prediction_table(result) + "\n")
    return 0


def evaluated(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The lines through all sizes but the largest of each stage, which is held against them, and
    the predictions."""
    largest: dict[str, int] = {}
    for row in rows:
        largest[row["stage"]] = max(row["images"], largest.get(row["stage"], 0))
    lines = fit_stages([row for row in rows if row["images"] < largest[row["stage"]]])
    check = [
        {
            "stage": row["stage"],
            "images": row["images"],
            "cost": cost,
            "predicted": line.at(row["images"]),
            "measured": row[cost],
            "error": line.at(row["images"]) / row[cost] - 1,
        }
        for row in rows
        if row["images"] == largest[row["stage"]]
        for cost, line in lines[row["stage"]].items()
        if row[cost]
    ]
    machine = Machine()
    predictions = [predict(images, lines, machine) for images in PREDICTED]
    return {
        "rows": list(rows),
        "lines": {s: {c: asdict(line) for c, line in costs.items()} for s, costs in lines.items()},
        "check": check,
        "machine": asdict(machine),
        "predictions": [
            {**asdict(one), "seconds": one.seconds, "used": one.used(machine)}
            for one in predictions
        ],
    }


_Sizes = dict[str, tuple[int, ...]]
_OF_CACHE: Final = ("buy", "plan", "table", "verify")
_WHOLE: _Sizes = {"read": READ_SIZES, **dict.fromkeys(_OF_CACHE, SIZES)}
_QUICK: _Sizes = {"read": (20, 60, 120), **dict.fromkeys(_OF_CACHE, (500, 1_500, 3_000))}


def measured(sizes: _Sizes) -> Iterator[dict[str, Any]]:
    """Run every stage at every size; small sizes several times."""
    wanted: dict[int, list[str]] = {}
    for stage, of_stage in sizes.items():
        for images in of_stage:
            wanted.setdefault(images, []).append(stage)
    for images, stages in sorted(wanted.items()):
        for _ in range(_REPEATS if images <= _REPEATED else 1):
            with tempfile.TemporaryDirectory(prefix="scale-") as folder:
                for stage in stages:
                    yield {"stage": stage, "images": images, **_run(stage, images, Path(folder))}


def _run(stage: str, images: int, folder: Path) -> dict[str, Any]:
    """Run a stage in a fork, which has imported everything and holds no memory of another stage."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as one:
        return one.submit(cost_of, stage, images, folder).result()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: docs/results")
    parser.add_argument("--quick", action="store_true", help="small sizes, in a minute")
    parser.add_argument("--fit", type=Path, metavar="FILE", help="an earlier result to read")
    return parser


if __name__ == "__main__":
    sys.exit(main())
