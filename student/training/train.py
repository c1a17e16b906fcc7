"""Trains one student by one method, from data that is already paid for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from student.distributed.ranks import ALONE, Ranks
from student.models.student import Student
from student.training.averaging import LossValley
from student.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from student.training.device import training_device
from student.training.features import features_of
from student.training.loop import Report, Row, StageState, fit, put
from student.training.metrics import Score, score_of
from student.training.run_digest import run_digest
from student.training.sampling import torch_seed
from student.training.stage_builder import StageBuilder
from student.training.student_factory import make_student
from student.training.task import TrainingTask
from student.training.wise_ft import interpolate

COMPILER = "inductor"
"""What `torch.compile` compiles with; on a CPU it needs a C++ compiler."""
_INIT = 0  # the purpose of a random source, beside those of the stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which weights became the student, by accuracy on source validation; of equals, the average.

    `step` is that of the best raw weights, whichever were chosen; `average` is None if nothing was
    averaged. `interpolated` is the score of the student itself if the chosen weights were then
    averaged with the initial ones (WiSE-FT), and None otherwise.
    """

    weights: Literal["raw", "average"]
    step: int
    raw: Score
    average: Score | None
    interpolated: Score | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained student in eval mode, its validation history, and which weights were chosen.

    `threads` is the number of CPU threads of each of the `processes` that trained it: sums depend
    on both in their last bits.
    """

    student: Student
    history: list[Row]
    chosen: Chosen
    seconds: float
    threads: int
    processes: int = 1


def silent(*, stage: str, step: int, steps: int, loss: float, accuracy: float | None) -> None:
    """A report that prints nothing."""


def train(
    task: TrainingTask,
    *,
    progress: Report = silent,
    checkpoint: Path | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Trains a student; equal tasks on one machine give equal students, bit for bit.

    The method's own settings win over the options of the task. With a checkpoint, a killed run is
    resumed from its last validation and ends in the same student. The caller deletes the file once
    the student is saved; a run of other data or options replaces it. Several ranks that call this
    with equal tasks train one student together, which each of them gets; the first writes the
    checkpoint and all read it. Raises BadInput, DataError, TrainingError.
    """
    task = task.ready()
    started = time.perf_counter()
    with training_device(task.options) as device:
        saved = _Saved(checkpoint, task, device, started, ranks)
        student = _starting_student(task, saved.found).to(device)
        if task.options.compile:
            # In place: the names of its tensors stay, and so do the files of a student.
            student.backbone.compile(backend=COMPILER)
        ranks.copy_first(student.state_dict().values())
        builder = StageBuilder(task, student, ranks)
        history = list(saved.found.history) if saved.found else []
        for number in range(saved.found.stage if saved.found else 0, len(task.stages)):
            work = builder.work(number)
            state = saved.state_of(number) or _new_state(task, number)
            save = partial(saved.write, student, number, history)
            fit(work, student, state=state, report=progress, save=save)
            history = [*history, *state.rows]
            is_only = task.options.averaging == "swad-only"
            chosen = choose(student, state, work.validate, takes_average=is_only)
            ranks.copy_first(student.state_dict().values())
        if task.options.wise_ft < 1.0:
            chosen = replace(chosen, interpolated=_interpolate(task, student, ranks))
        threads = torch.get_num_threads()
    student.requires_grad_(False).eval()
    return Trained(
        student=student,
        history=history,
        chosen=chosen,
        seconds=saved.seconds,
        threads=threads,
        processes=ranks.count,
    )


class _Saved:
    """The checkpoint of a run: where it was when it was killed, and how long it has trained."""

    def __init__(
        self,
        path: Path | None,
        task: TrainingTask,
        device: torch.device,
        started: float,
        ranks: Ranks,
    ) -> None:
        self._path = path if ranks.is_first else None
        self._digest = run_digest(task, ranks.count) if path or ranks.count > 1 else ""
        self._started = started
        self.found = read_checkpoint(path, self._digest, device) if path else None
        found = self.found
        reached = (found.stage, found.state.step) if found else None
        ranks.require_equal(self._digest, "data, options and torch")
        ranks.require_equal(reached, "checkpoint")

    @property
    def seconds(self) -> float:
        """The time that the run has trained, in this process and in those before it."""
        before = self.found.seconds if self.found else 0.0
        return before + time.perf_counter() - self._started

    def state_of(self, stage: int) -> StageState | None:
        """The state of the stage in which the run was killed; None for another stage."""
        return self.found.state if self.found and self.found.stage == stage else None

    def write(
        self, student: Student, stage: int, history: Sequence[Row], state: StageState
    ) -> None:
        if self._path is None:
            return
        at = Checkpoint(
            digest=self._digest,
            stage=stage,
            seconds=self.seconds,
            history=list(history),
            state=state,
            student=student.state_dict(),
        )
        write_checkpoint(self._path, at)


def _starting_student(task: TrainingTask, found: Checkpoint | None) -> Student:
    torch.manual_seed(torch_seed(task.seed, _INIT))
    student = make_student(task, pretrained=found is None)
    if found:
        student.load_state_dict(found.student)
    return student


def _new_state(task: TrainingTask, number: int) -> StageState:
    """The state in which a stage begins; weights are averaged in the last stage only."""
    averages = number == len(task.stages) - 1 and task.options.averaging != "none"
    return StageState(valley=LossValley() if averages else None)


def choose(
    student: Student,
    state: StageState,
    validate: Callable[[], Score],
    *,
    takes_average: bool = False,
) -> Chosen:
    """Gives the student the better of the best raw weights and the average on source validation.

    With `takes_average` it gets the average, if there is one. The best raw weights are the best of
    many, so on few validation images their accuracy flatters them.
    """
    assert state.best is not None  # a stage has a last step, and validates after it
    average = None
    if state.valley is not None:
        put(student, state.valley.average())
        average = validate()
    is_better = average is not None and average.accuracy >= state.best.score.accuracy
    is_average = is_better or (takes_average and average is not None)
    if not is_average:
        put(student, state.best.tensors)
    return Chosen(
        weights="average" if is_average else "raw",
        step=state.best.step,
        raw=state.best.score,
        average=average,
    )


def _interpolate(task: TrainingTask, student: Student, ranks: Ranks) -> Score:
    """Averages the student's backbone with its initial weights; its score on validation."""
    start = starting_backbone(task)
    put(student, interpolate(start, _backbone(student), alpha=task.options.wise_ft))
    features = features_of(student, task.validation.pixels, ranks)
    return score_of(student, features, task.validation)


def starting_backbone(task: TrainingTask) -> dict[str, Tensor]:
    """The initial backbone weights of this task, by name in the student: the start of
    `interpolate`."""
    with training_device(task.options):
        student = _starting_student(task, None)
    return _backbone(student)


def _backbone(student: Student) -> dict[str, Tensor]:
    held = student.state_dict()
    return {name: tensor for name, tensor in held.items() if name.startswith("backbone.")}
