"""What a teacher is trained with: one value says all of it, and names the result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SIZE = 64  # pixels
BATCH = 128  # concepts a step, where nothing else is said
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
class Subject:
    """What a teacher is taught: a data set, and how its words for each picture are found."""

    name: str
    data: Path
    names: Mapping[str, str]
    """File stem -> what a caption calls it; stems with one name share their captions."""
    steps: int
    """How long a teacher that should know its subject is trained."""
    weak_steps: int
    """How long a deliberately weak one is trained."""
    script: str
    """The module that trains it, for the provenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One teacher's training; two that differ in any field never share a checkpoint."""

    subject: str
    left_out: tuple[str, ...]  # styles it never sees or hears of
    steps: int
    batch: int
    seed: int

    def name(self, usual_steps: int, weak_steps: int) -> str:
        """What the teacher is called: its folder, and the model id at the vendor."""
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
        """What a person types to train it again."""
        left_out = "".join(f" {style}" for style in self.left_out)
        styles = f" --leave-out-styles{left_out}" if left_out else ""
        return (
            f"python -m {script} --steps {self.steps} --batch {self.batch} --seed {self.seed}"
            f"{styles}"
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON: the fields."""
        return {**asdict(self), "left_out": list(self.left_out)}
