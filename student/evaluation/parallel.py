"""Trains the methods of one split, side by side where that is faster, and scores them.

On a CPU a small student does not fill two cores: two runs on one thread each take little longer
than one run on two. So each method gets a process of its own and its share of the cores. A child
is told what to train, not given it: it reads the same tables again, memory-mapped, and leaves its
result in the checkpoint, from which the parent goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import Manager, get_context
from pathlib import Path
from queue import Empty
from typing import Protocol

import torch

from cache.embedding_table import open_table
from cache.records.embedding_key import EmbeddingKey
from student.config import JobSettings
from student.console import Terminal, quiet
from student.data.image_set import ImageSet, load_image_set
from student.data.split import Split
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.child_process import end_with_parent
from student.evaluation.experiment import Experimenter
from student.evaluation.results import Experiment, MethodResult
from student.run_methods import methods_of


class _Told(Protocol):
    """What children write their progress to: (bar, step, steps, note)."""

    def put(self, item: tuple[str, int, int, str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What a child is told: where the embeddings lie, row by key, and what to train on them."""

    settings: JobSettings
    split: Split
    method: str
    keys: tuple[EmbeddingKey, ...]
    table: Path
    told: _Told


def run_experiment(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    settings: JobSettings,
    terminal: Terminal,
) -> Experiment:
    """Trains each method on the split's images and scores it on every part.

    The network is not used: everything that costs was bought before. A killed run goes on from
    its last checkpoints.
    """
    methods = methods_of(settings)
    workers = _workers(methods, settings)
    if workers > 1:
        threads = max(1, _cores(settings) // workers)
        settings = settings.model_copy(update={"threads": threads})
        _train_side_by_side(methods, split, paid, settings, terminal, workers)
    experimenter = Experimenter(split, scanned, paid, settings)
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


def _cores(settings: JobSettings) -> int:
    return settings.threads or torch.get_num_threads()


def _workers(methods: Sequence[str], settings: JobSettings) -> int:
    is_on_cpu = not settings.device.startswith("cuda") and not torch.cuda.is_available()
    # More runs than cores: the last of three must not have one core to itself and idle the other.
    return min(len(methods), 2 * _cores(settings)) if is_on_cpu else 1


def _train_side_by_side(
    methods: Sequence[str],
    split: Split,
    paid: TeacherEmbeddings,
    settings: JobSettings,
    terminal: Terminal,
    workers: int,
) -> None:
    """Trains every method to its end; each then resumes from its checkpoint at no cost.

    An error of a child is raised here, once the others have ended.
    """
    context = get_context("spawn")  # a fork of a process that has threads may never end
    with ExitStack() as stack:
        told = stack.enter_context(Manager()).Queue()
        pool = stack.enter_context(ProcessPoolExecutor(workers, context, end_with_parent))
        update = stack.enter_context(terminal.bars([_label(method) for method in methods]))
        running = [
            pool.submit(
                _train,
                _Task(
                    settings=settings,
                    split=split,
                    method=method,
                    keys=tuple(paid.rows),
                    table=paid.table.folder,
                    told=told,
                ),
            )
            for method in methods
        ]
        waiting = set(running)
        while waiting:
            waiting = wait(waiting, timeout=0.2).not_done
            while True:
                try:
                    update(*told.get_nowait())
                except Empty:
                    break
        for one in running:
            one.result()


def _train(task: _Task) -> None:
    """A child's whole life."""
    scanned = load_image_set(task.settings, quiet())
    rows = {key: row for row, key in enumerate(task.keys)}
    paid = TeacherEmbeddings(table=open_table(task.table, task.keys), rows=rows)
    experimenter = Experimenter(task.split, scanned, paid, task.settings)
    label = _label(task.method)
    experimenter.train(
        task.method, lambda step, steps, note: task.told.put((label, step, steps, note))
    )
