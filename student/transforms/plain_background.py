"""Images on a plain background, as icons, logos and clip art are.

Their subject is cut out and placed already, so that a random crop is an image that never comes.

Shapes: B batch, S pixels a side, 3 colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHARE = 0.75  # of the border, at least
_TOLERANCE = 16  # of 255, in each channel


def on_plain_background(pixels_BSS3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether three quarters of the border of each image have one colour: (B,).

    That colour is the border's median; a pixel has it if no channel differs by more than 16 of 255.
    """
    edges = (
        pixels_BSS3[:, 0],
        pixels_BSS3[:, -1],
        pixels_BSS3[:, 1:-1, 0],
        pixels_BSS3[:, 1:-1, -1],
    )
    border = np.concatenate(edges, axis=1).astype(np.int16)
    distances = np.abs(border - np.median(border, axis=1, keepdims=True)).max(axis=-1)
    return np.asarray((distances <= _TOLERANCE).mean(axis=1) >= _SHARE)
