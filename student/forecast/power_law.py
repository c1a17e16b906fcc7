"""A saturating power law, fitted to the measured accuracies, that forecasts larger budgets.

accuracy(q) = top - gap (1 + q / scale)^-power, with gap >= 0 and top <= 1: it rises, ever more
slowly, towards a ceiling. After J. Machnio et al., PALM (arXiv 2507.15381), who forecast the rest
of a budget curve from its start by a law of four parameters; theirs is another formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.errors import BadInput

LEAST_LEVELS = 3
_DRAWS = 400
# A large power with a large scale is an exponential, which ends sooner than any power.
_POWERS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
# As shares of the largest number of queries.
_SCALES = np.geomspace(0.001, 30.0, 28)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trained student: its cost in queries, and its number of correct test images.

    Points of one `level` had the same budget; students of one `seed` share their luck.
    """

    level: float
    queries: int
    correct: int
    images: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """accuracy(queries), between 0 and 1."""

    top: float
    gap: float
    scale: float
    power: float

    def __call__(self, queries: float) -> float:
        return float(self.top - self.gap * (1.0 + queries / self.scale) ** -self.power)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A level that was held back from the fit: the forecast from smaller levels, and the result.

    `unchanged` is the forecast of no change: the accuracy of the level before.
    """

    queries: float
    predicted: float
    measured: float
    unchanged: float

    @property
    def error(self) -> float:
        """The error of the forecast; above 0 the forecast was too high."""
        return self.predicted - self.measured

    @property
    def error_of_no_change(self) -> float:
        """The error of forecasting no change."""
        return self.unchanged - self.measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`gain` in accuracy from `further` queries beyond the `queries` of the largest purchase.

    low and high are its 95% interval by bootstrap. Where nothing could be held back, `held_back` is
    empty and the law is untested.
    """

    law: Law
    queries: float
    accuracy: float
    further: int
    gain: float
    low: float
    high: float
    held_back: tuple[HeldBack, ...]

    @property
    def mean_error(self) -> float | None:
        """The mean absolute error on the held-back levels; None if there are none."""
        return _mean([abs(one.error) for one in self.held_back])

    @property
    def mean_error_of_no_change(self) -> float | None:
        """The same for forecasting no change."""
        return _mean([abs(one.error_of_no_change) for one in self.held_back])


def forecast(points: Sequence[Point], *, further: int, seed: int = 0) -> Forecast:
    """What `further` queries would add to the largest purchase of these points.

    The interval is of other seeds, where there are several, and other test images (each point's on
    its own, which is wide: the points were measured on the same ones). It does not know whether the
    law holds; the levels that are held back, each forecast from the smaller ones, say that. Raises
    BadInput for fewer than three levels.
    """
    levels = sorted({point.level for point in points})
    if len(levels) < LEAST_LEVELS:
        message = (
            f"{len(levels)} budgets are too few for a forecast: train at {LEAST_LEVELS} or more, "
            "the smallest may be 0 images"
        )
        raise BadInput(message)
    law = fit(points)
    queries, accuracy = _at(points, levels[-1])
    gains = [one(queries + further) - one(queries) for one in _redrawn(points, seed)]
    low, high = np.quantile(gains, [0.025, 0.975])
    return Forecast(
        law=law,
        queries=queries,
        accuracy=accuracy,
        further=further,
        gain=law(queries + further) - law(queries),
        low=float(low),
        high=float(high),
        held_back=tuple(
            _hold_back(points, levels, count) for count in range(LEAST_LEVELS, len(levels))
        ),
    )


def fit(points: Sequence[Point]) -> Law:
    """The law with the least squared error, each test image with equal weight."""
    return _Grid(points).fit(
        np.array([point.correct / point.images for point in points]),
        np.array([point.images for point in points], dtype=np.float64),
    )


class _Grid:
    """The pairs (scale, power) that are tried; for each, top and gap follow by regression."""

    def __init__(self, points: Sequence[Point]) -> None:
        queries = np.array([point.queries for point in points], dtype=np.float64)
        self._bends = [
            (float(scale) * max(1.0, float(queries.max())), power)
            for scale in _SCALES
            for power in _POWERS
        ]
        # (bends, points): 1 at no queries, towards 0 with many.
        self._fading = np.stack([(1.0 + queries / scale) ** -power for scale, power in self._bends])

    def fit(self, accuracy: Floats, weight: Floats) -> Law:
        weight = weight / weight.sum()
        mean_y = float(weight @ accuracy)
        mean_b = self._fading @ weight
        spread = (self._fading - mean_b[:, None]) * weight
        variance = np.maximum((spread * self._fading).sum(axis=1), 1e-15)
        gap = np.maximum(-(spread @ accuracy) / variance, 0.0)
        top = mean_y + gap * mean_b
        # Where the ceiling would be above 100%, the best gap below a ceiling of 100%.
        below_b = (self._fading * weight) @ (1.0 - accuracy)
        capped = np.maximum(below_b / ((self._fading**2) @ weight), 0.0)
        gap, top = np.where(top > 1.0, capped, gap), np.minimum(top, 1.0)
        errors = ((top[:, None] - gap[:, None] * self._fading - accuracy) ** 2) @ weight
        best = int(np.argmin(errors))
        scale, power = self._bends[best]
        return Law(top=float(top[best]), gap=float(gap[best]), scale=scale, power=power)


def _redrawn(points: Sequence[Point], seed: int) -> list[Law]:
    """The laws of bootstrap samples of the points."""
    source = np.random.default_rng(seed)
    grid = _Grid(points)
    images = np.array([point.images for point in points])
    accuracy = np.array([point.correct / point.images for point in points])
    seeds, seed_of = np.unique([point.seed for point in points], return_inverse=True)
    count = len(seeds)
    laws: list[Law] = []
    for _ in range(_DRAWS):
        # The Bayesian bootstrap (D. Rubin 1981), in a shape by which a mean varies as it does when
        # seeds are drawn with replacement. Every seed keeps a part: where seeds were not run at
        # every level none is left empty, so no draw is in vain.
        part = source.gamma((count - 1) / count, size=count) if count > 1 else np.ones(1)
        laws.append(grid.fit(source.binomial(images, accuracy) / images, part[seed_of] * images))
    return laws


def _hold_back(points: Sequence[Point], levels: Sequence[float], count: int) -> HeldBack:
    law = fit([point for point in points if point.level in levels[:count]])
    queries, measured = _at(points, levels[count])
    return HeldBack(
        queries=queries,
        predicted=law(queries),
        measured=measured,
        unchanged=_at(points, levels[count - 1])[1],
    )


def _at(points: Sequence[Point], level: float) -> tuple[float, float]:
    """The mean queries, and the share of right answers over all points of a level."""
    there = [point for point in points if point.level == level]
    return (
        sum(point.queries for point in there) / len(there),
        sum(point.correct for point in there) / sum(point.images for point in there),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
