"""The student as one function of pixels, for programs that have neither this package nor timm.

Shapes: N images, S pixels a side, C classes, D dimensions of the teacher's space.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from student.inference.trained_student import TrainedStudent
from student.models.heads import EmbeddingHead

INPUT = "pixels"
MOST_DIFFERENCE = 1e-4  # of an exported network from the student: absolute, of every output


class ExportedNetwork(nn.Module):
    """Maps uint8 pixels (N, S, S, 3) to confidences (N, C) and, if there is a projection, to the
    embedding of unit length (N, D). Without classes, only to the embedding.

    The normalisation, the scale of the cosines and the temperature are inside.
    """

    def __init__(self, trained: TrainedStudent) -> None:
        super().__init__()
        self._student = trained.student
        self._temperature = trained.temperature or 1.0
        self._has_classes = bool(trained.classes)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        has_projection = isinstance(self._student.head, EmbeddingHead)
        names = ("confidences",) if self._has_classes else ()
        return (*names, "embedding") if has_projection else names

    def forward(self, pixels_NSS3: Tensor) -> tuple[Tensor, ...]:
        head, features_NF = self._student.head, self._student.features(pixels_NSS3)
        answers: list[Tensor] = []
        if self._has_classes:
            answers.append((head(features_NF) / self._temperature).softmax(dim=1))
        if isinstance(head, EmbeddingHead):
            answers.append(functional.normalize(head.project(features_NF), dim=-1))
        return tuple(answers)


def description(trained: TrainedStudent) -> dict[str, Any]:
    """Return what a reader of an exported file must know, ready for JSON."""
    known: dict[str, Any] = {
        name: trained.meta[name] for name in ("method", "teacher") if name in trained.meta
    }
    return {
        "classes": list(trained.classes),
        "preprocessing": {"image_size": trained.image_size, **trained.student.preprocessing},
        "temperature": trained.temperature,
        **known,
    }


def as_properties(described: dict[str, Any]) -> dict[str, str]:
    """Return the description as texts, which is all that an ONNX file keeps."""
    return {name: json.dumps(value) for name, value in described.items()}


def sample_pixels(size: int, count: int) -> Tensor:
    """Return random pixels, always the same, to compare two networks on: (count, size, size, 3)."""
    source = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=source)
