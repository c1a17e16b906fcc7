"""Images of classes that a student was not trained on: are they rejected, and can they be named?

H-score: the harmonic mean of the accuracy on known classes and of the share of unknown images that
are rejected, as PracticalDG reports it (CVPR 2024, arXiv 2404.09011). AUROC: the chance that a
known image gets a higher confidence than an unknown one; its interval is DeLong's (Biometrics,
1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from student.evaluation.estimates import AccuracyCount, Estimate

KEPT: Final = 0.95
"""The share of source validation whose confidence reaches the threshold of rejection."""
_RESAMPLES: Final = 10_000
_NORMAL: Final = 1.959964  # standard deviations of a 95% interval

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownClasses:
    """The result on one part. Below the confidence `threshold` an image is rejected.

    `known` counts known images that are kept and classified rightly, `rejected` unknown images that
    are rejected. `new` counts unknown images that get their own class when all class prompts are
    predicted over, `known_of_all` known images that do; both are None for a student that does not
    predict by class texts.
    """

    threshold: float
    auroc: Estimate
    h_score: Estimate
    known: AccuracyCount
    rejected: AccuracyCount
    new: AccuracyCount | None = None
    known_of_all: AccuracyCount | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, ready for JSON."""
        figures: dict[str, AccuracyCount | Estimate | None] = {
            "auroc": self.auroc,
            "h_score": self.h_score,
            "known_kept_and_right": self.known,
            "unknown_rejected": self.rejected,
            "new_classes_over_all_prompts": self.new,
            "known_classes_over_all_prompts": self.known_of_all,
        }
        found = {name: one.as_dict() for name, one in figures.items() if one is not None}
        return {"threshold": round(self.threshold, 4), **found}


def threshold_of(confidences: Floats) -> float:
    """The confidence that 95% of these images reach: those of source validation.

    No unknown image decides it, so that the H-score is not fitted to what it measures.
    """
    return float(np.quantile(confidences, 1 - KEPT, method="lower"))


def rejection(
    known: Floats, is_right: Flags, unknown: Floats, *, threshold: float
) -> UnknownClasses:
    """Measures rejection by confidence, from those of the known (N,) and unknown (M,) images."""
    right = AccuracyCount(correct=int((is_right & (known >= threshold)).sum()), images=len(known))
    rejected = AccuracyCount(correct=int((unknown < threshold).sum()), images=len(unknown))
    return UnknownClasses(
        threshold=threshold,
        auroc=auroc(known, unknown),
        h_score=_h_score(right, rejected),
        known=right,
        rejected=rejected,
    )


def auroc(known: Floats, unknown: Floats) -> Estimate:
    """The area under the ROC curve, ties counted as one half, with DeLong's interval."""
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.stats import rankdata

    n, m = len(known), len(unknown)
    ranks = rankdata(np.concatenate([known, unknown]))
    above = (ranks[:n] - rankdata(known)) / m  # share of unknown images below each known image
    below = 1.0 - (ranks[n:] - rankdata(unknown)) / n
    area = float(above.mean())
    variance = _variance(above) / n + _variance(below) / m
    reach = _NORMAL * float(np.sqrt(variance))
    return Estimate(value=area, low=max(0.0, area - reach), high=min(1.0, area + reach))


def _variance(values: Floats) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _h_score(right: AccuracyCount, rejected: AccuracyCount) -> Estimate:
    source = np.random.default_rng(0)
    drawn = [
        source.binomial(one.images, one.accuracy, _RESAMPLES) / one.images
        for one in (right, rejected)
    ]
    low, high = np.quantile(_harmonic(*drawn), (0.025, 0.975))
    value = _harmonic(np.array([right.accuracy]), np.array([rejected.accuracy]))
    return Estimate(value=float(value[0]), low=float(low), high=float(high))


def _harmonic(one: Floats, other: Floats) -> Floats:
    total: Floats = one + other
    return np.divide(2 * one * other, total, out=np.zeros_like(total), where=total > 0)
