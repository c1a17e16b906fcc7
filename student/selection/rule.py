"""The rule of `--method auto`: embeddings must be shown to help, or labels alone are trained on.

It is McNemar's exact test (Psychometrika 12, 1947), one-sided: of the images that only one of two
methods classifies correctly, is the share of the second larger than a half?
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
"""The second method is chosen where p is below it."""


def p_value(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> float:
    """The probability of an advantage of the second method like this one, or larger, by chance.

    The arrays say whether each of the same N images is classified correctly. 1.0 where no image
    tells the methods apart.
    """
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.stats import binomtest

    only_second = int((second_N & ~first_N).sum())
    only_one = int((second_N != first_N).sum())
    if only_one == 0:
        return 1.0
    return float(binomtest(only_second, only_one, alternative="greater").pvalue)
