"""The bodies and answers that Voyage, Cohere and Vertex document; anything else is refused."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from tests.support.foreign_vendor import Shape, decoded

Items = list[tuple[str, bytes]]


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _voyage_items(body: Mapping[str, Any]) -> Items:
    allowed = {"inputs", "model", "input_type", "truncation", "output_dimension"}
    _require(set(body) <= allowed, "an unknown field")
    _require(body["input_type"] in (None, "query", "document"), "input_type")
    _require(isinstance(body["truncation"], bool), "truncation")
    _require(1 <= len(body["inputs"]) <= 1000, "inputs")
    items = []
    for given in body["inputs"]:
        _require(set(given) == {"content"}, "an input has content alone")
        (part,) = given["content"]
        _require(set(part) == {"type", part["type"]}, "one key beside type")
        if part["type"] == "text":
            items.append(("text", part["text"].encode()))
        else:
            items.append(("image", decoded(part["image_base64"])))
    return items


def _voyage_answer(body: Mapping[str, Any], items: Items, vectors: list[list[float]]) -> Any:
    tokens = sum(len(payload.split()) for kind, payload in items if kind == "text")
    sizes = [Image.open(BytesIO(payload)).size for kind, payload in items if kind == "image"]
    pixels = sum(width * height for width, height in sizes)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": vector, "index": index}
            for index, vector in enumerate(vectors)
        ],
        "model": body["model"],
        "usage": {
            "text_tokens": tokens,
            "image_pixels": pixels,
            "total_tokens": tokens + sum(-(-w * h // 560) for w, h in sizes),
        },
    }


def _cohere_items(body: Mapping[str, Any]) -> Items:
    kinds = {"texts", "images", "inputs"} & set(body)
    _require(len(kinds) == 1, "one of texts, images and inputs")
    _require(body["embedding_types"] == ["float"], "embedding_types")
    _require(body["truncate"] in ("NONE", "START", "END"), "truncate")
    if "texts" in body:
        _require(len(body["texts"]) <= 96 and body["input_type"] != "image", "texts")
        return [("text", text.encode()) for text in body["texts"]]
    if "images" in body:
        _require(body["input_type"] == "image", "input_type of an image")
        (image,) = body["images"]
        return [("image", decoded(image))]
    _require("-v3" not in body["model"], "v3 has no inputs")
    items = []
    for given in body["inputs"]:
        (part,) = given["content"]
        if part["type"] == "text":
            items.append(("text", part["text"].encode()))
        else:
            items.append(("image", decoded(part["image_url"]["url"])))
    return items


def _cohere_answer(body: Mapping[str, Any], items: Items, vectors: list[list[float]]) -> Any:
    images = sum(kind == "image" for kind, _ in items)
    return {
        "id": "5807ee2e",
        "embeddings": {"float": vectors},
        "texts": body.get("texts", []),
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"images": images, "input_tokens": len(items) - images},
        },
    }


def _vertex_items(body: Mapping[str, Any]) -> Items:
    _require(set(body) <= {"instances", "parameters"}, "an unknown field")
    (instance,) = body["instances"]
    if "text" in instance:
        return [("text", instance["text"].encode())]
    return [("image", base64.b64decode(instance["image"]["bytesBase64Encoded"], validate=True))]


def _vertex_answer(body: Mapping[str, Any], items: Items, vectors: list[list[float]]) -> Any:
    named = [f"{kind}Embedding" for kind, _ in items]
    return {
        "predictions": [{name: vector} for name, vector in zip(named, vectors, strict=True)],
        "deployedModelId": "7001",
    }


VERTEX_URL = "http://foreign.test/v1/projects/p/locations/europe-west4"
VOYAGE = Shape("/v1/multimodalembeddings", _voyage_items, _voyage_answer)
COHERE = Shape("/v2/embed", _cohere_items, _cohere_answer)
VERTEX = Shape(
    "/v1/projects/p/locations/europe-west4/publishers/google/models/multimodalembedding@001:predict",
    _vertex_items,
    _vertex_answer,
)
