"""Means over seeds with their 95% interval, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over `count` seeds; `half_width` is half of its 95% interval, None for a single
    seed.

    The value is a share between 0 and 1, or a difference of two shares.
    """

    value: float
    half_width: float | None
    count: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.value - (self.half_width or 0.0)

    def percent(self, *, signed: bool = False) -> str:
        """Returns the mean as text, in percent or, if signed, in percentage points."""
        sign = "+" if signed else ""
        half_width = "" if self.half_width is None else f" ± {100 * self.half_width:.1f}"
        return f"{100 * self.value:{sign}.1f}{half_width}"


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of the values, with Student's interval if there are at least two.

    Raises ValueError for an empty sequence.
    """
    if not values:
        message = "mean of an empty sequence"
        raise ValueError(message)
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Mean(value=mean, half_width=None, count=1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(value=mean, half_width=_t(count - 1) * math.sqrt(variance / count), count=count)


@cache
def _t(freedom: int) -> float:
    """Student's t at 97.5%, to the three decimals of printed tables, as in version 0.1."""
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.stats import t

    return round(float(t.ppf(0.975, freedom)), 3)


def ratio_of(values: Sequence[float], others: Sequence[float]) -> Mean | None:
    """The ratio of two means over the same seeds, with the delta method's interval.

    None if there are no values or the second mean is not above zero.
    """
    if not values or math.fsum(others) <= 0.0:
        return None
    count = len(values)
    base = math.fsum(others) / count
    ratio = math.fsum(values) / count / base
    residuals = [
        (value - ratio * other) / base for value, other in zip(values, others, strict=True)
    ]
    return Mean(value=ratio, half_width=mean_of(residuals).half_width, count=count)


Place = tuple[tuple[str, ...], int]
"""The held-out domains and the seed of a run, which fix the images of every method."""


def by_seed(values: Mapping[Place, float]) -> dict[int, float]:
    """Returns the mean over held-out domains for each seed, in ascending order of seeds.

    A seed is left out if it lacks a held-out domain that another seed has: domains differ by more
    than seeds do, so its mean would not be comparable.
    """
    found: dict[int, dict[tuple[str, ...], float]] = {}
    for (targets, seed), value in sorted(values.items(), key=lambda item: item[0][1]):
        found.setdefault(seed, {})[targets] = value
    fullest = max(found.values(), key=len, default={}).keys()
    return {
        seed: math.fsum(of_seed.values()) / len(of_seed)
        for seed, of_seed in found.items()
        if of_seed.keys() == fullest
    }


def over_seeds(values: Mapping[Place, float]) -> Mean | None:
    """The mean over seeds of each seed's mean over its targets; None without values."""
    return mean_of(list(by_seed(values).values())) if values else None


def difference(values: Mapping[Place, float], others: Mapping[Place, float]) -> Mean | None:
    """The mean over seeds of the differences, at the places that both have."""
    return over_seeds({at: value - others[at] for at, value in values.items() if at in others})


def half_width_of_one_seed(
    values: Mapping[Place, float], others: Mapping[Place, float]
) -> float | None:
    """Half of the 95% interval of a difference measured with a single seed and held-out choice.

    The variance between seeds is pooled over the held-out domains that have several seeds. None if
    there are none.
    """
    at_each: dict[tuple[str, ...], list[float]] = {}
    for (targets, seed), value in values.items():
        if (other := others.get((targets, seed))) is not None:
            at_each.setdefault(targets, []).append(value - other)
    freedom = sum(len(found) - 1 for found in at_each.values())
    if freedom == 0:
        return None
    squares = math.fsum(
        (delta - math.fsum(found) / len(found)) ** 2
        for found in at_each.values()
        for delta in found
    )
    return _t(freedom) * math.sqrt(squares / freedom)
