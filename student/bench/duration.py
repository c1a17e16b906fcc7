"""Estimates how long the runs of a grid train on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

from student.bench.dataset import BenchDataset
from student.bench.run import Grid, Run, known_method, options_of
from student.training.clock import RunSize, time_training


def time_of_runs(runs: Sequence[Run], grid: Grid, dataset: BenchDataset, processes: int) -> float:
    """Seconds of training, from a few steps of each kind of run; `processes` train at once.

    Runs that differ in their images alone are tried once.
    """
    seconds: dict[tuple[object, ...], float] = {}
    total = 0.0
    for run in (run for run in runs if run.is_student):
        kind = (run.method, run.options, run.views, len(run.targets))
        if kind not in seconds:
            options, split = options_of(run, grid.base), dataset.split_of(run)
            size = RunSize(
                image_size=options.data.image_size,
                views=run.views,
                domains=len(split.sources),
                training=len(split.train),
                validation=len(split.validation),
            )
            method = known_method(run.method).yielding(options.training.model_fields_set)
            seconds[kind] = time_training(method, options.training, size)
        total += seconds[kind]
    return total / min(processes, os.cpu_count() or 1)
