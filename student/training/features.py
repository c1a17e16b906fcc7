"""Features of a frozen backbone, on which a head is trained: computed once.

Shapes: N images, K views, M views that are needed, F features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.distributed.ranks import ALONE, Ranks
from student.models.backbone import load_network, network_settings
from student.models.student import NewHead, Student, with_head
from student.options import TrainingOptions
from student.training.dataset import TrainingData
from student.training.device import training_device
from student.training.pixels import Pixels
from student.training.sampling import torch_seed

_CHUNK = 256
_CHUNK_IN_MEMORY = 1024


def untrained_features(
    pixels: Pixels,
    options: TrainingOptions,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> NDArray[np.float32]:
    """The backbone's features (N, F) of images (N, S, S, 3), before it is trained.

    `progress(done, total)` counts images. Raises BadInput and TrainingError as `load_network` does.
    """
    size = int(pixels.shape[1])
    with training_device(options) as device:
        torch.manual_seed(torch_seed(seed))  # for a backbone with random weights
        student = with_head(
            load_network(options.backbone, options.weights, image_size=size),
            NewHead(num_classes=2, text_embeddings=None),
            settings=network_settings(options.backbone, options.weights),
            backbone=options.backbone,
            image_size=size,
        ).to(device)
        chunks: list[NDArray[np.float32]] = []
        for at in range(0, len(pixels), _CHUNK_IN_MEMORY):
            part = pixels[at : at + _CHUNK_IN_MEMORY]
            chunks.append(features_of(student, part).cpu().numpy())
            progress(at + len(part), len(pixels))
    return np.concatenate(chunks)


@torch.no_grad()
def features_of(student: Student, pixels: Pixels, ranks: Ranks = ALONE) -> Tensor:
    """The backbone's features of images (M, S, S, 3), on the student's device: (M, F).

    Several ranks share the images, and each gets all features. The student is left in eval mode.
    """
    return ranks.gathered(
        len(pixels), lambda rows: _in_chunks(student, lambda at: pixels[at], rows)
    )


@torch.no_grad()
def stored_view_features(
    student: Student, data: TrainingData, bought: NDArray[np.bool_], ranks: Ranks = ALONE
) -> tuple[Tensor, NDArray[np.int64]]:
    """Features (M, F) of every bought view, unchanged, or of the clean image if none was bought.

    Also returns the row of each view in them (N, K), -1 for a view that is not needed. Several
    ranks share the views, and each gets all features.
    """
    needed_NK = bought.copy()
    needed_NK[~bought.any(axis=1), 0] = True
    images_M, views_M = np.nonzero(needed_NK)
    rows_NK = np.full(bought.shape, -1, dtype=np.int64)
    rows_NK[images_M, views_M] = np.arange(len(images_M))

    def pixels(at: NDArray[np.int64]) -> NDArray[np.uint8]:
        shown: NDArray[np.uint8] = data.pixels[images_M[at], views_M[at]]
        return shown

    features = ranks.gathered(len(images_M), lambda rows: _in_chunks(student, pixels, rows))
    return features, rows_NK


def _in_chunks(
    student: Student,
    pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    rows: NDArray[np.int64],
) -> Tensor:
    """The features of these rows, whose pixels are read a chunk at a time."""
    student.eval()
    chunks = [
        student.features(torch.tensor(pixels(rows[at : at + _CHUNK])))
        for at in range(0, len(rows), _CHUNK)
    ]
    return torch.cat(chunks)
