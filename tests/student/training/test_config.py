from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from student.errors import BadInput
from student.training.config import TrainingSettings


def test_the_defaults_are_the_papers() -> None:
    """arXiv 2310.08255 and its code: section 1.2 of the method's description."""
    settings = TrainingSettings()
    assert (settings.backbone, settings.image_size) == ("vit_base_patch16_224", 224)
    assert (settings.lr, settings.align_lr, settings.weight_decay) == (5e-5, 5e-5, 0.0)
    assert (settings.steps, settings.align_steps, settings.schedule) == (5001, 5001, "constant")
    assert (settings.batch_per_domain, settings.lmd, settings.eval_every) == (32, 0.5, 200)
    assert settings.averaging == "swad"
    assert settings.freeze_batch_norm
    assert (settings.align, settings.mix, settings.between) == ("sgd", "none", 0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lmd": 1.5}, "between 0 and 1"),
        ({"steps": 0}, "at least 1"),
        ({"lr": 0.0}, "positive"),
        ({"seed": -1}, "negative"),
        ({"schedule": "linear"}, "one-cycle"),
        ({"averaging": "mean"}, "'swad' or 'ema' or 'none'"),
        ({"align": "lstsq"}, "'sgd' or 'ridge'"),
        ({"mix": "blend"}, "'none' or 'mixup' or 'cutmix'"),
        ({"ridge": 0.0}, "ridge must be positive"),
        ({"mix_alpha": -1.0}, "mix_alpha must be positive"),
        ({"between": 1.1}, "between is a chance"),
        ({"ema_decay": 1.1}, "ema_decay is a share"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        replace(TrainingSettings(), **change)
