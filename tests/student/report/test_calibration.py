"""The calibration of a run in its tables, its notes and its diagram."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from student.data.split import VALIDATION
from student.evaluation.calibration import calibrate
from student.evaluation.results import AccuracyCount, Experiment, MethodResult
from student.report.calibration import calibration_notes, calibration_rows, draw_reliability

SKETCH = "sketch_$_and_^$^"


def experiment(*, spoilt: float = 0.0) -> Experiment:
    """A method with 400 validation images, 3 of 4 right, and a held-out domain, 1 of 4 right."""
    logits = torch.zeros(400, 3)
    logits[:, 0] = 12.0
    logits[0, 1] += spoilt
    parts = {VALIDATION: logits, SKETCH: logits.clone()}
    labels = {VALIDATION: np.arange(400) % 4 == 0, SKETCH: np.arange(400) % 4 > 0}
    result = MethodResult(
        method="kd",
        trained=cast(Any, None),  # no table shows it
        scores={
            VALIDATION: AccuracyCount(correct=300, images=400),
            SKETCH: AccuracyCount(correct=100, images=400),
        },
        answers={},
        calibration=calibrate(parts, {name: wrong.astype(int) for name, wrong in labels.items()}),
    )
    return Experiment(
        sources=("photo",), targets=(SKETCH,), num_train=9, num_bought=9, results=(result,)
    )


def test_the_table_has_the_calibration_error_before_and_after_on_each_part() -> None:
    columns, rows = calibration_rows(experiment())
    assert columns == ["calibration error, %", "kd", "images"]
    # A confidence of 100% on all images, then of 75%, as on source validation.
    assert rows[:2] == [[VALIDATION, "25.0 / 0.0", "400"], [SKETCH, "75.0 / 50.0", "400"]]


def test_the_temperature_is_the_one_that_makes_the_mean_confidence_the_accuracy() -> None:
    _, rows = calibration_rows(experiment())
    # Where the best class has 75% and the two others share 25%, the logits differ by log 6.
    assert rows[-1] == ["temperature", f"{12 / np.log(6):.2f}", ""]


def test_the_json_form_has_the_temperature_and_the_errors() -> None:
    told = experiment().student.calibration.as_dict()
    assert told.pop("temperature") == pytest.approx(12 / np.log(6))
    assert told == {
        "fitted_on": VALIDATION,
        "images": 400,
        "note": "",
        "bins": 15,
        "errors": {
            VALIDATION: {"before": 0.25, "after": 0.0},
            SKETCH: {"before": 0.75, "after": 0.5},
        },
    }


def test_logits_that_are_not_finite_are_named_and_have_no_figures(tmp_path: Path) -> None:
    broken = experiment(spoilt=float("nan"))
    _, rows = calibration_rows(broken)
    assert [row[1] for row in rows] == ["none / none", "none / none", "none"]
    assert calibration_notes(broken) == [
        "temperature of kd: some logits are not finite, so no temperature could be fitted"
    ]
    errors = broken.student.calibration.as_dict()["errors"]
    assert errors[SKETCH] == {"before": None, "after": None}
    draw_reliability(tmp_path / "calibration.png", broken)


def test_the_diagram_takes_names_that_look_like_formulas(tmp_path: Path) -> None:
    draw_reliability(tmp_path / "calibration.png", experiment())
    assert (tmp_path / "calibration.png").stat().st_size > 0
