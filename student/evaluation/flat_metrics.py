"""The results of a run as flat numbers, for trackers."""

from __future__ import annotations

import math

from student.evaluation.results import Experiment


def flat_metrics(experiment: Experiment) -> dict[str, float]:
    """Each method's figures on each part, as `accuracy/<method>/<part>`; all between 0 and 1."""
    found: dict[str, float] = {}
    for result in experiment.results:
        for part, count in result.scores.items():
            found[f"accuracy/{result.method}/{part}"] = count.accuracy
        for part, error in result.calibration.errors().items():
            found[f"calibration_error/{result.method}/{part}"] = error
        for part, retrieval in result.retrieval.items():
            found[f"cosine/{result.method}/{part}"] = retrieval.cosine.value
            if retrieval.retrieval is not None:
                for k, recall in retrieval.retrieval.student.items():
                    found[f"recall_at_{k}/{result.method}/{part}"] = recall.value
    return {name: value for name, value in found.items() if math.isfinite(value)}
