"""Trains one student by one method, from data that is already paid for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from student.errors import BadInput, DataError
from student.training.averaging import LossValley
from student.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from student.training.dataset import LabelledImages, TrainingData
from student.training.evaluate import Score
from student.training.fit import Report, Row, StageState, fit, put
from student.training.machine import machine
from student.training.methods import Method
from student.training.run_digest import run_digest
from student.training.sampling import torch_seed
from student.training.settings import TrainingSettings
from student.training.stage_parts import StageParts
from student.training.student import Student, new_student

_INIT, _DROPOUT = 0, 3  # purposes of a random source, beside those of a stage's parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which weights became the student, by source validation alone; of equals, the average.

    `step` is that of the best raw weights, whichever was chosen; `average` is None where nothing
    was averaged.
    """

    weights: Literal["raw", "average"]
    step: int
    raw: Score
    average: Score | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained student in eval mode, what was validated on the way, and what was chosen."""

    student: Student
    history: list[Row]
    chosen: Chosen
    seconds: float


def silent(*, stage: str, step: int, steps: int, loss: float, accuracy: float | None) -> None:
    """A report that nobody hears."""


def train(
    method: Method,
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingSettings,
    *,
    num_classes: int,
    progress: Report = silent,
    checkpoint: Path | None = None,
) -> Trained:
    """Trains a student; equal arguments on one machine give equal students, bit for bit.

    With a checkpoint, a killed run goes on from its last validation and ends in the same student;
    the file stays for the caller to delete once the student is saved, and a run of other data or
    settings replaces it. Raises BadInput, DataError, TrainingError.
    """
    _check(method, data, validation, settings, num_classes)
    started = time.perf_counter()
    with machine(settings) as device:
        digest = run_digest(method, data, validation, settings, num_classes) if checkpoint else ""
        found = read_checkpoint(checkpoint, digest, device) if checkpoint else None
        student = _student(method, data, settings, num_classes, found).to(device)
        run = StageParts(method, data, validation, settings, student)
        before = found.seconds if found else 0.0
        history = list(found.history) if found else []
        stages = method.stages(settings)
        for number in range(found.stage if found else 0, len(stages)):
            stage, is_last = stages[number], number == len(stages) - 1
            if found and found.stage == number:
                state = found.state
            else:
                averages = is_last and settings.averaging == "swad"
                state = StageState(valley=LossValley() if averages else None)

            def save(state: StageState, number: int = number, past: list[Row] = history) -> None:
                if checkpoint is None:
                    return
                at = Checkpoint(
                    digest=digest,
                    stage=number,
                    seconds=before + time.perf_counter() - started,
                    history=past,
                    state=state,
                    student=student.state_dict(),
                )
                write_checkpoint(checkpoint, at)

            validate = run.validate(stage)
            fit(
                stage,
                student,
                batches=run.batches(stage, number),
                loss=run.loss(stage),
                validate=validate,
                state=state,
                eval_every=settings.eval_every,
                report=progress,
                save=save,
                keep_batch_norm=settings.freeze_batch_norm,
                seed=torch_seed(settings.seed, _DROPOUT, number),
            )
            history = [*history, *state.rows]
            chosen = choose(student, state, validate)
    student.requires_grad_(False).eval()
    return Trained(
        student=student,
        history=history,
        chosen=chosen,
        seconds=before + time.perf_counter() - started,
    )


def choose(student: Student, state: StageState, validate: Callable[[], Score]) -> Chosen:
    """Gives the student the better of the best raw weights and the average on source validation."""
    assert state.best is not None  # a stage has a last step, and validates after it
    average = None
    if state.valley is not None:
        put(student, state.valley.average())
        average = validate()
    takes_average = average is not None and average.accuracy >= state.best.score.accuracy
    if not takes_average:
        put(student, state.best.tensors)
    return Chosen(
        weights="average" if takes_average else "raw",
        step=state.best.step,
        raw=state.best.score,
        average=average,
    )


def _student(
    method: Method,
    data: TrainingData,
    settings: TrainingSettings,
    num_classes: int,
    found: Checkpoint | None,
) -> Student:
    torch.manual_seed(torch_seed(settings.seed, _INIT))
    embeds = method.head == "embedding"
    student = new_student(
        backbone=settings.backbone,
        weights="none" if found else settings.weights,
        image_size=settings.image_size,
        num_classes=num_classes,
        text_embeddings=torch.tensor(data.text_embeddings) if embeds else None,
    )
    if found:
        student.load_state_dict(found.student)
    return student


def _check(
    method: Method,
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingSettings,
    num_classes: int,
) -> None:
    for name, size in (("training", data.image_size), ("validation", validation.pixels.shape[1])):
        if size != settings.image_size:
            message = f"the {name} images have {size} pixels a side, not {settings.image_size}"
            raise DataError(message)
    for name, labels in (("training", data.labels), ("validation", validation.labels)):
        if labels.min() < 0 or labels.max() >= num_classes:
            message = f"a {name} label lies outside the {num_classes} classes"
            raise DataError(message)
    if method.head == "embedding" and len(data.text_embeddings) != num_classes:
        message = f"{num_classes} classes and {len(data.text_embeddings)} text embeddings"
        raise DataError(message)
    if method.image_weight(settings) == 1.0 and not data.bought.any():
        message = f"{method.name} learns from image embeddings alone, and none was bought"
        raise BadInput(message)
