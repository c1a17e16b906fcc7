"""The data of a training run: pixels, labels, and the embeddings that were bought.

Shapes: N images, K stored views of each, S pixels a side, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.errors import DataError
from student.training.pixels import Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """Source images with labels, their stored views, and the bought embeddings of these.

    pixels (N, K, S, S, 3) uint8, which may be larger than memory; view 0 is the clean image.
    labels (N,) int64, -1 where an image has none; domains (N,) int64. image_embeddings (N, K, D)
    float32, of which only the rows of `bought` (N, K) are read. text_embeddings (C, D) float32.
    Raises DataError if shapes or types do not fit.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    image_embeddings: NDArray[np.float32]
    bought: NDArray[np.bool_]
    text_embeddings: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 5 or self.pixels.dtype != np.uint8:
            message = f"pixels must be uint8 (N, K, S, S, 3), not {_form(self.pixels)}"
            raise DataError(message)
        images, views = self.pixels.shape[:2]
        if images == 0:
            message = "there is no image to train on"
            raise DataError(message)
        if self.pixels.shape[2] != self.pixels.shape[3] or self.pixels.shape[4] != 3:
            message = f"pixels must be square and have three channels, not {_form(self.pixels)}"
            raise DataError(message)
        for name, array, shape in (
            ("labels", self.labels, (images,)),
            ("domains", self.domains, (images,)),
            ("bought", self.bought, (images, views)),
            ("image_embeddings", self.image_embeddings, (images, views, self.dim)),
        ):
            if array.shape != shape:
                message = f"{name} must have the shape {shape}, not {array.shape}"
                raise DataError(message)
        if self.bought.dtype != np.bool_:
            message = f"bought must be bool, not {self.bought.dtype}"
            raise DataError(message)

    @property
    def num_images(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def image_size(self) -> int:
        return int(self.pixels.shape[2])

    @property
    def dim(self) -> int:
        return int(self.text_embeddings.shape[-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Images to evaluate a student on. pixels (N, S, S, 3) uint8; labels (N,) int64.

    Images without labels have the label -1 and the teacher's `embeddings` (N, D) instead.
    """

    name: str
    pixels: Pixels
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            message = f"{self.name}: pixels must be uint8 (N, S, S, 3), not {_form(self.pixels)}"
            raise DataError(message)
        if self.labels.shape != self.pixels.shape[:1] or not len(self.labels):
            message = f"{self.name}: {len(self.pixels)} images with {len(self.labels)} labels"
            raise DataError(message)
        if self.embeddings is not None and len(self.embeddings) != len(self.labels):
            message = f"{self.name}: {len(self.labels)} images, {len(self.embeddings)} embeddings"
            raise DataError(message)


def _form(array: Pixels) -> str:
    return f"{array.dtype} {array.shape}"
