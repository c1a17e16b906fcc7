"""Every invalid answer of a vendor is detected and reported as charged."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.records.embeddings_digest import embeddings_sha256
from cache.records.receipt import entry_hash
from student.errors import VendorMisbehaved
from student.vendor.request import Batch, ExpectedAnswer, Item
from student.vendor.response import read_answer
from student.vendor.schemas import Model, Prices
from tests.support.ledger_vendor import KEY, LedgerVendor, encode, model_facts, vector_of

Body = dict[str, Any]


def valid_answer() -> tuple[Body, ExpectedAnswer]:
    """The answer to two images and a text, and what was expected."""
    vendor = LedgerVendor()
    batch = Batch(
        model=Model.model_validate(vendor.model),
        prices=Prices.model_validate(vendor.price),
        items=(
            Item(modality="image", payload=b"one"),
            Item(modality="image", payload=b"two"),
            Item(modality="text", payload=b"three"),
        ),
    )
    headers = {"Idempotency-Key": "buy-1", "Authorization": f"Bearer {KEY}"}
    url = "http://vendor.test/v1/embeddings"
    response = vendor(httpx.Request("POST", url, content=batch.body(), headers=headers))
    return json.loads(response.content), batch.expected("buy-1")


def reseal(body: Body, **changes: object) -> None:
    """Change the receipt and recompute its hash, as a dishonest vendor would."""
    body["receipt"].update(changes)
    body["receipt"]["hash"] = entry_hash(body["receipt"])


def set_row(body: Body, index: int, vector: np.ndarray[Any, Any]) -> None:
    body["data"][index]["embedding"] = encode(vector)


def with_first(value: float) -> np.ndarray[Any, Any]:
    vector = vector_of(b"one").copy()
    vector[0] = value
    return vector


def spend_more(body: Body) -> None:
    reseal(body, units=4, cost_micro_usd=400)
    body["usage"].update(billed_units=4, cost_micro_usd=400)


def cost_more(body: Body) -> None:
    reseal(body, cost_micro_usd=900)
    body["usage"].update(cost_micro_usd=900)


def other_model(body: Body) -> None:
    body["model"] = "large"
    reseal(body, model="large")


def swap_rows(body: Body) -> None:
    body["data"].reverse()


def text_as_image(body: Body) -> None:
    reseal(body, images=3, texts=0)
    body["usage"].update(images=3, texts=0)


INVALID: dict[str, tuple[Callable[[Body], object], str]] = {
    "a row is missing": (lambda b: b["data"].pop(), "2 embeddings for 3 items"),
    "a row too many": (lambda b: b["data"].append(b["data"][0]), "4 embeddings for 3 items"),
    "no rows": (lambda b: b["data"].clear(), "0 embeddings"),
    "rows out of order": (swap_rows, "order"),
    "an index twice": (lambda b: b["data"][1].update(index=0), "order"),
    "an index that is a bool": (lambda b: b["data"][1].update(index=True), r"data\.1\.index"),
    "an index that is text": (lambda b: b["data"][1].update(index="1"), r"data\.1\.index"),
    "a short vector": (lambda b: set_row(b, 1, vector_of(b"two", 7)), "28 bytes where 32"),
    "a long vector": (lambda b: set_row(b, 1, vector_of(b"two", 9)), "36 bytes where 32"),
    "an empty vector": (lambda b: b["data"][0].update(embedding=""), "0 bytes where 32"),
    "floats, not base64": (lambda b: b["data"][0].update(embedding=[0.1] * 8), r"data\.0"),
    "broken base64": (lambda b: b["data"][0].update(embedding="a" * 43), "not base64"),
    "garbage in base64": (lambda b: b["data"][0].update(embedding="\n!" * 22), "not base64"),
    "letters beyond ASCII": (lambda b: b["data"][0].update(embedding="\u00e9" * 44), "not base64"),
    "a NaN": (lambda b: set_row(b, 0, with_first(float("nan"))), "not finite"),
    "an infinity": (lambda b: set_row(b, 0, with_first(float("inf"))), "not finite"),
    "a zero vector": (lambda b: set_row(b, 2, np.zeros(8)), "differs from 1 by 1"),
    "not normalised": (
        lambda b: set_row(b, 2, 1.002 * vector_of(b"three")),
        "differs from 1 by 0.002",
    ),
    "huge values": (lambda b: set_row(b, 2, np.full(8, 3e38)), "differs from 1"),
    "another model's name": (other_model, "model 'large' answered"),
    "a receipt of another model": (lambda b: reseal(b, model="large"), "names another model"),
    "a receipt of another space": (
        lambda b: reseal(b, model_fingerprint="sha256:" + "0" * 64),
        "names another model",
    ),
    "a fingerprint that is none": (
        lambda b: b.update(model_fingerprint="latest"),
        "model_fingerprint",
    ),
    "a receipt for another purchase": (
        lambda b: reseal(b, idempotency_key="buy-2"),
        "for purchase 'buy-2'",
    ),
    "a tampered receipt": (lambda b: b["receipt"].update(balance_units=7), "hash"),
    "a grant, not a charge": (lambda b: reseal(b, kind="grant"), "not a charge"),
    "no request id": (lambda b: reseal(b, request_id=""), "no request"),
    "more units than sent": (spend_more, r"\(2, 1, 4\) where \(2, 1, 3\)"),
    "more money than agreed": (cost_more, "900 micro-USD .* says 300"),
    "receipt counts a text as image": (text_as_image, r"\(3, 0, 3\) where \(2, 1, 3\)"),
    "usage counts otherwise": (lambda b: b["usage"].update(images=1), "usage has"),
    "usage costs otherwise": (lambda b: b["usage"].update(cost_micro_usd=1), "different prices"),
    "usage by another list": (lambda b: b["usage"].update(price_version="x"), "different prices"),
    "units as a float": (lambda b: b["usage"].update(billed_units=3.0), "billed_units"),
    "no receipt": (lambda b: b.pop("receipt"), "receipt"),
    "no usage": (lambda b: b.pop("usage"), "usage"),
    "another kind of object": (lambda b: b.update(object="error"), "object"),
}


def test_a_valid_answer_is_read_row_by_row() -> None:
    body, expected = valid_answer()
    answer = read_answer(json.dumps(body).encode(), expected, replayed=False)
    assert answer.vectors.shape == (3, 8)
    assert answer.vectors.dtype == np.float32
    for row, payload in zip(answer.vectors, (b"one", b"two", b"three"), strict=True):
        np.testing.assert_array_equal(row, vector_of(payload))
    assert answer.receipt.units == 3


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_answer_is_refused_and_reported_as_charged(name: str) -> None:
    lie, fact = INVALID[name]
    body, expected = valid_answer()
    lie(body)
    with pytest.raises(VendorMisbehaved, match=fact) as caught:
        read_answer(json.dumps(body).encode(), expected, replayed=False)
    assert caught.value.charged is True
    assert "buy-1" in str(caught.value)
    assert "It was charged." in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"<html>"])
def test_bytes_that_are_not_an_answer_are_refused(content: bytes) -> None:
    _, expected = valid_answer()
    with pytest.raises(VendorMisbehaved):
        read_answer(content, expected, replayed=False)


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_every_truncated_answer_is_refused(cut: int) -> None:
    body, expected = valid_answer()
    content = json.dumps(body).encode()
    with pytest.raises(VendorMisbehaved):
        read_answer(content[: cut % len(content)], expected, replayed=False)


@given(row=st.integers(0, 2), position=st.integers(0, 31), flip=st.integers(1, 255))
def test_a_damaged_vector_is_never_stored_with_another_length(
    row: int, position: int, flip: int
) -> None:
    """A flipped byte either leaves a finite unit vector within tolerance, or is caught."""
    body, expected = valid_answer()
    raw = bytearray(base64.b64decode(body["data"][row]["embedding"]))
    raw[position] ^= flip
    body["data"][row]["embedding"] = base64.b64encode(raw).decode()
    try:
        answer = read_answer(json.dumps(body).encode(), expected, replayed=False)
    except VendorMisbehaved:
        return
    norm = float(np.linalg.norm(answer.vectors[row].astype(np.float64)))
    assert abs(norm - 1.0) <= 1e-3


def test_an_error_about_an_invalid_answer_does_not_repeat_megabytes() -> None:
    body, expected = valid_answer()
    body["data"][0]["embedding"] = ["x" * 1000] * 1000
    with pytest.raises(VendorMisbehaved) as caught:
        read_answer(json.dumps(body).encode(), expected, replayed=False)
    assert len(str(caught.value)) < 400


def test_a_changed_model_is_read_under_its_own_fingerprint_and_size() -> None:
    """It is charged: the caller stores it under its own fingerprint and stops."""
    body, expected = valid_answer()
    other = model_facts(dim=16)["fingerprint"]
    body["model_fingerprint"] = other
    vectors = [vector_of(b"x", 16)] * 3
    reseal(body, model_fingerprint=other, embeddings_sha256=embeddings_sha256(vectors))
    for index, vector in enumerate(vectors):
        set_row(body, index, vector)
    answer = read_answer(json.dumps(body).encode(), expected, replayed=False)
    assert answer.model_fingerprint == other
    assert answer.vectors.shape == (3, 16)


def test_fields_that_a_newer_vendor_adds_are_accepted() -> None:
    body, expected = valid_answer()
    body["served_by"] = "eu-1"
    body["usage"]["seconds"] = 1.5
    reseal(body, region="eu")
    assert read_answer(json.dumps(body).encode(), expected, replayed=True).replayed


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every field and every item of an answer, containers included."""
    if isinstance(value, dict):
        found = [leaves(inner, (*path, name)) for name, inner in value.items()]
    elif isinstance(value, list):
        found = [leaves(inner, (*path, index)) for index, inner in enumerate(value)]
    else:
        return [path]
    return [*([path] if path else []), *(leaf for inner in found for leaf in inner)]


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["charge", "grant", "list", "embedding", "tiny", "buy-1", "f" * 64, "2026-11"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(path=st.sampled_from(leaves(valid_answer()[0])), value=ANYTHING, is_deleted=st.booleans())
@settings(max_examples=400)
def test_any_field_changed_or_taken_away_is_refused_or_makes_no_difference(
    path: tuple[Any, ...], value: object, is_deleted: bool
) -> None:
    body, expected = valid_answer()
    truth = read_answer(json.dumps(body).encode(), expected, replayed=False)
    holder: Any = body
    for step in path[:-1]:
        holder = holder[step]
    if is_deleted:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    try:
        answer = read_answer(json.dumps(body).encode(), expected, replayed=False)
    except VendorMisbehaved:
        return
    np.testing.assert_array_equal(answer.vectors, truth.vectors)
    assert (answer.model, answer.model_fingerprint) == (truth.model, truth.model_fingerprint)
    assert answer.receipt == truth.receipt


@given(
    field=st.sampled_from(
        sorted(
            valid_answer()[0]["receipt"].keys()
            - {"balance_units", "created_ms", "prev_hash", "hash"}
        )
    ),
    value=ANYTHING,
)
@settings(max_examples=300)
def test_a_receipt_resealed_with_another_sum_or_name_is_refused(field: str, value: object) -> None:
    """Even with a correct hash, only fields that are the vendor's choice may differ."""
    body, expected = valid_answer()
    truth = dict(body["receipt"])
    reseal(body, **{field: value})
    try:
        answer = read_answer(json.dumps(body).encode(), expected, replayed=False)
    except VendorMisbehaved:
        return
    # The vendor's own names for the request and the line; the chain of lines is checked elsewhere.
    changed = {name for name, value in answer.receipt.entry().items() if value != truth[name]}
    assert changed <= {"request_id", "seq", "hash"} | (
        {"embeddings_sha256"} if value is None else set()
    )
