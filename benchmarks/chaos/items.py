"""The items that the clients buy: small images and short texts, generated from a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from cache.records.embedding_key import EmbeddingKey, image_item, text_item
from student.purchase.embedding_requests import EmbeddingRequest

SIDE = 8  # pixels
Spec = dict[str, Any]
"""What a process of the chaos run gets as JSON."""


@dataclass(frozen=True, slots=True)
class Item:
    """Item `number`: a text if the number is divisible by three, otherwise an image."""

    number: int

    @property
    def is_text(self) -> bool:
        return self.number % 3 == 0

    @property
    def text(self) -> str:
        return f"a photo of thing number {self.number}"

    @property
    def png(self) -> bytes:
        """A PNG file of noise, different for each number."""
        noise = np.random.default_rng(self.number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        buffer = BytesIO()
        Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    @property
    def digest(self) -> str:
        """The item's name in histories and caches: the hex SHA-256 of what is sent."""
        return text_item(self.text) if self.is_text else image_item(self.png)

    def request(self, fingerprint: str) -> EmbeddingRequest:
        """The item as a client requests it from the model with this fingerprint."""
        key = EmbeddingKey(
            model_fingerprint=fingerprint,
            modality="text" if self.is_text else "image",
            item=self.digest,
        )
        payload: str | Callable[[], bytes] = self.text if self.is_text else self._read
        return EmbeddingRequest(key=key, payload=payload, name=f"item {self.number}")

    def _read(self) -> bytes:
        return self.png
