"""Which stored images are on a plain background, and whether a folder is one of such images.

Shapes: N images, K views, S pixels a side, B batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from student.options import TrainingOptions
from student.training.dataset import TrainingData
from student.training.pixels import Pixels
from student.transforms.plain_background import on_plain_background

_MOST = 500  # images of a domain that are looked at; a share of one half is then known to 4 points


def background_options(options: TrainingOptions, data: TrainingData) -> TrainingOptions:
    """The options, those for plain backgrounds unset unless the data is `mostly_plain`."""
    unset = {"plain_clean_prob": None, "plain_line_drawing_prob": None}
    if all(getattr(options, name) is None for name in unset) or mostly_plain(data):
        return options
    return options.changed(**unset)


def mostly_plain(data: TrainingData) -> bool:
    """Whether, in every domain, most images are on a plain background.

    One domain of photographs is enough to show that things come at any size and place in this
    folder (docs/decisions/0041). Of a large domain evenly spread images are looked at.
    """
    plain = PlainBackgrounds(data.pixels)
    for domain in np.unique(data.domains):
        rows = np.flatnonzero(data.domains == domain)
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(np.int64)]
        if plain(some).mean() <= 1 / 2:
            return False
    return True


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
