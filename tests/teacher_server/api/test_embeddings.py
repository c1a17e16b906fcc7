"""A 200 has the right vectors, is charged once, and contains the ledger entry as its receipt."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.support.vendor_in_process import Vendor, b64, data_uri, picture


def vectors(response: httpx.Response) -> NDArray[np.float32]:
    assert response.status_code == 200, response.text
    rows = [item["embedding"] for item in response.json()["data"]]
    if isinstance(rows[0], str):
        rows = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows]
    return np.asarray(rows, dtype=np.float32)


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> tuple[torch.nn.Module, object, object]:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
    return model.eval(), preprocess, tokenizer


def directly(reference: tuple[object, ...], files: list[bytes]) -> NDArray[np.float32]:
    model, preprocess, _ = (part for part in reference)
    images = [Image.open(BytesIO(file)).convert("RGB") for file in files]
    with torch.no_grad():
        stacked = torch.stack([preprocess(image) for image in images])  # type: ignore[operator]
        raw = model.encode_image(stacked)  # type: ignore[attr-defined]
    unit: NDArray[np.float32] = torch.nn.functional.normalize(raw, dim=-1).numpy()
    return unit


async def test_image_vectors_equal_open_clip_called_directly(
    vendor: Vendor, reference: tuple[object, ...]
) -> None:
    files = [picture(seed, form=form) for seed, form in enumerate(["PNG", "JPEG", "WEBP", "BMP"])]
    answer = vectors(await vendor.embed([{"image": data_uri(file)} for file in files]))
    np.testing.assert_allclose(answer, directly(reference, files), rtol=0, atol=1e-5)


async def test_text_vectors_equal_open_clip_called_directly(
    vendor: Vendor, reference: tuple[object, ...]
) -> None:
    texts = ["a photo of a dog", "ein Foto", "🐶" * 40, "x"]
    model, _, tokenizer = (part for part in reference)
    with torch.no_grad():
        raw = model.encode_text(tokenizer(texts))  # type: ignore[attr-defined, operator]
    expected = torch.nn.functional.normalize(raw, dim=-1).numpy()
    answer = vectors(await vendor.embed(texts, truncate=True))
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


async def test_vectors_have_unit_length(vendor: Vendor) -> None:
    answer = vectors(await vendor.embed(["a", {"image": b64(picture())}]))
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1, atol=1e-6)


async def test_a_vector_does_not_depend_on_its_batch_mates(vendor: Vendor) -> None:
    files = [picture(seed) for seed in range(9)]
    together = vectors(await vendor.embed([{"image": b64(file)} for file in files]))
    alone = [vectors(await vendor.embed([{"image": b64(file)}]))[0] for file in files]
    np.testing.assert_allclose(together, np.stack(alone), rtol=0, atol=1e-5)


async def test_float_and_base64_encode_exactly_the_same_numbers(vendor: Vendor) -> None:
    floats = vectors(await vendor.embed(["a", "b"]))
    packed = vectors(await vendor.embed(["a", "b"], encoding_format="base64"))
    np.testing.assert_array_equal(floats, packed)


async def test_mixed_input_comes_back_in_its_order(vendor: Vendor) -> None:
    response = await vendor.embed(
        ["one", {"image": b64(picture(1))}, {"text": "two"}, {"image": data_uri(picture(2))}]
    )
    singly = [
        vectors(await vendor.embed("one"))[0],
        vectors(await vendor.embed([{"image": b64(picture(1))}]))[0],
        vectors(await vendor.embed(["two"]))[0],
        vectors(await vendor.embed([{"image": b64(picture(2))}]))[0],
    ]
    np.testing.assert_allclose(vectors(response), np.stack(singly), rtol=0, atol=1e-5)
    assert [item["index"] for item in response.json()["data"]] == [0, 1, 2, 3]


async def test_usage_counts_images_texts_tokens_units_and_cost(vendor: Vendor) -> None:
    given = ["a dog", {"image": b64(picture())}, "🐶" * 40]
    response = await vendor.embed(given, truncate=True)
    usage = response.json()["usage"]
    # start + "a" + "dog" + end, and a text cut at the context length of 16
    assert usage == {
        "prompt_tokens": 4 + 16,
        "total_tokens": 4 + 16,
        "images": 1,
        "texts": 2,
        "billed_units": 3,
        "cost_micro_usd": 300,
        "price_version": "2026-11",
    }


async def test_the_receipt_is_the_ledger_entry_itself(vendor: Vendor) -> None:
    receipt = (await vendor.embed(["a", "b"], idempotency_key="k1")).json()["receipt"]
    lines = [json.loads(line) for line in (await vendor.http.get("/v1/ledger")).iter_lines()]
    assert [line["kind"] for line in lines] == ["grant", "charge"]
    assert receipt == lines[1]
    assert (receipt["seq"], receipt["units"], receipt["balance_units"]) == (2, 2, 98)
    assert receipt["prev_hash"] == lines[0]["hash"]
    assert receipt["idempotency_key"] == "k1"
    assert vendor.audit.faults == ()


async def test_multipart_files_embed_like_base64(vendor: Vendor) -> None:
    files = [picture(1), picture(2)]
    response = await vendor.http.post(
        "/v1/embeddings",
        data={"model": vendor.model, "encoding_format": "base64", "text": ["a", "b"]},
        files=[("image", (f"{i}.png", file, "image/png")) for i, file in enumerate(files)],
    )
    expected = await vendor.embed([{"image": b64(file)} for file in files] + ["a", "b"])
    np.testing.assert_allclose(vectors(response), vectors(expected), rtol=0, atol=1e-5)
    assert response.json()["usage"]["images"] == 2
    assert isinstance(response.json()["data"][0]["embedding"], str)


async def test_modality_image_makes_plain_strings_images(vendor: Vendor) -> None:
    response = await vendor.embed([b64(picture(1))], modality="image")
    expected = await vendor.embed([{"image": b64(picture(1))}])
    np.testing.assert_allclose(vectors(response), vectors(expected), rtol=0, atol=1e-5)


async def test_the_models_own_dimension_and_a_user_are_accepted(vendor: Vendor) -> None:
    response = await vendor.embed("a", dimensions=32, user="somebody")
    assert vectors(response).shape == (1, 32)


async def test_every_answer_carries_a_request_id(vendor: Vendor) -> None:
    good, bad = await vendor.embed("a"), await vendor.embed("")
    assert good.json()["receipt"]["request_id"] == good.headers["X-Request-Id"]
    assert bad.json()["request_id"] == bad.headers["X-Request-Id"]
    assert good.headers["X-Request-Id"] != bad.headers["X-Request-Id"]
