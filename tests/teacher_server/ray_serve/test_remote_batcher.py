"""Items are sent to encoders in other processes; here the far end is a function."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.support.vendor_in_process import HashEncoder
from teacher_server.errors import EncoderFailed, EncoderLost
from teacher_server.inference.batcher import QueueFull, Vector
from teacher_server.inference.model_info import Prepared
from teacher_server.ray_serve.remote_batcher import ATTEMPTS, RemoteBatcher

ENCODER = HashEncoder()
ITEMS = [ENCODER.prepare_text(text) for text in ("a", "b", "c")]


class ProcessDied(Exception):
    """As Ray's errors: of no class that the vendor knows."""


class Quoted(QueueFull):
    """As Ray passes on an exception: the message has a traceback, `cause` is the original."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"Traceback of a process on another machine: {cause}")
        self.cause = cause


class QuotedFailure(EncoderFailed):
    def __init__(self, cause: Exception) -> None:
        super().__init__(f"Traceback of a process on another machine: {cause}")
        self.cause = cause


class FarEnd:
    """Raises the errors in their order, then embeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def encode(self, items: list[Prepared]) -> list[Vector]:
        self.asked += 1
        await self.may_answer.wait()
        if self._errors:
            raise self._errors.pop(0)
        return list(ENCODER.encode(items))


def remote(far_end: FarEnd) -> RemoteBatcher:
    return RemoteBatcher(far_end.encode, pause=0)


def same(found: Sequence[Vector]) -> bool:
    return bool(np.array_equal(np.stack(found), ENCODER.encode(ITEMS)))


async def test_embeddings_come_back_in_the_order_of_the_items() -> None:
    assert same(await remote(FarEnd()).encode(ITEMS))


async def test_another_encoder_is_asked_when_one_ends() -> None:
    far_end = FarEnd(ProcessDied(), ProcessDied())
    assert same(await remote(far_end).encode(ITEMS))
    assert far_end.asked == 3


async def test_encoders_that_all_end_are_an_error_of_their_own() -> None:
    far_end = FarEnd(*(ProcessDied("10.0.0.7") for _ in range(9)))
    with pytest.raises(EncoderLost, match="ended before they answered") as raised:
        await remote(far_end).encode(ITEMS)
    assert far_end.asked == ATTEMPTS
    assert "10.0.0.7" not in str(raised.value)


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (Quoted(QueueFull("7 items are already waiting")), QueueFull),
        (QuotedFailure(EncoderFailed("7 items are already waiting")), EncoderFailed),
    ],
)
async def test_what_an_encoder_refuses_is_not_asked_of_another_and_keeps_its_words(
    sent: Exception, kind: type[Exception]
) -> None:
    far_end = FarEnd(sent)
    with pytest.raises(kind) as raised:
        await remote(far_end).encode(ITEMS)
    assert str(raised.value) == "7 items are already waiting"
    assert far_end.asked == 1


async def test_the_depth_counts_the_items_that_wait() -> None:
    far_end = FarEnd()
    far_end.may_answer.clear()
    batcher = remote(far_end)
    waiting = [asyncio.create_task(batcher.encode(ITEMS)) for _ in range(2)]
    await asyncio.sleep(0)
    assert batcher.depth == 6
    far_end.may_answer.set()
    await asyncio.gather(*waiting)
    assert batcher.depth == 0


async def test_silence_counts_only_while_items_wait() -> None:
    far_end = FarEnd()
    batcher = remote(far_end)
    assert batcher.seconds_since_heartbeat == 0
    far_end.may_answer.clear()
    waiting = asyncio.create_task(batcher.encode(ITEMS))
    await asyncio.sleep(0.01)
    assert batcher.seconds_since_heartbeat > 0
    far_end.may_answer.set()
    await waiting
    assert batcher.seconds_since_heartbeat == 0


async def test_an_answer_to_one_request_is_a_sign_of_life_for_another() -> None:
    held, free = FarEnd(), FarEnd()
    held.may_answer.clear()
    ends = iter((held, free))
    batcher = RemoteBatcher(lambda items: next(ends).encode(items), pause=0)
    waiting = asyncio.create_task(batcher.encode(ITEMS))
    await asyncio.sleep(0.05)
    before = batcher.seconds_since_heartbeat
    await batcher.encode(ITEMS)
    assert batcher.seconds_since_heartbeat < before
    held.may_answer.set()
    await waiting


async def test_a_request_that_is_cancelled_waits_no_longer() -> None:
    far_end = FarEnd()
    far_end.may_answer.clear()
    batcher = remote(far_end)
    waiting = asyncio.create_task(batcher.encode(ITEMS))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert batcher.depth == 0
