"""What makes two purchases the same purchase."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal, get_args

Modality = Literal["image", "text"]

_DIGEST_TAG: Final = b"emb/v1\0"
_CANONICAL: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingKey:
    """One embedding as it can be bought: change any field and it is another purchase.

    `item` is the hex sha256 of the image file's bytes or of the text (see `image_item`,
    `text_item`), never of decoded pixels, which change with the image library. `view` is
    "original" or "<recipe>/<version>@<size>#<k>". Raises ValueError for a malformed field.
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
        """The key as it is hashed, stored and exported."""
        # dataclasses.asdict copies deeply, at five times the price for every row that is read.
        return {
            "model_fingerprint": self.model_fingerprint,
            "modality": self.modality,
            "item": self.item,
            "view": self.view,
            "params": self.params,
        }


def canonical_json(value: object) -> bytes:
    """The one way to write `value` as JSON: sorted, compact, ASCII, no NaN."""
    return _CANONICAL.encode(value).encode("ascii")


def text_item(text: str) -> str:
    """The item of a text: hex sha256 of its NFC form in UTF-8, with no other change to it."""
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()


def image_item(data: bytes) -> str:
    """The item of an image: hex sha256 of the file's bytes."""
    return hashlib.sha256(data).hexdigest()
