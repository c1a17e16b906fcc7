"""Produces the missing rows of a grid: buys once, then trains in several processes."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

from student.bench.constants import NO_TEACHER
from student.bench.dataset import BenchDataset, Selection, gather
from student.bench.duration import time_of_runs
from student.bench.provenance import check_images, check_teacher
from student.bench.purchase import (
    BoughtEmbeddings,
    VendorEndpoints,
    ask_vendors,
    buy_for,
    keys_of,
)
from student.bench.rows import Row, add_row, read_rows
from student.bench.run import Grid, Run, identity, known_method, resolved
from student.bench.worker import Outcome, Shared, Task, Trainer, forget
from student.console import Terminal
from student.data.image_set import read_folder
from student.data.split import VALIDATION
from student.errors import BadInput, TrainingError
from student.evaluation.child_process import end_with_parent, training_pool
from student.options import Options
from student.options.folders import require_folders
from student.training.clock import in_words
from student.training.preflight import check_students


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The command and the commit that produced a row."""

    command: str
    commit: str


def missing_runs(grid: Grid, rows: Path) -> list[Run]:
    """Returns the runs of the grid without a row yet, in order and without duplicates."""
    done = read_rows(rows)
    return [run for name, run in grid.ids().items() if name not in done]


def run_grid(
    grid: Grid,
    rows: Path,
    *,
    endpoints: VendorEndpoints,
    processes: int,
    source: Source,
    terminal: Terminal,
) -> int:
    """Adds a row for each run without a row, and returns how many it added.

    The network is not used once training has begun. If the process is killed, the same call
    resumes: rows and paid answers are on disk, and unfinished runs have checkpoints. A run whose
    training fails is named, and the others follow. Raises StudentError and CacheError; BadInput if
    the file has rows of other images, or of another teacher under the same name; TrainingError,
    at the end, if a run failed.
    """
    runs = missing_runs(grid, rows)
    catalogue = read_folder(grid.base.data, terminal)
    datasets = {run.dataset for run in grid.runs}
    earlier = [row for row in read_rows(rows).values() if row.dataset in datasets]
    check_images(earlier, rows, catalogue)
    terminal.say(f"{grid.name}: {len(runs)} of {len(grid.ids())} runs to make")
    if not runs:
        return 0
    require_folders(grid.base)
    _check_runs(runs, grid.base)
    ask_vendors(runs, grid.base, endpoints, terminal)
    dataset = gather(grid, terminal, catalogue)
    selection = Selection(dataset, grid.base, terminal)
    bought = buy_for(
        runs,
        selection,
        endpoints=endpoints,
        check=lambda teacher, sold: check_teacher(earlier, rows, teacher, sold),
        command=source.command,
    )
    if grid.base.run.dry_run:
        terminal.say("dry run: nothing was bought")
        _say_time(time_of_runs(runs, grid, dataset, processes), len(runs), terminal)
        return 0
    tables = {
        teacher: (embeddings.paid.table.folder, tuple(embeddings.paid.rows))
        for teacher, embeddings in bought.items()
    }
    sold = {teacher: embeddings.paid.sold for teacher, embeddings in bought.items()}
    shared = Shared(grid=grid, catalogue=catalogue, tables=tables, sold=sold)
    writer = _RowWriter(grid, dataset, bought, source, rows)
    tasks = [_task(run, grid, dataset, selection, bought.get(run.teacher)) for run in runs]
    terminal.heading(f"training {len(tasks)} runs, {processes} at a time")
    failed: list[TrainingError] = []
    started = time.monotonic()
    for done, (task, outcome) in enumerate(_outcomes(tasks, shared, processes), start=1):
        counted = f"{done} of {len(tasks)}"
        if isinstance(outcome, TrainingError):
            failed.append(outcome)
            run = task.run
            terminal.warn(
                f"{counted}: {run.method}, {'+'.join(run.targets)}, seed {run.seed}: {outcome}"
            )
        else:
            terminal.say(f"{counted}: {summary(writer.write(task, outcome))}")
        if done == processes and (later := len(tasks) - done):
            _say_time((time.monotonic() - started) / done * later, later, terminal)
    if failed:
        message = (
            f"{len(failed)} of {len(tasks)} runs could not be trained (the first: {failed[0]}); "
            "the rows of the others are written"
        )
        raise TrainingError(message)
    return len(tasks)


def _say_time(seconds: float, count: int, terminal: Terminal) -> None:
    terminal.say(f"training {count} runs takes about {in_words(seconds)} on this machine")


def _check_runs(runs: Sequence[Run], base: Options) -> None:
    for run in runs:
        for name, value in run.retired.items():
            message = (
                f"a run with {name} {value} cannot be made: that option left the product after "
                "version 0.1. Rows that were made with it are still read."
            )
            raise BadInput(message)
    students = [(known_method(run.method), resolved(run, base)) for run in runs if run.is_student]
    check_students(students, image_size=base.data.image_size)


def summary(row: Row) -> str:
    """Returns a one-line summary of a finished run."""
    scores = ", ".join(f"{part} {count.accuracy:.1%}" for part, count in row.accuracies.items())
    return (
        f"{row.method}, {'+'.join(row.targets)}, seed {row.seed}, {row.queries:,} queries, "
        f"{row.seconds:.0f} s: {scores}"
    )


def _task(
    run: Run,
    grid: Grid,
    dataset: BenchDataset,
    selection: Selection,
    bought: BoughtEmbeddings | None,
) -> Task:
    items = selection.chosen(run, bought.paid if bought else None)
    return Task(run=run, keys=tuple(keys_of(run, grid.base, dataset, items, bought)))


class _RowWriter:
    """Writes a row for each finished run; only the parent process writes rows."""

    def __init__(
        self,
        grid: Grid,
        dataset: BenchDataset,
        bought: dict[str, BoughtEmbeddings],
        source: Source,
        rows: Path,
    ) -> None:
        self._grid = grid
        self._dataset = dataset
        self._bought = bought
        self._source = source
        self._rows = rows
        self._data = dataset.scanned.catalogue.digest

    def write(self, task: Task, outcome: Outcome) -> Row:
        run = task.run
        split = self._dataset.split_of(run)
        settings = resolved(run, self._grid.base)
        bought = self._bought.get(run.teacher)
        queries = sum(bought.prices.units_for(key.modality) for key in task.keys) if bought else 0
        counts = dict(outcome.counts)
        row = Row(
            id=identity(run, self._grid.base),
            kind=self._grid.name,
            dataset=run.dataset,
            method=run.method,
            seed=run.seed,
            sources=split.sources,
            targets=split.targets,
            views=run.views,
            fraction=run.fraction,
            selector=run.selector,
            options=dict(run.options),
            steps=settings.steps if run.is_student else 0,
            lmd=settings.lmd,
            images=len(split.train),
            queries=queries,
            cost_micro_usd=bought.prices.cost(queries) if bought else 0,
            validation=counts.pop(VALIDATION),
            accuracies=counts,
            calibration_errors=outcome.calibration_errors,
            chosen=outcome.chosen,
            seconds=outcome.seconds,
            teacher=run.teacher,
            fingerprint=bought.fingerprint if bought else NO_TEACHER,
            data_sha256=self._data,
            command=self._source.command,
            commit=self._source.commit,
            machine=machine_name(settings.device),
            recipe=recipe(run, self._grid.base),
        )
        add_row(self._rows, row)
        forget(run, self._grid)
        return row


def recipe(run: Run, base: Options) -> str:
    """Returns a digest of the settings that all runs of one curve share.

    It covers what `identity` covers, except the seed, the held-out domains and the purchase.
    """
    curve_run = replace(run, seed=0, targets=(), fraction=0.0, selector="random", views=1)
    return identity(curve_run, base)


def machine_name(device: str) -> str:
    """Returns the name of the device that trained, as stored in a row."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {os.cpu_count()} threads, one a run"


_trainer: list[Trainer] = []
"""The trainer of a child process, set by the initializer of the pool."""


def _begin(shared: Shared) -> None:
    end_with_parent()
    _trainer.append(Trainer(shared))


def _train(task: Task) -> Outcome | TrainingError:
    return _outcome(_trainer[0], task)


def _outcome(trainer: Trainer, task: Task) -> Outcome | TrainingError:
    try:
        return trainer.train(task)
    except TrainingError as error:
        return error


def _outcomes(
    tasks: list[Task], shared: Shared, processes: int
) -> Iterator[tuple[Task, Outcome | TrainingError]]:
    """Yields each task with its outcome, or why it has none, in order of completion.

    With `processes` = 1, the tasks are run in this process.
    """
    if processes == 1:
        trainer = Trainer(shared)
        return ((task, _outcome(trainer, task)) for task in tasks)
    return _train_in_pool(tasks, shared, processes)


def _train_in_pool(
    tasks: list[Task], shared: Shared, processes: int
) -> Iterator[tuple[Task, Outcome | TrainingError]]:
    """Yields each task with its outcome, or why it has none, in order of completion.

    After another error no further task is started. The error is raised when the running tasks have
    ended.
    """
    workers = min(processes, len(tasks))
    with training_pool(workers, _begin, (shared,)) as pool:
        queue = iter(tasks)
        running: dict[Future[Outcome | TrainingError], Task] = {}
        failed: BaseException | None = None
        while True:
            while failed is None and len(running) < workers and (task := next(queue, None)):
                running[pool.submit(_train, task)] = task
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                if error := future.exception():
                    failed = failed or error
                else:
                    yield task, future.result()
        if failed is not None:
            raise failed
