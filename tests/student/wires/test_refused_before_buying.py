"""What can be refused is refused before a query is sent, and in a dry run."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from student.data.folder.image_file import read_image_file
from student.embeddings.keys import original_key
from student.errors import BadInput
from student.options import PurchaseOptions
from student.options.section import build
from student.purchase.embedding_requests import EmbeddingRequest, whole_image_request
from student.wires.open import open_vendor
from tests.support.foreign_shapes import VERTEX_URL, VOYAGE
from tests.support.wire_setup import WireSetup

UNFIT = {
    "native with a task": ({"task": "retrieval"}, "--task has no meaning over the wire native"),
    "native with prices": ({"price_image": 1}, "--price-image has no meaning"),
    "no model": ({"wire": "openai"}, "--teacher NAME"),
    "voyage with a shape": (
        {"wire": "voyage", "teacher": "m", "input_shape": "objects"},
        "--input-shape has no meaning over the wire voyage",
    ),
    "an unknown input type": (
        {"wire": "voyage", "teacher": "m", "input_type": "image"},
        "this wire takes query, document",
    ),
    "cohere v3 with dimensions": (
        {"wire": "cohere", "teacher": "embed-english-v3.0", "dimensions": 256},
        "has one size",
    ),
    "vertex without a location": ({"wire": "vertex", "teacher": "m"}, "locations/REGION"),
    "vertex of another size": (
        {"wire": "vertex", "teacher": "m", "vendor": VERTEX_URL, "dimensions": 200},
        "128, 256, 512, 1408",
    ),
    "a password in the address": (
        {"wire": "openai", "teacher": "m", "vendor": "http://a:b@c"},
        "without a name or password",
    ),
}


@pytest.mark.parametrize(("values", "said"), UNFIT.values(), ids=UNFIT)
async def test_options_that_do_not_fit_the_wire_are_refused(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        async with open_vendor(build(PurchaseOptions, values), SecretStr("key")):
            pass


async def test_an_address_where_no_server_answers_is_not_ready() -> None:
    values = {"wire": "openai", "teacher": "m", "vendor": "http://127.0.0.1:9"}
    async with open_vendor(build(PurchaseOptions, values), SecretStr("key")) as vendor:
        assert not await vendor.ready()


def request_for(setup: WireSetup, path: Path) -> EmbeddingRequest:
    item = read_image_file(path)
    model = setup.model
    return whole_image_request(original_key(model.fingerprint, item), item, model.limits, str(path))


async def test_a_file_in_a_format_that_the_vendor_does_not_take_is_sent_as_png_pixel_for_pixel(
    setup: WireSetup, tmp_path: Path
) -> None:
    setup.vendor.shape = VOYAGE
    setup.options |= {"wire": "voyage"}
    path = tmp_path / "picture.bmp"
    pixels = Image.effect_noise((20, 12), 80).convert("RGB")
    pixels.save(path)
    wanted = [request_for(setup, path)]
    plan = await setup.plan(wanted)
    assert dict(plan.describe())["of these sent as PNG"] == "1, pixel for pixel"
    assert wanted[0].pixels == 240
    await setup.buy(wanted)
    sent = setup.vendor.bodies[-1]["inputs"][0]["content"][0]["image_base64"]
    assert sent.startswith("data:image/png;base64,")
    item = wanted[0].item()
    assert Image.open(BytesIO(item.payload)).tobytes() == pixels.tobytes()


async def test_an_image_beyond_the_vendors_limits_is_left_out_of_the_plan(
    setup: WireSetup, tmp_path: Path
) -> None:
    setup.options |= {"wire": "cohere", "teacher": "embed-v4.0"}
    path = tmp_path / "large.png"
    Image.effect_noise((3200, 2400), 90).save(path)
    assert path.stat().st_size > 5_000_000
    plan = await setup.plan([request_for(setup, path)])
    assert (len(plan.unfit), plan.units, plan.canary_units) == (1, 0, 0)
    assert plan.unfit[0].unfit == "larger than 5,000,000 bytes"


async def test_a_file_that_has_changed_is_not_sent(setup: WireSetup, tmp_path: Path) -> None:
    setup.options |= {"wire": "voyage"}
    path = tmp_path / "picture.bmp"
    Image.new("RGB", (4, 4), "red").save(path)
    wanted = request_for(setup, path)
    Image.new("RGB", (4, 4), "blue").save(path)
    with pytest.raises(BadInput, match="changed since"):
        wanted.item()
