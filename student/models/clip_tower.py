"""The paper's white box, VL2V-SD: where the teacher's weights are at hand, its own image tower is
the student, without a projection, trained by the same loop and the same terms.

The only importer of open_clip on the client's side, and only once a tower is asked for: it comes
with the extra `whitebox`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from student.errors import BadInput
from student.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture
from student.models.timm_backbone import fill, read_tensors

PREFIX = "open_clip:"
"""A backbone's name begins with it here; open_clip's architecture or local-dir:FOLDER follows."""
LOCAL, CONFIG = "local-dir:", "open_clip_config.json"
"""open_clip's own words: for a folder, and for the file there that says what to make."""

_TOWER = "visual."
_NOT_FILES = ("hub", "wheel")
_OF_WEIGHTS = (
    "No pretrained weights loaded",
    "Local config loaded, but no",
    "Multiple checkpoints found",
)


class Tower(nn.Module):
    """CLIP's image tower: images normalised by ImageNet's mean and deviation, as a Student gives
    them, to embeddings (B, D) of the teacher's space, not normalised."""

    gain: Tensor
    shift: Tensor

    def __init__(
        self, visual: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.visual = visual
        theirs, deviation = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        given, spread = (
            torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.register_buffer("gain", spread / deviation, persistent=False)
        self.register_buffer("shift", (given - theirs) / deviation, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return cast("Tensor", self.visual(images * self.gain + self.shift))


def load_tower(backbone: str, weights: str, *, image_size: int) -> Tower:
    """The image tower of the CLIP that `backbone` names, with the weights of a file of the whole
    CLIP, or "none" (random). Raises BadInput."""
    if weights in _NOT_FILES:
        message = (
            f"the weights of {backbone} come from a file of the teacher's, not from {weights!r}: "
            "name it with --weights FILE ('none' starts from random weights)"
        )
        raise BadInput(message)
    tower = _tower(backbone, image_size)
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
    """How many numbers the tower gives an image, by its configuration. Raises BadInput."""
    return int(_open_clip(backbone).get_model_config(backbone.removeprefix(PREFIX))["embed_dim"])


def clip_network(architecture: Architecture) -> nn.Module:
    """The tower of a saved student, its weights yet to come. Raises BadInput."""
    return _tower(architecture.backbone, architecture.image_size)


def _open_clip(backbone: str) -> Any:  # a module without types
    """open_clip, if it is installed and may know the CLIP of this name. Raises BadInput."""
    try:
        import open_clip
    except ModuleNotFoundError as error:
        message = (
            f"{backbone} takes open_clip, which is not installed: "
            "pip install '.[whitebox]' in a clone"
        )
        raise BadInput(message) from error
    name = backbone.removeprefix(PREFIX)
    is_known = name in open_clip.list_models() or name.startswith(LOCAL)
    if not backbone.startswith(PREFIX) or not is_known:
        message = (
            f"{backbone!r} names no CLIP: say {PREFIX}ARCHITECTURE, as open_clip calls it, or "
            f"{PREFIX}{LOCAL}FOLDER with its {CONFIG}"
        )
        raise BadInput(message)
    return open_clip


def _tower(backbone: str, image_size: int) -> Tower:
    name = backbone.removeprefix(PREFIX)
    open_clip = _open_clip(backbone)
    try:
        # Any: open_clip's modules carry attributes that nn.Module does not declare.
        with _unwarned():
            model: Any = open_clip.create_model(
                name, load_weights=False, pretrained_text=False, force_image_size=image_size
            )
    except (OSError, ValueError, RuntimeError) as error:
        message = f"open_clip cannot make {name}: {error}"
        raise BadInput(message) from error
    config = model.visual.preprocess_cfg
    return Tower(model.visual, mean=tuple(config["mean"]), std=tuple(config["std"]))


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without what open_clip tells the root logger of weights: it was asked for none, and they are
    filled in afterwards, or wanted random."""

    def matters(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_OF_WEIGHTS)

    root = logging.getLogger()
    root.addFilter(matters)
    try:
        yield
    finally:
        root.removeFilter(matters)
