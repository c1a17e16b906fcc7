"""The image tower of the teacher's CLIP as the student's network: the paper's white box, VL2V-SD.

It needs the teacher's weights and no projection, and is trained by the same loop and loss. The only
module of the client that imports open_clip (extra `whitebox`), and only when a tower is asked for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from student.errors import BadInput
from student.models.architecture import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Architecture,
    NetworkSettings,
    SoldNetwork,
)
from student.models.timm_backbone import fill, read_tensors

PREFIX = "open_clip:"
"""Prefix of a tower's name; open_clip's architecture or local-dir:FOLDER follows."""
LOCAL, CONFIG = "local-dir:", "open_clip_config.json"
"""open_clip's prefix for a folder, and the file in it that describes the architecture."""

_TOWER = "visual."
_NOT_OF_THE_NETWORK = ("image_size", "timm_model_pretrained")
_NOT_FILES = ("hub", "wheel")
_OF_WEIGHTS = (
    "No pretrained weights loaded",
    "Local config loaded, but no",
    "Multiple checkpoints found",
)


class Tower(nn.Module):
    """CLIP's image tower: maps images that are normalised by ImageNet's mean and deviation, as a
    Student does, to embeddings (B, D) in the teacher's space, which are not normalised."""

    gain: Tensor
    shift: Tensor

    def __init__(self, visual: nn.Module, settings: NetworkSettings) -> None:
        super().__init__()
        self.visual = visual
        self.settings = settings
        theirs, deviation = (
            torch.tensor(values).view(3, 1, 1) for values in (settings.mean, settings.std)
        )
        given, spread = (
            torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.register_buffer("gain", spread / deviation, persistent=False)
        self.register_buffer("shift", (given - theirs) / deviation, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return cast("Tensor", self.visual(images * self.gain + self.shift))


def load_tower(
    backbone: str, weights: str, *, image_size: int, settings: NetworkSettings | None = None
) -> Tower:
    """The image tower of the CLIP that `backbone` names. `weights` is a file of the whole CLIP, or
    "none" for random weights. `settings` are what the weights were made with; without them it is
    what the name says. Raises BadInput."""
    if weights in _NOT_FILES:
        message = (
            f"the weights of {backbone} come from a file of the teacher's, not from {weights!r}: "
            "name it with --weights FILE ('none' starts from random weights)"
        )
        raise BadInput(message)
    tower = _tower(backbone, image_size, settings or tower_settings(backbone))
    if weights != "none":
        named = {
            key.removeprefix("module."): tensor
            for key, tensor in read_tensors(Path(weights)).items()
        }
        own = {
            key.removeprefix(_TOWER): tensor
            for key, tensor in named.items()
            if key.startswith(_TOWER)
        }
        fill(tower.visual, own, weights)
    return tower


def embedding_dim(backbone: str) -> int:
    """The size of the tower's embeddings, from its configuration. Raises BadInput."""
    return int(_open_clip(backbone).get_model_config(backbone.removeprefix(PREFIX))["embed_dim"])


def clip_network(architecture: Architecture) -> nn.Module:
    """The tower of a saved student, before its weights are loaded. Raises BadInput."""
    own = tower_settings(architecture.backbone)
    known = {name: one for name, one in asdict(architecture.settings).items() if one is not None}
    return _tower(architecture.backbone, architecture.image_size, replace(own, **known))


def tower_settings(backbone: str) -> NetworkSettings:
    """What the name of a tower says that it was made with; a folder says it in its file.

    Raises BadInput.
    """
    open_clip = _open_clip(backbone)
    name = backbone.removeprefix(PREFIX)
    stated = _configuration(name).get("preprocess_cfg", {}) if name.startswith(LOCAL) else {}
    given = open_clip.transform.PreprocessCfg(
        **{field: stated[field] for field in ("mean", "std") if stated.get(field)}
    )
    return NetworkSettings(
        mean=tuple(given.mean),
        std=tuple(given.std),
        quick_gelu=bool(open_clip.get_model_config(name).get("quick_gelu")),
    )


def misfit(backbone: str, sold: SoldNetwork) -> str:
    """Why the vendor's image network is not this tower; "" if it is. Raises BadInput."""
    if not sold.vision:
        return "the vendor does not say how its network is configured"
    own = _vision(_open_clip(backbone).get_model_config(backbone.removeprefix(PREFIX)))
    theirs = _vision({"vision_cfg": dict(sold.vision)})
    other = sorted(name for name in own.keys() | theirs if own.get(name) != theirs.get(name))
    return f"the vendor's network has another {', '.join(other)}" if other else ""


def _vision(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the image network, whatever its weights and size."""
    plain: dict[str, Any] = json.loads(json.dumps(config["vision_cfg"]))
    return {name: value for name, value in plain.items() if name not in _NOT_OF_THE_NETWORK}


def _configuration(name: str) -> dict[str, Any]:
    path = Path(name.removeprefix(LOCAL)) / CONFIG
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        message = f"open_clip cannot make {name}: {error}"
        raise BadInput(message) from error


def _open_clip(backbone: str) -> Any:  # a module without types
    """open_clip, if it is installed and knows a CLIP of this name. Raises BadInput."""
    try:
        import open_clip
    except ModuleNotFoundError as error:
        message = (
            f"{backbone} needs open_clip, which is not installed: "
            "pip install '.[whitebox]' in a clone"
        )
        raise BadInput(message) from error
    name = backbone.removeprefix(PREFIX)
    is_known = name in open_clip.list_models() or name.startswith(LOCAL)
    if not backbone.startswith(PREFIX) or not is_known:
        message = (
            f"{backbone!r} is not the name of a CLIP model: use {PREFIX}ARCHITECTURE, as "
            f"open_clip calls it, or {PREFIX}{LOCAL}FOLDER with its {CONFIG}"
        )
        raise BadInput(message)
    return open_clip


def _tower(backbone: str, image_size: int, settings: NetworkSettings) -> Tower:
    name = backbone.removeprefix(PREFIX)
    open_clip = _open_clip(backbone)
    try:
        # Any: open_clip's modules carry attributes that nn.Module does not declare.
        with _unwarned():
            model: Any = open_clip.create_model(
                name,
                load_weights=False,
                pretrained_text=False,
                force_image_size=image_size,
                quick_gelu=bool(settings.quick_gelu),
            )
    except (OSError, ValueError, RuntimeError) as error:
        message = f"open_clip cannot make {name}: {error}"
        raise BadInput(message) from error
    return Tower(model.visual, settings)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Suppress open_clip's warnings about missing weights, which are loaded afterwards or wanted
    random."""

    def matters(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_OF_WEIGHTS)

    root = logging.getLogger()
    root.addFilter(matters)
    try:
        yield
    finally:
        root.removeFilter(matters)
