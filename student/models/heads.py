"""Heads that turn features into logits: by cosine to the class texts, or by a linear layer.

Shapes: B batch, F features, D teacher dimensions, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from student.models.architecture import LOGIT_SCALE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Centre:
    """Where a teacher's embeddings of unit length lie: `images` and `texts` (D,) are the means of
    its image and text embeddings, and `radius` is the mean distance of the images from theirs."""

    images: Tensor
    texts: Tensor
    radius: float


class EmbeddingHead(nn.Module):
    """Projects features into the teacher's space and predicts by cosine to the class texts.

    `scale` multiplies the cosines. A learned scale starts there and has no upper bound, unlike
    CLIP's, whose bound is the default start. Without a `projection` a new linear layer is used.
    With a `centre`, cosines are taken between what is left of each embedding when the mean of its
    kind is subtracted: so are the class texts given. `project` answers in the teacher's own space.
    """

    text_CD: Tensor  # noqa: N815 # carries its shape, as every tensor here
    image_offset_D: Tensor  # noqa: N815
    text_centre_D: Tensor  # noqa: N815

    def __init__(
        self,
        num_features: int,
        text_CD: Tensor,
        *,
        scale: float = LOGIT_SCALE,
        learns_scale: bool = False,
        projection: nn.Module | None = None,
        centre: Centre | None = None,
    ) -> None:
        super().__init__()
        self.projection = projection or nn.Linear(num_features, text_CD.shape[1])
        self.is_centred = centre is not None
        if centre is not None:
            self.register_buffer("image_offset_D", centre.images.float() / centre.radius)
            self.register_buffer("text_centre_D", centre.texts.float())
        self.register_buffer("text_CD", functional.normalize(text_CD.float(), dim=-1))
        self._scale = scale
        self.log_scale: nn.Parameter | None = None
        if learns_scale:
            self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def unit_texts(self, text_CD: Tensor) -> Tensor:
        """Text embeddings of the teacher as images are compared with them, unit length: (C, D)."""
        unit_CD = functional.normalize(text_CD.float(), dim=-1)
        if not self.is_centred:
            return unit_CD
        return functional.normalize(unit_CD - self.text_centre_D, dim=-1)

    def align(self, features_BF: Tensor) -> Tensor:
        """The features as they are compared with the targets, not normalised: (B, D)."""
        return cast("Tensor", self.projection(features_BF))

    def project(self, features_BF: Tensor) -> Tensor:
        """The features in the teacher's space, not normalised: (B, D)."""
        aligned_BD = self.align(features_BF)
        if not self.is_centred:
            return aligned_BD
        return self.image_offset_D + functional.normalize(aligned_BD, dim=-1)

    def label_logits(self, features_BF: Tensor) -> Tensor:
        """The logits that the label term trains: (B, C)."""
        return cast("Tensor", self(features_BF))

    def forward(self, features_BF: Tensor) -> Tensor:
        unit_BD = functional.normalize(self.align(features_BF), dim=-1)
        scale = self._scale if self.log_scale is None else self.log_scale.exp()
        return scale * unit_BD @ self.text_CD.T


class TextHead(EmbeddingHead):
    """Projects into the teacher's space and predicts there by a trained linear classifier, which
    starts as the class texts: the head of RISE (ICCV 2023)."""

    def __init__(self, num_features: int, text_CD: Tensor) -> None:
        super().__init__(num_features, text_CD)
        # Only the loss reads it; the saved student predicts without it.
        self.register_buffer("text_CD", self.text_CD, persistent=False)
        self.classifier = nn.Linear(text_CD.shape[1], text_CD.shape[0])
        with torch.no_grad():
            self.classifier.weight.copy_(self.text_CD)
            self.classifier.bias.zero_()

    def forward(self, features_BF: Tensor) -> Tensor:
        return cast("Tensor", self.classifier(self.project(features_BF)))


class JointHead(EmbeddingHead):
    """An embedding head and a linear classifier on the same features.

    Labels train the classifier, and embeddings the projection. The student predicts by the mean of
    the two confidences: the logits are its logarithm.
    """

    def __init__(
        self,
        num_features: int,
        text_CD: Tensor,
        *,
        scale: float = LOGIT_SCALE,
        centre: Centre | None = None,
    ) -> None:
        super().__init__(num_features, text_CD, scale=scale, centre=centre)
        self.classifier = nn.Linear(num_features, text_CD.shape[0])

    def text_head(self) -> EmbeddingHead:
        """The same projection without the classifier: it predicts by cosine to any class texts."""
        head = EmbeddingHead(0, self.text_CD, scale=self._scale, projection=self.projection)
        if self.is_centred:
            head.is_centred = True
            head.register_buffer("image_offset_D", self.image_offset_D)
            head.register_buffer("text_centre_D", self.text_centre_D)
        return head

    def label_logits(self, features_BF: Tensor) -> Tensor:
        return cast("Tensor", self.classifier(features_BF))

    def forward(self, features_BF: Tensor) -> Tensor:
        of_labels_BC = self.label_logits(features_BF).log_softmax(dim=-1)
        of_texts_BC = super().forward(features_BF).log_softmax(dim=-1)
        return torch.logaddexp(of_labels_BC, of_texts_BC) - math.log(2.0)


class ClassHead(nn.Module):
    """An ordinary linear classifier."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_classes)

    def label_logits(self, features_BF: Tensor) -> Tensor:
        """The logits that the label term trains: (B, C)."""
        return cast("Tensor", self(features_BF))

    def forward(self, features_BF: Tensor) -> Tensor:
        return cast("Tensor", self.linear(features_BF))
