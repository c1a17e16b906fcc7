"""Chooses the image network by its name: a timm model, or the teacher's own image tower.

No other module knows both. open_clip is imported only when a tower is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from student.models.architecture import Architecture
from student.models.clip_tower import CONFIG, LOCAL, PREFIX, clip_network, load_tower
from student.models.timm_backbone import load_backbone

LOCAL_TOWER = f"{PREFIX}{LOCAL}"


def is_tower(backbone: str) -> bool:
    """Whether the name is that of a teacher's own image tower."""
    return backbone.startswith(PREFIX)


def load_network(backbone: str, weights: str, *, image_size: int) -> nn.Module:
    """The untrained image network of this name. Raises BadInput and TrainingError."""
    if is_tower(backbone):
        return load_tower(backbone, weights, image_size=image_size)
    return load_backbone(backbone, weights, image_size=image_size)


def tower_config(backbone: str) -> bytes | None:
    """The local file that describes the tower's architecture; None if there is no such file."""
    if not backbone.startswith(LOCAL_TOWER):
        return None
    return (Path(backbone.removeprefix(LOCAL_TOWER)) / CONFIG).read_bytes()


def empty_network(architecture: Architecture, folder: Path) -> nn.Module:
    """The network of the student saved in `folder`, before its weights are loaded.

    A tower is described by the file that `save_student` copied into `folder`. Raises BadInput.
    """
    if not is_tower(architecture.backbone):
        return load_backbone(architecture.backbone, "none", image_size=architecture.image_size)
    if architecture.backbone.startswith(LOCAL_TOWER) and (folder / CONFIG).is_file():
        architecture = replace(architecture, backbone=f"{LOCAL_TOWER}{folder}")
    return clip_network(architecture)
