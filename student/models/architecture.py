"""What a student is made of, in names: its backbone, its head, and the parts that a stage trains.

Imports nothing heavy, so that a method can name a head without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HeadKind = Literal["embedding", "text", "class", "identity"]
Part = Literal["projection", "head", "backbone", "all"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LOGIT_SCALE = 100.0  # CLIP's exp(logit_scale), as the published head has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Everything needed to build the same student again, except its weights.

    `dim` is the size of the teacher's embedding space, 0 for a class head. `logit_scale` belongs to
    an embedding head; with `learns_scale` the scale is among the weights.
    """

    backbone: str
    image_size: int
    num_features: int
    num_classes: int
    head: HeadKind
    dim: int
    logit_scale: float = LOGIT_SCALE
    learns_scale: bool = False
