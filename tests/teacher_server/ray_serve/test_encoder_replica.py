"""A replica of the model embeds for many replicas of the API, which prepare its input."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.vendor_in_process import HashEncoder, picture
from teacher_server.errors import EncoderFailed
from teacher_server.inference.encoder import OpenClipEncoder
from teacher_server.inference.model_info import Preparation
from teacher_server.ray_serve.encoder_replica import EncoderReplica
from teacher_server.server.load_model import LoadedEncoder
from teacher_server.settings import VendorSettings

IMAGE = Image.open(BytesIO(picture(1, size=(72, 48)))).convert("RGB")
TEXT = "a photo of a DOG, chasing its own tail; supercalifragilistic"


@pytest.fixture
def replica(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EncoderReplica]:
    monkeypatch.setenv("TEACHER_MODEL", str(checkpoint))
    monkeypatch.setenv("TEACHER_THREADS", "1")
    made = EncoderReplica()
    yield made
    made._batcher.stop()


def sent(preparation: Preparation) -> Preparation:
    """As it arrives in another process."""
    received: Preparation = pickle.loads(pickle.dumps(preparation))
    return received


async def test_what_another_process_prepares_is_embedded_as_if_it_were_prepared_here(
    replica: EncoderReplica, encoder: OpenClipEncoder
) -> None:
    preparation = sent(await replica.preparation())
    assert preparation.info == encoder.info
    image, text = preparation.prepare_image(IMAGE), preparation.prepare_text(TEXT)
    own_image, own_text = encoder.prepare_image(IMAGE), encoder.prepare_text(TEXT)
    assert np.array_equal(image.array, own_image.array)
    assert np.array_equal(text.array, own_text.array)
    assert (text.num_tokens, text.cut_tokens) == (own_text.num_tokens, own_text.cut_tokens)
    found = await replica.encode([image, text])
    expected = np.stack([*encoder.encode([own_image]), *encoder.encode([own_text])])
    assert np.abs(np.stack(found) - expected).max() <= 1e-5


class OtherModel(HashEncoder):
    """An encoder that can be held up, and that another process may prepare for."""

    @property
    def preparation(self) -> Preparation:
        return self


class HashReplica(EncoderReplica):
    """The same replica with that model."""

    def __init__(self) -> None:
        self.encoder = OtherModel()
        super().__init__()

    def load(self, settings: VendorSettings) -> LoadedEncoder:
        return self.encoder


@pytest.fixture
def hashed() -> Iterator[HashReplica]:
    made = HashReplica()
    yield made
    made.encoder.may_encode.set()
    made._batcher.stop()


async def test_the_items_of_many_requests_form_one_batch(hashed: HashReplica) -> None:
    encoder = hashed.encoder
    encoder.may_encode.clear()
    requests = [
        asyncio.create_task(hashed.encode([encoder.prepare_text(text)])) for text in "abcdef"
    ]
    await asyncio.sleep(0.01)
    encoder.may_encode.set()
    found = await asyncio.gather(*requests)
    assert sum(encoder.batches) == 6
    assert len(encoder.batches) <= 2  # the first may have begun with one item
    for text, (vector,) in zip("abcdef", found, strict=True):
        assert np.array_equal(vector, encoder.encode([encoder.prepare_text(text)])[0])


async def test_an_item_that_fails_leaves_the_requests_beside_it_alone(hashed: HashReplica) -> None:
    encoder = hashed.encoder
    encoder.may_encode.clear()
    texts = ("a", encoder.failing_text, "b")
    requests = [asyncio.create_task(hashed.encode([encoder.prepare_text(t)])) for t in texts]
    await asyncio.sleep(0.01)
    encoder.may_encode.set()
    found = await asyncio.gather(*requests, return_exceptions=True)
    assert [isinstance(one, EncoderFailed) for one in found] == [False, True, False]


async def test_a_model_that_is_stuck_is_reported_so_that_it_is_replaced(
    hashed: HashReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hashed.check_health()
    monkeypatch.setattr("teacher_server.ray_serve.encoder_replica.STUCK_SECONDS", -1.0)
    with pytest.raises(EncoderFailed, match="no sign of life"):
        await hashed.check_health()
