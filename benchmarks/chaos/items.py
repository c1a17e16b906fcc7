"""What the clients want: small images and short texts, made from a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from cache.records.embedding_key import EmbeddingKey, image_item, text_item
from student.purchase.requests import EmbeddingRequest

SIDE = 8  # pixels


@dataclass(frozen=True, slots=True)
class Item:
    """Item `number` of the shop: every third is a text, the others are images."""

    number: int

    @property
    def is_text(self) -> bool:
        return self.number % 3 == 0

    @property
    def text(self) -> str:
        return f"a photo of thing number {self.number}"

    @property
    def png(self) -> bytes:
        """Noise, so that no two images are alike."""
        noise = np.random.default_rng(self.number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        buffer = BytesIO()
        Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    @property
    def item(self) -> str:
        """Its name in histories and caches: the hex sha256 of what is sent."""
        return text_item(self.text) if self.is_text else image_item(self.png)

    def wanted(self, fingerprint: str) -> EmbeddingRequest:
        """The ware as a client asks for it."""
        key = EmbeddingKey(
            model_fingerprint=fingerprint,
            modality="text" if self.is_text else "image",
            item=self.item,
        )
        payload: str | Callable[[], bytes] = self.text if self.is_text else self._read
        return EmbeddingRequest(key=key, payload=payload, name=f"ware {self.number}")

    def _read(self) -> bytes:
        return self.png
