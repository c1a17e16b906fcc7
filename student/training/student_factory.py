"""Which network a student stands on: a timm model, or the teacher's own image tower where the
backbone's name says so. The one place that knows both; open_clip is imported for a tower alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torch import nn

from student.errors import BadInput
from student.models.clip_tower import (
    CONFIG,
    LOCAL,
    PREFIX,
    check_method,
    clip_network,
    clip_student,
    embedding_dim,
    load_tower,
)
from student.models.saved import replace_file, timm_network
from student.models.student import Architecture, Student
from student.models.timm_backbone import load_backbone
from student.training.config import TrainingSettings
from student.training.dataset import TrainingData
from student.training.methods import Method
from student.training.train import timm_student

_LOCAL_TOWER = f"{PREFIX}{LOCAL}"


def check_networks(asked: Iterable[tuple[Method, TrainingSettings]]) -> None:
    """Refuses a method on a network that it cannot train, and a tower that cannot be had.

    Every tower is made once, its weights read: what is refused here costs nothing. Raises BadInput.
    """
    towers: dict[tuple[str, str, int], None] = {}
    for method, settings in asked:
        _check_pair(method, settings)
        if is_tower(settings.backbone):
            towers[settings.backbone, settings.weights, settings.image_size] = None
    for backbone, weights, image_size in towers:
        load_tower(backbone, weights, image_size=image_size)


def check_space(method: Method, settings: TrainingSettings, dim: int) -> None:
    """Refuses a tower whose embeddings have not the vendor's `dim` numbers, where no projection
    could bring them there. Raises BadInput."""
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
    """What to say where a tower's weights are not, byte for byte, the file that the vendor sells
    by; nothing where they are, or where there is no tower.

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


def is_tower(backbone: str) -> bool:
    """Whether the name is that of a teacher's own image tower."""
    return backbone.startswith(PREFIX)


def load_network(settings: TrainingSettings) -> nn.Module:
    """The untrained backbone of these settings. Raises BadInput and TrainingError."""
    backbone, weights, size = settings.backbone, settings.weights, settings.image_size
    if is_tower(backbone):
        return load_tower(backbone, weights, image_size=size)
    return load_backbone(backbone, weights, image_size=size)


def make_student(
    method: Method,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    num_classes: int,
    pretrained: bool,
) -> Student:
    """The student that a run starts from, on the network that the settings name. Raises BadInput
    and TrainingError."""
    _check_pair(method, settings)
    maker = clip_student if is_tower(settings.backbone) else timm_student
    return maker(method, data, settings, num_classes=num_classes, pretrained=pretrained)


def keep_network(backbone: str, folder: Path) -> None:
    """Lays beside a saved student what its network is made after, where that is a local file."""
    if backbone.startswith(_LOCAL_TOWER):
        config = (Path(backbone.removeprefix(_LOCAL_TOWER)) / CONFIG).read_bytes()
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / CONFIG, config)


def network_beside(architecture: Architecture, folder: Path) -> nn.Module:
    """The network of the student saved in `folder`, its weights yet to come. Raises BadInput."""
    if not is_tower(architecture.backbone):
        return timm_network(architecture)
    if architecture.backbone.startswith(_LOCAL_TOWER) and (folder / CONFIG).is_file():
        architecture = replace(architecture, backbone=f"{_LOCAL_TOWER}{folder}")
    return clip_network(architecture)


def _check_pair(method: Method, settings: TrainingSettings) -> None:
    if is_tower(settings.backbone):
        check_method(method, settings.backbone)
    elif method.head == "identity":
        message = (
            f"{method.name} trains the teacher's own image tower, and {settings.backbone} is none: "
            f"name it with --backbone {PREFIX}ARCHITECTURE (or {_LOCAL_TOWER}FOLDER) and its "
            "weights with --weights FILE"
        )
        raise BadInput(message)
