"""What the rest of the vendor knows of a model: its identity, and the seam to run it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Modality = Literal["image", "text"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Which model is sold. `fingerprint` changes whenever its vectors could."""

    id: str
    weights_sha256: str
    dim: int
    image_size: int
    context_length: int
    preprocess: Mapping[str, Any]
    open_clip_version: str
    is_embedded: bool
    created: int

    @property
    def fingerprint(self) -> str:
        """`sha256:` and the digest of the canonical JSON of what decides a vector."""
        identity = {
            "id": self.id,
            "weights_sha256": self.weights_sha256,
            "preprocess": dict(self.preprocess),
            "dim": self.dim,
            "normalized": True,
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Prepared:
    """One item as the model takes it: pixels (3, H, W) float32, or token ids (L,) int64."""

    modality: Modality
    array: NDArray[Any]
    num_tokens: int = 0


class Encoder(Protocol):
    """Turns prepared items of one modality into unit vectors, row for row."""

    @property
    def info(self) -> ModelInfo: ...

    def prepare_image(self, image: Image.Image) -> Prepared:
        """The model's own preprocessing of one RGB image; safe to call from any thread."""
        ...

    def prepare_text(self, text: str) -> Prepared:
        """The model's own tokens of one text; safe to call from any thread."""
        ...

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Unit vectors (N, dim) float32; all items have one modality; one thread at a time."""
        ...
