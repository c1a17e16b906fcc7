"""What the vectors must be: the encoder's own, one ware at a time, without vendor or wire."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.chaos.fork_server import Spec
from benchmarks.chaos.items import Item
from teacher_server.inference.info import Encoder

Vectors = NDArray[np.float32]
_BATCH = 64


def embed_items(spec: Spec, encoder: Encoder) -> int:
    """Write the vectors (N, D) of wares 0..N-1 to the file that the spec names."""
    wares = [Item(number) for number in range(spec["count"])]
    vectors = np.empty((len(wares), encoder.info.dim), dtype=np.float32)
    for kind in (True, False):
        chosen = [ware for ware in wares if ware.is_text == kind]
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            vectors[[ware.number for ware in part]] = _embed(part, encoder)
    part_file = Path(spec["out"]).with_suffix(".part.npy")
    np.save(part_file, vectors)
    part_file.replace(spec["out"])
    return 0


def read_reference(path: Path) -> dict[str, Vectors]:
    """The vectors by item (the hex sha256 of what is sent)."""
    vectors: Vectors = np.load(path)
    return {Item(number).item: vector for number, vector in enumerate(vectors)}


def _embed(wares: Iterable[Item], encoder: Encoder) -> Vectors:
    prepared = [
        encoder.prepare_text(ware.text)
        if ware.is_text
        else encoder.prepare_image(Image.open(BytesIO(ware.png)).convert("RGB"))
        for ware in wares
    ]
    return encoder.encode(prepared)
