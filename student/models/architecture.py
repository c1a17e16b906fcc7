"""What a student is made of, in names: its backbone, its head, and the parts that a stage trains.

Imports nothing heavy, so that a method can name a head without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

HeadKind = Literal["embedding", "text", "class", "identity", "joint"]
CENTRED_HEADS: frozenset[HeadKind] = frozenset({"embedding", "joint"})
"""The heads that can compare centred embeddings."""
Part = Literal["projection", "head", "backbone", "all"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LOGIT_SCALE = 100.0  # CLIP's exp(logit_scale), as the published head has it


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What a network was made with, beside its weights: the mean and the standard deviation of red,
    green and blue (0 to 1) by which its input is normalised, and its activation.

    None means: as the named architecture has it. Only a CLIP tower has the choice of `quick_gelu`.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    quick_gelu: bool | None = None


IMAGENET = NetworkSettings(mean=IMAGENET_MEAN, std=IMAGENET_STD)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldNetwork:
    """What the vendor says of the image network whose embeddings it sells.

    `vision` is open_clip's `vision_cfg`, empty at a vendor of version 0.1.
    """

    vision: Mapping[str, Any]
    settings: NetworkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Everything needed to build the same student again, except its weights.

    `dim` is the size of the teacher's embedding space, 0 for a class head. `logit_scale` belongs to
    an embedding head; with `learns_scale` the scale is among the weights, and with `is_centred` the
    means that the head subtracts from embeddings. `mean`, `std` and
    `quick_gelu` are those of `NetworkSettings`. A student of version 0.1 does not have them: it was
    trained with ImageNet's mean and deviation, or as its tower's name says.
    """

    backbone: str
    image_size: int
    num_features: int
    num_classes: int
    head: HeadKind
    dim: int
    logit_scale: float = LOGIT_SCALE
    learns_scale: bool = False
    is_centred: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    quick_gelu: bool | None = None

    @property
    def settings(self) -> NetworkSettings:
        """What the network was made with."""
        return NetworkSettings(mean=self.mean, std=self.std, quick_gelu=self.quick_gelu)
