"""Features of a frozen backbone, on which a head is trained: computed once.

Shapes: N images, K views, M views that are needed, F features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.models.student import Student
from student.training.dataset import TrainingData

_CHUNK = 256


@torch.no_grad()
def features_of(student: Student, pixels: NDArray[np.uint8]) -> Tensor:
    """The backbone's features of images (M, S, S, 3), on the student's device: (M, F).

    The student is left in eval mode.
    """
    student.eval()
    chunks = [
        student.features(torch.tensor(pixels[at : at + _CHUNK]))
        for at in range(0, len(pixels), _CHUNK)
    ]
    return torch.cat(chunks)


@torch.no_grad()
def stored_view_features(
    student: Student, data: TrainingData, bought: NDArray[np.bool_]
) -> tuple[Tensor, NDArray[np.int64]]:
    """Features (M, F) of every bought view, unchanged, or of the clean image if none was bought.

    Also returns the row of each view in them (N, K), -1 for a view that is not needed.
    """
    needed_NK = bought.copy()
    needed_NK[~bought.any(axis=1), 0] = True
    images_M, views_M = np.nonzero(needed_NK)
    rows_NK = np.full(bought.shape, -1, dtype=np.int64)
    rows_NK[images_M, views_M] = np.arange(len(images_M))
    chunks = [
        features_of(student, data.pixels[images_M[at : at + _CHUNK], views_M[at : at + _CHUNK]])
        for at in range(0, len(images_M), _CHUNK)
    ]
    return torch.cat(chunks), rows_NK
