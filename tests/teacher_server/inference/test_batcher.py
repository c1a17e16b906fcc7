"""The queue in front of the model: batches, fairness, bounds, and isolated failures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from benchmarks.support.vendor_in_process import HashEncoder
from teacher_server.errors import EncoderFailed
from teacher_server.inference.batcher import Batcher, QueueFull
from teacher_server.inference.model_info import ModelInfo, Prepared, Vectors


def batcher(encoder: HashEncoder, **options: float) -> Batcher:
    chosen = {"max_batch": 8, "max_delay": 0.0, "max_queue": 100} | options
    return Batcher(
        encoder,
        max_batch=int(chosen["max_batch"]),
        max_delay=chosen["max_delay"],
        max_queue=int(chosen["max_queue"]),
    )


@pytest.fixture
def running(hashing: HashEncoder) -> Iterator[Batcher]:
    made = batcher(hashing)
    made.start()
    yield made
    hashing.may_encode.set()
    made.stop()


def texts(encoder: HashEncoder, *words: str) -> list[Prepared]:
    return [encoder.prepare_text(word) for word in words]


async def test_vectors_come_back_in_order(running: Batcher, hashing: HashEncoder) -> None:
    items = texts(hashing, *"abcdefghijklmnopqrstuvwxyz")
    answer = await running.encode(items)
    np.testing.assert_array_equal(np.stack(answer), hashing.encode(items))


async def test_waiting_items_share_batches_up_to_the_limit(hashing: HashEncoder) -> None:
    made = batcher(hashing)
    futures = made.submit(texts(hashing, *(f"t{i}" for i in range(20))))
    made.start()
    for future in futures:
        await asyncio.wrap_future(future)
    made.stop()
    assert hashing.batches == [8, 8, 4]


async def test_images_and_texts_never_share_a_batch(hashing: HashEncoder) -> None:
    from PIL import Image

    seen: list[set[str]] = []

    class Watching(HashEncoder):
        def encode(self, items: Sequence[Prepared]) -> Vectors:
            seen.append({item.modality for item in items})
            return super().encode(items)

    encoder = Watching()
    made = batcher(encoder)
    image = encoder.prepare_image(Image.new("RGB", (4, 4)))
    text = encoder.prepare_text("a")
    futures = made.submit([image, text, image, text])
    made.start()
    for future in futures:
        await asyncio.wrap_future(future)
    made.stop()
    assert seen == [{"image"}, {"text"}]


async def test_only_the_item_at_fault_fails_in_a_batch(hashing: HashEncoder) -> None:
    made = batcher(hashing)
    words = ["a", "b", "c", hashing.failing_text, "d", "e", "f"]
    futures = made.submit(texts(hashing, *words))
    made.start()
    results = await asyncio.gather(
        *(asyncio.wrap_future(future) for future in futures), return_exceptions=True
    )
    made.stop()
    failed = [word for word, r in zip(words, results, strict=True) if isinstance(r, Exception)]
    assert failed == [hashing.failing_text]
    assert isinstance(results[3], EncoderFailed)
    assert results[3].__cause__ is hashing.failure


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(), MemoryError()])
async def test_no_failure_ends_the_worker(
    running: Batcher, hashing: HashEncoder, failure: BaseException
) -> None:
    hashing.failure = failure
    with pytest.raises(EncoderFailed):
        await running.encode(texts(hashing, hashing.failing_text))
    assert len(await running.encode(texts(hashing, "a"))) == 1
    assert running.seconds_since_heartbeat < 60


class Faulty(HashEncoder):
    """Returns vectors of a wrong shape or with wrong values."""

    answer: Vectors = np.zeros((0, 0), np.float32)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        return self.answer


@pytest.mark.parametrize(
    "answer", [np.zeros((2, 8)), np.zeros((1, 7)), np.full((1, 8), np.nan), np.full((1, 8), np.inf)]
)
async def test_an_answer_of_the_wrong_shape_or_not_finite_is_a_failure(answer: Vectors) -> None:
    encoder = Faulty()
    encoder.answer = answer
    made = batcher(encoder)
    made.start()
    with pytest.raises(EncoderFailed):
        await made.encode(texts(encoder, "a"))
    made.stop()


def test_the_queue_is_bounded_in_items_and_takes_all_or_none(hashing: HashEncoder) -> None:
    made = batcher(hashing, max_queue=5)
    made.submit(texts(hashing, "a", "b", "c"))
    with pytest.raises(QueueFull):
        made.submit(texts(hashing, "d", "e", "f"))
    assert made.depth == 3
    made.submit(texts(hashing, "d", "e"))
    assert made.depth == 5


def test_an_empty_queue_takes_a_request_larger_than_its_bound(hashing: HashEncoder) -> None:
    made = batcher(hashing, max_queue=2)
    assert len(made.submit(texts(hashing, "a", "b", "c"))) == 3


async def test_cancelled_items_are_not_computed(hashing: HashEncoder) -> None:
    made = batcher(hashing)
    task = asyncio.create_task(made.encode(texts(hashing, "a", "b")))
    while made.depth == 0:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    made.start()
    await made.encode(texts(hashing, "c"))
    made.stop()
    assert sum(hashing.batches) == 1


def test_stopping_cancels_what_waits_and_refuses_more(hashing: HashEncoder) -> None:
    made = batcher(hashing, max_delay=100.0)
    made.start()
    (future,) = made.submit(texts(hashing, "a"))
    made.stop()
    with pytest.raises(CancelledError):
        future.result(timeout=5)
    with pytest.raises(QueueFull):
        made.submit(texts(hashing, "b"))
    assert made.seconds_since_heartbeat == float("inf")


def test_a_worker_that_was_never_started_has_no_heartbeat(hashing: HashEncoder) -> None:
    assert batcher(hashing).seconds_since_heartbeat == float("inf")


def test_a_fingerprint_changes_with_whatever_decides_a_vector(hashing: HashEncoder) -> None:
    base = {
        "id": "m",
        "weights_sha256": "0" * 64,
        "dim": 8,
        "image_size": 4,
        "context_length": 8,
        "open_clip_version": "3.3.0",
        "is_embedded": False,
        "created": 0,
    }
    variants = [
        ModelInfo(**(base | {"preprocess": {"size": 4}} | change))  # type: ignore[arg-type]
        for change in (
            {},
            {"id": "n"},
            {"weights_sha256": "1" * 64},
            {"dim": 9},
            {"preprocess": {"size": 5}},
        )
    ]
    assert len({info.fingerprint for info in variants}) == len(variants)
    moved = ModelInfo(**(base | {"preprocess": {"size": 4}, "created": 9}))  # type: ignore[arg-type]
    assert moved.fingerprint == variants[0].fingerprint
