"""The paper's white box, VL2V-SD: where the teacher's weights are at hand, its own image tower is
the student, without a projection, trained by the same loop and the same terms.

The only importer of open_clip on the client's side; nothing here is imported unless it is asked
for. Give `clip_student` to `train`, and `clip_network` to `load_student`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from student.errors import BadInput
from student.training.backbone import fill, read_tensors
from student.training.dataset import TrainingData
from student.training.methods import Method
from student.training.settings import TrainingSettings
from student.training.student import IMAGENET_MEAN, IMAGENET_STD, Architecture, Student, with_head

PREFIX = "open_clip:"
"""A backbone's name begins with it here; open_clip's architecture or local-dir:FOLDER follows."""

VL2V_SD = Method(name="vl2v-sd", head="identity", shares_lmd=True, parts=(("distill", "backbone"),))
_TOWER = "visual."


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


def clip_student(
    method: Method,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    num_classes: int,
    pretrained: bool,
) -> Student:
    """A student on the tower that `settings.backbone` names, after open_clip's fashion, filled from
    the file that `settings.weights` names.

    Raises BadInput where the method projects, the name is unknown, or the file does not fit.
    """
    if method.head != "identity":
        message = f"{method.name} projects: the teacher's own tower takes {VL2V_SD.name} alone"
        raise BadInput(message)
    tower = _tower(settings.backbone, settings.image_size)
    if pretrained and settings.weights != "none":
        tensors = read_tensors(Path(settings.weights))
        own = {
            key.removeprefix("module.").removeprefix(_TOWER): tensor
            for key, tensor in tensors.items()
            if key.removeprefix("module.").startswith(_TOWER)
        }
        fill(tower.visual, own, settings.weights)
    terms = method.terms_for(settings)
    return with_head(
        tower,
        backbone=settings.backbone,
        image_size=settings.image_size,
        num_classes=num_classes,
        text_embeddings=torch.tensor(data.text_embeddings),
        head="identity",
        logit_scale=terms.logit_scale,
        learns_scale=terms.learns_scale,
    )


def clip_network(architecture: Architecture) -> nn.Module:
    """The tower of a saved student, its weights yet to come. Raises BadInput."""
    return _tower(architecture.backbone, architecture.image_size)


def _tower(backbone: str, image_size: int) -> Tower:
    import open_clip

    name = backbone.removeprefix(PREFIX)
    is_known = name in open_clip.list_models() or name.startswith("local-dir:")
    if not backbone.startswith(PREFIX) or not is_known:
        message = (
            f"{backbone!r} names no CLIP: say {PREFIX}ARCHITECTURE, as open_clip calls it, or "
            f"{PREFIX}local-dir:FOLDER with its open_clip_config.json"
        )
        raise BadInput(message)
    try:
        # Any: open_clip's modules carry attributes that nn.Module does not declare.
        model: Any = open_clip.create_model(
            name, load_weights=False, pretrained_text=False, force_image_size=image_size
        )
    except (OSError, ValueError, RuntimeError) as error:
        message = f"open_clip cannot make {name}: {error}"
        raise BadInput(message) from error
    config = model.visual.preprocess_cfg
    return Tower(model.visual, mean=tuple(config["mean"]), std=tuple(config["std"]))
