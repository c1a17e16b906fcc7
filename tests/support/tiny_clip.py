"""A small random CLIP: its folder, in open_clip's layout, and its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

SIZE, DIM = 16, 8
CONFIG = {
    "model_cfg": {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": SIZE, "layers": 1, "width": 32, "head_width": 16}
        | {"patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": SIZE, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}


@dataclass(frozen=True, slots=True)
class TinyClip:
    """The values of `--backbone` and `--weights` for it."""

    backbone: str
    weights: str

    @property
    def options(self) -> dict[str, str]:
        return {"backbone": self.backbone, "weights": self.weights}


def write_clip(folder: Path, *, dim: int = DIM) -> TinyClip:
    """Writes open_clip_config.json and random weights of the whole CLIP into `folder`."""
    folder.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"]["embed_dim"] = dim
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    name = f"local-dir:{folder}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    weights = folder / "clip.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, weights)
    return TinyClip(f"open_clip:{name}", str(weights))
