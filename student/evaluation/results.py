"""The results of a run; accuracies are stored as counts, from which intervals follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from student.evaluation.calibration import Calibration
from student.evaluation.retrieval import RetrievalResult
from student.selection.selection import Selection
from student.training.metrics import Interval, wilson_interval
from student.training.train import Trained


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodResult:
    """A trained method with its scores and its predicted classes (N,) on each part, and how well
    its confidence agrees with its accuracy.

    Without labels there is `retrieval` on each part instead.
    """

    method: str
    trained: Trained
    scores: dict[str, AccuracyCount]
    answers: dict[str, NDArray[np.int64]]
    calibration: Calibration
    retrieval: Mapping[str, RetrievalResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The cost of a run, or of one of its students, from the receipts in the cache.

    `units` (queries) and `cost_micro_usd` are the cost of the embeddings it was trained from,
    whichever run bought them; `receipts_digest` covers their receipts. The other fields describe
    the whole run: `bought_now` is the number of queries that this run bought, and
    `vendor_milliseconds` the time for one embedding in bulk by the vendor's clock, or None if the
    receipts do not show it. `measuring_units` (queries) paid for what measures a student without
    labels and is not trained on.
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
    measuring_units: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experiment:
    """The results of all methods on one choice of held-out domains, trained on the same images.

    `selection` says how `--method auto` chose the first of them; `teacher` is the zero-shot
    accuracy of the teacher itself on the images that were bought.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    num_train: int
    num_bought: int
    results: tuple[MethodResult, ...]
    selection: Selection | None = None
    teacher: AccuracyCount | None = None

    @property
    def student(self) -> MethodResult:
        """The result of the chosen method; the other methods are for comparison."""
        return self.results[0]

    @property
    def is_labelled(self) -> bool:
        """Whether the images have classes, so that there are accuracies."""
        return not self.student.retrieval
