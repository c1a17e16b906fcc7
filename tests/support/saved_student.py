"""A small untrained student in a folder, as a finished run leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from student.models.saved import save_student
from student.models.student import NewHead, new_student
from tests.support.shaded_images import CLASSES, DIM, SIZE


def saved_student(
    folder: Path,
    meta: dict[str, Any] | None = None,
    *,
    head: Any = "embedding",
    backbone: str = "test_vit",
) -> Path:
    """Write a student with the classes a, b and c, and return its folder."""
    torch.manual_seed(0)
    student = new_student(
        NewHead(num_classes=CLASSES, text_embeddings=torch.randn(CLASSES, DIM), kind=head),
        backbone=backbone,
        weights="none",
        image_size=SIZE,
    ).eval()
    save_student(student, folder, {"classes": ["a", "b", "c"], **(meta or {})})
    return folder
