"""The bodies of the wire contract, with the examples that docs/reference/openapi.json shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_FINGERPRINT = "sha256:3f7e3f6f0a9c7b6d1f5d2c4b8a9e0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a6978"
_DIGEST = "0f2104f24e61fd6ee6e3fb4e784a77452ed2aea7a22a12d57bab7f390239b3aa"
_HASH = "817c1ce88811747007ac24af54530bb237eb67794ae50cf2349b688dfbeb31fc"


class RequestModel(BaseModel):
    """A request body; unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ResponseModel(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Embedding(ResponseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(ResponseModel):
    """What the request used and cost; `prompt_tokens` counts text tokens only."""

    prompt_tokens: int
    total_tokens: int
    images: int
    texts: int
    billed_units: int
    cost_micro_usd: int
    price_version: str


class Receipt(ResponseModel):
    """The ledger entry. `hash` covers its canonical JSON; `prev_hash` is the hash of the entry
    before it.

    `embeddings_sha256` commits to the embeddings that a charge pays for. Grants, corrections and
    charges from before version 2 of the receipt have no such field.
    """

    seq: int
    kind: Literal["grant", "charge", "correction"]
    request_id: str
    idempotency_key: str
    model: str
    model_fingerprint: str
    images: int
    texts: int
    embeddings_sha256: str | None = Field(
        default=None,
        description="Hex SHA-256 over the embeddings of the answer in the order of the items, each "
        "as little-endian float32: the bytes that base64 encodes.",
    )
    units: int
    cost_micro_usd: int
    price_version: str
    balance_units: int
    created_ms: int
    prev_hash: str
    hash: str


_RECEIPT: dict[str, Any] = {
    "seq": 2,
    "kind": "charge",
    "request_id": "req_0f8fad5bd9cb469fa165708677289502",
    "idempotency_key": "b6a1f0c2",
    "model": "embedded",
    "model_fingerprint": _FINGERPRINT,
    "images": 1,
    "texts": 0,
    "embeddings_sha256": _DIGEST,
    "units": 1,
    "cost_micro_usd": 100,
    "price_version": "2026-11",
    "balance_units": 49999,
    "created_ms": 1795557383890,
    "prev_hash": "2c0b1ff667b4087083a5f6f84c5baccb04a0ebed32530e5d24d5aa5ff42211aa",
    "hash": _HASH,
}


class EmbeddingResponse(ResponseModel):
    """A charged and stored answer: the same Idempotency-Key returns the same bytes, free."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
                    "model": "embedded",
                    "model_fingerprint": _FINGERPRINT,
                    "model_fingerprint_v2": _FINGERPRINT,
                    "usage": {
                        "prompt_tokens": 0,
                        "total_tokens": 0,
                        "images": 1,
                        "texts": 0,
                        "billed_units": 1,
                        "cost_micro_usd": 100,
                        "price_version": "2026-11",
                    },
                    "receipt": _RECEIPT,
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    model_fingerprint: str
    model_fingerprint_v2: str = ""
    usage: Usage
    truncated: list[int] | None = Field(
        default=None,
        description="Only if the request said `truncate: true`: the indexes of the texts that were "
        "cut at the model's context_length.",
    )
    receipt: Receipt


class Limits(ResponseModel):
    max_items: int
    max_image_bytes: int
    max_image_pixels: int
    max_body_bytes: int
    max_image_aspect_ratio: int = Field(description="Longer side of an image by the shorter.")
    image_formats: tuple[str, ...] = Field(description="Formats of images that are read.")


class Model(ResponseModel):
    """The model on sale.

    `fingerprint_v2` changes whenever its embeddings could change. It is the SHA-256 of the
    canonical JSON of `weights_sha256`, `configuration`, `preprocess`, `context_length`, `dim`,
    `"normalized": true` and `"version": 2`. `fingerprint`, under which receipts name the model, is
    older and leaves `configuration` out.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    fingerprint: str
    fingerprint_v2: str
    weights_sha256: str
    dim: int
    image_size: int
    context_length: int = Field(description="Tokens of a text that the model reads, with marks.")
    truncation: Literal["on_request"] = Field(
        default="on_request",
        description="A longer text is refused, unless the request says `truncate: true`.",
    )
    preprocess: dict[str, Any]
    configuration: dict[str, Any]
    open_clip_version: str
    embedded: bool
    limits: Limits


class ModelList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class UnitPrices(ResponseModel):
    image: int
    text: int


class Prices(ResponseModel):
    """The price of a query: units times micro_usd_per_unit, in millionths of a US dollar.

    Stored answers are kept for `answers_kept_days` days (0: forever), their charges forever.
    """

    version: str
    currency: Literal["USD"]
    units: UnitPrices
    micro_usd_per_unit: int
    answers_kept_days: int


class Liveness(ResponseModel):
    status: Literal["alive"] = "alive"


class Readiness(ResponseModel):
    """The checks; the vendor is ready when all of them pass."""

    ready: bool
    checks: dict[str, bool]


class OpenAIError(ResponseModel):
    message: str
    type: str
    code: str
    param: str | None = None


class ItemProblem(ResponseModel):
    """Why one item of the input is refused."""

    index: int
    code: str
    detail: str


class ProblemDocument(ResponseModel):
    """RFC 9457. `charged_units` is always 0: a refused request is free."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    charged_units: Literal[0] = 0
    retriable: bool
    index: Annotated[
        int | None, Field(description="Index of the input item that caused the problem.")
    ] = None
    indexes: Annotated[
        list[int] | None, Field(description="Of `text_too_long`: all texts that are too long.")
    ] = None
    context_length: int | None = None
    items: Annotated[
        list[ItemProblem] | None, Field(description="Every image that cannot be read.")
    ] = None
    needed: int | None = None
    remaining: int | None = None
    error: OpenAIError
