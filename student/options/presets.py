"""Presets: options for who does not want to choose forty. Any option that is named wins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

PresetName = Literal["quick", "paper"]

PRESETS: Mapping[PresetName, Mapping[str, object]] = MappingProxyType(
    {
        # What `make demo` trains with: minutes on two cores.
        "quick": MappingProxyType(
            {
                "image_size": 64,
                "views": 1,
                "steps": 420,
                "align_steps": 840,
                "lr": 1e-3,
                "align_lr": 1e-3,
                "schedule": "one-cycle",
                "batch_per_domain": 12,
                "eval_every": 60,
            }
        ),
        # arXiv 2310.08255, section 5 and its code; hours without a GPU.
        "paper": MappingProxyType(
            {
                "method": "vl2v-adip",
                "backbone": "vit_base_patch16_224.augreg_in21k_ft_in1k",
                "weights": "hub",
                "image_size": 224,
                "steps": 5001,
                "align_steps": 5001,
                "lr": 5e-5,
                "align_lr": 5e-5,
                "schedule": "constant",
                "batch_per_domain": 32,
            }
        ),
    }
)
