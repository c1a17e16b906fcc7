"""Vectors of unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors (..., D) scaled to unit length; a zero vector stays zero."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.maximum(length, np.finfo(np.float32).tiny)
    return scaled
