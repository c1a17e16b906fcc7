"""A training task on random images, for a trial of a student before there is any data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from student.models.backbone import is_tower
from student.models.clip_tower import embedding_dim
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import Method
from student.training.task import TrainingTask

_CLASSES = 2
_DIM = 8  # of a teacher that is not known yet


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialImages:
    """How many random images of each domain a trial has, and views of each; all are bought."""

    image_size: int
    domains: int = 2
    per_domain: int = 1
    views: int = 1


def random_task(
    method: Method, options: TrainingOptions, images: TrialImages, overrides: dict[str, object]
) -> TrainingTask:
    """A task of two classes; `overrides` are options that the method does not decide either."""
    source = np.random.default_rng(0)
    count = images.domains * images.per_domain
    dim = embedding_dim(options.backbone) if is_tower(options.backbone) else _DIM
    text_CD = source.normal(size=(_CLASSES, dim)).astype(np.float32)
    text_CD /= np.linalg.norm(text_CD, axis=1, keepdims=True)
    size = images.image_size
    pixels = source.integers(0, 256, (count, images.views, size, size, 3), dtype=np.uint8)
    labels = np.arange(count) % _CLASSES
    return TrainingTask(
        method=method.yielding(overrides),
        data=TrainingData(
            pixels=pixels,
            labels=labels,
            domains=np.arange(count) % images.domains,
            image_embeddings=np.repeat(text_CD[labels][:, None], images.views, axis=1),
            bought=np.ones((count, images.views), dtype=bool),
            text_embeddings=text_CD,
        ),
        validation=LabelledImages(
            name="validation", pixels=pixels[:_CLASSES, 0], labels=labels[:_CLASSES]
        ),
        options=options.changed(**overrides),
        seed=0,
        num_classes=_CLASSES,
    )
