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

from student.training.dataset import TrainingData
from student.training.sampling import BalancedSampler, random_source, torch_source
from student.transforms.line_drawing import drawn_views
from student.transforms.random_view import random_views

_PICK, _AUGMENT, _BETWEEN, _EXACT, _DRAW = 1, 2, 3, 4, 5  # purposes of a random source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """inputs: pixels (B, S, S, 3) or features (B, F); labels and bought (B,), a label of -1 for
    none; images (B, D), the embeddings, zero where not bought. Where images are mixed, `partners`
    (B,) are the labels of the others, and `share` is the first ones' part."""

    inputs: Tensor
    labels: Tensor
    images: Tensor
    bought: Tensor
    partners: Tensor | None = None
    share: float = 1.0


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
    query keeps more of the gain with ordinary augmentation than without. With the chance `exact`
    the clean image is shown as it stands, wherever it was bought or nothing was. Else, where other
    views were bought, too, a fresh view is shown with the chance `between`: then the target is of
    no one view, but the mean of the image's bought embeddings. A fresh view is redrawn in ink with
    the chance `drawn`.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        sampler: BalancedSampler,
        seed: tuple[int, ...],
        bought: NDArray[np.bool_],
        device: torch.device,
        between: float = 0.0,
        exact: float = 0.0,
        drawn: float = 0.0,
    ) -> None:
        self._data = data
        self._sampler = sampler
        self._seed = seed
        self._bought = bought
        self._device = device
        self._between = between
        self._exact = exact
        self._drawn = drawn

    def __call__(self, step: int) -> Batch:
        rows_B = self._sampler.indices(step)
        bought_BK = self._bought[rows_B]
        views_B, paid_B = pick_views(bought_BK, random_source(*self._seed, _PICK, step))
        alone_B = ~bought_BK[:, 1:].any(axis=1)
        exact_B = self._chosen(step, _EXACT, self._exact, len(rows_B))
        clean_B = exact_B & bought_BK[:, 0]
        between_B = ~alone_B & ~clean_B & self._chosen(step, _BETWEEN, self._between, len(rows_B))
        views_B = np.where(between_B | clean_B, 0, views_B)
        fresh_B = between_B | (alone_B & ~exact_B)
        pixels = torch.from_numpy(self._data.pixels[rows_B, views_B]).to(self._device)
        if fresh_B.any():
            augmented = random_views(
                pixels[torch.from_numpy(fresh_B).to(self._device)],
                torch_source(*self._seed, _AUGMENT, step),
            )
            if self._drawn > 0:
                draws = torch_source(*self._seed, _DRAW, step)
                augmented = drawn_views(augmented, draws, chance=self._drawn)
            if fresh_B.all():
                pixels = augmented
            else:
                pixels = pixels.float()
                pixels[torch.from_numpy(fresh_B).to(self._device)] = augmented
        image_BD = _embeddings(self._data, rows_B, views_B, paid_B)
        if between_B.any():
            image_BD[between_B] = _mean_embeddings(
                self._data.image_embeddings[rows_B[between_B]], bought_BK[between_B]
            )
        return _batch(self._data, pixels, rows_B, image_BD, paid_B, self._device)

    def _chosen(self, step: int, purpose: int, chance: float, count: int) -> NDArray[np.bool_]:
        if chance == 0.0:
            return np.zeros(count, dtype=bool)
        return random_source(*self._seed, purpose, step).random(count) < chance


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
        image_BD = _embeddings(self._data, rows_B, views_B, paid_B)
        return _batch(self._data, self._features[at_B], rows_B, image_BD, paid_B, device)


def _embeddings(
    data: TrainingData,
    rows_B: NDArray[np.int64],
    views_B: NDArray[np.int64],
    paid_B: NDArray[np.bool_],
) -> NDArray[np.float32]:
    image_BD = np.zeros((len(rows_B), data.dim), dtype=np.float32)
    image_BD[paid_B] = data.image_embeddings[rows_B[paid_B], views_B[paid_B]]
    return image_BD


def _mean_embeddings(
    image_BKD: NDArray[np.float32], bought_BK: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The direction of the mean of each image's bought embeddings: unit length."""
    mean_BD = np.where(bought_BK[..., None], image_BKD, 0.0).sum(axis=1)
    length_B1 = np.linalg.norm(mean_BD, axis=-1, keepdims=True)
    unit_BD: NDArray[np.float32] = mean_BD / np.maximum(length_B1, np.finfo(np.float32).tiny)
    return unit_BD


def _batch(
    data: TrainingData,
    inputs: Tensor,
    rows_B: NDArray[np.int64],
    image_BD: NDArray[np.float32],
    paid_B: NDArray[np.bool_],
    device: torch.device,
) -> Batch:
    return Batch(
        inputs=inputs,
        labels=torch.from_numpy(data.labels[rows_B]).to(device),
        images=torch.from_numpy(image_BD).to(device),
        bought=torch.from_numpy(paid_B).to(device),
    )
