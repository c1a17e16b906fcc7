"""Every number that decides a training run; the defaults are the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from student.errors import BadInput

Schedule = Literal["constant", "one-cycle"]
Averaging = Literal["swad", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train: the same settings on the same data and machine give the same student.

    `weights` is "hub", "wheel", "none", or the path of a local .safetensors or .pth file.
    `align_steps` and `align_lr` rule the stages that train a head on stored features, `steps` and
    `lr` those that train the backbone. `threads` 0 leaves torch's own choice. Raises BadInput.
    """

    backbone: str = "vit_base_patch16_224"
    weights: str = "hub"
    image_size: int = 224
    steps: int = 5001
    align_steps: int = 5001
    lr: float = 5e-5
    align_lr: float = 5e-5
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    batch_per_domain: int = 32
    lmd: float = 0.5
    averaging: Averaging = "swad"
    eval_every: int = 200
    freeze_batch_norm: bool = True
    device: str = "auto"
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("image_size", "steps", "align_steps", "batch_per_domain", "eval_every"):
            if getattr(self, name) < 1:
                message = f"{name} must be at least 1, not {getattr(self, name)}"
                raise BadInput(message)
        if min(self.seed, self.threads) < 0:
            message = "seed and threads must not be negative"
            raise BadInput(message)
        if not 0.0 <= self.lmd <= 1.0:
            message = f"lmd weighs the image term and lies between 0 and 1, not {self.lmd}"
            raise BadInput(message)
        if min(self.lr, self.align_lr) <= 0 or self.weight_decay < 0:
            message = "lr and align_lr must be positive and weight_decay not negative"
            raise BadInput(message)
        if self.schedule not in ("constant", "one-cycle"):
            message = f"schedule is 'constant' or 'one-cycle', not {self.schedule!r}"
            raise BadInput(message)
        if self.averaging not in ("swad", "none"):
            message = f"averaging is 'swad' or 'none', not {self.averaging!r}"
            raise BadInput(message)
