"""An image of every cluster, with twice as many clusters in each round: centroid and TypiClust.

They differ in the image that represents a cluster. Both are cold starts of active learning on
features that a network has already: S. R. Gupte et al., "Revisiting active learning in the
era of vision foundation models" (ALFM, arXiv 2401.14555), for centroids; G. Hacohen et al., "Active
learning on a budget" (TypiClust, ICML 2022, arXiv 2202.02794) for typicality.

The published clusterings are made for a fixed budget. Here the number of clusters doubles from
round to round whatever the budget is, and each round continues from the choices of the rounds
before it, so that a larger budget buys a superset.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from student.acquisition.candidates import Candidates
from student.acquisition.herding import herd
from student.acquisition.kmeans import k_means

# TypiClust's published figures.
MOST_CLUSTERS = 500
SMALLEST_CLUSTER = 5
NEIGHBOURS = 20
_BLOCK = 1024

Ranking = Callable[[NDArray[np.float32], Sequence[int], int], list[int]]
"""Ranks a cluster's points (M, F): given the places already chosen, the next `count` places."""


def centroid_order(candidates: Candidates, *, seed: int, length: int) -> list[int]:
    """The image nearest to the centre of each cluster; further images of a cluster by herding."""
    return _covering(candidates, _central, seed=seed, length=length, smallest=1)


def typiclust_order(candidates: Candidates, *, seed: int, length: int) -> list[int]:
    """The most typical image of each cluster; clusters of fewer than 5 come last."""
    return _covering(candidates, _typical, seed=seed, length=length, smallest=SMALLEST_CLUSTER)


def _covering(
    candidates: Candidates, rank: Ranking, *, seed: int, length: int, smallest: int
) -> list[int]:
    points = candidates.directions()
    order: list[int] = []
    size, number = max(1, candidates.num_classes), 0
    while len(order) < length:
        size = min(size, len(points))
        clusters = k_means(points, min(size, MOST_CLUSTERS), seed=(seed, number))
        # Always a whole round, so that the next round starts from the same images.
        order += _one_round(points, clusters, order, rank, count=size - len(order), least=smallest)
        size, number = 2 * size, number + 1
    return order[:length]


def _one_round(
    points: NDArray[np.float32],
    clusters: NDArray[np.int64],
    chosen: Sequence[int],
    rank: Ranking,
    *,
    count: int,
    least: int,
) -> list[int]:
    """The next `count` rows, from the cluster with the fewest chosen; of equals, the largest."""
    is_chosen = np.zeros(len(points), dtype=bool)
    is_chosen[list(chosen)] = True
    ranked: dict[int, list[int]] = {}
    waiting: list[tuple[bool, int, int, int]] = []
    for cluster in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == cluster)
        taken = np.flatnonzero(is_chosen[members]).tolist()
        if len(taken) < len(members):
            wanted = min(count, len(members) - len(taken))
            ranked[cluster] = [int(members[at]) for at in rank(points[members], taken, wanted)]
            waiting.append((len(members) < least, len(taken), -len(members), cluster))
    heapq.heapify(waiting)
    order: list[int] = []
    while len(order) < count:
        is_small, taken_here, size, cluster = heapq.heappop(waiting)
        order.append(ranked[cluster].pop(0))
        if ranked[cluster]:
            heapq.heappush(waiting, (is_small, taken_here + 1, size, cluster))
    return order


def _central(points: NDArray[np.float32], chosen: Sequence[int], count: int) -> list[int]:
    return herd(points, chosen=chosen, length=count)


def _typical(points: NDArray[np.float32], chosen: Sequence[int], count: int) -> list[int]:
    """By the mean distance to the nearest neighbours in the cluster, the smallest first."""
    neighbours = min(NEIGHBOURS, len(points) // 2)
    spread = np.zeros(len(points))
    for at in range(0, len(points) if neighbours else 0, _BLOCK):
        near = points[at : at + _BLOCK] @ points.T
        # The point itself is not a neighbour: -2 is below every cosine.
        near[np.arange(len(near)), np.arange(at, at + len(near))] = -2.0
        closest = np.partition(near, -neighbours, axis=1)[:, -neighbours:]
        spread[at : at + _BLOCK] = np.sqrt(np.maximum(2.0 - 2.0 * closest, 0.0)).mean(axis=1)
    taken = set(chosen)
    order = [place for place in np.argsort(spread, kind="stable").tolist() if place not in taken]
    return order[:count]
