"""The student's embeddings beside the teacher's, on two axes that the teacher's decide.

Shapes: N bought images, M validation images, D dimensions of the teacher's space.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.data.folder.image_folder import Item
from student.data.image_set import ImageSet, rows_by_path
from student.data.split import Split
from student.models.heads import EmbeddingHead
from student.models.student import Student
from student.training.dataset import TrainingData
from student.training.metrics import embeddings_of

MOST_BOUGHT = 300
MOST_VALIDATION = 100
_LEAST = 3  # two axes through fewer images show nothing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingMap:
    """Places (N, 2) and (M, 2) of images on the first two principal components of the teacher's
    embeddings of the N bought images.

    `teacher_share` and `student_share` are how much of the variance of each one's embeddings of
    these images the two axes show, between 0 and 1.
    """

    bought: tuple[Item, ...]
    validation: tuple[Item, ...]
    teacher: NDArray[np.float64]
    student: NDArray[np.float64]
    student_validation: NDArray[np.float64]
    teacher_share: float
    student_share: float


def embedding_map(
    split: Split, scanned: ImageSet, data: TrainingData, student: Student, *, seed: int
) -> EmbeddingMap | None:
    """The map of a split's bought images and of its validation images, a seeded draw of each.

    None for a student without a projection, and where fewer than three images were bought.
    """
    rows = [int(row) for row in np.flatnonzero(data.bought[:, 0])]
    if not isinstance(student.head, EmbeddingHead) or len(rows) < _LEAST:
        return None
    draw = random.Random(f"map {seed}")
    rows = sorted(draw.sample(rows, min(len(rows), MOST_BOUGHT)))
    count = min(len(split.validation), MOST_VALIDATION)
    validation = [
        split.validation[n] for n in sorted(draw.sample(range(len(split.validation)), count))
    ]
    taught = data.image_embeddings[rows, 0].astype(np.float64)
    own = embeddings_of(student, data.pixels[rows, 0]).astype(np.float64)
    held = embeddings_of(student, _clean(validation, scanned)).astype(np.float64)
    centre, axes = principal_axes(taught)
    return EmbeddingMap(
        bought=tuple(split.train[row] for row in rows),
        validation=tuple(validation),
        teacher=(taught - centre) @ axes,
        student=(own - centre) @ axes,
        student_validation=(held - centre) @ axes,
        teacher_share=share_shown(taught, axes),
        student_share=share_shown(own, axes),
    )


def principal_axes(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (D,) of these vectors (N, D) and their first two principal components (D, 2)."""
    centre = vectors.mean(axis=0)
    axes = np.linalg.svd(vectors - centre, full_matrices=False)[2][:2]
    # A component has no sign of its own; the same images give the same map.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    signed: NDArray[np.float64] = (axes * np.sign(largest)).T
    return centre, signed


def share_shown(vectors: NDArray[np.float64], axes: NDArray[np.float64]) -> float:
    """How much of the variance of these vectors (N, D) lies along the axes (D, 2): 0 to 1."""
    centred = vectors - vectors.mean(axis=0)
    whole = float((centred**2).sum())
    return float(((centred @ axes) ** 2).sum()) / whole if whole else 0.0


def _clean(items: Sequence[Item], scanned: ImageSet) -> NDArray[np.uint8]:
    row_of = rows_by_path(scanned.measured)
    pixels: NDArray[np.uint8] = scanned.clean[[row_of[item.path] for item in items], 0]
    return pixels
