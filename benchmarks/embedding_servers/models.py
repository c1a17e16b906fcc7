"""ViT-B/32 with random weights: speed does not depend on them, and no hub is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ARCHITECTURE = "ViT-B-32"
# In a process of its own: the benchmark's own process loads neither torch nor open_clip.
_PROGRAM = """
import json, sys
import open_clip, torch
from safetensors.torch import save_file

folder, architecture = sys.argv[1:]
torch.manual_seed(0)
network = open_clip.create_model(architecture, pretrained=None)
state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
save_file(state, f"{folder}/open_clip_model.safetensors")
print(json.dumps(open_clip.get_model_config(architecture)))
"""


def vit_b_32(folder: Path) -> str:
    """Make the model in a local folder of open_clip's layout, unless it is there; its path."""
    made = folder / "vit-b-32"
    config = made / "open_clip_config.json"
    if not config.exists():
        made.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", _PROGRAM, str(made), ARCHITECTURE]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        preprocess = {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
        }
        model = json.loads(printed.strip().splitlines()[-1])
        config.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
    return str(made)
