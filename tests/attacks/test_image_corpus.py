"""Each hostile or unusual image is embedded correctly or refused free of charge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.fuzz.image_corpus import GROUPS, reference, send, vendor_of_images
from benchmarks.fuzz.image_files import noise, saved
from benchmarks.support.vendor_in_process import HashEncoder, Vendor, data_uri
from teacher_server.inference.decode_image import configure_pillow_warnings

# The number of images in each group, as the documentation states it.
INPUTS = {
    "animated": 4,
    "base64": 24,
    "bombs": 10,
    "bytes": 17,
    "damaged": 300,
    "foreign": 22,
    "modes": 12,
    "names": 25,
    "orientations": 26,
    "parts": 14,
    "polyglots": 28,
    "profiles": 7,
    "sizes": 17,
    "truncated": 80,
}


@pytest.fixture
async def vendor(tmp_path: Path, hashing: HashEncoder) -> AsyncIterator[Vendor]:
    # As in production, where warnings of decoders are not errors.
    configure_pillow_warnings()
    async with vendor_of_images(tmp_path, hashing) as running:
        yield running


@pytest.mark.parametrize("group", GROUPS)
async def test_each_image_is_embedded_or_refused_as_expected(vendor: Vendor, group: str) -> None:
    outcomes = [await send(vendor, sample) for sample in GROUPS[group]()]
    unexpected = [
        (outcome.sample.name, outcome.status, outcome.code, outcome.charged)
        for outcome in outcomes
        if not outcome.is_right
    ]
    assert unexpected == []
    assert len(outcomes) == INPUTS[group]
    assert vendor.account.spent_units == sum(outcome.status == 200 for outcome in outcomes)
    assert vendor.audit.faults == ()
    assert (await vendor.http.get("/readyz")).status_code == 200


async def test_the_embedding_is_that_of_the_decoded_pixels(vendor: Vendor) -> None:
    wrong, known = [], 0
    for sample in (sample for generate in GROUPS.values() for sample in generate()):
        if sample.looks is None:
            continue
        known += 1
        outcome = await send(vendor, sample)
        if outcome.vector != await reference(vendor, sample.looks):
            wrong.append(sample.name)
    assert wrong == []
    assert known > 50


async def test_a_request_with_a_refused_image_is_free_of_charge(
    vendor: Vendor, hashing: HashEncoder
) -> None:
    before = len(hashing.batches)
    fine = {"image": data_uri(saved(noise()))}
    for sample in (sample for sample in GROUPS["base64"]() if sample.code is not None):
        response = await vendor.embed([fine, {"image": sample.content}, fine])
        assert response.json()["index"] == 1, sample.name
    assert vendor.account.spent_units == 0
    # Only the readiness probe ran batches, of one image or one text.
    assert set(hashing.batches[before:]) <= {1}
