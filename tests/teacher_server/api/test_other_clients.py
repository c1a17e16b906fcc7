"""What other clients send: nulls, token ids, content parts, wrapped base64, and HEAD."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, b64, picture, vendor_at


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


async def test_a_null_in_an_optional_field_is_its_default(vendor: Vendor) -> None:
    plain = (await vendor.embed("a cat", idempotency_key="k")).content
    nulls = {"encoding_format": None, "dimensions": None, "user": None, "modality": None}
    # The same bytes under the same key: it is the same purchase.
    assert (await vendor.embed("a cat", idempotency_key="k", **nulls)).content == plain
    assert vendor.account.spent_units == 1


async def test_token_ids_are_refused_with_the_option_of_the_client(vendor: Vendor) -> None:
    for ids in ([320, 2368], [[320, 2368]], [[1, 2], [3]], [list(range(2000))] * 4):
        answer = await vendor.embed(ids)
        assert answer.status_code in (400, 413)
        assert "check_embedding_ctx_length=False" in answer.json()["detail"]
    assert "check_embedding_ctx_length" not in (await vendor.embed(["a", 3])).json()["detail"]
    assert vendor.account.spent_units == 0


async def test_content_parts_of_a_chat_are_read(vendor: Vendor) -> None:
    parts = await vendor.embed([{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}])
    assert parts.json()["data"] == (await vendor.embed(["a", "b"])).json()["data"]
    assert (await vendor.embed([{"type": "image_url", "text": "a"}])).status_code == 400


async def test_as_many_content_parts_as_items_are_allowed(vendor: Vendor) -> None:
    url = {"url": "data:image/png;base64," + b64(picture(size=(1, 1))), "detail": "auto"}
    answer = await vendor.embed([{"type": "image_url", "image_url": url}] * 100)
    assert answer.json()["usage"]["images"] == 100


@pytest.mark.parametrize(
    ("broken", "hint"),
    [
        (lambda text: text[:40] + " " + text[40:], "a blank at position 40"),
        (lambda text: text[:8] + "%2B" + text[8:], "the character '%' at position 8"),
        (lambda text: "-_" + text, "URL-safe alphabet"),
        (lambda text: text[:41], "its end is cut off"),
    ],
)
async def test_base64_that_cannot_be_read_is_refused_with_what_is_wrong(
    vendor: Vendor, broken: object, hint: str
) -> None:
    assert callable(broken)
    answer = await vendor.embed([{"image": broken(b64(picture()))}])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_image")
    assert hint in answer.json()["detail"]


async def test_a_head_request_gets_the_headers_of_a_get(vendor: Vendor) -> None:
    paid = await vendor.embed("a", idempotency_key="k")
    assert paid.status_code == 200
    for path in ("/livez", "/metrics", "/v1/models", "/v1/key", "/v1/ledger", "/v1/requests/k"):
        answer = await vendor.http.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
        got = await vendor.http.get(path)
        assert answer.headers["content-type"] == got.headers["content-type"]
    assert (await vendor.http.head("/v1/none")).status_code == 404
    refused = await vendor.http.head("/v1/embeddings")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    deleted = await vendor.http.delete("/v1/key")
    assert deleted.headers["Allow"] == "GET, HEAD"
