"""Each wire writes the request that its vendor documents, and reads the answer that it documents.

The vendors here check the documents of 2026-11-29 (see each wire's module) and refuse the rest.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from student.wires.open import wire_of
from tests.support.foreign_shapes import COHERE, VERTEX, VERTEX_URL, VOYAGE
from tests.support.foreign_vendor import KEY, OPENAI, Shape
from tests.support.wire_setup import CANARY, WireSetup, picture

WIRES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "openai, modality": (OPENAI, {"wire": "openai"}),
    "openai, objects": (OPENAI, {"wire": "openai", "input_shape": "objects", "task": "retrieval"}),
    "openai, strings": (OPENAI, {"wire": "openai", "input_shape": "strings"}),
    "openai, messages": (OPENAI, {"wire": "openai", "input_shape": "messages"}),
    "voyage": (VOYAGE, {"wire": "voyage", "teacher": "voyage-multimodal-3.5"}),
    "voyage, document": (VOYAGE, {"wire": "voyage", "input_type": "document", "truncate": True}),
    "cohere v3": (COHERE, {"wire": "cohere", "teacher": "embed-multilingual-v3.0"}),
    "cohere v4": (COHERE, {"wire": "cohere", "teacher": "embed-v4.0"}),
    "vertex": (
        VERTEX,
        {"wire": "vertex", "vendor": VERTEX_URL, "teacher": "multimodalembedding@001"},
    ),
}


def prepared(setup: WireSetup, name: str, **more: object) -> WireSetup:
    shape, options = WIRES[name]
    setup.vendor.shape = shape
    setup.options |= {**options, **more}
    return setup


@pytest.mark.parametrize("name", WIRES)
async def test_a_purchase_over_each_wire_gets_each_items_own_vector(
    setup: WireSetup, name: str
) -> None:
    prepared(setup, name)
    wanted = [setup.text("a bird"), setup.text("a heart"), *setup.images(5)]
    summary = await setup.buy(wanted, concurrency=1)
    assert (summary.stop_reason, summary.bought) == ("complete", 7)
    assert setup.vendor.spent == setup.committed() == 7 + CANARY
    assert set(setup.vendor.charged.values()) == {1}
    with PaidCache.open(setup.folder) as cache:
        rows = cache.fetch([one.key for one in wanted])
        assert verify(cache).problems == ()
    payloads = [b"a bird", b"a heart", *map(picture, range(5))]
    for request, payload in zip(wanted, payloads, strict=True):
        found = rows[request.key].vector.tolist()
        assert found == pytest.approx(setup.vendor.vector(payload), abs=1e-6)


@pytest.mark.parametrize("name", WIRES)
async def test_the_key_is_a_bearer_token(setup: WireSetup, name: str) -> None:
    prepared(setup, name)
    await setup.buy(setup.images(1))
    assert {headers["Authorization"] for headers in setup.vendor.headers} == {f"Bearer {KEY}"}


async def test_infinity_is_told_the_modality_of_data_uris_of_the_format_that_is_sent(
    setup: WireSetup,
) -> None:
    prepared(setup, "openai, modality")
    await setup.buy([setup.text("a bird"), setup.image(1)])
    assert {body["modality"] for body in setup.vendor.bodies} == {"text", "image"}
    (image,) = [b for b in setup.vendor.bodies if b["modality"] == "image"][-1]["input"]
    assert image == "data:image/png;base64," + base64.b64encode(picture(1)).decode()


async def test_jina_is_sent_objects_its_task_and_a_request_for_unit_length(
    setup: WireSetup,
) -> None:
    prepared(setup, "openai, objects", dimensions=8)
    await setup.buy([setup.text("a bird"), setup.image(1)])
    body = setup.vendor.bodies[-1]
    assert [list(item) for item in body["input"]] == [["text"], ["image"]]
    assert (body["normalized"], body["embedding_type"]) == (True, "float")
    assert (body["task"], body["dimensions"]) == ("retrieval", 8)


async def test_voyage_is_told_neither_a_type_nor_to_cut_unless_the_user_says_so(
    setup: WireSetup,
) -> None:
    prepared(setup, "voyage")
    await setup.buy(setup.images(2))
    body = setup.vendor.bodies[-1]
    assert (body["input_type"], body["truncation"]) == (None, False)
    assert "output_dimension" not in body
    prepared(setup, "voyage, document", dimensions=256)
    setup.vendor.dim = 256
    await setup.buy(setup.images(2))
    body = setup.vendor.bodies[-1]
    assert (body["input_type"], body["truncation"]) == ("document", True)
    assert body["output_dimension"] == 256


async def test_voyages_pixels_and_text_tokens_are_what_is_billed(setup: WireSetup) -> None:
    prepared(setup, "voyage", price_million_pixels=1_000_000, price_million_tokens=10_000_000)
    await setup.buy([setup.text("a bird"), *setup.images(2)])
    (receipt,) = [one for one in setup.receipts() if (one.images, one.texts) == (2, 1)]
    assert receipt.usage == {"text_tokens": 2, "image_pixels": 128, "total_tokens": 4}
    assert receipt.cost_micro_usd == 2 * 10 + 128


async def test_cohere_v3_sends_one_image_a_request_and_texts_together(setup: WireSetup) -> None:
    prepared(setup, "cohere v3")
    await setup.buy([setup.text("a bird"), setup.text("a heart"), *setup.images(3)])
    bodies = setup.vendor.bodies
    assert sorted(len(body["images"]) for body in bodies if "images" in body) == [1, 1, 1, 1]
    assert {body["input_type"] for body in bodies if "images" in body} == {"image"}
    assert {body["input_type"] for body in bodies if "texts" in body} == {"search_document"}
    assert max(len(body.get("texts", ())) for body in bodies) == 2
    assert {body["truncate"] for body in bodies} == {"NONE"}


async def test_vertex_is_sent_one_instance_and_the_dimension_that_is_asked_for(
    setup: WireSetup,
) -> None:
    prepared(setup, "vertex", dimensions=128)
    setup.vendor.dim = 128
    await setup.buy([setup.text("a bird"), *setup.images(2)])
    assert all(len(body["instances"]) == 1 for body in setup.vendor.bodies)
    assert all(body["parameters"] == {"dimension": 128} for body in setup.vendor.bodies)


@pytest.mark.parametrize("name", WIRES)
def test_every_answer_that_is_not_as_documented_is_refused_as_such(
    setup: WireSetup, name: str
) -> None:
    wire = wire_of(prepared(setup, name).purchase)
    broken: dict[str, Any]
    for broken in ({}, {"data": [{}]}, {"data": 7}, {"embeddings": []}, {"predictions": [{}]}):
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            wire.read(json.loads(json.dumps(broken)))


@pytest.mark.parametrize("name", ["openai, modality", "voyage"])
def test_indexes_that_skip_or_repeat_are_refused(setup: WireSetup, name: str) -> None:
    wire = wire_of(prepared(setup, name).purchase)
    for indexes in ([0, 0], [1, 2], [-1, 0]):
        rows = [{"index": index, "embedding": [1.0, 0.0]} for index in indexes]
        with pytest.raises(ValueError, match="indexes"):
            wire.read({"data": rows})
