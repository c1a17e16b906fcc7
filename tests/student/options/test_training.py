"""The options of the training section: defaults, limits, and what identifies a run."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from student.errors import BadInput
from student.options import TrainingOptions
from student.options.training import MethodName
from student.training.methods import METHODS


def test_the_defaults_match_the_paper() -> None:
    """arXiv 2310.08255 and its code: section 1.2 of the method's description."""
    options = TrainingOptions()
    assert (options.lr, options.align_lr) == (5e-5, 5e-5)
    assert (options.steps, options.align_steps, options.schedule) == (5001, 5001, "constant")
    assert (options.batch_per_domain, options.lmd, options.eval_every) == (32, 0.5, 200)
    assert options.averaging == "swad"
    assert options.freeze_batch_norm


def test_settings_that_the_paper_lacks_are_off_by_default() -> None:
    options = TrainingOptions()
    assert (options.clean_prob, options.line_drawing_prob, options.mean_target_prob) == (0, 0, 0)
    assert not options.text_targets
    assert options.wise_ft == 1.0


def test_the_option_offers_every_method_and_no_other() -> None:
    assert get_args(MethodName) == (*METHODS, "auto")


def test_device_threads_and_compare_are_not_part_of_a_runs_identity() -> None:
    assert TrainingOptions.model_fields.keys() - TrainingOptions.identifying() == {
        *("compare", "device", "threads")
    }


def test_a_method_may_override_every_identifying_option_except_method_and_network() -> None:
    assert TrainingOptions.recipe() == TrainingOptions.identifying() - {
        *("method", "backbone", "weights", "compile")
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lmd": 1.5}, "lmd: Input should be less than or equal to 1"),
        ({"steps": 0}, "steps: Input should be greater than 0"),
        ({"lr": 0.0}, "lr: Input should be greater than 0"),
        ({"lr": float("inf")}, "lr: Input should be a finite number"),
        ({"threads": -1}, "threads: Input should be greater than or equal to 0"),
        ({"schedule": "linear"}, "schedule: Input should be 'constant', 'one-cycle' or 'cosine'"),
        ({"averaging": "mean"}, "averaging: Input should be 'swad', 'swad-only' or 'none'"),
        ({"method": "magic"}, "method: Input should be 'vl2v-adip'"),
        ({"mean_target_prob": 1.1}, "mean-target-prob: Input should be less than or equal to 1"),
        ({"clean_prob": -0.1}, "clean-prob: Input should be greater than or equal to 0"),
        ({"mix": "mixup"}, "mix: Extra inputs are not permitted"),
    ],
)
def test_invalid_options_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        TrainingOptions().changed(**change)
