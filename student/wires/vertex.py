"""The wire `vertex`: POST …/publishers/google/models/multimodalembedding@001:predict.

Followed on 2026-11-29: cloud.google.com/vertex-ai/generative-ai/docs/embeddings/
get-multimodal-embeddings. The limits below are those that this page is known for: its table of
them could not be read on that day.

A request has one of `instances`, with `text` or `image.bytesBase64Encoded`, and
`parameters.dimension` (128, 256, 512 or 1408). Images are BMP, GIF, JPG or PNG of at most 20 MB; a
text has at most 32 tokens, and the service cuts what is longer. The answer has `predictions` with
`textEmbedding` or `imageEmbedding`, and says nothing of usage: it is billed by the item. The key is
an access token, which ends after an hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from student.vendor.request import Item
from student.wires.endpoint import endpoint_at
from student.wires.items import in_base64, text_of
from student.wires.protocol import WireAnswer, WireLimits

DIMENSIONS = (128, 256, 512, 1408)


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexWire:
    """Google's multimodal embeddings. `url` ends in the location:
    https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION."""

    url: str
    model: str
    dimensions: int | None = None

    @property
    def name(self) -> str:
        """The wire's name."""
        return "vertex"

    @property
    def endpoint(self) -> str:
        """The URL itself if it ends in `:predict`; otherwise that of the model below it."""
        path = f"/publishers/google/models/{self.model}:predict"
        return endpoint_at(self.url, path, ends_in=":predict")

    @property
    def limits(self) -> WireLimits:
        """The published limits; those of pixels and of the body are this client's own."""
        return WireLimits(
            max_items=1,
            max_image_bytes=20_000_000,
            max_image_pixels=64_000_000,
            max_body_bytes=28_000_000,
            image_formats=("BMP", "GIF", "JPEG", "PNG"),
        )

    @property
    def identity(self) -> Mapping[str, object]:
        """The settings that change an embedding."""
        return {"dimensions": self.dimensions}

    def authorise(self, secret: str) -> dict[str, str]:
        """The access token."""
        return {"Authorization": f"Bearer {secret}"}

    def fit(self, items: Sequence[Item]) -> int:
        """One."""
        return 1

    def body(self, items: Sequence[Item]) -> dict[str, Any]:
        """The JSON body."""
        item = items[0]
        instance: dict[str, Any] = (
            {"image": {"bytesBase64Encoded": in_base64(item)}}
            if item.modality == "image"
            else {"text": text_of(item)}
        )
        body: dict[str, Any] = {"instances": [instance]}
        if self.dimensions is not None:
            body["parameters"] = {"dimension": self.dimensions}
        return body

    def read(self, document: Mapping[str, Any]) -> WireAnswer:
        """The vectors; an image's has another name than a text's."""
        return WireAnswer(
            vectors=[
                row["imageEmbedding"] if "imageEmbedding" in row else row["textEmbedding"]
                for row in document["predictions"]
            ],
            usage=document.get("metadata") or {},
            model=str(document.get("deployedModelId", "")),
        )
