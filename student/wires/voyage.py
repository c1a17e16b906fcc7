"""The wire `voyage`: POST /v1/multimodalembeddings.

Followed on 2026-11-29: docs.voyageai.com/reference/multimodal-embeddings-api and
docs.voyageai.com/docs/multimodal-embeddings; the same contract is published for Atlas at
mongodb.com/docs/api/doc/atlas-embedding-and-reranking-api (createMultimodalEmbedding).

A request has `inputs`, each `{"content": [{"type": "text"|"image_base64", …}]}`, and `model`,
`input_type` (null, query, document), `truncation`, `output_dimension`. Images are data-URIs in PNG,
JPEG, WEBP or GIF, of at most 16 million pixels and 20 MB. At most 1,000 inputs and 320,000 tokens a
request, of which 32,000 an input; 560 pixels count as a token. The answer has `data` with `index`
and `embedding`, and `usage` with `text_tokens`, `image_pixels` and `total_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from student.vendor.request import Item
from student.wires.endpoint import endpoint_at
from student.wires.items import data_uri, estimated_tokens, pixels_of, text_of
from student.wires.protocol import WireAnswer, WireLimits

INPUT_TYPES = ("query", "document")
_PIXELS_PER_TOKEN = 560
_MOST_TOKENS = 320_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VoyageWire:
    """Voyage's multimodal models; without `input_type`, no prompt is put before an input."""

    url: str
    model: str
    dimensions: int | None = None
    input_type: str | None = None
    truncate: bool = False

    @property
    def name(self) -> str:
        """The wire's name."""
        return "voyage"

    @property
    def endpoint(self) -> str:
        """The URL itself if it ends in `multimodalembeddings`; otherwise that below it."""
        return endpoint_at(self.url, "/v1/multimodalembeddings", ends_in="multimodalembeddings")

    @property
    def limits(self) -> WireLimits:
        """The published limits; that of the body is this client's own."""
        return WireLimits(
            max_items=1000,
            max_image_bytes=20_000_000,
            max_image_pixels=16_000_000,
            max_body_bytes=60_000_000,
            image_formats=("PNG", "JPEG", "WEBP", "GIF"),
        )

    @property
    def identity(self) -> Mapping[str, object]:
        """The settings that change an embedding."""
        return {
            "dimensions": self.dimensions,
            "input_type": self.input_type,
            "truncate": self.truncate,
        }

    def authorise(self, secret: str) -> dict[str, str]:
        """The key as a bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def fit(self, items: Sequence[Item]) -> int:
        """As many as the tokens of a request allow; those of a text are an estimate."""
        left = _MOST_TOKENS
        for count, item in enumerate(items):
            left -= -(-pixels_of(item) // _PIXELS_PER_TOKEN)
            left -= estimated_tokens(len(item.payload)) if item.modality == "text" else 0
            if left < 0:
                return max(1, count)
        return len(items)

    def body(self, items: Sequence[Item]) -> dict[str, Any]:
        """The JSON body."""
        body: dict[str, Any] = {
            "inputs": [{"content": [_content(item)]} for item in items],
            "model": self.model,
            "input_type": self.input_type,
            "truncation": self.truncate,
        }
        return body if self.dimensions is None else body | {"output_dimension": self.dimensions}

    def read(self, document: Mapping[str, Any]) -> WireAnswer:
        """The vectors in the order of their `index`, and `usage`."""
        rows = sorted(document["data"], key=lambda row: int(row["index"]))
        if [row["index"] for row in rows] != list(range(len(rows))):
            message = "the indexes are not those of the inputs"
            raise ValueError(message)
        usage = document.get("usage") or {}
        return WireAnswer(
            vectors=[row["embedding"] for row in rows],
            usage=usage,
            model=str(document.get("model", "")),
            tokens=usage.get("text_tokens"),
            pixels=usage.get("image_pixels"),
        )


def _content(item: Item) -> dict[str, str]:
    if item.modality == "image":
        return {"type": "image_base64", "image_base64": data_uri(item)}
    return {"type": "text", "text": text_of(item)}
