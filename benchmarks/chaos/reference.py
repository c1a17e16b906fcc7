"""The expected vectors: the encoder's own, computed without a vendor or a network."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.chaos.items import Item, Spec
from teacher_server.inference.model_info import Encoder

Vectors = NDArray[np.float32]
_BATCH = 64


def embed_items(spec: Spec, encoder: Encoder) -> int:
    """Write the vectors (N, D) of items 0..N-1 to the file that the spec names."""
    items = [Item(number) for number in range(spec["count"])]
    vectors = np.empty((len(items), encoder.info.dim), dtype=np.float32)
    for is_text in (True, False):
        chosen = [item for item in items if item.is_text == is_text]
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            vectors[[item.number for item in part]] = _embed(part, encoder)
    part_file = Path(spec["out"]).with_suffix(".part.npy")
    np.save(part_file, vectors)
    part_file.replace(spec["out"])
    return 0


def read_reference(path: Path) -> dict[str, Vectors]:
    """Return the vectors by item digest."""
    vectors: Vectors = np.load(path)
    return {Item(number).digest: vector for number, vector in enumerate(vectors)}


def _embed(items: Iterable[Item], encoder: Encoder) -> Vectors:
    prepared = [
        encoder.prepare_text(item.text)
        if item.is_text
        else encoder.prepare_image(Image.open(BytesIO(item.png)).convert("RGB"))
        for item in items
    ]
    return encoder.encode(prepared)
