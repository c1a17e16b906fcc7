"""What a job found out: accuracies with counts, so that intervals can be drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.training.metrics import wilson_interval
from student.training.train import Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyCount:
    """So many right out of so many."""

    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.images

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the Wilson 95% interval."""
        interval = wilson_interval(self.correct, self.images)
        return {
            "accuracy": round(self.accuracy, 4),
            "interval95": [round(interval.low, 4), round(interval.high, 4)],
            "correct": self.correct,
            "images": self.images,
        }

    def __str__(self) -> str:
        interval = wilson_interval(self.correct, self.images)
        reach = (interval.high - interval.low) / 2
        return f"{100 * self.accuracy:.1f} ± {100 * reach:.1f}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodResult:
    """One trained method: its scores by the name of the part, its answers image by image."""

    method: str
    trained: Trained
    scores: dict[str, AccuracyCount]
    answers: dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The money side of a job or of one of its students, from the cache's receipts.

    `units` (queries) and `cost_micro_usd` pay for the embeddings that it was made from, whichever
    run bought them, and `receipts_digest` is of their receipts. The rest is the job's: `bought_now`
    is this run's part, `vendor_milliseconds` what an embedding took in bulk, by the vendor's own
    clock, None where the receipts do not tell.
    """

    run: str
    model: str
    fingerprint: str
    units: int
    cost_micro_usd: int
    bought_now: int
    already_paid: int
    left_out: int
    micro_usd_per_image: int
    receipts_digest: str
    vendor_milliseconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experiment:
    """One choice of target domains, every method on the same images."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    num_train: int
    num_bought: int
    results: tuple[MethodResult, ...]

    @property
    def student(self) -> MethodResult:
        """The method that was asked for; the others stand beside it."""
        return self.results[0]
