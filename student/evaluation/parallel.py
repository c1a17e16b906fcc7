"""Trains the methods of one split, in parallel where that is faster, and scores them.

On a CPU a small student does not keep two cores busy: two runs on one thread each take little
longer than one run on two threads. So each method gets a process of its own and its share of the
cores. A child process gets the parent's catalogue, so that the folder is hashed once; it reads the
same tables, memory-mapped, and leaves its result in the checkpoint, which the parent resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import Manager
from pathlib import Path
from queue import Empty
from typing import Protocol

from cache.embedding_table import open_table
from cache.records.embedding_key import EmbeddingKey
from student.console import Terminal, quiet
from student.data.folder.image_folder import Catalogue
from student.data.image_set import ImageSet, load_image_set
from student.data.split import Split
from student.embeddings.lookup import TeacherEmbeddings
from student.embeddings.zero_shot import DOUBTFUL
from student.evaluation.child_process import end_with_parent, training_pool
from student.evaluation.duration import RunClock
from student.evaluation.embedding_map import embedding_map
from student.evaluation.experiment import Experimenter, MethodProgress, Point, teacher_accuracy
from student.evaluation.method_choice import choose_method, chosen_options
from student.evaluation.processes import Processes
from student.evaluation.results import AccuracyCount, Experiment, MethodResult
from student.models.architecture import SoldNetwork
from student.options import Options
from student.selection.selection import Selection

Follow = Callable[[str, Point], None]
"""Gets the name of a method and one of its validations."""


def ignore(method: str, point: Point) -> None:
    """Follows no training."""


class _ProgressQueue(Protocol):
    """Takes the progress of child processes."""

    def put(self, item: MethodProgress) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """The work of one child process: a method to train, and the embedding table with its keys."""

    options: Options
    catalogue: Catalogue
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
    follow: Follow = ignore,
    selection: Selection | None = None,
) -> Experiment:
    """Trains each method on the split's images and scores it on every part.

    The network is not used: everything was bought before. A killed run is resumed from its last
    checkpoints. With `--method auto` the method is chosen first, unless `selection` has chosen it.
    `follow` gets every validation of every method, some of them twice. Raises StudentError.
    """
    if options.training.is_auto:
        selection = selection or choose_method(split, scanned, paid, options, terminal)
    options = chosen_options(options, selection)
    teacher = _teacher_accuracy(split, scanned, paid, options, terminal)
    methods = options.training.methods
    processes = Processes.of(options.training)
    clock = RunClock(options, processes, _splits_left(split, scanned), terminal)
    if processes.count > 1:
        options = options.changed(threads=processes.threads)
        tasks = _Tasks(options, scanned.catalogue, split, paid)
        _train_in_parallel(tasks, terminal, clock, follow, processes.count)
    experimenter = Experimenter(split, scanned, paid, options)
    results: list[MethodResult] = []
    for method in methods:
        with terminal.bars([_label(method)], is_shown=processes.count == 1) as update:
            trained = experimenter.train(method, partial(_show, update, clock, follow))
        for point in experimenter.points(method, trained):
            follow(method, point)
        results.append(experimenter.measure(method, trained))
    return Experiment(
        sources=split.sources,
        targets=split.targets,
        num_train=experimenter.data.num_images,
        num_bought=int(experimenter.data.bought.sum()),
        results=tuple(results),
        selection=selection,
        teacher=teacher,
        map=embedding_map(
            split,
            scanned,
            experimenter.data,
            results[0].trained.student,
            seed=options.run.seed,
        ),
    )


def teacher_sentence(teacher: AccuracyCount) -> str:
    """The teacher's zero-shot accuracy with its 95% interval, as a sentence."""
    interval = teacher.interval
    return (
        f"the teacher itself classifies {teacher.accuracy:.1%} of the {teacher.images:,} bought "
        f"images correctly (zero-shot, 95% interval {interval.low:.1%} to {interval.high:.1%})"
    )


def _teacher_accuracy(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
) -> AccuracyCount | None:
    """Measures the teacher on the bought images, and prints what it finds before any training."""
    teacher = teacher_accuracy(split, scanned, paid, options)
    if teacher is None:
        return None
    if teacher.interval.high < DOUBTFUL:
        terminal.warn(
            f"{teacher_sentence(teacher)}: it may not know these images; compare with --method erm "
            "before you buy more"
        )
    else:
        terminal.say(teacher_sentence(teacher))
    return teacher


def _label(method: str) -> str:
    return f"training {method}"


def _splits_left(split: Split, scanned: ImageSet) -> int:
    return len(scanned.splits) - [one.targets for one in scanned.splits].index(split.targets)


def _show(
    update: Callable[[str, int, int, str], None],
    clock: RunClock,
    follow: Follow,
    progress: MethodProgress,
) -> None:
    update(_label(progress.method), progress.step, progress.steps, progress.note)
    clock.note(progress.method, progress.seconds_left)
    if progress.point is not None:
        follow(progress.method, progress.point)


@dataclass(frozen=True, slots=True)
class _Tasks:
    """The tasks of all methods."""

    options: Options
    catalogue: Catalogue
    split: Split
    paid: TeacherEmbeddings

    def of(self, method: str, progress: _ProgressQueue) -> _Task:
        return _Task(
            options=self.options,
            catalogue=self.catalogue,
            split=self.split,
            method=method,
            keys=tuple(self.paid.rows),
            table=self.paid.table.folder,
            sold=self.paid.sold,
            progress=progress,
        )


def _train_in_parallel(
    tasks: _Tasks, terminal: Terminal, clock: RunClock, follow: Follow, workers: int
) -> None:
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
                    _show(update, clock, follow, queue.get_nowait())
                except Empty:
                    break
        for future in running:
            future.result()


def _train(task: _Task) -> None:
    """Entry point of a training subprocess."""
    scanned = load_image_set(task.options.data, task.options.run, quiet(), task.catalogue)
    rows = {key: row for row, key in enumerate(task.keys)}
    paid = TeacherEmbeddings(table=open_table(task.table, task.keys), rows=rows, sold=task.sold)
    experimenter = Experimenter(task.split, scanned, paid, task.options)
    experimenter.train(task.method, task.progress.put)
