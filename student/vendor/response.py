"""Checks the vendor's answer to a purchase: count, order, size, norm, sums and receipt."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.records.embeddings_digest import embeddings_sha256
from cache.records.receipt import Receipt
from student.errors import VendorMisbehaved
from student.vendor.request import ExpectedAnswer

# float32 rounding over a thousand dimensions stays far below this; a wrong scale does not.
NORM_TOLERANCE = 1e-3
FLOAT_BYTES = 4


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class _Row(_Strict):
    object: Literal["embedding"]
    index: int
    embedding: str


class _Usage(_Strict):
    images: int
    texts: int
    billed_units: int
    cost_micro_usd: int
    price_version: str


class _Body(_Strict):
    object: Literal["list"]
    data: list[_Row]
    model: str = Field(min_length=1)
    model_fingerprint: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    model_fingerprint_v2: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    usage: _Usage
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A checked answer: `vectors` is (N, D) float32, unit rows in the order of the items.

    The model's fingerprint is that under which the cache keeps the answer. It may differ from the
    plan's: the caller decides what to do then, because the answer is paid for in any case.
    """

    vectors: NDArray[np.float32]
    model: str
    model_fingerprint: str
    receipt: Receipt
    replayed: bool


def read_answer(content: bytes, expected: ExpectedAnswer, *, replayed: bool) -> Answer:
    """The answer in these bytes. Raises VendorMisbehaved if any check fails."""
    try:
        body = _Body.model_validate_json(content)
    except ValidationError as error:
        # Without the input, which pydantic's message repeats: it may be megabytes of vectors.
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        _refuse(expected, f"{where}: {first['msg']}")
    _check_model(body, expected)
    _check_money(body, expected)
    vectors = _vectors(body, expected)
    # A vendor from before the digest does not state it.
    stated = body.receipt.embeddings_sha256
    if stated is not None and embeddings_sha256(vectors) != stated:
        _refuse(expected, "the embeddings are not those that the receipt pays for")
    return Answer(
        vectors=vectors,
        model=body.model,
        model_fingerprint=_fingerprint(body, expected),
        receipt=body.receipt,
        replayed=replayed,
    )


def _refuse(expected: ExpectedAnswer, fact: str) -> NoReturn:
    detail = (
        f"The vendor's answer to purchase {expected.idempotency_key} is invalid: "
        f"{fact}. None of it was stored."
    )
    raise VendorMisbehaved(detail, charged=True, status=200, code="misbehaved")


def _check_model(body: _Body, expected: ExpectedAnswer) -> None:
    if expected.model is not None and body.model != expected.model:
        _refuse(expected, f"model {body.model!r} answered where {expected.model!r} was asked")
    receipt = body.receipt
    if (receipt.model, receipt.model_fingerprint) != (body.model, body.model_fingerprint):
        _refuse(expected, "the receipt names another model than the answer")


def _fingerprint(body: _Body, expected: ExpectedAnswer) -> str:
    return expected.name_of(body.model_fingerprint, body.model_fingerprint_v2)


def _check_money(body: _Body, expected: ExpectedAnswer) -> None:
    # The receipt's time is not checked, even if no calendar has it (a vendor that counts in
    # nanoseconds). It moves no money and the answer is charged already. Refusing it would leave the
    # purchase open forever, since the vendor cannot change an entry of its ledger. Code that
    # shows the time or computes with it must check it.
    receipt, usage = body.receipt, body.usage
    if not receipt.verify():
        _refuse(expected, "the receipt's hash does not fit the receipt")
    if receipt.is_from_client:
        _refuse(expected, "the receipt says that the client has written it")
    if receipt.kind != "charge":
        _refuse(expected, f"the receipt is a {receipt.kind!r}, not a charge")
    if receipt.idempotency_key != expected.idempotency_key:
        _refuse(expected, f"the receipt is for purchase {receipt.idempotency_key!r}")
    if receipt.seq < 1 or not receipt.request_id:
        _refuse(expected, "the receipt names no ledger entry or no request")
    sent = (expected.images, expected.texts, expected.units)
    if (charged := (receipt.images, receipt.texts, receipt.units)) != sent:
        _refuse(
            expected, f"the receipt has (images, texts, units) = {charged} where {sent} were sent"
        )
    if (used := (usage.images, usage.texts, usage.billed_units)) != sent:
        _refuse(expected, f"usage has (images, texts, units) = {used} where {sent} were sent")
    paid = (receipt.cost_micro_usd, receipt.price_version)
    if (usage.cost_micro_usd, usage.price_version) != paid:
        _refuse(expected, "usage and receipt name different prices")
    agreed = expected.cost_micro_usd
    if receipt.price_version == expected.price_version and receipt.cost_micro_usd != agreed:
        _refuse(
            expected,
            f"{receipt.cost_micro_usd} micro-USD were charged where price list "
            f"{receipt.price_version!r} says {agreed}",
        )


def _vectors(body: _Body, expected: ExpectedAnswer) -> NDArray[np.float32]:
    count = len(expected.modalities)
    if len(body.data) != count:
        _refuse(expected, f"{len(body.data)} embeddings for {count} items")
    if [row.index for row in body.data] != list(range(count)):
        _refuse(expected, "the embeddings are not in the order of the items")
    # A changed model may have another size: then only the rows' sizes must agree.
    is_planned = _fingerprint(body, expected) == expected.model_fingerprint
    raw = [_decode(row.embedding, index, expected) for index, row in enumerate(body.data)]
    size = expected.dim * FLOAT_BYTES if is_planned and expected.dim else len(raw[0])
    for index, row in enumerate(raw):
        if len(row) != size or size == 0 or size % FLOAT_BYTES:
            _refuse(expected, f"embedding {index} has {len(row)} bytes where {size} are due")
    vectors = np.frombuffer(b"".join(raw), dtype="<f4").reshape(count, -1)
    if not np.isfinite(vectors).all():
        _refuse(expected, "an embedding holds a value that is not finite")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if (worst := float(np.abs(norms - 1.0).max())) > NORM_TOLERANCE:
        _refuse(expected, f"an embedding's norm differs from 1 by {worst:.4g}")
    return vectors.astype(np.float32, copy=False)


def _decode(text: str, index: int, expected: ExpectedAnswer) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _refuse(expected, f"embedding {index} is not base64")
