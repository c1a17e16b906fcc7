"""Short training runs that are measured on source validation.

They read the training and validation images of a split and nothing else, so they cannot see a
held-out domain.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.storage.atomic_file import replace_file
from student.models.architecture import SoldNetwork
from student.options import TrainingOptions
from student.options.training import MethodName
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import method_of
from student.training.metrics import answers_of, logits_of
from student.training.run_digest import run_digest
from student.training.task import TrainingTask
from student.training.train import train

Progress = Callable[[int, int, str], None]
"""Called with a step, the number of steps, and a note on that step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledDomains:
    """The labelled images of one split, and what training on them takes besides options."""

    data: TrainingData
    validation: LabelledImages
    num_classes: int
    sold: SoldNetwork | None
    seed: int


def short_steps(options: TrainingOptions) -> int:
    """The steps of a short run: half of the student's."""
    return max(1, options.steps // 2)


def short_options(options: TrainingOptions) -> TrainingOptions:
    """The options of a short run: validated once, at its end, and not averaged."""
    steps = short_steps(options)
    align_steps = min(options.align_steps, steps)
    return options.changed(
        steps=steps,
        align_steps=align_steps,
        eval_every=max(steps, align_steps),
        averaging="none",
        wise_ft=1.0,
    )


def run_short(
    labelled: LabelledDomains,
    method: MethodName,
    options: TrainingOptions,
    *,
    stored: Path,
    progress: Progress,
) -> NDArray[np.bool_]:
    """Whether a method, trained for a short while, classifies each validation image correctly (M,).

    The answers are left in the file `stored`, and read from there by an equal call. A killed run
    continues from its checkpoint. Raises StudentError.
    """
    options = short_options(options.changed(method=method, compare=False))
    task = TrainingTask(
        method=method_of(method, options),
        data=labelled.data,
        validation=labelled.validation,
        options=options,
        seed=labelled.seed,
        num_classes=labelled.num_classes,
        sold=labelled.sold,
    )
    digest = run_digest(task.ready())
    if (known := _read(stored, digest)) is not None:
        return known
    checkpoint = stored.with_suffix(".checkpoint")

    def follow(stage: str, step: int, steps: int, loss: float, accuracy: float | None) -> None:
        seen = "" if accuracy is None else f", validation {accuracy:.1%}"
        progress(step, steps, f"{stage}, loss {loss:.3f}{seen}")

    student = train(task, progress=follow, checkpoint=checkpoint).student
    images = labelled.validation
    correct: NDArray[np.bool_] = answers_of(logits_of(student, images.pixels))[0] == images.labels
    answers = "".join("1" if right else "0" for right in correct)
    replace_file(stored, json.dumps({"digest": digest, "correct": answers}).encode())
    checkpoint.unlink(missing_ok=True)  # it is as large as several students
    return correct


def _read(stored: Path, digest: str) -> NDArray[np.bool_] | None:
    """The answers in a file of this digest; None if there is none, or it cannot be read."""
    try:
        read = json.loads(stored.read_bytes())
        if read["digest"] != digest:
            return None
        return np.array([bit == "1" for bit in read["correct"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None
