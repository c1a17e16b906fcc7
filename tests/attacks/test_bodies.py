"""JSON that is small to send and large to read is refused before it is read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.api.parse_request import RequestParser
from teacher_server.inference.decode_image import ImageLimits
from teacher_server.settings import VendorSettings

SIZE = 2 * 2**20
START = b'{"model": "hash", "input": ['
SETTINGS = VendorSettings(max_items=8, max_text_chars=200)
PARSER = RequestParser(SETTINGS, ImageLimits(max_bytes=1000, max_pixels=1000), "hash", 8)


def many(part: bytes) -> bytes:
    return part * (SIZE // len(part))


# Each of these took minutes or gigabytes to parse and validate; the code is the answer now.
OVERSIZED = {
    "arrays": (START + many(b"[],") + b"[]]}", "batch_too_large"),
    "objects": (START + many(b"{},") + b"{}]}", "batch_too_large"),
    "numbers": (START + many(b"1,") + b"1]}", "batch_too_large"),
    "texts": (START + many(b'"a",') + b'"a"]}', "batch_too_large"),
    "fields": (b"{" + b",".join(b'"%x": 0' % n for n in range(SIZE // 10)) + b"}",
               "batch_too_large"),
    "depth": (START + many(b"["), "batch_too_large"),
    "depth of objects": (START + many(b'{"a":'), "batch_too_large"),
    "digits": (b'{"model": "hash", "input": "a", "dimensions": ' + many(b"9") + b"}",
               "invalid_request"),
    "quotes": (b'{"model": "' + many(b'\\"'), "invalid_request"),
    "backslashes": (b'{"model": "' + many(b"\\"), "invalid_request"),
    "marks in a text": (START + b'"' + many(b"[{,:") + b'"]}', "invalid_request"),
    "white space": (many(b" ") + START + b"1]}", "invalid_request"),
}  # fmt: skip


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    async with vendor_at(tmp_path, hashing) as running:
        yield running


@pytest.mark.parametrize("name", OVERSIZED)
async def test_an_oversized_json_structure_is_refused_free_of_charge(
    vendor: Vendor, name: str
) -> None:
    body, code = OVERSIZED[name]
    response = await vendor.http.post(
        "/v1/embeddings", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.json()["code"] == code
    assert len(response.content) < 2000
    assert vendor.account.spent_units == 0
    assert (await vendor.embed("a")).status_code == 200


texts = st.text(st.sampled_from('[]{},:"\\ aä\n'), min_size=1, max_size=60).map(lambda t: "x" + t)


@given(
    items=st.lists(texts | texts.map(lambda text: {"text": text}), min_size=1, max_size=8),
    fields=st.fixed_dictionaries({}, optional={"user": texts, "encoding_format": st.just("float")}),
    indent=st.sampled_from([None, 0, 2]),
)
@settings(max_examples=150, deadline=None)
def test_normal_bodies_are_accepted(
    items: list[Any], fields: dict[str, Any], indent: int | None
) -> None:
    body = json.dumps({"model": "hash", "input": items} | fields, indent=indent).encode()
    parsed = PARSER.from_json(body)
    assert parsed.items == tuple(i["text"] if isinstance(i, dict) else i for i in items)
