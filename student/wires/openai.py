"""The wire `openai`: POST /v1/embeddings, with images as data-URIs.

Followed on 2026-11-29:
- OpenAI's list shape, as the types of the `openai` package 2 have it: `input`, `model`,
  `encoding_format`, `dimensions`; the answer has `data` with `index` and `embedding`, and `usage`.
- infinity-emb 0.0.78, its own schema (fastapi_schemas/pymodels.py and the description of
  POST /embeddings): `modality` says what every string of `input` is; one modality a request, at
  most 32 images.
- Jina: objects `{"image": …}` and `{"text": …}`, `embedding_type`, `normalized`, `task`,
  `dimensions`, as its published clients send them (docs.camel-ai.org, JinaEmbedding). Its own
  reference (api.jina.ai/redoc) could not be read.
- vLLM (docs.vllm.ai/en/v0.9.2/examples/online_serving/
  openai_chat_embedding_client_for_multimodal.html): an image is a chat message, one a request.
- LiteLLM's proxy hands `input` on as it is (docs.litellm.ai/docs/embedding/supported_embedding).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from student.options.wire import InputShape
from student.vendor.request import Item
from student.wires.endpoint import endpoint_at
from student.wires.items import data_uri, of_one_modality, text_of
from student.wires.protocol import WireAnswer, WireLimits

_MOST_ITEMS = {"modality": 32, "objects": 512, "strings": 256, "messages": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIWire:
    """One vendor of the list shape; `dimensions` and `task` are sent if they are set."""

    url: str
    model: str
    shape: InputShape = "modality"
    dimensions: int | None = None
    task: str | None = None

    @property
    def name(self) -> str:
        """The wire's name."""
        return "openai"

    @property
    def endpoint(self) -> str:
        """The URL itself if its path ends in `embeddings`; otherwise /v1/embeddings below it."""
        return endpoint_at(self.url, "/v1/embeddings", ends_in="embeddings")

    @property
    def limits(self) -> WireLimits:
        """What most servers of this shape take; a server may take less, and then refuses."""
        return WireLimits(
            max_items=_MOST_ITEMS[self.shape],
            max_image_bytes=20_000_000,
            max_image_pixels=64_000_000,
            max_body_bytes=40_000_000,
            image_formats=("JPEG", "PNG", "WEBP", "GIF"),
        )

    @property
    def identity(self) -> Mapping[str, object]:
        """The settings that change an embedding. The shape of the input does not."""
        return {"dimensions": self.dimensions, "task": self.task}

    def authorise(self, secret: str) -> dict[str, str]:
        """The key as a bearer token."""
        return {"Authorization": f"Bearer {secret}"}

    def fit(self, items: Sequence[Item]) -> int:
        """A request is of one modality where `modality` says which."""
        if self.shape == "messages":
            return 1
        return of_one_modality(items) if self.shape == "modality" else len(items)

    def body(self, items: Sequence[Item]) -> dict[str, Any]:
        """The JSON body."""
        body: dict[str, Any] = {"model": self.model}
        if self.shape == "messages":
            body |= {"messages": [{"role": "user", "content": [_content(items[0])]}]}
        elif self.shape == "objects":
            body |= {"input": [_object(item) for item in items], "normalized": True}
        else:
            body |= {"input": [_string(item) for item in items]}
        if self.shape == "modality":
            body["modality"] = items[0].modality
        body["embedding_type" if self.shape == "objects" else "encoding_format"] = "float"
        optional = {"dimensions": self.dimensions, "task": self.task}
        return body | {name: value for name, value in optional.items() if value is not None}

    def read(self, document: Mapping[str, Any]) -> WireAnswer:
        """The vectors in the order of their `index`, and `usage`."""
        rows = document["data"]
        placed = {int(row.get("index", n)): row["embedding"] for n, row in enumerate(rows)}
        if sorted(placed) != list(range(len(rows))):
            message = "the indexes are not those of the inputs"
            raise ValueError(message)
        vectors = [_numbers(placed[index]) for index in range(len(rows))]
        usage = document.get("usage") or {}
        tokens = usage.get("total_tokens", usage.get("prompt_tokens"))
        return WireAnswer(
            vectors=vectors,
            usage=usage,
            model=str(document.get("model", "")),
            tokens=tokens if isinstance(tokens, int) else None,
        )


def _numbers(embedding: object) -> Sequence[float]:
    """An embedding as a list; some gateways send base64 whatever is asked for."""
    if isinstance(embedding, str):
        decoded: list[float] = np.frombuffer(base64.b64decode(embedding), dtype="<f4").tolist()
        return decoded
    if not isinstance(embedding, list):
        message = "an embedding is neither a list of numbers nor base64"
        raise TypeError(message)
    return embedding


def _string(item: Item) -> str:
    return data_uri(item) if item.modality == "image" else text_of(item)


def _object(item: Item) -> dict[str, str]:
    return {item.modality: _string(item)}


def _content(item: Item) -> dict[str, Any]:
    if item.modality == "image":
        return {"type": "image_url", "image_url": {"url": data_uri(item)}}
    return {"type": "text", "text": text_of(item)}
