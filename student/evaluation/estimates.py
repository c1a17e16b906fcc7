"""Figures with their 95% intervals: accuracies as counts, and other means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from student.training.metrics import Interval, wilson_interval


class AccuracyCount(BaseModel):
    """Number of correct predictions out of a total."""

    model_config = ConfigDict(frozen=True)

    correct: int = Field(ge=0)
    images: int = Field(gt=0)

    @property
    def accuracy(self) -> float:
        """The share of correct predictions, between 0 and 1."""
        return self.correct / self.images

    def as_dict(self) -> dict[str, Any]:
        """Returns the count, the accuracy and its Wilson 95% interval, ready for JSON."""
        interval = wilson_interval(self.correct, self.images)
        return {
            "accuracy": round(self.accuracy, 4),
            "interval95": [round(interval.low, 4), round(interval.high, 4)],
            "correct": self.correct,
            "images": self.images,
        }

    @property
    def interval(self) -> Interval:
        """The Wilson 95% interval of the accuracy."""
        return wilson_interval(self.correct, self.images)

    def __str__(self) -> str:
        interval = wilson_interval(self.correct, self.images)
        reach = (interval.high - interval.low) / 2
        return f"{100 * self.accuracy:.1f} ± {100 * reach:.1f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure between 0 and 1 with its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, ready for JSON."""
        return {
            "value": round(self.value, 4),
            "interval95": [round(self.low, 4), round(self.high, 4)],
        }

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"
