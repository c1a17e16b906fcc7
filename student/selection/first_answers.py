"""The teacher's own answers to the first images that a run buys, and whether they are guesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from student.training.metrics import Interval, wilson_interval

HANDFUL: Final = 64
"""Images that a teacher is judged by: as many as one request takes by default."""

FEWEST: Final = 16
"""Of fewer images nothing is concluded: a fair teacher of many classes needs about fifteen."""

_ORDERS: Final = 10_000
_SURE: Final = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswers:
    """How the teacher classifies the first bought images (zero-shot): `correct` of `images`.

    `by_chance` (0 to 1) is the share that would be right if the same answers had been given to
    these images in random order, as in Cohen's kappa (1960); `p_value` (0 to 1) is the
    probability that so many or more would be, by 10,000 such orders.
    """

    correct: int
    images: int
    by_chance: float
    p_value: float

    @classmethod
    def of(cls, answers_N: NDArray[np.int64], labels_N: NDArray[np.int64]) -> FirstAnswers:
        """These answers, compared with the labels: class numbers of N images, at least one."""
        classes = int(max(answers_N.max(), labels_N.max())) + 1
        shares = (np.bincount(of, minlength=classes) / len(of) for of in (answers_N, labels_N))
        correct = int((answers_N == labels_N).sum())
        orders = np.random.default_rng(0).permuted(np.tile(answers_N, (_ORDERS, 1)), axis=1)
        return cls(
            correct=correct,
            images=len(labels_N),
            by_chance=float(np.prod(list(shares), axis=0).sum()),
            p_value=float(((orders == labels_N).sum(axis=1) >= correct).mean()),
        )

    @property
    def interval(self) -> Interval:
        """The Wilson 95% interval of the teacher's accuracy."""
        return wilson_interval(self.correct, self.images)

    @property
    def are_guesses(self) -> bool:
        """Whether the answers cannot be told from chance: a permutation test at 2.5%, one-sided."""
        return self.images >= FEWEST and self.p_value > _SURE

    @property
    def sentence(self) -> str:
        """The accuracy with its interval, as the start of a sentence."""
        return (
            f"the teacher classifies {self.correct} of the first {self.images} images correctly "
            f"(zero-shot, 95% interval {self.interval.low:.0%} to {self.interval.high:.0%})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, ready for JSON."""
        return {
            "correct": self.correct,
            "images": self.images,
            "by_chance": round(self.by_chance, 4),
            "p_value": round(self.p_value, 4),
        }
