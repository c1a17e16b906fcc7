"""The inputs of a selector: what is free, and what has been bought so far.

Shapes: N images, F features of the student, D teacher dimensions, C classes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AcquisitionRounds = Generator[list[int], "Answers", None]
"""Yields rows of images to buy, round by round, and is sent the answers to all rows so far."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The images that could be bought, by row. Computing it costs no query.

    features (N, F) float32 of the student's backbone before training, labels and domains (N,)
    int64. Raises ValueError if the shapes disagree.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not (
            len(self.features) == len(self.labels) == len(self.domains)
        ):
            message = (
                f"{self.features.shape} features, {self.labels.shape} labels and "
                f"{self.domains.shape} domains are not of the same images"
            )
            raise ValueError(message)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def strata(self) -> list[tuple[int, int]]:
        """The domain and class of each row."""
        return list(zip(self.domains.tolist(), self.labels.tolist(), strict=True))

    @property
    def num_classes(self) -> int:
        """The number of classes among the rows."""
        return len(np.unique(self.labels))

    def directions(self) -> NDArray[np.float32]:
        """The features at unit length (N, F), so that distances depend on cosines."""
        length = np.linalg.norm(self.features, axis=1, keepdims=True)
        unit: NDArray[np.float32] = self.features / np.maximum(length, np.float32(1e-12))
        return unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """The bought embeddings: images (N, D), valid only in the rows of `known` (N,), and the class
    texts (C, D), row by label."""

    texts: NDArray[np.float32]
    images: NDArray[np.float32]
    known: NDArray[np.bool_]

    def of(self, rows: Sequence[int]) -> Answers:
        """The same, with only the images of `rows` known."""
        asked = np.zeros_like(self.known)
        asked[list(rows)] = True
        return Answers(texts=self.texts, images=self.images, known=self.known & asked)
