"""Costs that grow in proportion to the images, fitted to what was measured at a few sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

COSTS: Final = ("cpu_seconds", "peak_bytes", "disk_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A cost of `fixed`, and `each` for every image."""

    fixed: float
    each: float

    def at(self, images: int) -> float:
        """The cost of so many images."""
        return self.fixed + self.each * images


def fit_line(measured: Mapping[int, float]) -> Line:
    """The line through costs by number of images, with the least squares of relative errors.

    Neither part is negative. Costs that are all zero give a line of zero. Raises ValueError for
    fewer than two sizes.
    """
    if len(measured) < 2:
        message = "a line needs costs at two sizes or more"
        raise ValueError(message)
    sizes = np.array(list(measured), dtype=np.float64)
    costs = np.array(list(measured.values()), dtype=np.float64)
    if not costs.any():
        return Line(fixed=0.0, each=0.0)
    weights = 1 / costs
    columns = np.stack([weights, sizes * weights], axis=1)
    fixed, each = np.linalg.lstsq(columns, np.ones(len(costs)), rcond=None)[0]
    if fixed < 0:
        each = _alone(columns[:, 1])
        return Line(fixed=0.0, each=each)
    if each < 0:
        return Line(fixed=_alone(columns[:, 0]), each=0.0)
    return Line(fixed=float(fixed), each=float(each))


def _alone(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(column.sum() / (column**2).sum())


def fit_stages(rows: Sequence[Mapping[str, object]]) -> dict[str, dict[str, Line]]:
    """A line for each stage and cost, through the least cost that was measured at each size.

    Each of `rows` has a `stage`, its `images`, and the costs.
    """
    least: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        stage, images = str(row["stage"]), int(str(row["images"]))
        for cost in COSTS:
            of_sizes = least.setdefault(stage, {}).setdefault(cost, {})
            of_sizes[images] = min(float(str(row[cost])), of_sizes.get(images, float("inf")))
    return {
        stage: {cost: fit_line(sizes) for cost, sizes in costs.items()}
        for stage, costs in least.items()
    }
