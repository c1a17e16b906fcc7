"""k-means, seeded: D. Arthur and S. Vassilvitskii, "k-means++", SODA 2007, then Lloyd's steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS = 15
_SAME = 1e-7  # squared distance that rounding alone puts between copies of a unit vector


def k_means(points: NDArray[np.float32], k: int, *, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """The cluster of each row of `points` (N, F), in [0, k); a cluster may be left empty."""
    centres = _spread(points, k, np.random.default_rng(seed))
    clusters = np.full(len(points), -1, dtype=np.int64)
    for _ in range(_STEPS):
        distance = (centres**2).sum(axis=1) - 2.0 * (points @ centres.T)
        moved = np.argmin(distance, axis=1)
        if (moved == clusters).all():
            break
        clusters = moved
        sizes = np.bincount(clusters, minlength=k)
        order = np.argsort(clusters, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(clusters[order]) > 0])
        sums = np.add.reduceat(points[order], starts, axis=0)
        filled = np.flatnonzero(sizes)
        centres[filled] = sums / sizes[filled, None]
    return clusters


def _spread(
    points: NDArray[np.float32], k: int, source: np.random.Generator
) -> NDArray[np.float32]:
    """k initial centres, each drawn by its squared distance to the centres before it."""
    squares = (points**2).sum(axis=1)
    rows = [int(source.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    while len(rows) < k:
        last = points[rows[-1]]
        distance = squares + last @ last - 2.0 * (points @ last)
        nearest = np.minimum(nearest, np.maximum(distance, 0.0))
        nearest[rows[-1]] = 0.0
        total = nearest.sum()
        if total <= _SAME * len(points):  # every point is a centre already, or a copy of a centre
            rows.append(int(source.integers(len(points))))
            continue
        at = int(np.searchsorted(np.cumsum(nearest), source.random() * total, side="right"))
        rows.append(min(at, len(points) - 1))
    return points[rows].copy()
