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
"""Of fewer images nothing is concluded: a perfect teacher of two classes is surely better than
chance from five on, and a fair one of many classes from about fifteen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswers:
    """How the teacher classifies the first bought images (zero-shot): `correct` of `images`.

    `by_chance` (0 to 1) is the share that would be right if the same answers had been given to
    these images in random order, as in Cohen's kappa (1960).
    """

    correct: int
    images: int
    by_chance: float

    @classmethod
    def of(cls, answers_N: NDArray[np.int64], labels_N: NDArray[np.int64]) -> FirstAnswers:
        """These answers, compared with the labels: class numbers of N images, at least one."""
        classes = int(max(answers_N.max(), labels_N.max())) + 1
        shares = (np.bincount(of, minlength=classes) / len(of) for of in (answers_N, labels_N))
        return cls(
            correct=int((answers_N == labels_N).sum()),
            images=len(labels_N),
            by_chance=float(np.prod(list(shares), axis=0).sum()),
        )

    @property
    def interval(self) -> Interval:
        """The Wilson 95% interval of the teacher's accuracy."""
        return wilson_interval(self.correct, self.images)

    @property
    def are_guesses(self) -> bool:
        """Whether the answers cannot be told from chance: the interval reaches down to it."""
        return self.images >= FEWEST and self.interval.low <= self.by_chance

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
        }
