"""Embeddings of images in the space of a CLIP that cannot be run, from answers that it gave.

A linear map from a network's features to the CLIP's answers says how images differ, as far as a few
answers can teach that. What it says of their classes is replaced by another teacher's answers, as
differences between the CLIP's own text embeddings of the class names.

Shapes: N images, F features, D dimensions of the CLIP, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from student.models.timm_backbone import load_backbone
from tools.train_teacher.measure import embedding_spread
from tools.train_teacher.recipe import PREPROCESS

Vectors: TypeAlias = NDArray[np.float32]
BACKBONE = "tf_efficientnet_lite0"
_SIZE = 128  # pixels, the size of the images of PACS that are there
_BATCH = 64
_PENALTY = 2.0  # on standardised features, per image: least error on the answers held out


@torch.inference_mode()
def features_of(paths: Sequence[Path]) -> Vectors:
    """Return ImageNet features (N, F) of image files."""
    network = load_backbone(BACKBONE, "wheel").eval()
    normalise = v2.Normalize(PREPROCESS["mean"], PREPROCESS["std"])
    found = []
    for start in range(0, len(paths), _BATCH):
        pixels = np.stack([_pixels(path) for path in paths[start : start + _BATCH]])
        images = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        found.append(network(images.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(found)


def _pixels(path: Path) -> NDArray[np.uint8]:
    image = Image.open(path).convert("RGB")
    return np.asarray(image.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))


class AnswersFromFeatures:
    """The ridge regression of a CLIP's answers on features."""

    def __init__(self, features: Vectors, answers: Vectors) -> None:
        """Fit it to features (N, F) and answers (N, D)."""
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        self._centre = answers.mean(axis=0)
        inputs = ((features - self._mean) / self._scale).astype(np.float64)
        gram = inputs.T @ inputs + _PENALTY * len(inputs) * np.eye(inputs.shape[1])
        self._weights = np.linalg.solve(gram, inputs.T @ (answers - self._centre))

    def __call__(self, features: Vectors) -> Vectors:
        """Return the answers (N, D) that are expected for features (N, F), not at unit length."""
        inputs = (features - self._mean) / self._scale
        return np.asarray(self._centre + inputs @ self._weights, dtype=np.float32)

    def not_explained(self, features: Vectors, answers: Vectors) -> float:
        """Return the share of the variance of other answers (N, D) that is missed.

        1 is what the mean of the answers it was fitted to would miss.
        """
        missed = ((self(features) - answers) ** 2).sum()
        return float(missed / ((answers - self._centre) ** 2).sum())


def stretched(embeddings: Vectors, variance: float) -> Vectors:
    """Return embeddings (N, D) with this variance about their mean, summed over dimensions.

    A regression's predictions vary less than what they predict.
    """
    centre = embeddings.mean(axis=0)
    apart = embeddings - centre
    scale = np.sqrt(variance / (apart**2).sum(axis=1).mean())
    return np.asarray(centre + scale * apart, dtype=np.float32)


def with_classes(embeddings: Vectors, texts: Vectors, shares: Vectors, *, weight: float) -> Vectors:
    """Return embeddings (N, D) at unit length whose classes are those of `shares` (N, C).

    Their parts along the differences of the class texts (C, D) are replaced by the mean of these
    differences, weighted by the probabilities `shares` and scaled by `weight`.
    """
    differences = texts - texts.mean(axis=0)
    _, sizes, directions = np.linalg.svd(differences, full_matrices=False)
    kept = directions[sizes > 1e-6 * sizes[0]]
    without = embeddings - embeddings @ kept.T @ kept
    return unit(without + weight * shares @ differences)


def weight_for(
    share: float, embeddings: Vectors, texts: Vectors, shares: Vectors, labels: NDArray[np.int64]
) -> float:
    """Return the weight of `with_classes` at which this share (0 to 1) of the variance of the
    embeddings lies within classes: the larger the weight, the less does."""
    low, high = 0.0, 100.0
    for _ in range(30):
        weight = (low + high) / 2
        made = with_classes(embeddings, texts, shares, weight=weight)
        if embedding_spread(made, labels).within_classes > share:
            low = weight
        else:
            high = weight
    return high


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Return vectors (..., D) at unit length."""
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=-1, keepdims=True), dtype=np.float32)
