"""A training task on small data."""

from __future__ import annotations

from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS, Method
from student.training.task import TrainingTask
from tests.support.shaded_images import CLASSES


def task_of(
    method: Method | str,
    data: TrainingData,
    validation: LabelledImages,
    options: TrainingOptions,
    *,
    seed: int = 0,
) -> TrainingTask:
    """The task of a method, or of the method of this name, with three classes."""
    return TrainingTask(
        method=METHODS[method] if isinstance(method, str) else method,
        data=data,
        validation=validation,
        options=options,
        seed=seed,
        num_classes=CLASSES,
    )
