"""Trains one student by one method, from data that is already paid for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from student.errors import BadInput, DataError
from student.models.student import Student
from student.training.averaging import LossValley, MovingAverage
from student.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from student.training.config import TrainingSettings
from student.training.dataset import LabelledImages, TrainingData
from student.training.device import training_device
from student.training.loop import Report, Row, StageState, fit, put, settle
from student.training.methods import Method
from student.training.metrics import Score, logits_of, score
from student.training.run_digest import run_digest
from student.training.sampling import torch_seed
from student.training.stage_builder import StageParts, useful_images
from student.training.student_factory import make_student
from student.training.text_targets import with_text_targets
from student.training.wise_ft import interpolate

_INIT, _DROPOUT = 0, 3  # purposes of a random source, beside those of a stage's parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which weights became the student, by source validation alone; of equals, the average.

    `step` is that of the best raw weights, whichever was chosen; `average` is None where nothing
    was averaged. `interpolated` is the score of the student itself where the chosen weights were
    then mixed with the untrained ones (WiSE-FT), and None where they were not.
    """

    weights: Literal["raw", "average"]
    step: int
    raw: Score
    average: Score | None
    interpolated: Score | None = None


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

    The method's overrides win over the settings.
    With a checkpoint, a killed run goes on from its last validation and ends in the same student;
    the file stays for the caller to delete once the student is saved, and a run of other data or
    settings replaces it. Raises BadInput, DataError, TrainingError.
    """
    settings = method.settings_for(settings)
    terms = method.terms_for(settings)
    _check(method, data, validation, settings, num_classes)
    if settings.stand_ins and terms.reads_images:
        data = with_text_targets(data)
    started = time.perf_counter()
    with training_device(settings) as device:
        digest = run_digest(method, data, validation, settings, num_classes) if checkpoint else ""
        found = read_checkpoint(checkpoint, digest, device) if checkpoint else None
        torch.manual_seed(torch_seed(settings.seed, _INIT))
        student = make_student(
            method, data, settings, num_classes=num_classes, pretrained=found is None
        )
        if found:
            student.load_state_dict(found.student)
        student.to(device)
        run = StageParts(terms, data, validation, settings, student)
        before = found.seconds if found else 0.0
        history = list(found.history) if found else []
        stages = method.stages(settings)
        for number in range(found.stage if found else 0, len(stages)):
            stage, is_last = stages[number], number == len(stages) - 1
            if found and found.stage == number:
                state = found.state
            else:
                averages = is_last and not stage.in_closed_form
                state = _new_state(settings if averages else None)

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
            if stage.in_closed_form:
                settle(
                    stage,
                    student,
                    solve=run.solve,
                    validate=validate,
                    state=state,
                    report=progress,
                    save=save,
                )
            else:
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
        if settings.wise_ft < 1.0:
            start = starting_backbone(method, data, settings, num_classes=num_classes)
            put(student, interpolate(start, _backbone(student), alpha=settings.wise_ft))
            mixed = score(logits_of(student, validation.pixels), validation.labels)
            chosen = replace(chosen, interpolated=mixed)
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
    averaged = state.valley.average() if state.valley else state.ema.tensors if state.ema else None
    if averaged is not None:
        put(student, averaged)
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


def starting_backbone(
    method: Method,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    num_classes: int,
) -> dict[str, Tensor]:
    """The backbone's weights that `train` starts from with these arguments, by name in the student:
    what `interpolate` takes as its start."""
    settings = method.settings_for(settings)
    with training_device(settings):
        torch.manual_seed(torch_seed(settings.seed, _INIT))
        student = make_student(method, data, settings, num_classes=num_classes, pretrained=True)
    return _backbone(student)


def _backbone(student: Student) -> dict[str, Tensor]:
    held = student.state_dict()
    return {name: tensor for name, tensor in held.items() if name.startswith("backbone.")}


def _new_state(averaging: TrainingSettings | None) -> StageState:
    if averaging is not None and averaging.averaging == "swad":
        return StageState(valley=LossValley())
    if averaging is not None and averaging.averaging == "ema":
        return StageState(ema=MovingAverage(decay=averaging.ema_decay))
    return StageState()


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
    for name, labels, least in (
        ("training", data.labels, -1),
        ("validation", validation.labels, 0),
    ):
        if labels.min() < least or labels.max() >= num_classes:
            message = f"a {name} label lies outside the {num_classes} classes"
            raise DataError(message)
    terms = method.terms_for(settings)
    reads_texts = terms.kd > 0 or method.head != "class"
    if reads_texts and len(data.text_embeddings) != num_classes:
        message = f"{num_classes} classes and {len(data.text_embeddings)} text embeddings"
        raise DataError(message)
    if not terms.reads_labels and not data.bought.any():
        message = f"{method.name} learns from image embeddings alone, and none was bought"
        raise BadInput(message)
    if not useful_images(terms, data).any():
        message = f"{method.name} learns from labels, and no image has one"
        raise BadInput(message)
    in_closed_form = any(stage.in_closed_form for stage in method.stages(settings))
    if in_closed_form and max(terms.image, terms.text) == 0:
        message = f"Align by ridge regression is of the cosine terms, and {method.name} has none"
        raise BadInput(message)
