"""The student: a backbone and one of five heads.

Shapes: B batch, S pixels a side, F features, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from student.errors import BadInput
from student.models.architecture import (
    CENTRED_HEADS,
    IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LOGIT_SCALE,
    Architecture,
    HeadKind,
    NetworkSettings,
    Part,
)
from student.models.backbone import load_network, network_settings
from student.models.clip_tower import Tower
from student.models.heads import Centre, ClassHead, EmbeddingHead, JointHead, TextHead


class Student(nn.Module):
    """Maps uint8 or float pixels (B, S, S, 3) between 0 and 255 to logits (B, C)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, head: EmbeddingHead | ClassHead, architecture: Architecture
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.architecture = architecture
        # A tower takes what is normalised by ImageNet's, whatever it was made with.
        settings = IMAGENET if isinstance(backbone, Tower) else architecture.settings
        mean, std = settings.mean or IMAGENET_MEAN, settings.std or IMAGENET_STD
        own = NetworkSettings(mean=mean, std=std)
        self._prepared_by = backbone.settings if isinstance(backbone, Tower) else own
        for name, values in (("mean", mean), ("std", std)):
            scaled = torch.tensor([value * 255 for value in values]).view(3, 1, 1)
            self.register_buffer(name, scaled, persistent=False)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How an image becomes this student's input, for a reader of its files.

        The mean and deviation are the network's own. Every image is squashed to a square and
        nothing is cut off, as in training.
        """
        return {
            "mean": list(self._prepared_by.mean or ()),
            "std": list(self._prepared_by.std or ()),
            "interpolation": "bicubic",
            "resize": "squash",
            "crop_pct": 1.0,
        }

    def features(self, pixels_BSS3: Tensor) -> Tensor:
        """The backbone's pooled features: float32 (B, F)."""
        pixels_B3SS = pixels_BSS3.to(self.device).permute(0, 3, 1, 2).float()
        normal_B3SS = (pixels_B3SS - self.mean) / self.std
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            features_BF = self.backbone(normal_B3SS.contiguous(memory_format=torch.channels_last))
        return cast("Tensor", features_BF.float())

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.features(pixels_BSS3)))

    def loss_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to the loss and are trained in every stage, whatever its part."""
        scale = self.head.log_scale if isinstance(self.head, EmbeddingHead) else None
        return [] if scale is None else [scale]

    def part(self, name: Part) -> nn.Module:
        """The module that a stage which trains `name` may change. Raises BadInput."""
        if name == "all":
            return self
        if name == "projection":
            if not isinstance(self.head, EmbeddingHead):
                message = "a student with a class head has no projection to train"
                raise BadInput(message)
            return self.head.projection
        return self.get_submodule(name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewHead:
    """The head that a student gets before training. `text_embeddings` (C, D) are the class texts.

    Without a `kind`, it is an embedding head if there are text embeddings, and a class head
    otherwise.
    """

    num_classes: int
    text_embeddings: Tensor | None
    kind: HeadKind | None = None
    logit_scale: float = LOGIT_SCALE
    learns_scale: bool = False
    centre: Centre | None = None


def new_student(
    head: NewHead,
    *,
    backbone: str,
    weights: str,
    image_size: int,
    settings: NetworkSettings | None = None,
) -> Student:
    """A student before training, on the network that `backbone` names, with this head.

    `settings` are what the weights were made with, unless it is what their name says. Raises
    BadInput and TrainingError as `load_network` and `with_head` do.
    """
    settings = settings or network_settings(backbone, weights)
    network = load_network(backbone, weights, image_size=image_size, settings=settings)
    return with_head(network, head, backbone=backbone, image_size=image_size, settings=settings)


def with_head(
    network: nn.Module,
    head: NewHead,
    *,
    backbone: str,
    image_size: int,
    settings: NetworkSettings,
) -> Student:
    """A student on this network, whose name is `backbone`, with this head.

    `settings` are what the network was made with. Raises BadInput if the head does not fit the
    network or the embeddings.
    """
    num_features = count_features(network, image_size)
    text_embeddings = head.text_embeddings
    kind = head.kind or ("class" if text_embeddings is None else "embedding")
    if kind == "class":
        text_embeddings = None
    elif text_embeddings is None:
        message = f"a head of the kind {kind!r} needs text embeddings"
        raise BadInput(message)
    elif kind == "identity" and text_embeddings.shape[1] != num_features:
        message = (
            f"the backbone gives {num_features} features and the teacher {text_embeddings.shape[1]}"
            ": without a projection the two numbers must be equal"
        )
        raise BadInput(message)
    architecture = Architecture(
        backbone=backbone,
        image_size=image_size,
        num_features=num_features,
        num_classes=head.num_classes,
        head=kind,
        dim=0 if text_embeddings is None else text_embeddings.shape[1],
        logit_scale=head.logit_scale,
        learns_scale=head.learns_scale,
        is_centred=head.centre is not None and kind in CENTRED_HEADS,
        **asdict(settings),
    )
    return Student(network, _head(architecture, text_embeddings, head.centre), architecture)


def _head(
    architecture: Architecture, text_CD: Tensor | None, centre: Centre | None
) -> EmbeddingHead | ClassHead:
    num_features = architecture.num_features
    if text_CD is None:
        return ClassHead(num_features, architecture.num_classes)
    if architecture.head == "text":
        return TextHead(num_features, text_CD)
    if architecture.head == "joint":
        return JointHead(num_features, text_CD, scale=architecture.logit_scale, centre=centre)
    return EmbeddingHead(
        num_features,
        text_CD,
        scale=architecture.logit_scale,
        learns_scale=architecture.learns_scale,
        projection=nn.Identity() if architecture.head == "identity" else None,
        centre=centre if architecture.is_centred else None,
    )


@torch.no_grad()
def count_features(backbone: nn.Module, image_size: int) -> int:
    """The number of pooled features per image. Raises BadInput if the backbone does not pool."""
    was_training = backbone.training
    shape = backbone.eval()(torch.zeros(1, 3, image_size, image_size)).shape
    backbone.train(was_training)
    if len(shape) != 2:
        message = f"the backbone gives features of the shape {tuple(shape)}, not a row per image"
        raise BadInput(message)
    return int(shape[1])
