"""Each bad request gets its 4xx and code, costs nothing, and leaves the vendor serving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.support.vendor_in_process import (
    HashEncoder,
    Vendor,
    b64,
    data_uri,
    picture,
    vendor_at,
)
from teacher_server.api.problem_types import PROBLEM_TYPES, Code

LIMITS: dict[str, Any] = {
    "max_items": 4,
    "max_image_bytes": 20_000,
    "max_image_pixels": 10_000,
    "max_text_chars": 100,
    "max_body_bytes": 100_000,
}


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing, **LIMITS) as running:
        yield running


def flat(size: tuple[int, int], form: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size).save(buffer, form)
    return buffer.getvalue()


def image(data: bytes) -> list[dict[str, str]]:
    return [{"image": b64(data)}]


async def refused(vendor: Vendor, response: httpx.Response, code: str) -> dict[str, Any]:
    """Assert that the response is this problem, cost nothing, and that the next request works."""
    document: dict[str, Any] = response.json()
    kind = PROBLEM_TYPES[Code(code)]
    assert (document["code"], response.status_code) == (code, kind.status)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-should-retry"] == ("true" if kind.is_retriable else "false")
    assert document["type"] == f"urn:problem:{code}"
    assert document["status"] == response.status_code
    assert document["charged_units"] == 0
    assert "Nothing was charged." in document["detail"]
    assert document["error"]["code"] == code
    assert document["error"]["message"] == document["detail"]
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)
    after = await vendor.embed("still serving")
    assert after.status_code == 200
    assert vendor.account.spent_units == 1
    return document


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'
BAD_ITEMS = {
    "not an image": (image(b"just some words"), "invalid_image"),
    "an SVG": (image(SVG), "invalid_image"),
    "a TIFF": (image(picture(form="TIFF")), "invalid_image"),
    "a truncated PNG": (image(picture()[:-600]), "invalid_image"),
    "a truncated JPEG": (image(picture(form="JPEG")[:700]), "invalid_image"),
    "a PNG header alone": (image(picture()[:40]), "invalid_image"),
    "zero bytes": ([{"image": ""}], "invalid_image"),
    "zero bytes in a data-URI": ([{"image": "data:image/png;base64,"}], "invalid_image"),
    "too many bytes": (image(picture(size=(90, 90))), "image_too_large"),
    "too many pixels": (image(flat((101, 100))), "image_too_many_pixels"),
    "a decompression bomb": (image(flat((20_000, 9_000), "GIF")[:2000]), "image_too_many_pixels"),
    "a sliver": (image(flat((1, 101))), "invalid_image"),
    "base64 with a space": ([{"image": b64(picture()) + " "}], "invalid_image"),
    "base64 cut short": ([{"image": b64(picture())[:-1]}], "invalid_image"),
    "base64 with URL characters": ([{"image": "-_-_"}], "invalid_image"),
    "a URL": ([{"image": "http://169.254.169.254/latest"}], "invalid_image"),
    "a data-URI of text": ([{"image": data_uri(b"x", "text/html")}], "invalid_image"),
    "a data-URI without base64": ([{"image": "data:image/svg+xml,<svg/>"}], "invalid_image"),
    "an empty text": (["  \n"], "empty_input"),
    "an empty string": ("", "empty_input"),
    "no items": ([], "empty_input"),
    "a long text": (["x" * 101], "invalid_request"),
    "a NUL": (["a\0b"], "invalid_request"),
    "token ids": ([[1, 2, 3]], "invalid_request"),
    "numbers": ([1], "invalid_request"),
    "null": (None, "invalid_request"),
    "an object with both": ([{"text": "a", "image": "b"}], "invalid_request"),
    "an object with neither": ([{}], "invalid_request"),
    "an object with more": ([{"text": "a", "price": 0}], "invalid_request"),
    "an oversized batch": (["a"] * 5, "batch_too_large"),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
async def test_a_bad_input_is_refused_free_of_charge(vendor: Vendor, name: str) -> None:
    given, code = BAD_ITEMS[name]
    await refused(vendor, await vendor.embed(given), code)


@pytest.mark.parametrize("name", BAD_ITEMS)
async def test_the_model_never_saw_the_bad_input(
    vendor: Vendor, hashing: HashEncoder, name: str
) -> None:
    before = len(hashing.batches)
    await vendor.embed(BAD_ITEMS[name][0])
    # The readiness probe's batches, one image and one text, are all that may run beside it.
    assert set(hashing.batches[before:]) <= {1}
    assert vendor.account.spent_units == 0


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["a", "b", {"image": b64(b"words")}], "invalid_image"),
        (["a", "b", {"image": ""}], "invalid_image"),
        (["a", "b", ""], "empty_input"),
        (["a", "b", 3], "invalid_request"),
        (["a", "b", {"image": b64(flat((101, 100)))}], "image_too_many_pixels"),
    ],
)
async def test_the_problem_names_the_item_at_fault(
    vendor: Vendor, given: object, code: str
) -> None:
    document = await refused(vendor, await vendor.embed(given), code)
    assert document["index"] == 2
    assert document["error"]["param"] == "input"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": "gpt-5"}, "unknown_model", "model"),
        ({"model": 7}, "invalid_request", "model"),
        ({"dimensions": 7}, "invalid_request", "dimensions"),
        ({"dimensions": "8"}, "invalid_request", "dimensions"),
        ({"encoding_format": "hex"}, "invalid_request", "encoding_format"),
        ({"modality": "audio"}, "invalid_request", "modality"),
        ({"budget": 10**9}, "invalid_request", "budget"),
    ],
)
async def test_a_bad_field_is_named(
    vendor: Vendor, fields: dict[str, Any], code: str, param: str
) -> None:
    document = await refused(vendor, await vendor.embed("a", **fields), code)
    assert document["error"]["param"] == param


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"input": "\\ud800"}', b'{"\\ud800": 1}'],
)
async def test_a_body_that_is_not_a_request_is_refused(vendor: Vendor, body: bytes) -> None:
    response = await vendor.http.post(
        "/v1/embeddings", content=body, headers={"Content-Type": "application/json"}
    )
    await refused(vendor, response, "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "", "image/png"])
async def test_another_content_type_is_refused(vendor: Vendor, kind: str) -> None:
    response = await vendor.http.post(
        "/v1/embeddings", content=b"{}", headers={"Content-Type": kind}
    )
    await refused(vendor, response, "unsupported_media_type")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_key"),
        ("", "invalid_key"),
        ("Bearer", "invalid_key"),
        ("Bearer nonsense", "invalid_key"),
        ("Basic c2s6c2s=", "invalid_key"),
        ("Bearer sk_unknown_0123456789abcdef0123", "invalid_key"),
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/v1/embeddings", "/v1/models", "/v1/models/hash", "/v1/prices", "/v1/key", "/v1/usage",
     "/v1/ledger", "/v1/requests/some"],
)  # fmt: skip
async def test_no_route_answers_without_a_valid_key(
    vendor: Vendor, path: str, header: str | None, code: str
) -> None:
    del vendor.http.headers["Authorization"]
    headers = {} if header is None else {"Authorization": header}
    method = "POST" if path == "/v1/embeddings" else "GET"
    response = await vendor.http.request(method, path, headers=headers)
    vendor.http.headers["Authorization"] = f"Bearer {vendor.key.token}"
    await refused(vendor, response, code)
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_the_right_id_with_a_wrong_secret_is_refused(vendor: Vendor) -> None:
    wrong = f"Bearer sk_{vendor.key.id}_{'x' * 43}"
    response = await vendor.http.get("/v1/key", headers={"Authorization": wrong})
    await refused(vendor, response, "invalid_key")


async def test_a_revoked_key_is_refused(vendor: Vendor) -> None:
    vendor.ledger.keys.revoke(vendor.key.id)
    response = await vendor.embed("a")
    assert (response.status_code, response.json()["code"]) == (401, "invalid_key")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\there", "ünïcode"])
async def test_a_malformed_idempotency_key_is_refused(vendor: Vendor, key: str) -> None:
    response = await vendor.http.post(
        "/v1/embeddings",
        json={"model": "hash", "input": "a"},
        headers={b"Idempotency-Key": key.encode()},
    )
    await refused(vendor, response, "invalid_request")


async def test_a_body_over_the_limit_is_refused_by_its_declared_length(vendor: Vendor) -> None:
    await refused(vendor, await vendor.embed("x" * 100_001), "body_too_large")


async def test_a_body_over_the_limit_is_refused_though_it_declares_no_length(
    vendor: Vendor,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 5_000

    response = await vendor.http.post(
        "/v1/embeddings", content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert "content-length" not in response.request.headers
    await refused(vendor, response, "body_too_large")


@pytest.mark.parametrize(
    ("data", "files", "code"),
    [
        ({"model": "hash"}, [("image", ("a.png", b"words", "image/png"))], "invalid_image"),
        ({"model": "hash"}, [("image", ("a.png", b"", "image/png"))], "invalid_image"),
        ({"model": "hash"}, [("mask", ("a.png", picture(), "image/png"))], "invalid_request"),
        ({"model": "nope"}, [("image", ("a.png", picture(), "image/png"))], "unknown_model"),
        ({}, [("image", ("a.png", picture(), "image/png"))], "invalid_request"),
        ({"model": "hash"}, [("text", ("a.txt", b"a", "text/plain"))], "invalid_request"),
        (
            {"model": "hash", "encoding_format": "hex"},
            [("image", ("a.png", picture(), "image/png"))],
            "invalid_request",
        ),
        (
            {"model": "hash", "text": ["a"] * 3},
            [("image", (f"{i}.png", picture(), "image/png")) for i in range(2)],
            "batch_too_large",
        ),
        (
            {"model": "hash"},
            [("image", (f"{i}.png", b"x", "image/png")) for i in range(9)],
            "batch_too_large",
        ),
        (
            {"model": "hash"},
            [("image", ("a.png", picture(size=(90, 90)), "image/png"))],
            "image_too_large",
        ),
    ],
)
async def test_a_bad_multipart_body_is_refused(
    vendor: Vendor, data: dict[str, Any], files: list[Any], code: str
) -> None:
    response = await vendor.http.post("/v1/embeddings", data=data, files=files)
    await refused(vendor, response, code)


async def test_an_image_part_that_is_not_a_file_is_refused(vendor: Vendor) -> None:
    response = await vendor.http.post(
        "/v1/embeddings", files=[("model", (None, "hash")), ("image", (None, "a word"))]
    )
    await refused(vendor, response, "invalid_request")


async def test_a_multipart_body_without_its_boundary_is_refused(vendor: Vendor) -> None:
    response = await vendor.http.post(
        "/v1/embeddings", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )
    await refused(vendor, response, "invalid_request")


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(vendor: Vendor) -> None:
    missing = await vendor.http.get("/v2/embeddings")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = await vendor.http.get("/v1/embeddings")
    assert wrong.headers["Allow"] == "POST"
    await refused(vendor, wrong, "method_not_allowed")


async def test_every_image_that_cannot_be_read_is_named_at_once(vendor: Vendor) -> None:
    broken, good = b"no image", flat((8, 8))
    response = await vendor.embed([*image(broken), *image(good), *image(flat((200, 200)))])
    document = await refused(vendor, response, "invalid_image")
    assert document["index"] == 0
    assert [(item["index"], item["code"]) for item in document["items"]] == [
        (0, "invalid_image"),
        (2, "image_too_many_pixels"),
    ]
