"""Makes the student that a run starts from, and checks that its method can train it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch

from student.errors import BadInput
from student.models.backbone import LOCAL_TOWER, is_tower
from student.models.clip_tower import PREFIX, embedding_dim, load_tower
from student.models.student import Student, new_student
from student.training.config import TrainingSettings
from student.training.dataset import TrainingData
from student.training.methods import METHODS, Method


def check_networks(asked: Iterable[tuple[Method, TrainingSettings]]) -> None:
    """Refuses a method on a network that it cannot train, and a tower that cannot be loaded.

    Every tower is loaded once, with its weights, before anything is bought. Raises BadInput.
    """
    towers: dict[tuple[str, str, int], None] = {}
    for method, settings in asked:
        _check_pair(method, settings)
        if is_tower(settings.backbone):
            towers[settings.backbone, settings.weights, settings.image_size] = None
    for backbone, weights, image_size in towers:
        load_tower(backbone, weights, image_size=image_size)


def check_space(method: Method, settings: TrainingSettings, dim: int) -> None:
    """Refuses a tower whose embeddings have another size than the vendor's `dim`, where the method
    has no projection between the two. Raises BadInput."""
    if method.head != "identity":
        return
    own = embedding_dim(settings.backbone)
    if own != dim:
        message = (
            f"{settings.backbone} gives {own} numbers an image and the vendor's model {dim}: "
            f"{method.name} takes the vendor's own architecture and weights"
        )
        raise BadInput(message)


def foreign_weights(settings: TrainingSettings, sold_sha256: str) -> str:
    """A warning where a tower's weights are not, byte for byte, the file that the vendor sells
    embeddings of; "" where they are, or where there is no tower.

    Not an error: a file of another format may hold the same weights.
    """
    file = Path(settings.weights)
    if not is_tower(settings.backbone) or not file.is_file():
        return ""
    with file.open("rb") as opened:
        own = hashlib.file_digest(opened, "sha256").hexdigest()
    if own == sold_sha256:
        return ""
    return (
        f"{file} (sha256 {own[:12]}) is not the file that the vendor sells by "
        f"({sold_sha256[:12]}): unless it holds the same weights in another format, the student "
        "starts from another model than the one whose answers are bought"
    )


def make_student(
    method: Method,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    num_classes: int,
    pretrained: bool,
) -> Student:
    """The student that a run starts from, on the network that the settings name.

    Without `pretrained` its weights are random, to be replaced by those of a checkpoint. Raises
    BadInput where the method cannot train this network, and BadInput or TrainingError as
    `new_student` does.
    """
    _check_pair(method, settings)
    terms = method.terms_for(settings)
    return new_student(
        backbone=settings.backbone,
        weights=settings.weights if pretrained else "none",
        image_size=settings.image_size,
        num_classes=num_classes,
        text_embeddings=torch.tensor(data.text_embeddings) if method.head != "class" else None,
        head=method.head,
        logit_scale=terms.logit_scale,
        learns_scale=terms.learns_scale,
    )


def _check_pair(method: Method, settings: TrainingSettings) -> None:
    backbone = settings.backbone
    if is_tower(backbone) and method.head in ("embedding", "text"):
        own = " or ".join(one.name for one in METHODS.values() if one.head == "identity")
        message = (
            f"{method.name} projects into the teacher's space, and {backbone} is there already: "
            f"say --method {own}, or name a timm model with --backbone"
        )
        raise BadInput(message)
    if not is_tower(backbone) and method.head == "identity":
        message = (
            f"{method.name} trains the teacher's own image tower, and {backbone} is none: "
            f"name it with --backbone {PREFIX}ARCHITECTURE (or {LOCAL_TOWER}FOLDER) and its "
            "weights with --weights FILE"
        )
        raise BadInput(message)
