"""Trains the methods of one split, in parallel where that is faster, and scores them.

On a CPU a small student does not keep two cores busy: two runs on one thread each take little
longer than one run on two threads. So each method gets a process of its own and its share of the
cores. A child process reads the same tables again, memory-mapped, and leaves its result in the
checkpoint, which the parent resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import Manager
from pathlib import Path
from queue import Empty
from typing import Protocol

import torch

from cache.embedding_table import open_table
from cache.records.embedding_key import EmbeddingKey
from student.console import Terminal, quiet
from student.data.image_set import ImageSet, load_image_set
from student.data.split import Split
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.child_process import end_with_parent, training_pool
from student.evaluation.experiment import Experimenter
from student.evaluation.results import Experiment, MethodResult
from student.models.architecture import SoldNetwork
from student.options import Options, TrainingOptions


class _ProgressQueue(Protocol):
    """Takes the progress of child processes: (bar, step, steps, note)."""

    def put(self, item: tuple[str, int, int, str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """The work of one child process: a method to train, and the embedding table with its keys."""

    options: Options
    split: Split
    method: str
    keys: tuple[EmbeddingKey, ...]
    table: Path
    sold: SoldNetwork | None
    progress: _ProgressQueue


def run_experiment(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
) -> Experiment:
    """Trains each method on the split's images and scores it on every part.

    The network is not used: everything was bought before. A killed run is resumed from its last
    checkpoints. Raises StudentError.
    """
    methods = options.training.methods
    workers = _workers(options.training)
    if workers > 1:
        threads = max(1, _cores(options.training) // workers)
        options = options.changed(threads=threads)
        tasks = _Tasks(options, split, paid)
        _train_in_parallel(tasks, terminal, workers)
    experimenter = Experimenter(split, scanned, paid, options)
    results: list[MethodResult] = []
    for method in methods:
        with terminal.bars([_label(method)], is_shown=workers == 1) as update:
            trained = experimenter.train(method, partial(update, _label(method)))
        results.append(experimenter.measure(method, trained))
    return Experiment(
        sources=split.sources,
        targets=split.targets,
        num_train=experimenter.data.num_images,
        num_bought=int(experimenter.data.bought.sum()),
        results=tuple(results),
    )


def _label(method: str) -> str:
    return f"training {method}"


def _cores(options: TrainingOptions) -> int:
    return options.threads or torch.get_num_threads()


def _workers(options: TrainingOptions) -> int:
    is_on_cpu = not options.device.startswith("cuda") and not torch.cuda.is_available()
    # More processes than cores: otherwise the last of three runs would use one core and leave the
    # other idle.
    return min(len(options.methods), 2 * _cores(options)) if is_on_cpu else 1


@dataclass(frozen=True, slots=True)
class _Tasks:
    """The tasks of all methods."""

    options: Options
    split: Split
    paid: TeacherEmbeddings

    def of(self, method: str, progress: _ProgressQueue) -> _Task:
        return _Task(
            options=self.options,
            split=self.split,
            method=method,
            keys=tuple(self.paid.rows),
            table=self.paid.table.folder,
            sold=self.paid.sold,
            progress=progress,
        )


def _train_in_parallel(tasks: _Tasks, terminal: Terminal, workers: int) -> None:
    """Trains every method to the end, so that the parent can load each from its checkpoint.

    An error in a child process is raised here, after the other processes have ended.
    """
    methods: Sequence[str] = tasks.options.training.methods
    with ExitStack() as stack:
        queue = stack.enter_context(Manager()).Queue()
        pool = stack.enter_context(training_pool(workers, end_with_parent))
        update = stack.enter_context(terminal.bars([_label(method) for method in methods]))
        running = [pool.submit(_train, tasks.of(method, queue)) for method in methods]
        waiting = set(running)
        while waiting:
            waiting = wait(waiting, timeout=0.2).not_done
            while True:
                try:
                    update(*queue.get_nowait())
                except Empty:
                    break
        for future in running:
            future.result()


def _train(task: _Task) -> None:
    """Entry point of a training subprocess."""
    scanned = load_image_set(task.options.data, task.options.run, quiet())
    rows = {key: row for row, key in enumerate(task.keys)}
    paid = TeacherEmbeddings(table=open_table(task.table, task.keys), rows=rows, sold=task.sold)
    experimenter = Experimenter(task.split, scanned, paid, task.options)
    label = _label(task.method)
    experimenter.train(
        task.method, lambda step, steps, note: task.progress.put((label, step, steps, note))
    )
