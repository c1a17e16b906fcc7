"""The student: a backbone and one of two heads.

Shapes: B batch, S pixels a side, F features, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from student.errors import BadInput
from student.training.backbone import load_backbone
from student.training.stage import Part

LOGIT_SCALE = 100.0  # CLIP's exp(logit_scale), as the published head has it
_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # ImageNet's, on the scale of uint8
_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class EmbeddingHead(nn.Module):
    """Projects features into the teacher's space and predicts by cosine to the class texts."""

    text_CD: Tensor  # noqa: N815 # carries its shape, as every tensor here

    def __init__(self, num_features: int, text_CD: Tensor) -> None:
        super().__init__()
        self.projection = nn.Linear(num_features, text_CD.shape[1])
        self.register_buffer("text_CD", functional.normalize(text_CD.float(), dim=-1))

    def project(self, features_BF: Tensor) -> Tensor:
        """The features in the teacher's space, not normalised: (B, D)."""
        return cast("Tensor", self.projection(features_BF))

    def forward(self, features_BF: Tensor) -> Tensor:
        unit_BD = functional.normalize(self.project(features_BF), dim=-1)
        return LOGIT_SCALE * unit_BD @ self.text_CD.T


class ClassHead(nn.Module):
    """An ordinary linear classifier."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_classes)

    def forward(self, features_BF: Tensor) -> Tensor:
        return cast("Tensor", self.linear(features_BF))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """All it takes to build the same student again, without its weights."""

    backbone: str
    image_size: int
    num_features: int
    num_classes: int
    head: Literal["embedding", "class"]
    dim: int  # of the teacher's space; 0 for a class head


class Student(nn.Module):
    """Images in, logits out: uint8 or float pixels (B, S, S, 3) between 0 and 255 to (B, C)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, head: EmbeddingHead | ClassHead, architecture: Architecture
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.architecture = architecture
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def features(self, pixels_BSS3: Tensor) -> Tensor:
        """The backbone's pooled features: float32 (B, F)."""
        pixels_B3SS = pixels_BSS3.to(self.device).permute(0, 3, 1, 2).float()
        normal_B3SS = (pixels_B3SS - self.mean) / self.std
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            features_BF = self.backbone(normal_B3SS.contiguous(memory_format=torch.channels_last))
        return cast("Tensor", features_BF.float())

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.features(pixels_BSS3)))

    def part(self, name: Part) -> nn.Module:
        """What a stage that trains `name` may move."""
        if name == "all":
            return self
        if name == "projection":
            if not isinstance(self.head, EmbeddingHead):
                message = "a student with a class head has no projection to train"
                raise BadInput(message)
            return self.head.projection
        return self.get_submodule(name)


def new_student(
    *,
    backbone: str,
    weights: str,
    image_size: int,
    num_classes: int,
    text_embeddings: Tensor | None,
) -> Student:
    """A student before training; with text embeddings (C, D) an embedding head, else a class head.

    Raises BadInput and TrainingError as `load_backbone` does.
    """
    network = load_backbone(backbone, weights, image_size=image_size)
    num_features = count_features(network, image_size)
    head: EmbeddingHead | ClassHead
    if text_embeddings is None:
        head = ClassHead(num_features, num_classes)
    else:
        head = EmbeddingHead(num_features, text_embeddings)
    return Student(
        network,
        head,
        Architecture(
            backbone=backbone,
            image_size=image_size,
            num_features=num_features,
            num_classes=num_classes,
            head="class" if text_embeddings is None else "embedding",
            dim=0 if text_embeddings is None else text_embeddings.shape[1],
        ),
    )


@torch.no_grad()
def count_features(backbone: nn.Module, image_size: int) -> int:
    """How many features a backbone gives an image, pooled; raises BadInput where it gives a map."""
    was_training = backbone.training
    shape = backbone.eval()(torch.zeros(1, 3, image_size, image_size)).shape
    backbone.train(was_training)
    if len(shape) != 2:
        message = f"the backbone gives features of the shape {tuple(shape)}, not one row an image"
        raise BadInput(message)
    return int(shape[1])
