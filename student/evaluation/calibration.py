"""The calibration of a student: its temperature, and its calibration error on each part.

The temperature is fitted on source validation alone, as the weights are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from student.data.split import VALIDATION
from student.training.calibration import (
    BINS,
    ConfidenceBin,
    TemperatureFit,
    calibration_error,
    confidence_bins,
    fit_temperature,
)
from student.training.metrics import answers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The temperature of a student, and the bins of its confidence on each part.

    `before` is at temperature 1, `after` at the fitted one.
    """

    fit: TemperatureFit
    before: Mapping[str, tuple[ConfidenceBin, ...]]
    after: Mapping[str, tuple[ConfidenceBin, ...]]

    def errors(self) -> dict[str, float]:
        """Returns the calibration error (0 to 1) of each part, at the fitted temperature."""
        found = {part: _rounded(calibration_error(bins)) for part, bins in self.after.items()}
        return {part: error for part, error in found.items() if error is not None}

    def as_dict(self) -> dict[str, Any]:
        """Returns the temperature and the calibration error of each part, ready for JSON."""
        return {
            "temperature": self.fit.temperature,
            "fitted_on": VALIDATION,
            "images": self.fit.images,
            "note": self.fit.note,
            "bins": BINS,
            "errors": {
                part: {
                    "before": _rounded(calibration_error(self.before[part])),
                    "after": _rounded(calibration_error(self.after[part])),
                }
                for part in self.before
            },
        }


NOT_CALIBRATED = Calibration(
    fit=TemperatureFit(temperature=None, images=0, note="the images have no classes"),
    before={},
    after={},
)
"""Of a student without classes, which has no confidence."""


def calibrate(logits: Mapping[str, Tensor], labels: Mapping[str, NDArray[np.int64]]) -> Calibration:
    """Fits a temperature on source validation, and bins the confidence on every part.

    `logits` (N, C) and `labels` (N,) are by part; one part is source validation.
    """
    fit = fit_temperature(logits[VALIDATION].double().numpy(), labels[VALIDATION])

    def bins(temperature: float) -> dict[str, tuple[ConfidenceBin, ...]]:
        found = {}
        for part, of_part in logits.items():
            predicted, confidences = answers_of(of_part, temperature)
            found[part] = confidence_bins(confidences, predicted == labels[part])
        return found

    return Calibration(fit=fit, before=bins(1.0), after=bins(fit.temperature or 1.0))


def _rounded(error: float | None) -> float | None:
    return None if error is None else round(error, 4)
