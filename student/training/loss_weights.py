"""The weight of each term of the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from student.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """The weight of each term of the loss; a term of weight 0 is not computed. Raises BadInput.

    `image`, `text`: minus the cosine to the image's bought embedding, and to its label's text.
    `labels`: cross-entropy of the head's logits. `kd`: KL divergence from the teacher's zero-shot
    answer, at `temperature`. `relations`: squared difference of the softmaxes, over the class
    texts, of the image and of its label's text. An embedding head's logits are `logit_scale` times
    the cosines; with `learns_scale` this is the initial scale, and the label and KD terms train it.
    """

    image: float = 0.0
    text: float = 0.0
    labels: float = 0.0
    kd: float = 0.0
    relations: float = 0.0
    temperature: float = 1.0
    logit_scale: float = 100.0
    learns_scale: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            positive = field.name in ("temperature", "logit_scale")
            fits = value > 0.0 if positive else value >= 0.0
            if not fits or value == math.inf:
                wanted = "positive" if positive else "0 or more"
                message = f"{field.name} of the terms must be {wanted}, not {value}"
                raise BadInput(message)
        if self.learns_scale and not self.reads_logits:
            message = "only the label and KD terms can learn a scale, and neither has a weight"
            raise BadInput(message)

    @property
    def reads_images(self) -> bool:
        """Whether any term uses bought image embeddings."""
        return max(self.image, self.kd) > 0

    @property
    def reads_labels(self) -> bool:
        """Whether any term uses labels, so that an image without a bought embedding is of use."""
        return max(self.text, self.labels, self.relations) > 0

    @property
    def reads_logits(self) -> bool:
        """Whether any term uses the head's logits."""
        return max(self.labels, self.kd) > 0

    @property
    def reads_projection(self) -> bool:
        """Whether any term uses the projection into the teacher's space."""
        return max(self.image, self.text, self.relations) > 0
