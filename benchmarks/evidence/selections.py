"""Makes the choices of `--method auto` on the evidence: docs/results/selections.jsonl.

    python -m benchmarks.evidence.selections [--grid digits ...] [--most N]

A choice is made as the product makes it, from the labelled domains of a split. After it the chosen
method would be trained with the split's seed: that student's row is in evidence.jsonl already, so
the accuracy of `auto` follows from the two files. A choice that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks.evidence.choices import read_choices
from benchmarks.evidence.grids import grid
from benchmarks.evidence.page import CHOICES
from benchmarks.evidence.protocol import FOLDER, JOINT
from benchmarks.evidence.user_data import CIFAR, PACS
from student.bench.dataset import BenchDataset, gather
from student.bench.run import Grid, Run, options_of
from student.console import Terminal
from student.evaluation.experiment import Experimenter
from student.evaluation.file_names import named
from student.selection.selection import select
from tools.provenance import commit

GRIDS = ("digits-again", *PACS, CIFAR, "joint")
"""The most telling first."""


def missing(planned: Grid, choices: Sequence[dict[str, Any]]) -> tuple[Run, ...]:
    """The runs of VL2V-ADiP-joint on the splits without a choice: `auto` trains these or ERM."""
    made = {(one["dataset"], tuple(one["targets"]), one["seed"]) for one in choices}
    return tuple(
        run
        for run in planned.runs
        if (run.method, run.options) == (JOINT, ())
        and (run.dataset, run.targets, run.seed) not in made
    )


def choose(run: Run, planned: Grid, dataset: BenchDataset, terminal: Terminal) -> dict[str, Any]:
    """The choice of a split, ready for JSON."""
    place = f"{run.dataset}, {'+'.join(run.targets)}, seed {run.seed}"
    options = options_of(run, planned.base).changed(method="auto")
    experimenter = Experimenter(dataset.split_of(run), dataset.scanned, None, options)
    folder = named(FOLDER / "selection", place)
    selection = select(
        experimenter.labelled(), options.training, folder=folder, progress=lambda *_: None
    )
    terminal.say(f"{place}: {selection.explanation}")
    return {
        "dataset": run.dataset,
        "targets": list(run.targets),
        "seed": run.seed,
        "method": selection.chosen,
        **selection.as_dict(),
        "commit": commit(),
        "machine": f"{platform.machine()} CPU, one thread a run",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Adds the missing choices, one at a time."""
    parser = argparse.ArgumentParser(description="Choices of --method auto on the evidence.")
    parser.add_argument("--grid", action="append", choices=GRIDS, help="repeatable; all")
    parser.add_argument("--most", type=int, default=None, help="choices to make, of each grid")
    options = parser.parse_args(argv)
    terminal = Terminal(Console())
    for name in options.grid or GRIDS:
        planned = grid(name)
        runs = missing(planned, read_choices(CHOICES))[: options.most]
        if not runs or not planned.base.data.data.is_dir():
            continue
        current = Grid(name=name, base=planned.base, runs=runs)
        dataset = gather(current, terminal)
        for run in runs:
            found = choose(run, current, dataset, terminal)
            with CHOICES.open("a") as file:
                file.write(json.dumps(found, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
