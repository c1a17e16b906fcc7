"""The key of an embedding, which decides whether two purchases are the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cache.records.canonical_json import canonical_json

Modality = Literal["image", "text"]

_DIGEST_TAG: Final = b"emb/v1\0"
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingKey:
    """The identity of one embedding: if any field differs, it is a different purchase.

    `item` is the SHA-256 (hex) of the image file's bytes or of the text (see `image_item`,
    `text_item`), never of decoded pixels, which depend on the image library. `view` is "original"
    or "<recipe>/<version>@<size>#<k>". Raises ValueError for a malformed field.
    """

    model_fingerprint: str
    modality: Modality
    item: str
    view: str = "original"
    params: str = "normalized"

    def __post_init__(self) -> None:
        for name, value in self.fields().items():
            if not isinstance(value, str) or not value:
                message = f"{name} of an embedding key must be a non-empty string, not {value!r}"
                raise ValueError(message)
        if self.modality not in get_args(Modality):
            message = f"modality must be image or text, not {self.modality!r}"
            raise ValueError(message)
        if not _SHA256_HEX.fullmatch(self.item):
            message = f"item must be a sha256 in lower-case hex, not {self.item!r}"
            raise ValueError(message)

    @property
    def digest(self) -> bytes:
        """The 32 bytes under which the embedding is stored."""
        return hashlib.sha256(_DIGEST_TAG + canonical_json(self.fields())).digest()

    def fields(self) -> dict[str, str]:
        """Return the fields as they are hashed, stored and exported."""
        # dataclasses.asdict makes deep copies, which takes five times as long for every row read.
        return {
            "model_fingerprint": self.model_fingerprint,
            "modality": self.modality,
            "item": self.item,
            "view": self.view,
            "params": self.params,
        }


def text_item(text: str) -> str:
    """Return the item of a text: the SHA-256 (hex) of its NFC form in UTF-8."""
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()


def image_item(data: bytes) -> str:
    """Return the item of an image: the SHA-256 (hex) of the file's bytes."""
    return hashlib.sha256(data).hexdigest()
