"""k-center greedy: always the image that is farthest from all chosen images.

O. Sener and S. Savarese, "Active learning for convolutional neural networks: a core-set approach",
ICLR 2018 (arXiv 1708.00489), after T. Gonzalez, 1985.
"""

from __future__ import annotations

import numpy as np

from student.acquisition.candidates import Candidates
from student.acquisition.stratified import stratified_order


def k_center_order(candidates: Candidates, *, seed: int, length: int) -> list[int]:
    """Farthest first, starting from an image that the seed chooses; of equals, the first row."""
    if length == 0:
        return []
    points = candidates.directions()
    order = [stratified_order(candidates.strata, seed)[0]]
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    left = np.ones(len(points), dtype=bool)
    left[order[0]] = False
    while len(order) < length:
        # Unit vectors: the squared distance is 2 - 2 cos.
        nearest = np.minimum(nearest, 2.0 - 2.0 * (points @ points[order[-1]]))
        best = int(np.argmax(np.where(left, nearest, -np.inf)))
        order.append(best)
        left[best] = False
    return order
