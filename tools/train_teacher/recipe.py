"""The settings of a teacher's training, from which its name follows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SIZE = 64  # pixels
BATCH = 128  # concepts per step, by default
MODEL: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": SIZE,
    },
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 49408,
        "width": 128,
        "heads": 4,
        "layers": 4,
    },
}
PREPROCESS: dict[str, Any] = {
    "size": SIZE,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherDataset:
    """A data set to train a teacher on, with its captions and default steps."""

    name: str
    data: Path
    names: Mapping[str, str]
    """File stem -> name in captions; stems with equal names share captions."""
    steps: int
    """Default optimiser steps."""
    weak_steps: int
    """Optimiser steps of a deliberately weak teacher."""
    script: str
    """The module that trains it, recorded in the provenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The settings of one training; a checkpoint is resumed only if all of them are equal."""

    subject: str
    left_out: tuple[str, ...]  # styles that are not trained on
    steps: int
    batch: int
    seed: int

    def name(self, usual_steps: int, weak_steps: int) -> str:
        """Return the name of the teacher: its folder and its model id at the vendor."""
        parts = [self.subject]
        if self.left_out:
            parts += ["without", *self.left_out]
        if self.steps == weak_steps:
            parts.append("weak")
        elif self.steps != usual_steps:
            parts.append(f"{self.steps}-steps")
        if self.batch != BATCH:
            parts.append(f"batch-{self.batch}")
        if self.seed:
            parts.append(f"seed-{self.seed}")
        return "-".join(parts)

    def command(self, script: str) -> str:
        """Return the command that repeats the training."""
        left_out = "".join(f" {style}" for style in self.left_out)
        styles = f" --leave-out-styles{left_out}" if left_out else ""
        return (
            f"python -m {script} --steps {self.steps} --batch {self.batch} --seed {self.seed}"
            f"{styles}"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a JSON object."""
        return {**asdict(self), "left_out": list(self.left_out)}
