"""Means over seeds with their 95% interval, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Student's t, 97.5%, by degrees of freedom (any table); beyond it a series in their inverse has the
# same three decimals (Abramowitz and Stegun, 26.7.5), about the normal distribution's.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160)
_Z = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over `count` seeds and half its 95% interval; None where one seed says nothing of it.

    A share between 0 and 1, or a difference of two.
    """

    value: float
    reach: float | None
    count: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.value - (self.reach or 0.0)

    def percent(self, *, signed: bool = False) -> str:
        """In percent or, signed, in points."""
        sign = "+" if signed else ""
        reach = "" if self.reach is None else f" ± {100 * self.reach:.1f}"
        return f"{100 * self.value:{sign}.1f}{reach}"


def mean_of(values: Sequence[float]) -> Mean:
    """Their mean, with Student's interval from two values on. Raises ValueError for none."""
    if not values:
        message = "there is no mean of nothing"
        raise ValueError(message)
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Mean(value=mean, reach=None, count=1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(value=mean, reach=_t(count - 1) * math.sqrt(variance / count), count=count)


def _t(freedom: int) -> float:
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return _Z + (first + (second + third / freedom) / freedom) / freedom


def ratio_of(values: Sequence[float], others: Sequence[float]) -> Mean | None:
    """The ratio of two means over the same seeds, with the delta method's interval; None where
    there is none, because nothing is known or the second mean is not above zero."""
    if not values or math.fsum(others) <= 0.0:
        return None
    count = len(values)
    base = math.fsum(others) / count
    ratio = math.fsum(values) / count / base
    residuals = [(one - ratio * other) / base for one, other in zip(values, others, strict=True)]
    return Mean(value=ratio, reach=mean_of(residuals).reach, count=count)


Place = tuple[tuple[str, ...], int]
"""The targets and the seed of a run: two methods at one place saw the same images."""


def by_seed(values: Mapping[Place, float]) -> dict[int, float]:
    """Each seed's mean over its targets, in the order of the seeds.

    Targets differ by more than seeds do, so a seed without all the targets of the fullest seed is
    left out: its mean would be of something else.
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
    """The mean over seeds of each seed's mean over its targets; None for no value."""
    return mean_of(list(by_seed(values).values())) if values else None


def difference(values: Mapping[Place, float], others: Mapping[Place, float]) -> Mean | None:
    """The same of the differences, at the places that both have."""
    return over_seeds({at: value - others[at] for at, value in values.items() if at in others})


def reach_of_one_seed(values: Mapping[Place, float], others: Mapping[Place, float]) -> float | None:
    """Half the 95% interval of a difference seen at one place with one seed: how far another seed
    would move it, pooled over the places that have several. None where none has."""
    at_each: dict[tuple[str, ...], list[float]] = {}
    for (targets, seed), value in values.items():
        if (other := others.get((targets, seed))) is not None:
            at_each.setdefault(targets, []).append(value - other)
    freedom = sum(len(found) - 1 for found in at_each.values())
    if freedom == 0:
        return None
    squares = math.fsum(
        (one - math.fsum(found) / len(found)) ** 2 for found in at_each.values() for one in found
    )
    return _t(freedom) * math.sqrt(squares / freedom)
