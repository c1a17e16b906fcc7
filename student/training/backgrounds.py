"""Which stored images are on a plain background, looked up as training asks.

Shapes: N images, K views, S pixels a side, B batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from student.training.pixels import Pixels
from student.transforms.plain_background import on_plain_background


class PlainBackgrounds:
    """Which images of a table (N, K, S, S, 3) are on a plain background.

    The clean view of an image is read when the image is first asked for, and never again: the table
    may be larger than memory.
    """

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self._known = np.full(len(pixels), -1, dtype=np.int8)  # -1: not looked at yet

    def __call__(self, rows_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these images is: (B,)."""
        new = np.unique(rows_B[self._known[rows_B] < 0])
        if len(new):
            self._known[new] = on_plain_background(self._pixels[new, np.zeros_like(new)])
        return np.asarray(self._known[rows_B] == 1)
