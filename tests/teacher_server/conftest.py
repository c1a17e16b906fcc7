"""A tiny CLIP with random weights in the layout of a local folder, and vendors that serve it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.inference.encoder import OpenClipEncoder, load_encoder

MODEL = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 64,
        "patch_size": 8,
        "head_width": 32,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}
PREPROCESS = {
    "size": 32,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny CLIP: configuration, and fp16 weights as safetensors."""
    import open_clip
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    folder.mkdir()
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = open_clip.CLIP(**MODEL).state_dict()
    halves = {name: tensor.half().contiguous() for name, tensor in state.items()}
    save_file(halves, str(folder / "open_clip_model.safetensors"))
    return folder


@pytest.fixture(scope="session")
def encoder(checkpoint: Path) -> OpenClipEncoder:
    """The tiny CLIP, loaded once."""
    return load_encoder(str(checkpoint))


@pytest.fixture
async def vendor(tmp_path: Path, encoder: OpenClipEncoder) -> AsyncIterator[Vendor]:
    """A vendor of the tiny CLIP; its key has 100 units."""
    async with vendor_at(tmp_path, encoder) as running:
        yield running


@pytest.fixture
def hashing() -> HashEncoder:
    """An encoder that can be held up and made to fail."""
    return HashEncoder()
