"""An image that arrives as a string is embedded as an image or refused, and never as a text."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.vendor_in_process import (
    HashEncoder,
    Vendor,
    b64,
    data_uri,
    picture,
    vendor_at,
)
from teacher_server.inference.image_strings import image_in_text, is_data_uri, names_an_image

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM", "TGA")
BARE = {form: b64(picture(form=form)) for form in FORMATS}
URI = data_uri(picture())


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


async def test_a_data_uri_is_its_image_in_every_accepted_form(vendor: Vendor) -> None:
    expected = (await vendor.embed([{"image": b64(picture())}])).json()
    bare = b64(picture())
    forms: list[tuple[object, dict[str, Any]]] = [
        (URI, {}),
        ([URI], {}),
        ([URI], {"modality": None}),
        ([URI], {"modality": "image"}),
        ([bare], {"modality": "image"}),
        (["DATA:IMAGE/PNG;BASE64," + bare], {}),
        ([f"data:image/png;name=a.png;base64,{bare}"], {}),
        ([f"  {URI}\n"], {}),
        (["\r\n".join(textwrap.wrap(URI, 76))], {}),
        ([{"image": "\n".join(textwrap.wrap(bare, 76)) + "\n"}], {}),
        ([{"type": "image", "image": URI}], {}),
        ([{"type": "image_url", "image_url": {"url": URI}}], {}),
        ([{"type": "image_url", "image_url": {"url": URI, "detail": "low"}}], {}),
        ([{"type": "input_image", "image_url": URI, "detail": "auto"}], {}),
    ]
    for given, fields in forms:
        answer = await vendor.embed(given, **fields)
        assert answer.status_code == 200, (given, answer.text)
        assert answer.json()["data"] == expected["data"]
        usage = answer.json()["usage"]
        assert (usage["images"], usage["texts"], usage["prompt_tokens"]) == (1, 0, 0)
    assert vendor.account.spent_units == 1 + len(forms)


async def test_three_pictures_as_plain_strings_get_three_vectors(vendor: Vendor) -> None:
    answer = (await vendor.embed([data_uri(picture(seed)) for seed in range(3)])).json()
    assert len({str(row["embedding"]) for row in answer["data"]}) == 3
    assert answer["usage"]["images"] == 3


REFUSED: dict[str, tuple[object, dict[str, Any]]] = {
    **{f"base64 of {form}": ([bare], {}) for form, bare in BARE.items()},
    "base64 as the only input": (BARE["PNG"], {}),
    "base64 in a text part": ([{"text": BARE["PNG"]}], {}),
    "base64 with modality text": ([BARE["PNG"]], {"modality": "text"}),
    "wrapped base64": (["\n".join(textwrap.wrap(BARE["JPEG"], 76))], {}),
    "URL-safe base64": ([BARE["WEBP"].replace("+", "-").replace("/", "_")], {}),
    "the first characters of base64": ([BARE["PNG"][:11]], {}),
    "base64 without its padding": ([BARE["GIF"].rstrip("=")], {}),
    "what is left of a data-URI": (["base64," + BARE["PNG"]], {}),
    "a data-URI in a text part": ([{"type": "text", "text": URI}], {}),
    "a data-URI with modality text": ([URI], {"modality": "text"}),
    "a data-URI in an HTML element": ([f'<img src="{URI}">'], {}),
    "a data-URI of a text": (["data:text/plain;base64,YQ=="], {}),
    "a data-URI of a sound": (["data:audio/wav;base64,UklGRg=="], {}),
    "a data-URI without a type": ([f"data:;base64,{BARE['PNG']}"], {}),
    "a data-URI in percent encoding": (["data:image/svg+xml,%3Csvg/%3E"], {}),
    "a data-URI in the URL-safe alphabet": (["data:image/png;base64,-_-_"], {}),
    "an address": (["https://example.org/cat.png"], {}),
    "an address with modality image": (["HTTPS://example.org/1"], {"modality": "image"}),
    "an address in a part": ([{"type": "image_url", "image_url": {"url": "http://a.b/c"}}], {}),
    "a file name": (["pictures/cat.JPG"], {}),
    "a file name with modality image": (["cat.png"], {"modality": "image"}),
    "a sound": (["a"], {"modality": "audio"}),
    "a modality in capitals": ([URI], {"modality": "IMAGE"}),
}


async def test_what_only_looks_like_an_image_is_refused_free_of_charge(vendor: Vendor) -> None:
    for name, (given, fields) in REFUSED.items():
        answer = await vendor.embed(given, **fields)
        problem: dict[str, Any] = answer.json()
        assert answer.status_code in (400, 422), name
        assert problem["charged_units"] == 0
        if "modality" not in problem["error"]["param"]:
            assert problem["index"] == 0, name
        if name.startswith(("base64", "an address", "a file name in", "wrapped")):
            assert "data:image/" in problem["detail"] or "base64" in problem["detail"], name
    assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)


async def test_a_form_refuses_base64_of_an_image_as_a_text(vendor: Vendor) -> None:
    for text in (URI, BARE["PNG"]):
        answer = await vendor.http.post(
            "/v1/embeddings", files=[("model", (None, "hash")), ("text", (None, text))]
        )
        assert (answer.status_code, answer.json()["index"]) == (400, 0)
    assert vendor.account.spent_units == 0


async def test_an_explicit_text_may_be_an_address_or_a_file_name(vendor: Vendor) -> None:
    words = ["https://example.org/cat.png", "cat.png"]
    parts = await vendor.embed([{"text": word} for word in words])
    plain = await vendor.embed(words, modality="text")
    assert parts.json()["data"] == plain.json()["data"]
    assert plain.json()["usage"]["texts"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "a photo of a dog",
        "data: the new oil",
        "data:, or so",
        "Data:science/fun, in one sentence",
        "BMW i3",
        "P6 racing",
        "RIFF",
        "/9 lives",
        "GIF of a cat on https://example.org/cat.gif",
        "the file cat.png",
        "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3,
        "aaaa" * 100,
        "0123456789abcdef" * 8,
    ],
)
def test_an_ordinary_text_is_no_image(text: str) -> None:
    assert (image_in_text(text), names_an_image(text)) == ("", "")
    assert not is_data_uri(text) or text.startswith("Data:science")
