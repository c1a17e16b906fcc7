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
FITTED: Final = (1_000, 3_000, 10_000, 30_000, 100_000)
HELD_OUT: Final = 200_000
READ_FITTED: Final = (100, 300, 1_000)
READ_HELD_OUT: Final = 2_500
"""Photographs take milliseconds each: fewer of them are measured."""
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
    """The lines through the fitted rows, the held-out rows beside them, and the predictions."""
    lines = fit_stages([row for row in rows if not row["held_out"]])
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
        if row["held_out"]
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


_Sizes = dict[str, tuple[tuple[int, ...], int]]
_OF_CACHE: Final = ("buy", "plan", "table", "verify")
_WHOLE: _Sizes = {
    "read": (READ_FITTED, READ_HELD_OUT),
    **dict.fromkeys(_OF_CACHE, (FITTED, HELD_OUT)),
}
_QUICK: _Sizes = {"read": ((20, 60), 120), **dict.fromkeys(_OF_CACHE, ((500, 1_500), 3_000))}


def measured(sizes: _Sizes) -> Iterator[dict[str, Any]]:
    """Run every stage at every size; small sizes several times."""
    wanted: dict[int, list[str]] = {}
    for stage, (fitted, held_out) in sizes.items():
        for images in (*fitted, held_out):
            wanted.setdefault(images, []).append(stage)
    for images, stages in sorted(wanted.items()):
        is_held_out = any(images == held_out for _, held_out in sizes.values())
        repeats = _REPEATS if images <= _REPEATED and not is_held_out else 1
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="scale-") as folder:
                for stage in stages:
                    cost = _run(stage, images, Path(folder))
                    held_out = images == sizes[stage][1]
                    yield {"stage": stage, "images": images, "held_out": held_out, **cost}


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
