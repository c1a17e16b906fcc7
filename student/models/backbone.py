"""Chooses the image network by its name: a timm model, or the teacher's own image tower.

No other module knows both. open_clip is imported only when a tower is asked for.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from student.models.architecture import IMAGENET, Architecture, NetworkSettings, SoldNetwork
from student.models.clip_tower import (
    CONFIG,
    LOCAL,
    PREFIX,
    clip_network,
    load_tower,
    misfit,
    tower_settings,
)
from student.models.timm_backbone import load_backbone, timm_settings

LOCAL_TOWER = f"{PREFIX}{LOCAL}"


def is_tower(backbone: str) -> bool:
    """Whether the name is that of a teacher's own image tower."""
    return backbone.startswith(PREFIX)


def network_settings(
    backbone: str, weights: str, sold: SoldNetwork | None = None
) -> NetworkSettings:
    """What these weights were made with. A tower is made as the vendor says of the network that it
    sells, if that is the same architecture. Raises BadInput."""
    if is_tower(backbone):
        own = tower_settings(backbone)
        return own if sold is None or misfit(backbone, sold) else _over(own, sold.settings)
    return timm_settings(backbone, weights)


def unlike_version_0_1(
    backbone: str, weights: str, sold: SoldNetwork | None = None
) -> dict[str, Any]:
    """The settings, if version 0.1 would have used others; empty otherwise.

    Part of the identity of what is stored: what was made before keeps its identity unless it was
    made otherwise than it would be now.
    """
    before = tower_settings(backbone) if is_tower(backbone) else IMAGENET
    now = network_settings(backbone, weights, sold)
    return {} if now == before else {"network": asdict(now)}


def _over(own: NetworkSettings, sold: NetworkSettings) -> NetworkSettings:
    given = {name: value for name, value in asdict(sold).items() if value is not None}
    return replace(own, **given)


def load_network(
    backbone: str, weights: str, *, image_size: int, settings: NetworkSettings | None = None
) -> nn.Module:
    """The untrained image network of this name. `settings` are a tower's, and otherwise its own.

    Raises BadInput and TrainingError.
    """
    if is_tower(backbone):
        return load_tower(backbone, weights, image_size=image_size, settings=settings)
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
