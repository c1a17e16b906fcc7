"""What one step trains on: pixels, or stored features of a frozen backbone.

Every random number of a step is drawn for its whole batch, and each rank then makes its own rows of
it: the batch does not depend on the number of processes that train.

Shapes: B batch, K views, S pixels a side, D teacher dimensions, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.distributed.ranks import ALONE, Ranks
from student.options import TrainingOptions
from student.training.backgrounds import PlainBackgrounds
from student.training.dataset import TrainingData
from student.training.sampling import BalancedSampler, random_source, torch_source
from student.training.stored_pixels import StoredPixels, on_device
from student.transforms.line_drawing import drawn_views
from student.transforms.random_view import random_views

# Purposes of a random source: their numbers decide every student, so they never change.
_PICK, _AUGMENT, _MEAN_TARGET, _CLEAN, _LINE_DRAWING = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """inputs: pixels (B, S, S, 3) or features (B, F). labels (B,), -1 for none. images (B, D), the
    image embeddings, zero where not bought. bought (B,), whether one was."""

    inputs: Tensor
    labels: Tensor
    images: Tensor
    bought: Tensor


class Batches(Protocol):
    """This rank's rows of the batch of a step; the same step always gets the same batch."""

    def __call__(self, step: int) -> Batch: ...


def pick_views(
    bought_BK: NDArray[np.bool_], source: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A bought view of each image, chosen uniformly, or view 0; and whether one was bought."""
    chances_BK = np.where(bought_BK, source.random(bought_BK.shape), -1.0)
    return np.argmax(chances_BK, axis=1), np.logical_or.reduce(bought_BK, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchSource:
    """Where batches come from: the images, which of them a step shows, and the random seed.

    `bought` (N, K) are the views whose embeddings count. `ranks` share the rows of every batch.
    """

    data: TrainingData
    sampler: BalancedSampler
    seed: tuple[int, ...]
    bought: NDArray[np.bool_]
    ranks: Ranks = ALONE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fresh:
    """Which of a rank's rows get a new view, `at` (B,): rows `first` and following of those that
    get one in the whole batch, `of` so many."""

    at: NDArray[np.bool_]
    first: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """What a step shows on this rank: view `views` (B,) of the images `rows` (B,), of which the
    views `bought` (B, K) were bought; whether that one was `paid` (B,), and whether its target is
    the `mean` (B,) of them all. A fresh one is a line drawing with the probability `line_drawings`
    (F,)."""

    rows: NDArray[np.int64]
    views: NDArray[np.int64]
    bought: NDArray[np.bool_]
    paid: NDArray[np.bool_]
    mean: NDArray[np.bool_]
    fresh: _Fresh
    line_drawings: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Begun:
    """A step whose stored views are being read; `read` waits for them."""

    step: int
    shown: _Shown
    read: Callable[[], Tensor]


class PixelBatches:
    """Pixels of balanced batches.

    A bought view is shown unchanged, so that teacher and student see the same pixels. If only the
    clean image was bought, or nothing, a new augmented view of the clean image is shown: with one
    query an image, ordinary augmentation keeps more of the gain than none. Options change this.
    With probability `clean_prob` the clean image is shown unchanged, if it was bought or nothing
    was. Otherwise, if other views were bought too, a new view is shown with probability
    `mean_target_prob`; its target is the mean of the image's bought embeddings. A new view is
    converted to a line drawing with probability `line_drawing_prob`. For images on a plain
    background the first and the last of these may differ.
    """

    def __init__(
        self, source: BatchSource, *, device: torch.device, options: TrainingOptions
    ) -> None:
        self._source = source
        self._device = device
        self._options = options
        self._stored = StoredPixels(source.data.pixels, device)
        self._plain = PlainBackgrounds(source.data.pixels)
        self._begun: _Begun | None = None

    def __call__(self, step: int) -> Batch:
        data = self._source.data
        begun = self._begun
        if begun is None or begun.step != step:
            begun = self._begin(step)
        shown, stored = begun.shown, begun.read()
        self._begun = self._begin(step + 1)  # is read while this step trains
        rows_B, mean_B, paid_B = shown.rows, shown.mean, shown.paid
        image_BD = _embeddings(data, rows_B, shown.views, paid_B)
        if mean_B.any():
            image_BD[mean_B] = _mean_embeddings(
                data.image_embeddings[rows_B[mean_B]], shown.bought[mean_B]
            )
        return _batch(data, self._pixels(step, stored, shown), rows_B, image_BD, paid_B)

    def _begin(self, step: int) -> _Begun:
        shown = self._shown(step)
        return _Begun(step=step, shown=shown, read=self._stored.begin(shown.rows, shown.views))

    def _shown(self, step: int) -> _Shown:
        source = self._source
        rows_B = source.sampler.indices(step)
        bought_BK = source.bought[rows_B]
        views_B, paid_B = pick_views(bought_BK, random_source(*source.seed, _PICK, step))
        alone_B = ~bought_BK[:, 1:].any(axis=1)
        options = self._options
        clean_prob_B = self._by_background(rows_B, options.clean_prob, options.plain_clean_prob)
        kept_B = self._drawn(step, _CLEAN, clean_prob_B)
        clean_B = kept_B & bought_BK[:, 0]
        mean_B = self._drawn(step, _MEAN_TARGET, np.full(len(rows_B), options.mean_target_prob))
        mean_B &= ~alone_B & ~clean_B
        views_B = np.where(mean_B | clean_B, 0, views_B)
        fresh_B = mean_B | (alone_B & ~kept_B)
        own = source.ranks.part(len(rows_B))
        drawing_B = self._by_background(
            rows_B, options.line_drawing_prob, options.plain_line_drawing_prob
        )
        return _Shown(
            rows=rows_B[own],
            views=views_B[own],
            bought=bought_BK[own],
            paid=paid_B[own],
            mean=mean_B[own],
            fresh=_Fresh(
                at=fresh_B[own], first=int(fresh_B[: own.start].sum()), of=int(fresh_B.sum())
            ),
            line_drawings=drawing_B[own][fresh_B[own]],
        )

    def _by_background(
        self, rows_B: NDArray[np.int64], chance: float, plain: float | None
    ) -> NDArray[np.float64]:
        """A probability for each image: `plain`, if there is one, on a plain background."""
        if plain is None or plain == chance:
            return np.full(len(rows_B), chance)
        return np.where(self._plain(rows_B), plain, chance)

    def _pixels(self, step: int, pixels: Tensor, shown: _Shown) -> Tensor:
        """The stored views (B, S, S, 3), with a new view of each fresh image."""
        source, fresh = self._source, shown.fresh
        if not fresh.at.any():
            return pixels
        at_B = torch.from_numpy(fresh.at).to(self._device)
        draws = torch_source(*source.seed, _AUGMENT, step)
        augmented = random_views(pixels[at_B], draws, first=fresh.first, of=fresh.of)
        if shown.line_drawings.any():
            draws = torch_source(*source.seed, _LINE_DRAWING, step)
            chance = torch.from_numpy(shown.line_drawings).float()
            augmented = drawn_views(augmented, draws, chance=chance, first=fresh.first, of=fresh.of)
        if fresh.at.all():
            return augmented
        pixels = pixels.float()
        pixels[at_B] = augmented
        return pixels

    def _drawn(self, step: int, purpose: int, chance_B: NDArray[np.float64]) -> NDArray[np.bool_]:
        if not chance_B.any():
            return np.zeros(len(chance_B), dtype=bool)
        return random_source(*self._source.seed, purpose, step).random(len(chance_B)) < chance_B


class FeatureBatches:
    """Features, from the frozen backbone, of the views that were bought, or of the clean image.

    `features` (M, F) has a row for every (image, view) of `rows_NK`, which is -1 where there is
    none.
    """

    def __init__(
        self, source: BatchSource, *, features: Tensor, rows_NK: NDArray[np.int64]
    ) -> None:
        self._source = source
        self._features = features
        self._rows_NK = rows_NK

    def __call__(self, step: int) -> Batch:
        source = self._source
        rows_B = source.sampler.indices(step)
        picked = random_source(*source.seed, _PICK, step)
        views_B, paid_B = pick_views(source.bought[rows_B], picked)
        own = source.ranks.part(len(rows_B))
        rows_B, views_B, paid_B = rows_B[own], views_B[own], paid_B[own]
        at_B = torch.from_numpy(self._rows_NK[rows_B, views_B]).to(self._features.device)
        image_BD = _embeddings(source.data, rows_B, views_B, paid_B)
        return _batch(source.data, self._features[at_B], rows_B, image_BD, paid_B)


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
) -> Batch:
    device = inputs.device
    return Batch(
        inputs=inputs,
        labels=on_device(torch.from_numpy(data.labels[rows_B]), device),
        images=on_device(torch.from_numpy(image_BD), device),
        bought=on_device(torch.from_numpy(paid_B), device),
    )
