"""The wire `cohere`: POST /v2/embed.

Followed on 2026-11-29: docs.cohere.com/reference/embed ("Embed API (v2)") and
docs.cohere.com/v1/changelog/embed-v3-is-multimodal.

Embed v3 takes `texts` (at most 96) or `images` (one a request, as a data-URI, `input_type` image).
Embed v4 takes `inputs` (at most 96), each `{"content": [{"type": "text"|"image_url", …}]}`, and
`output_dimension`. Images are PNG, JPEG, WEBP or GIF of at most 5 MB. `truncate` is NONE, START or
END. The answer has `embeddings.float`, in the order of the inputs, and `meta.billed_units`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from student.vendor.request import Item
from student.wires.endpoint import endpoint_at
from student.wires.items import data_uri, of_one_modality, text_of
from student.wires.protocol import WireAnswer, WireLimits

INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")
DEFAULT_INPUT_TYPE = "search_document"


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereWire:
    """Cohere's embed models; those with `-v3` in their name take one image a request."""

    url: str
    model: str
    dimensions: int | None = None
    input_type: str = DEFAULT_INPUT_TYPE
    truncate: bool = False

    @property
    def name(self) -> str:
        """The wire's name."""
        return "cohere"

    @property
    def endpoint(self) -> str:
        """The URL itself if its path ends in `embed`; otherwise /v2/embed below it."""
        return endpoint_at(self.url, "/v2/embed", ends_in="embed")

    @property
    def takes_single_images(self) -> bool:
        """Whether the model is of version 3."""
        return "-v3" in self.model

    @property
    def limits(self) -> WireLimits:
        """The published limits; those of pixels and of the body are this client's own."""
        return WireLimits(
            max_items=96,
            max_image_bytes=5_000_000,
            max_image_pixels=64_000_000,
            max_body_bytes=20_000_000,
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
        """Version 3 takes texts, or one image."""
        if not self.takes_single_images:
            return len(items)
        return 1 if items[0].modality == "image" else of_one_modality(items)

    def body(self, items: Sequence[Item]) -> dict[str, Any]:
        """The JSON body."""
        body: dict[str, Any] = {
            "model": self.model,
            "input_type": self.input_type,
            "embedding_types": ["float"],
            "truncate": "END" if self.truncate else "NONE",
        }
        if self.dimensions is not None:
            body["output_dimension"] = self.dimensions
        if not self.takes_single_images:
            return body | {"inputs": [{"content": [_content(item)]} for item in items]}
        if items[0].modality == "image":
            return body | {"images": [data_uri(items[0])], "input_type": "image"}
        return body | {"texts": [text_of(item) for item in items]}

    def read(self, document: Mapping[str, Any]) -> WireAnswer:
        """The vectors, and `meta.billed_units`."""
        meta = document.get("meta") or {}
        billed = meta.get("billed_units") or {}
        tokens = [billed[name] for name in ("input_tokens", "image_tokens") if name in billed]
        return WireAnswer(
            vectors=document["embeddings"]["float"],
            usage=billed,
            tokens=round(sum(tokens)) if tokens else None,
        )


def _content(item: Item) -> dict[str, Any]:
    if item.modality == "image":
        return {"type": "image_url", "image_url": {"url": data_uri(item)}}
    return {"type": "text", "text": text_of(item)}
