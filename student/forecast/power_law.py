"""A saturating power law, fitted to the measured accuracies, that forecasts larger budgets.

accuracy(q) = top - gap (1 + q / scale)^-power, with gap >= 0 and top <= 1: it rises, ever more
slowly, towards a ceiling. The idea follows J. Machnio et al., PALM (arXiv 2507.15381), who
extrapolate a budget curve with a four-parameter law; their formula is different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.errors import BadInput

LEAST_LEVELS = 3
_DRAWS = 400
# A large power with a large scale approximates an exponential, which saturates faster.
_POWERS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
# As shares of the largest number of queries.
_SCALES = np.geomspace(0.001, 30.0, 28)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trained student: its cost in queries, and how many test images it classified correctly.

    Points of the same `level` had the same budget. Students of the same `seed` are resampled
    together.
    """

    level: float
    queries: int
    correct: int
    images: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """The fitted power law: called with a number of queries, returns an accuracy (0 to 1)."""

    top: float
    gap: float
    scale: float
    power: float

    def __call__(self, queries: float) -> float:
        return float(self.top - self.gap * (1.0 + queries / self.scale) ** -self.power)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A level that was held back from the fit: its forecast and its measured accuracy (0 to 1).

    `predicted` comes from a fit to the smaller levels. `unchanged` is the no-change forecast, the
    measured accuracy of the previous level.
    """

    queries: float
    predicted: float
    measured: float
    unchanged: float

    @property
    def error(self) -> float:
        """Forecast minus measurement; positive if the forecast was too high."""
        return self.predicted - self.measured

    @property
    def error_of_no_change(self) -> float:
        """No-change forecast minus measurement."""
        return self.unchanged - self.measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast gain in accuracy from `further` queries after the largest purchase.

    `queries` and `accuracy` (0 to 1) are those of the largest purchase. `low` and `high` bound the
    95% bootstrap interval of `gain`. If no level could be held back, `held_back` is empty and the
    law is untested.
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
        return _mean([abs(level.error) for level in self.held_back])

    @property
    def mean_error_of_no_change(self) -> float | None:
        """The mean absolute error of the no-change forecast; None if there are no such levels."""
        return _mean([abs(level.error_of_no_change) for level in self.held_back])


def forecast(points: Sequence[Point], *, further: int, seed: int = 0) -> Forecast:
    """Forecasts what `further` queries would add to the largest purchase of these points.

    The bootstrap interval covers other test images and, if there are several, other seeds. Test
    images are resampled for each point separately, which makes the interval wide: all points were
    measured on the same images. The interval assumes that the law holds. The errors on the
    held-back levels test that assumption. Raises BadInput for fewer than three levels.
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
    gains = [
        sample(queries + further) - sample(queries) for sample in _bootstrap_laws(points, seed)
    ]
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
    """Returns the law with the least squared error; all test images have equal weight."""
    return _Grid(points).fit(
        np.array([point.correct / point.images for point in points]),
        np.array([point.images for point in points], dtype=np.float64),
    )


class _Grid:
    """Grid search over (scale, power); top and gap follow by linear regression."""

    def __init__(self, points: Sequence[Point]) -> None:
        queries = np.array([point.queries for point in points], dtype=np.float64)
        self._shapes = [
            (float(scale) * max(1.0, float(queries.max())), power)
            for scale in _SCALES
            for power in _POWERS
        ]
        # Shape (shapes, points): 1 at zero queries, approaching 0 with many.
        self._decay = np.stack([(1.0 + queries / scale) ** -power for scale, power in self._shapes])

    def fit(self, accuracy: Floats, weight: Floats) -> Law:
        weight = weight / weight.sum()
        mean_y = float(weight @ accuracy)
        mean_b = self._decay @ weight
        spread = (self._decay - mean_b[:, None]) * weight
        variance = np.maximum((spread * self._decay).sum(axis=1), 1e-15)
        gap = np.maximum(-(spread @ accuracy) / variance, 0.0)
        top = mean_y + gap * mean_b
        # If the ceiling would exceed 100%, use the best gap for a ceiling of exactly 100%.
        below_b = (self._decay * weight) @ (1.0 - accuracy)
        capped = np.maximum(below_b / ((self._decay**2) @ weight), 0.0)
        gap, top = np.where(top > 1.0, capped, gap), np.minimum(top, 1.0)
        errors = ((top[:, None] - gap[:, None] * self._decay - accuracy) ** 2) @ weight
        best = int(np.argmin(errors))
        scale, power = self._shapes[best]
        return Law(top=float(top[best]), gap=float(gap[best]), scale=scale, power=power)


def _bootstrap_laws(points: Sequence[Point], seed: int) -> list[Law]:
    """Returns the laws fitted to bootstrap samples of the points."""
    generator = np.random.default_rng(seed)
    grid = _Grid(points)
    images = np.array([point.images for point in points])
    accuracy = np.array([point.correct / point.images for point in points])
    seeds, seed_of = np.unique([point.seed for point in points], return_inverse=True)
    count = len(seeds)
    laws: list[Law] = []
    for _ in range(_DRAWS):
        # The Bayesian bootstrap (D. Rubin 1981); with this gamma shape a mean varies as much as
        # when seeds are drawn with replacement. All weights are positive, so no level is left
        # empty even if some seeds were not run at every level.
        seed_weight = generator.gamma((count - 1) / count, size=count) if count > 1 else np.ones(1)
        laws.append(
            grid.fit(generator.binomial(images, accuracy) / images, seed_weight[seed_of] * images)
        )
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
    """Returns the mean queries and the accuracy (0 to 1) over all points of a level."""
    at_level = [point for point in points if point.level == level]
    return (
        sum(point.queries for point in at_level) / len(at_level),
        sum(point.correct for point in at_level) / sum(point.images for point in at_level),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
