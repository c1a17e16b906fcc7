"""Herding: the images whose mean stays closest to the mean of all.

M. Welling, "Herding dynamical weights to learn", ICML 2009; as used to pick exemplars by
S.-A. Rebuffi et al., "iCaRL", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from student.acquisition.candidates import Candidates
from student.acquisition.stratified import stratified_order


def herd(
    features: NDArray[np.float32], *, chosen: Sequence[int] = (), length: int | None = None
) -> list[int]:
    """Rows in the order in which each brings the mean of the chosen rows closest to that of all.

    Continues from the rows of `chosen`, which are not returned again; at most `length` new rows.
    """
    left = np.ones(len(features), dtype=bool)
    left[list(chosen)] = False
    most = int(left.sum()) if length is None else min(length, int(left.sum()))
    mean = features.mean(axis=0)
    total = features[list(chosen)].sum(axis=0)
    squares = (features**2).sum(axis=1)
    order: list[int] = []
    for count in range(len(chosen) + 1, len(chosen) + most + 1):
        # |(total + x) / count - mean|^2 without what is the same for every x.
        distance = squares + 2.0 * (features @ (total - count * mean))
        distance[~left] = np.inf
        best = int(np.argmin(distance))
        order.append(best)
        left[best] = False
        total = total + features[best]
    return order


def herding_order(candidates: Candidates, *, seed: int, length: int) -> list[int]:
    """Every prefix is balanced over class x domain, and herded inside each of them.

    The seed decides which class and domain comes next, as in the stratified random order.
    """
    strata = candidates.strata
    places = stratified_order(strata, seed)
    members: dict[tuple[int, int], list[int]] = {}
    for row, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(row)
    directions = candidates.directions()
    herded = {
        stratum: iter([rows[at] for at in herd(directions[rows])])
        for stratum, rows in members.items()
    }
    return [next(herded[strata[place]]) for place in places[:length]]
