"""The rule that chooses a method by its accuracy on labelled domains that were held out.

It is the one-standard-error rule of Breiman et al. (Classification and Regression Trees, 1984): of
the methods whose distance to the best is within its standard error, the plainest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Correct = Mapping[str, NDArray[np.bool_]]
"""For each held-out source domain, whether each of its images was classified correctly (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The result of one candidate: its accuracy (0 to 1) on each held-out source domain.

    `behind` is how far its mean lies below that of the best candidate, and `error` the standard
    error of this difference; both are 0 for the best.
    """

    name: str
    accuracies: Mapping[str, float]
    behind: float
    error: float

    @property
    def mean(self) -> float:
        """The mean over the domains, each of which counts alike."""
        return math.fsum(self.accuracies.values()) / len(self.accuracies)

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, ready for JSON."""
        return {
            "name": self.name,
            "mean": round(self.mean, 4),
            "behind_best": round(self.behind, 4),
            "standard_error": round(self.error, 4),
            "accuracies": {name: round(value, 4) for name, value in self.accuracies.items()},
        }


def measure(results: Mapping[str, Correct]) -> tuple[Measured, ...]:
    """Measures the candidates, in their order, on the same images of the same domains."""
    accuracies = {
        name: {domain: float(correct.mean()) for domain, correct in of.items()}
        for name, of in results.items()
    }
    best = max(results, key=lambda name: math.fsum(accuracies[name].values()))
    return tuple(
        Measured(
            name=name,
            accuracies=accuracies[name],
            behind=_difference(results[best], of),
            error=standard_error(results[best], of),
        )
        for name, of in results.items()
    )


def choose(measured: Sequence[Measured]) -> Measured:
    """The first candidate that is behind the best by no more than the standard error."""
    return next(one for one in measured if one.behind <= one.error)


def standard_error(first: Correct, second: Correct) -> float:
    """The standard error of the mean difference of two candidates, paired by image and domain.

    The larger of two: that of the domains, as a sample of domains, and that of the images within
    them. Two or three domains alone say little about their own spread.
    """
    differences = [first[d].astype(np.float64) - second[d] for d in first]
    count = len(differences)
    of_images = math.sqrt(math.fsum(float(one.var()) / len(one) for one in differences)) / count
    if count < 2:
        return of_images
    of_domains = float(np.std([one.mean() for one in differences], ddof=1)) / math.sqrt(count)
    return max(of_images, of_domains)


def _difference(best: Correct, other: Correct) -> float:
    means = (float(best[d].mean()) - float(other[d].mean()) for d in best)
    return max(0.0, math.fsum(means) / len(best))
