"""Trains each student of a run for one step, before anything is bought.

What cannot be trained is found here in seconds: an unknown backbone, weights that are missing or do
not fit, images that are too small, a device that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from student.errors import BadInput, StudentError
from student.models.backbone import is_tower
from student.models.clip_tower import embedding_dim
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.device import training_device
from student.training.methods import Method
from student.training.student_factory import check_pair
from student.training.task import TrainingTask
from student.training.train import train

_CLASSES = 2
_DIM = 8  # of a teacher that is not known yet
# One image of each of two domains: batch norm needs two.
_ONE_STEP = {
    "steps": 1,
    "align_steps": 1,
    "eval_every": 1,
    "batch_per_domain": 1,
    "text_targets": False,
    "wise_ft": 1.0,
}


def check_students(asked: Iterable[tuple[Method, TrainingOptions]], *, image_size: int) -> int:
    """Refuses students that cannot be trained: each network is built once, with its weights, and
    trained for one step on two random images.

    Returns the bytes that the weights of these students take, together. No random state changes.
    Raises BadInput, or TrainingError where the model hub fails.
    """
    students = list(asked)
    for method, options in students:
        check_pair(method, options.backbone)
    for options in {options.device: options for _, options in students}.values():
        with training_device(options):
            pass
    sizes: dict[tuple[str, str, str], int] = {}
    for method, options in students:
        if (network := _network(options)) not in sizes:
            sizes[network] = _size_after_one_step(method, options, image_size)
    return sum(sizes[_network(options)] for _, options in students)


def _network(options: TrainingOptions) -> tuple[str, str, str]:
    return options.backbone, options.weights, options.device


def _size_after_one_step(method: Method, options: TrainingOptions, image_size: int) -> int:
    try:
        student = train(_task(method, options, image_size)).student
        return sum(tensor.nbytes for tensor in student.state_dict().values())
    except StudentError:
        raise
    # timm, open_clip and torch raise whatever the network's own code raises.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        message = (
            f"{options.backbone} with weights {options.weights} cannot be trained on images of "
            f"{image_size} pixels with --device {options.device}: {type(error).__name__}: {reason}"
        )
        raise BadInput(message) from error


def _task(method: Method, options: TrainingOptions, image_size: int) -> TrainingTask:
    source = np.random.default_rng(0)
    dim = embedding_dim(options.backbone) if is_tower(options.backbone) else _DIM
    vectors = source.normal(size=(_CLASSES, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shape = (_CLASSES, 1, image_size, image_size, 3)
    pixels = source.integers(0, 256, shape, dtype=np.uint8)
    labels = np.arange(_CLASSES)
    return TrainingTask(
        method=method.yielding(_ONE_STEP),
        data=TrainingData(
            pixels=pixels,
            labels=labels,
            domains=labels,
            image_embeddings=vectors[:, None],
            bought=np.ones((_CLASSES, 1), dtype=bool),
            text_embeddings=vectors,
        ),
        validation=LabelledImages(name="validation", pixels=pixels[:, 0], labels=labels),
        options=options.changed(**_ONE_STEP),
        seed=0,
        num_classes=_CLASSES,
    )
