"""Forms are decoded as UTF-8 only, whatever charset the client names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at

FORM = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


@pytest.mark.parametrize(
    "parameter",
    [
        "charset=punycode",
        'charset="punycode"',
        "CHARSET = Punycode",
        "charset=utf-8; charset=punycode",
        'charset="utf-8\\"; charset=punycode; a="',
        "charset=undefined",
        "charset=idna",
        "charset=unicode_escape",
        "charset=utf-16",
        "charset=latin-1",
        "charset=zlib_codec",
        "charset=no-such",
        "charset=",
        "charset=\xff",
    ],
)
async def test_a_form_in_another_charset_is_refused_before_its_body_is_read(
    vendor: Vendor, parameter: str
) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield FORM % (b"model", b"hash") + FORM % (b"text", b"a") + b"--x--\r\n"

    kind = f"multipart/form-data; {parameter}; boundary=x".encode("latin-1")
    response = await vendor.http.post(
        "/v1/embeddings", content=body(), headers=[(b"Content-Type", kind)]
    )
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert response.json()["error"]["param"] == "Content-Type"
    assert vendor.account.spent_units == 0
    assert read == 0


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii"])
async def test_a_form_declared_as_utf_8_is_read(vendor: Vendor, charset: str) -> None:
    response = await vendor.http.post(
        "/v1/embeddings",
        content=FORM % (b"model", b"hash") + FORM % (b"text", b"a") + b"--x--\r\n",
        headers={"Content-Type": f"multipart/form-data; charset={charset}; boundary=x"},
    )
    assert response.status_code == 200


async def test_a_charset_of_a_part_or_in_a_field_changes_nothing(vendor: Vendor) -> None:
    """RFC 7578 allows both; a codec that the client chooses is just as expensive there."""
    part = b"Content-Type: text/plain; charset=punycode\r\n"
    field = FORM % (b"text", b"a-b")
    content = FORM % (b"model", b"hash") + field.replace(b"\r\n", b"\r\n" + part, 1)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answers = [
        await vendor.http.post("/v1/embeddings", content=sent + b"--x--\r\n", headers=headers)
        for sent in (content, FORM % (b"_charset_", b"punycode") + content)
    ]
    plain = await vendor.embed("a-b")
    assert answers[0].json()["data"] == plain.json()["data"]
    assert answers[1].json()["error"]["param"] == "_charset_"
