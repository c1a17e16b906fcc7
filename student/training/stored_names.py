"""The names under which runs are stored: those of version 0.1, whatever the code calls them today.

The identity of a bench row and the digest of a checkpoint are SHA-256 sums over settings. Renaming
a setting, removing it or changing its default must not change these sums: a row would count as
missing, and a killed run would start again. So both sums use the names and defaults that are listed
here, and `student.options.renamed_options` says what each name is today.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from student.options import TrainingOptions
from student.options.renamed_options import RENAMED, RENAMED_METHODS
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
the identity of a run, so that a new setting, neutral by default, changes no identity."""

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


LATER_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "centre_embeddings": False,
        "compile": False,
        "plain_clean_prob": None,
        "plain_line_drawing_prob": None,
    }
)
"""Settings that version 0.1 did not have; at their default they are stored nowhere."""
_AS_OTHERS = {"plain_clean_prob": "clean_prob", "plain_line_drawing_prob": "line_drawing_prob"}
_RETIRED = frozenset({"weight_decay", "ema_decay", "align", "ridge", "mix", "mix_alpha"})
_OLD_NAMES = {new: old for old, new in RENAMED.items()}
_OLD_METHODS = {new: old for old, new in RENAMED_METHODS.items()}


def stored_settings(options: TrainingOptions, *, image_size: int, seed: int) -> dict[str, Any]:
    """All training settings by their stored names: what version 0.1 hashed for the same run."""
    elsewhere = {"image_size": image_size, "seed": seed}
    current = {
        name: getattr(options, RENAMED.get(name, name))
        for name in DEFAULTS.keys() - _RETIRED - elsewhere.keys()
    }
    later = {name: getattr(options, name) for name in LATER_DEFAULTS}
    for plain, other in _AS_OTHERS.items():
        if later[plain] == getattr(options, other):
            later[plain] = None  # what it does when it is unset
    return {**DEFAULTS, **current, **elsewhere, **unlike_defaults(later, LATER_DEFAULTS)}


def stored_method(method: Method) -> dict[str, Any]:
    """A method with its overrides by their stored names, as version 0.1 hashed it."""
    overrides = tuple((stored_name(name), value) for name, value in method.overrides)
    facts = {**asdict(method), "name": stored_method_name(method.name), "overrides": overrides}
    del facts["heeds_doubts"]  # newer than the digests; what it changes is in the data
    return facts


def stored_name(option: str) -> str:
    """The name by which an option is stored."""
    return _OLD_NAMES.get(option, option)


def stored_method_name(method: str) -> str:
    """The name by which a method is stored."""
    return _OLD_METHODS.get(method, method)


def unlike_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not at their default."""
    return {name: value for name, value in values.items() if value != defaults[name]}
