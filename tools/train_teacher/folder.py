"""The model folder that a vendor loads: open_clip config, fp16 weights and provenance."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from tools.train_teacher.recipe import MODEL, PREPROCESS

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
PROVENANCE = "provenance.json"


def save(model: nn.Module, folder: Path, provenance: Mapping[str, object]) -> None:
    """Write the folder that open_clip and `teacher-server serve --model` load."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    part = weights.with_suffix(".part")
    save_file(half, part)
    part.chmod(0o644)  # safetensors writes mode 0600, but a vendor in a container is another user
    part.replace(weights)
    config = {"model_cfg": {**MODEL, "custom_text": True}, "preprocess_cfg": PREPROCESS}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_provenance(folder, {**provenance, "weights_sha256": digest})


def write_provenance(folder: Path, provenance: Mapping[str, object]) -> None:
    """Write how the weights were made and measured, as JSON in the model folder."""
    part = folder / f"{PROVENANCE}.part"
    part.write_text(json.dumps(dict(provenance), indent=2) + "\n")
    part.replace(folder / PROVENANCE)
