"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) over cached targets: nothing is asked.

Pixels, embeddings and labels of two images are blended in the same shares. Shapes: B batch, S
pixels a side, D teacher dimensions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from student.training.batches import Batch, Batches
from student.training.sampling import random_source


class MixedBatches:
    """Another's batches of pixels, each image mixed with a partner of the same batch."""

    def __init__(
        self,
        batches: Batches,
        *,
        mix: Literal["mixup", "cutmix"],
        alpha: float,
        seed: tuple[int, ...],
    ) -> None:
        self._batches = batches
        self._mix = mix
        self._alpha = alpha
        self._seed = seed

    def __call__(self, step: int) -> Batch:
        batch = self._batches(step)
        source = random_source(*self._seed, step)
        share = float(source.beta(self._alpha, self._alpha))
        partner_B = torch.from_numpy(partners(batch, source)).to(batch.labels.device)
        pixels = batch.inputs.float()
        if self._mix == "mixup":
            pixels = share * pixels + (1.0 - share) * pixels[partner_B]
        else:
            pixels, share = _cut(pixels, pixels[partner_B], share, source)
        unit_BD = functional.normalize(batch.images, dim=-1)
        between_BD = share * unit_BD + (1.0 - share) * unit_BD[partner_B]
        return replace(
            batch,
            inputs=pixels,
            images=functional.normalize(between_BD, dim=-1),
            partners=batch.labels[partner_B],
            share=share,
        )


def partners(batch: Batch, source: np.random.Generator) -> NDArray[np.int64]:
    """A partner for each row (B,), among those that have what it has: so no label and no bought
    embedding is lost to a partner without."""
    kinds_B = (2 * batch.bought.long() + (batch.labels >= 0)).cpu().numpy()
    found_B = np.arange(len(kinds_B))
    for kind in np.unique(kinds_B):
        rows = np.flatnonzero(kinds_B == kind)
        found_B[rows] = source.permutation(rows)
    return found_B


def _cut(
    pixels: Tensor, others: Tensor, share: float, source: np.random.Generator
) -> tuple[Tensor, float]:
    """One box of the others' pixels, about 1 - share of the area, and the share that it leaves."""
    height, width = pixels.shape[1:3]
    half = np.sqrt(1.0 - share) / 2
    row, column = source.random(2)
    top, bottom = (int(np.clip(row + at, 0, 1) * height) for at in (-half, half))
    left, right = (int(np.clip(column + at, 0, 1) * width) for at in (-half, half))
    cut = pixels.clone()
    cut[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return cut, 1.0 - (bottom - top) * (right - left) / (height * width)
