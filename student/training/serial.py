"""The names in which runs are stored: those of version 0.1, whatever the code calls things today.

The identity of a bench row and the digest of a checkpoint are SHA-256 sums over settings. A setting
that is renamed, removed or given another default must not change them: a row would count as not
made, and a killed run would start again. So both are computed from the two functions here, and
every change of a name or a default adds a line to a table here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from student.training.config import TrainingSettings
from student.training.methods import Method

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "backbone": "vit_base_patch16_224",
        "weights": "hub",
        "image_size": 224,
        "steps": 5001,
        "align_steps": 5001,
        "lr": 5e-5,
        "align_lr": 5e-5,
        "schedule": "constant",
        "weight_decay": 0.0,
        "batch_per_domain": 32,
        "lmd": 0.5,
        "averaging": "swad",
        "ema_decay": 0.999,
        "wise_ft": 1.0,
        "align": "sgd",
        "ridge": 0.01,
        "between": 0.0,
        "exact": 0.0,
        "drawn": 0.0,
        "stand_ins": False,
        "mix": "none",
        "mix_alpha": 1.0,
        "eval_every": 200,
        "freeze_batch_norm": True,
        "device": "auto",
        "seed": 0,
        "threads": 0,
    }
)
"""Every training setting of version 0.1 with its default. A setting at its default is left out of
the identity of a run, so that a new one, neutral by default, changes no identity."""

TERMS: Mapping[str, Any] = MappingProxyType(
    {
        "image": 0.0,
        "text": 0.0,
        "labels": 0.0,
        "kd": 0.0,
        "relations": 0.0,
        "temperature": 1.0,
        "logit_scale": 100.0,
        "learns_scale": False,
    }
)
"""The same for the weights of the loss terms."""


def stored_settings(settings: TrainingSettings) -> dict[str, Any]:
    """All settings by their stored names; equal to what version 0.1 hashed for the same run."""
    return {name: getattr(settings, name) for name in DEFAULTS}


def stored_method(method: Method) -> dict[str, Any]:
    """A method with its overrides by their stored names, as version 0.1 hashed it."""
    return asdict(method)


def unlike_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not at their default."""
    return {name: value for name, value in values.items() if value != defaults[name]}
