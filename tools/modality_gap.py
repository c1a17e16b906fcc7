"""The modality gap of embeddings: measured, and added to those of a teacher that has a small one.

The image embeddings of a web-scale CLIP lie in a narrow cone, its text embeddings in another (Liang
et al., NeurIPS 2022). Those of a small CLIP that was trained on one data set may lie in none. Two
dimensions with one constant for all images and another for all texts make such cones of them.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How image and class text embeddings lie to each other.

    `own_text`, `images` and `texts` are mean cosines: of an image and the text of its class, of two
    images, and of two class texts. `distance` is that between the mean image embedding and the mean
    text embedding: the modality gap.
    """

    own_text: float
    images: float
    texts: float
    distance: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures as a JSON object."""
        return {name: round(value, 3) for name, value in asdict(self).items()}

    def furthest_from(self, other: Geometry) -> float:
        """Return the largest difference to the figures of another geometry."""
        return float(np.abs(np.subtract(astuple(self), astuple(other))).max())


def geometry(images: Vectors, texts: Vectors, labels: NDArray[np.int64]) -> Geometry:
    """Return the geometry of unit vectors: images (N, D) of these classes (N,), texts (C, D)."""
    wide, of_class = images.astype(np.float64), texts.astype(np.float64)
    return Geometry(
        own_text=float((wide * of_class[labels]).sum(axis=1).mean()),
        images=_of_two(wide),
        texts=_of_two(of_class),
        distance=float(np.linalg.norm(wide.mean(axis=0) - of_class.mean(axis=0))),
    )


def _of_two(vectors: NDArray[np.float64]) -> float:
    """The mean cosine of two different vectors."""
    count, total = len(vectors), vectors.sum(axis=0)
    return float((total @ total - count) / (count * (count - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedGap:
    """Two dimensions that are added to unit vectors, which stay of unit length.

    An image's own embedding is multiplied by `image_scale` (0 to 1), a text's by `text_scale`; the
    added constants have the rest of the length, at `angle` (radians) to each other. Every cosine of
    an image and a text changes by one linear function, so no zero-shot answer changes.
    """

    image_scale: float
    text_scale: float
    angle: float

    def to_images(self, vectors: Vectors) -> Vectors:
        """Return image embeddings (N, D) with the gap: (N, D + 2)."""
        return _with_constants(vectors, self.image_scale, 0.0)

    def to_texts(self, vectors: Vectors) -> Vectors:
        """Return text embeddings (N, D) with the gap: (N, D + 2)."""
        return _with_constants(vectors, self.text_scale, self.angle)


def _with_constants(vectors: Vectors, scale: float, angle: float) -> Vectors:
    constants = np.sqrt(1 - scale**2) * np.array([np.cos(angle), np.sin(angle)])
    added = np.broadcast_to(constants.astype(np.float32), (len(vectors), 2))
    return np.concatenate([np.float32(scale) * vectors, added], axis=1)


def gap_towards(
    wanted: Geometry, images: Vectors, texts: Vectors, labels: NDArray[np.int64]
) -> AddedGap:
    """Return the gap that brings these embeddings nearest to a geometry.

    Three numbers cannot meet four figures exactly; the sum of their squared differences is least.
    """

    def differences(values: NDArray[np.float64]) -> NDArray[np.float64]:
        gap = _gap(values)
        found = geometry(gap.to_images(images), gap.to_texts(texts), labels)
        return np.subtract(astuple(found), astuple(wanted))

    start = [np.sqrt(1 - wanted.images), np.sqrt(1 - wanted.texts), np.pi / 2]
    # Float32 vectors: a smaller step of the derivative would be lost in their rounding.
    solved = least_squares(differences, start, bounds=([0, 0, 0], [1, 1, np.pi]), diff_step=1e-3)
    return _gap(solved.x)


def _gap(values: NDArray[np.float64]) -> AddedGap:
    image_scale, text_scale, angle = map(float, values)
    return AddedGap(image_scale=image_scale, text_scale=text_scale, angle=angle)
