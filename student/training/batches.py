"""What one step is trained on: pixels, or stored features of a backbone that stands still.

Shapes: B batch, K views, S pixels a side, D teacher dimensions, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.training.augment import random_views
from student.training.dataset import TrainingData
from student.training.sampling import BalancedSampler, random_source, torch_source

_PICK, _AUGMENT = 1, 2  # purposes of a random source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """inputs: pixels (B, S, S, 3) or features (B, F); labels and bought (B,); images (B, D), the
    embeddings, zero where not bought."""

    inputs: Tensor
    labels: Tensor
    images: Tensor
    bought: Tensor


class Batches(Protocol):
    """The batch of a step, always the same for the same step."""

    def __call__(self, step: int) -> Batch: ...


def pick_views(
    bought_BK: NDArray[np.bool_], source: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """One of each image's bought views, uniformly, view 0 where none was; and whether one was."""
    chances_BK = np.where(bought_BK, source.random(bought_BK.shape), -1.0)
    return np.argmax(chances_BK, axis=1), np.logical_or.reduce(bought_BK, axis=1)


class PixelBatches:
    """Pixels of balanced batches.

    A bought view is shown as it was sent, so that teacher and student see the same pixels. Where
    the clean image alone was bought, or nothing, a fresh view of the clean image is shown: one
    query keeps more of the gain with ordinary augmentation than without.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        sampler: BalancedSampler,
        seed: tuple[int, ...],
        bought: NDArray[np.bool_],
        device: torch.device,
    ) -> None:
        self._data = data
        self._sampler = sampler
        self._seed = seed
        self._bought = bought
        self._device = device

    def __call__(self, step: int) -> Batch:
        rows_B = self._sampler.indices(step)
        bought_BK = self._bought[rows_B]
        views_B, paid_B = pick_views(bought_BK, random_source(*self._seed, _PICK, step))
        fresh_B = ~bought_BK[:, 1:].any(axis=1)
        pixels = torch.from_numpy(self._data.pixels[rows_B, views_B]).to(self._device)
        if fresh_B.any():
            augmented = random_views(
                pixels[torch.from_numpy(fresh_B).to(self._device)],
                torch_source(*self._seed, _AUGMENT, step),
            )
            if fresh_B.all():
                pixels = augmented
            else:
                pixels = pixels.float()
                pixels[torch.from_numpy(fresh_B).to(self._device)] = augmented
        return _batch(self._data, pixels, rows_B, views_B, paid_B, self._device)


class FeatureBatches:
    """The frozen backbone's features of the views that were bought, or of the clean image.

    `features` (M, F) holds a row for every (image, view) of `rows_NK`, -1 where there is none.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        sampler: BalancedSampler,
        seed: tuple[int, ...],
        bought: NDArray[np.bool_],
        features: Tensor,
        rows_NK: NDArray[np.int64],
    ) -> None:
        self._data = data
        self._sampler = sampler
        self._seed = seed
        self._bought = bought
        self._features = features
        self._rows_NK = rows_NK

    def __call__(self, step: int) -> Batch:
        rows_B = self._sampler.indices(step)
        views_B, paid_B = pick_views(self._bought[rows_B], random_source(*self._seed, _PICK, step))
        device = self._features.device
        at_B = torch.from_numpy(self._rows_NK[rows_B, views_B]).to(device)
        return _batch(self._data, self._features[at_B], rows_B, views_B, paid_B, device)


def _batch(
    data: TrainingData,
    inputs: Tensor,
    rows_B: NDArray[np.int64],
    views_B: NDArray[np.int64],
    paid_B: NDArray[np.bool_],
    device: torch.device,
) -> Batch:
    image_BD = np.zeros((len(rows_B), data.dim), dtype=np.float32)
    image_BD[paid_B] = data.image_embeddings[rows_B[paid_B], views_B[paid_B]]
    return Batch(
        inputs=inputs,
        labels=torch.from_numpy(data.labels[rows_B]).to(device),
        images=torch.from_numpy(image_BD).to(device),
        bought=torch.from_numpy(paid_B).to(device),
    )
