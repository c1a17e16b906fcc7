"""The key of an embedding, which decides whether two purchases are the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Final, Literal, get_args

Modality = Literal["image", "text"]

_DIGEST_TAG: Final = b"emb/v1\0"
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_MODALITIES: Final = frozenset(get_args(Modality))


class _KeepsDigest:
    """The place of a key's digest: beside its fields, so that no copy, hash or pickle has it."""

    __slots__ = ("_digest",)
    _digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingKey(_KeepsDigest):
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
        fields = (self.model_fingerprint, self.modality, self.item, self.view, self.params)
        # In the form that takes least time: a key is made for every row that is read.
        if not all(fields) or {*map(type, fields)} != {str}:
            self._require_text()
        if self.modality not in _MODALITIES:
            message = f"modality must be image or text, not {self.modality!r}"
            raise ValueError(message)
        if not _SHA256_HEX.fullmatch(self.item):
            message = f"item must be a sha256 in lower-case hex, not {self.item!r}"
            raise ValueError(message)

    def _require_text(self) -> None:
        for name, value in self.fields().items():
            if not isinstance(value, str) or not value:
                message = f"{name} of an embedding key must be a non-empty string, not {value!r}"
                raise ValueError(message)

    def __hash__(self) -> int:
        # These two tell nearly all keys apart; to hash every field takes three times as long.
        return hash((self.item, self.view))

    @property
    def digest(self) -> bytes:
        """The 32 bytes under which the embedding is stored."""
        try:
            return self._digest
        except AttributeError:
            digest = key_digest(self.json().encode("ascii"))
            object.__setattr__(self, "_digest", digest)
            return digest

    def json(self) -> str:
        """Return the canonical JSON of `fields()`."""
        # An item is hex, which needs no quoting; the rest is that of many keys.
        shared = _json_after_item(self.modality, self.model_fingerprint, self.params, self.view)
        return f'{{"item":"{self.item}",{shared}'

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


@lru_cache(maxsize=256)
def _json_after_item(modality: str, model_fingerprint: str, params: str, view: str) -> str:
    return (
        f'"modality":{quoted(modality)},"model_fingerprint":{quoted(model_fingerprint)},'
        f'"params":{quoted(params)},"view":{quoted(view)}}}'
    )


def keys_json(keys: Iterable[EmbeddingKey]) -> bytes:
    """Return the canonical JSON of the list of these keys' fields."""
    return f"[{','.join([key.json() for key in keys])}]".encode("ascii")


def key_digest(json: bytes) -> bytes:
    """Return the digest of the key with this canonical JSON (see `EmbeddingKey.json`)."""
    return hashlib.sha256(_DIGEST_TAG + json).digest()


def text_item(text: str) -> str:
    """Return the item of a text: the SHA-256 (hex) of its NFC form in UTF-8."""
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()


def image_item(data: bytes) -> str:
    """Return the item of an image: the SHA-256 (hex) of the file's bytes."""
    return hashlib.sha256(data).hexdigest()
