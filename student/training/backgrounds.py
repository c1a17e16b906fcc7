"""Which stored images are on a plain background, and whether a folder is one of such images.

Shapes: N images, K views, S pixels a side, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from student.options import TrainingOptions
from student.training.dataset import TrainingData
from student.training.pixels import Pixels
from student.transforms.plain_background import on_plain_background

_MOST = 500  # images of a domain that are looked at; a share of one half is then known to 4 points


def background_options(options: TrainingOptions, data: TrainingData) -> TrainingOptions:
    """The options, those for plain backgrounds unset unless the data is `mostly_plain`."""
    unset = {"plain_clean_prob": None, "plain_line_drawing_prob": None}
    if all(getattr(options, name) is None for name in unset) or mostly_plain(data):
        return options
    return options.changed(**unset)


def mostly_plain(data: TrainingData) -> bool:
    """Whether, in every domain, most images are on a plain background.

    One domain of photographs is enough to show that things come at any size and place in this
    folder (docs/decisions/0041).
    """
    return _is_most(min(plain_shares(data.pixels, data.domains).values()))


def plain_shares(pixels: Pixels, domains_N: NDArray[np.int64]) -> dict[int, float]:
    """The share (0 to 1) of each domain's images that are on a plain background.

    Of a large domain evenly spread images are looked at.
    """
    plain = PlainBackgrounds(pixels)
    shares = {}
    for domain in np.unique(domains_N):
        rows = np.flatnonzero(domains_N == domain)
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(np.int64)]
        shares[int(domain)] = float(plain(some).mean())
    return shares


def background_sentence(
    options: TrainingOptions,
    pixels: Pixels,
    domains_N: NDArray[np.int64],
    names: Sequence[str],
) -> str:
    """Whether a method with these options takes the folder for one of icons, and why.

    `names` are those of the domains, by number. Empty if it shows images on a plain background as
    it shows the others.
    """
    if options.plain_clean_prob is None and options.plain_line_drawing_prob is None:
        return ""
    shares = plain_shares(pixels, domains_N)
    fewest = min(shares, key=lambda domain: shares[domain])
    found = f"{shares[fewest]:.0%} of the images of {names[fewest]} are on a plain background"
    if _is_most(shares[fewest]):
        return (
            f"the images are taken for icons: {found}, and no domain has fewer; such images are "
            "mostly shown unchanged"
        )
    return (
        f"the images are not taken for icons: {found}, and icons are where most images of every "
        "domain are; all images are shown alike"
    )


def _is_most(share: float) -> bool:
    return share > 1 / 2


class PlainBackgrounds:
    """Which images of a table (N, K, S, S, 3) are on a plain background.

    The clean view of an image is read when the image is first asked for, and never again: the table
    may be larger than memory.
    """

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self._known = np.full(len(pixels), -1, dtype=np.int8)  # -1: not looked at yet

    def __call__(self, rows_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these images is: (B,)."""
        new = np.unique(rows_B[self._known[rows_B] < 0])
        if len(new):
            self._known[new] = on_plain_background(self._pixels[new, np.zeros_like(new)])
        return np.asarray(self._known[rows_B] == 1)
