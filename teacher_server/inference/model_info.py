"""The interface to a model: its identity, prepared input, and the Encoder protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from teacher_server.canonical_json import canonical_sha256

Modality = Literal["image", "text"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Identity of a model.

    `configuration` is what decides an embedding beside the weights and `preprocess`: open_clip's
    `model_cfg`, the activation (`quick_gelu`), the tokenizer and the precision.
    """

    id: str
    weights_sha256: str
    dim: int
    image_size: int
    context_length: int
    preprocess: Mapping[str, Any]
    open_clip_version: str
    is_embedded: bool
    created: int
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint_v2(self) -> str:
        """`sha256:` and the digest of everything that determines an embedding."""
        identity = {
            "version": 2,
            "weights_sha256": self.weights_sha256,
            "configuration": dict(self.configuration),
            "preprocess": dict(self.preprocess),
            "context_length": self.context_length,
            "dim": self.dim,
            "normalized": True,
        }
        return "sha256:" + canonical_sha256(identity)

    @cached_property
    def fingerprint(self) -> str:
        """`sha256:` and a digest of the weights, the preprocessing, the size and the name.

        Receipts, purchases and caches name the model by it. It leaves the configuration out, so
        that two models may share it: see docs/decisions/0018-fingerprint-version-2.md.
        """
        identity = {
            "id": self.id,
            "weights_sha256": self.weights_sha256,
            "preprocess": dict(self.preprocess),
            "dim": self.dim,
            "normalized": True,
        }
        return "sha256:" + canonical_sha256(identity)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One item as model input: pixels (3, H, W) float32, or token ids (L,) int64.

    `num_tokens` are the tokens of a text that the model reads, with its marks; `cut_tokens` are
    those beyond the model's context length, which it does not read.
    """

    modality: Modality
    array: NDArray[Any]
    num_tokens: int = 0
    cut_tokens: int = 0


class Preparation(Protocol):
    """Turns what a client sends into the input of one model, without the model itself."""

    @property
    def info(self) -> ModelInfo: ...

    def prepare_image(self, image: Image.Image) -> Prepared:
        """Apply the model's preprocessing to one RGB image; safe to call from any thread."""
        ...

    def prepare_text(self, text: str) -> Prepared:
        """Tokenize one text; safe to call from any thread."""
        ...


class Encoder(Preparation, Protocol):
    """Turns prepared items of one modality into unit-length embeddings."""

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Unit vectors (N, dim) float32 of items of one modality; for one thread at a time."""
        ...
