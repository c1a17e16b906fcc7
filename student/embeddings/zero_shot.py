"""The teacher's own answers: the class whose text is nearest to an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nearest(images: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.int64]:
    """The number of the text (C, D) that is nearest to each image embedding (N, D): (N,)."""
    found: NDArray[np.int64] = (images @ texts.T).argmax(axis=1)
    return found


def correct(
    images: NDArray[np.float32], texts: NDArray[np.float32], labels: NDArray[np.int64]
) -> int:
    """How many image embeddings (N, D) have the text (C, D) of their label (N,) as the nearest."""
    return int((nearest(images, texts) == labels).sum())
