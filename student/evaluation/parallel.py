"""Trains the methods of one split, in parallel where that is faster, and scores them.

On a CPU a small student does not keep two cores busy: two runs on one thread each take little
longer than one run on two threads. So each method gets a process of its own and its share of the
cores. A child process leaves its result in the checkpoint, which the parent resumes. Where a
launcher has started several processes, they train one method after the other together instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import Manager
from queue import Empty
from typing import Protocol

from student.console import Terminal
from student.data.image_set import ImageSet
from student.data.split import Split
from student.distributed.join import Crew
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.before_training import how_shown, say_teacher_accuracy, wrong_answers
from student.evaluation.child_process import end_with_parent, training_pool
from student.evaluation.duration import RunClock
from student.evaluation.embedding_map import embedding_map
from student.evaluation.experiment import Experimenter, MethodProgress, Point
from student.evaluation.method_choice import choose_method, chosen_options, far_behind
from student.evaluation.processes import Processes
from student.evaluation.results import Experiment, MethodResult
from student.evaluation.split_work import SplitWork
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
    """The work of one child process: a method of a split to train."""

    split: SplitWork
    method: str
    progress: _ProgressQueue


def run_experiment(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
    follow: Follow = ignore,
    selection: Selection | None = None,
    crew: Crew | None = None,
) -> Experiment:
    """Trains each method on the split's images and scores it on every part.

    The network is not used: everything was bought before. A killed run is resumed from its last
    checkpoints. With `--method auto` the method is chosen first, unless `selection` has chosen it;
    if the distilled student is then far behind labels alone, the plain method is trained as well,
    and is the student. `follow` gets every validation of every method, some of them twice. The
    ranks of a `crew` train and measure each method together; what else there is to do, this one
    does. Raises StudentError.
    """
    crew = crew or Crew()
    if options.training.is_auto:
        selection = selection or choose_method(split, scanned, options, terminal)
    options = chosen_options(options, selection)
    is_solved = selection is not None and selection.is_solved
    processes = Processes.of(options.training, ranks=crew.ranks.count)
    if processes.count > 1:
        options = options.changed(threads=processes.threads)
    experimenter = Experimenter(split, scanned, paid, options, crew.ranks)
    num_wrong = wrong_answers(experimenter.data, options)
    teacher = say_teacher_accuracy(split, scanned, paid, options, terminal, num_wrong=num_wrong)
    if shown := how_shown(split, scanned, options):
        terminal.say(shown)
    clock = RunClock(options, processes, _splits_left(split, scanned), terminal)
    work = SplitWork.of(options, scanned.catalogue, split, paid)
    if processes.count > 1:
        _train_in_parallel(work, terminal, clock, follow, processes.count)

    def results_of(work: SplitWork) -> list[MethodResult]:
        found: list[MethodResult] = []
        with crew.working(work):
            for method in work.options.training.methods:
                with terminal.bars([_label(method)], is_shown=processes.count == 1) as update:
                    trained = experimenter.train(method, partial(_show, update, clock, follow))
                for point in experimenter.points(method, trained):
                    follow(method, point)
                found.append(experimenter.measure(method, trained))
        return found

    results = results_of(work)
    behind = far_behind(selection, results[0])
    if behind is not None:
        selection = behind
        terminal.warn(selection.explanation)
        if not any(one.method == selection.chosen for one in results):
            plain = options.changed(method=selection.chosen)
            results += results_of(SplitWork.of(plain, scanned.catalogue, split, paid))
            shown = how_shown(split, scanned, plain)
        results.sort(key=lambda one: one.method != selection.chosen)
    return Experiment(
        sources=split.sources,
        targets=split.targets,
        num_train=experimenter.data.num_images,
        num_bought=0 if is_solved else int(experimenter.data.bought.sum()),
        num_wrong=num_wrong,
        results=tuple(results),
        selection=selection,
        teacher=teacher,
        shown=shown,
        map=embedding_map(
            split,
            scanned,
            experimenter.data,
            results[0].trained.student,
            seed=options.run.seed,
        ),
    )


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


def _train_in_parallel(
    work: SplitWork, terminal: Terminal, clock: RunClock, follow: Follow, workers: int
) -> None:
    """Trains every method to the end, so that the parent can load each from its checkpoint.

    An error in a child process is raised here, after the other processes have ended.
    """
    methods: Sequence[str] = work.options.training.methods
    with ExitStack() as stack:
        queue = stack.enter_context(Manager()).Queue()
        pool = stack.enter_context(training_pool(workers, end_with_parent))
        update = stack.enter_context(terminal.bars([_label(method) for method in methods]))
        running = [
            pool.submit(_train, _Task(split=work, method=method, progress=queue))
            for method in methods
        ]
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
    task.split.experimenter().train(task.method, task.progress.put)
