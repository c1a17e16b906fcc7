"""Fits the temperature of a confidence, and measures the calibration error.

Temperature scaling and the expected calibration error are those of Guo et al., ICML 2017, arXiv
1706.04599. Dividing all logits by one number changes the confidence and never the class.

Shapes: N images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15
LOWEST, HIGHEST = 1e-3, 1e3
"""The bounds of a temperature."""
FEW_IMAGES = 100
"""With fewer images, a temperature is reported as uncertain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureFit:
    """The temperature that was fitted on so many images; None if the logits allow none.

    `note` says what limits it; it is empty for an ordinary fit.
    """

    temperature: float | None
    images: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceBin:
    """The images whose confidence lies in one of the bins: their number, mean confidence and
    accuracy (both 0 to 1)."""

    images: int
    confidence: float
    accuracy: float


def fit_temperature(logits_NC: Floats, labels_N: NDArray[np.int64]) -> TemperatureFit:
    """Returns the temperature, within its bounds, that minimises the mean cross-entropy.

    If every image is classified correctly, the cross-entropy falls all the way to temperature 0.
    Then it is the temperature whose mean confidence on the N images is (N + 1) / (N + 2), the
    accuracy that N correct answers support (Laplace's rule of succession).
    """
    images = len(labels_N)
    if not np.isfinite(logits_NC).all():
        note = "some logits are not finite, so no temperature could be fitted"
        return TemperatureFit(temperature=None, images=images, note=note)
    if not np.ptp(logits_NC, axis=1).any():
        note = "the logits of an image are all equal, so no temperature changes the confidence"
        return TemperatureFit(temperature=1.0, images=images, note=note)
    truth_N = np.take_along_axis(logits_NC, labels_N[:, None], axis=1)[:, 0]
    notes = []
    if (truth_N == logits_NC.max(axis=1)).all():
        temperature = _root(lambda t: _confidence(logits_NC, t) - (images + 1) / (images + 2))
        notes.append(
            f"all {images:,} images are classified correctly, so the likelihood sets no lower "
            f"limit; the temperature is the one with a mean confidence of {images + 1:,} in "
            f"{images + 2:,}"
        )
    else:
        temperature = _root(lambda t: _slope(logits_NC, truth_N, t))
    if temperature in (LOWEST, HIGHEST):
        notes.append(f"the best temperature lies beyond the bound of {temperature:g}")
    if len(np.unique(labels_N)) == 1:
        notes.append("all images are of one class")
    if images < FEW_IMAGES:
        notes.append(f"{images} images are too few for a certain temperature")
    return TemperatureFit(temperature=temperature, images=images, note="; ".join(notes))


def confidence_bins(
    confidences_N: Floats, is_right_N: NDArray[np.bool_]
) -> tuple[ConfidenceBin, ...]:
    """Returns the bins that hold images, of 15 equal-width bins that include their upper edge.

    Returns no bins if a confidence is not a number.
    """
    if np.isnan(confidences_N).any():
        return ()
    edges = np.arange(1, BINS) / BINS
    bin_of_N = np.digitize(confidences_N, edges, right=True)
    return tuple(
        ConfidenceBin(
            images=int(inside_N.sum()),
            confidence=float(confidences_N[inside_N].mean()),
            accuracy=float(is_right_N[inside_N].mean()),
        )
        for number in range(BINS)
        if (inside_N := bin_of_N == number).any()
    )


def calibration_error(bins: tuple[ConfidenceBin, ...]) -> float | None:
    """Returns the expected calibration error (0 to 1); None without bins.

    It is the distance between accuracy and mean confidence in a bin, averaged over the images.
    """
    if not bins:
        return None
    images = sum(one.images for one in bins)
    return sum(one.images * abs(one.accuracy - one.confidence) for one in bins) / images


def _root(falling: Callable[[float], float]) -> float:
    """Returns the temperature at which this decreasing function is 0, or the nearer bound."""
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.optimize import brentq

    if falling(LOWEST) <= 0:
        return LOWEST
    if falling(HIGHEST) >= 0:
        return HIGHEST
    low, high = math.log(LOWEST), math.log(HIGHEST)
    return math.exp(brentq(lambda log: falling(math.exp(log)), low, high, xtol=1e-12))


def _confidence(logits_NC: Floats, temperature: float) -> float:
    """Returns the mean confidence at this temperature."""
    return float(_softmax(logits_NC, temperature).max(axis=1).mean())


def _slope(logits_NC: Floats, truth_N: Floats, temperature: float) -> float:
    """Returns the derivative of the mean cross-entropy by 1 / temperature.

    The cross-entropy is convex in it, so the derivative has one root at most.
    """
    expected_N = (_softmax(logits_NC, temperature) * logits_NC).sum(axis=1)
    return float((expected_N - truth_N).mean())


def _softmax(logits_NC: Floats, temperature: float) -> Floats:
    powers_NC = np.exp((logits_NC - logits_NC.max(axis=1, keepdims=True)) / temperature)
    shares_NC: Floats = powers_NC / powers_NC.sum(axis=1, keepdims=True)
    return shares_NC
