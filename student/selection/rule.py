"""The rule of `--method auto`: of two ways to train, the first, unless the second is shown better.

It is McNemar's exact test (Psychometrika 12, 1947), one-sided: of the images that only one of the
two classifies correctly, is the share of the second larger than a half?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
"""The second is taken where p is below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many of `images` of source validation each of two ways classifies correctly.

    `p` is the probability that the second would be ahead like this, or further, by chance.
    """

    names: tuple[str, str]
    images: int
    correct: tuple[int, int]
    p: float

    @classmethod
    def of(
        cls, names: tuple[str, str], first_M: NDArray[np.bool_], second_M: NDArray[np.bool_]
    ) -> Comparison:
        """The comparison by whether each way classifies the same images correctly."""
        return cls(
            names=names,
            images=len(first_M),
            correct=(int(first_M.sum()), int(second_M.sum())),
            p=p_value(first_M, second_M),
        )

    @property
    def takes_second(self) -> bool:
        """Whether the second is shown to be better."""
        return self.p < LEVEL

    @property
    def winner(self) -> str:
        """The name of the one that is taken."""
        return self.names[int(self.takes_second)]

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, ready for JSON."""
        return {
            "validation_images": self.images,
            "correct": dict(zip(self.names, self.correct, strict=True)),
            "p": float(f"{self.p:.3g}"),
        }

    def rows(self) -> list[list[str]]:
        """Returns the rows of a table of both."""
        return [
            [
                name,
                f"{100 * right / self.images:.1f}",
                f"{right:,} of {self.images:,}",
                f"{100 * (right - self.correct[0]) / self.images:+.1f}",
            ]
            for name, right in zip(self.names, self.correct, strict=True)
        ]


def p_value(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> float:
    """The probability of an advantage of the second like this one, or larger, by chance.

    The arrays say whether each of the same N images is classified correctly. 1.0 where no image
    tells the two apart.
    """
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.stats import binomtest

    only_second = int((second_N & ~first_N).sum())
    only_one = int((second_N != first_N).sum())
    if only_one == 0:
        return 1.0
    return float(binomtest(only_second, only_one, alternative="greater").pvalue)
