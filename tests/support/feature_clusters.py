"""Selection candidates with constructed features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from student.acquisition.candidates import Answers, Candidates

CLASSES, DOMAINS, EACH, DIM = 3, 2, 12, 6


def blobs(seed: int = 0, *, each: int = EACH, spread: float = 0.15) -> Candidates:
    """`each` images of every class and domain, around a direction of their own."""
    source = np.random.default_rng(seed)
    centres = source.normal(size=(CLASSES * DOMAINS, 16))
    features = np.repeat(centres, each, axis=0)
    features += spread * source.normal(size=features.shape)
    return Candidates(
        features=features.astype(np.float32),
        labels=np.repeat(np.tile(np.arange(CLASSES), DOMAINS), each).astype(np.int64),
        domains=np.repeat(np.arange(DOMAINS), CLASSES * each).astype(np.int64),
    )


def answers_for(candidates: Candidates, seed: int = 0) -> Answers:
    """A teacher whose embeddings are a linear map of the features, and a text for each class."""
    source = np.random.default_rng(seed)
    images = candidates.features @ source.normal(size=(candidates.features.shape[1], DIM))
    texts = np.stack([images[candidates.labels == c].mean(axis=0) for c in range(CLASSES)])
    return Answers(
        texts=_unit(texts), images=_unit(images), known=np.ones(len(candidates), dtype=bool)
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)
