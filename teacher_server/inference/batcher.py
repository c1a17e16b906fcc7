"""Batches the items of many requests for one model, which runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from teacher_server.errors import EncoderFailed, VendorError
from teacher_server.inference.model_info import Encoder, Modality, Prepared
from teacher_server.tracing import record

Vector = NDArray[np.float32]
_HEARTBEAT_SECONDS = 0.5


class EncoderQueue(Protocol):
    """Where items wait for an encoder: a Batcher in this process, or encoders in others."""

    def start(self) -> None:
        """Begin to embed."""
        ...

    def stop(self) -> None:
        """End it; items that wait are cancelled."""
        ...

    @property
    def depth(self) -> int:
        """Number of waiting items."""
        ...

    @property
    def seconds_since_heartbeat(self) -> float:
        """Seconds since the encoder's last sign of life."""
        ...

    async def encode(self, items: Sequence[Prepared]) -> list[Vector]:
        """The embeddings of all items, in their order. Raises QueueFull, EncoderFailed or
        EncoderLost."""
        ...


class QueueFull(VendorError):
    """The queue is too full for this many items."""


@dataclass(slots=True)
class _Waiting:
    item: Prepared
    arrived: float
    started: float = 0.0
    future: Future[Vector] = field(default_factory=Future)


class Batcher:
    """Runs an encoder in one thread, with separate queues for texts and images.

    A batch is run when it is full or its oldest item has waited for `max_delay` seconds. A batch
    that fails is halved repeatedly, until only the item that caused the failure fails.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_batch: int,
        max_delay: float,
        max_queue: int,
        observe: Callable[[Modality, int, float], None] = lambda modality, size, seconds: None,
    ) -> None:
        self._encoder = encoder
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._max_queue = max_queue
        self._observe = observe
        self._queues: dict[Modality, deque[_Waiting]] = {"image": deque(), "text": deque()}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._heartbeat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)

    def start(self) -> None:
        """Start the worker thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the current batch, cancel all waiting items, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        for queue in self._queues.values():
            while queue:
                queue.popleft().future.cancel()

    @property
    def depth(self) -> int:
        """Number of waiting items."""
        with self._changed:
            return sum(len(queue) for queue in self._queues.values())

    @property
    def seconds_since_heartbeat(self) -> float:
        """Seconds since the worker's last heartbeat; infinite if its thread has ended."""
        return time.monotonic() - self._heartbeat if self._thread.is_alive() else float("inf")

    def submit(self, items: Sequence[Prepared]) -> list[Future[Vector]]:
        """Queue all items, or none and raise QueueFull; the worker resolves one future for each."""
        return [entry.future for entry in self._queue(items)]

    def _queue(self, items: Sequence[Prepared]) -> list[_Waiting]:
        now = time.monotonic()
        waiting = [_Waiting(item, now) for item in items]
        with self._changed:
            queued = sum(len(queue) for queue in self._queues.values())
            if queued and queued + len(items) > self._max_queue:
                message = f"{queued} items are already waiting"
                raise QueueFull(message)
            if self._is_stopping:
                message = "the server is stopping"
                raise QueueFull(message)
            for entry in waiting:
                self._queues[entry.item.modality].append(entry)
            self._changed.notify()
        return waiting

    async def encode(self, items: Sequence[Prepared]) -> list[Vector]:
        """The embeddings of all items, in their order; raises the first failure.

        Cancelling removes the items that are still queued.
        """
        waiting = self._queue(items)
        futures = [asyncio.wrap_future(entry.future) for entry in waiting]
        try:
            vectors = list(await asyncio.gather(*futures))
            if waiting:
                # Items of one request may be in several batches: the first of them ends the wait.
                started = min(entry.started for entry in waiting)
                record("queue", waiting[0].arrived, started)
                record("encode", started, time.monotonic())
            return vectors
        finally:
            for future in futures:
                future.cancel()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            live = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            if live:
                started = time.monotonic()
                for entry in live:
                    entry.started = started
                self._encode_batch(live)
            self._heartbeat = time.monotonic()

    def _next_batch(self) -> list[_Waiting] | None:
        with self._changed:
            while not self._is_stopping:
                self._heartbeat = now = time.monotonic()
                queue = min(
                    (queue for queue in self._queues.values() if queue),
                    key=lambda queue: queue[0].arrived,
                    default=None,
                )
                if queue is None:
                    self._changed.wait(_HEARTBEAT_SECONDS)
                    continue
                remaining = queue[0].arrived + self._max_delay - now
                if len(queue) >= self._max_batch or remaining <= 0:
                    return [queue.popleft() for _ in range(min(len(queue), self._max_batch))]
                self._changed.wait(remaining)
        return None

    def _encode_batch(self, batch: list[_Waiting]) -> None:
        started = time.monotonic()
        try:
            vectors = self._encoder.encode([entry.item for entry in batch])
            if vectors.shape != (len(batch), self._encoder.info.dim):
                message = f"the model returned shape {vectors.shape} for {len(batch)} items"
                raise EncoderFailed(message)  # noqa: TRY301 - handled like any other failed batch
        # Even SystemExit: no failure of a batch may end the thread that all other requests need.
        except BaseException as error:
            if len(batch) == 1:
                failure = EncoderFailed(f"the model failed on this item: {error!r}")
                failure.__cause__ = error
                batch[0].future.set_exception(failure)
                return
            self._encode_batch(batch[: len(batch) // 2])
            self._encode_batch(batch[len(batch) // 2 :])
            return
        self._observe(batch[0].item.modality, len(batch), time.monotonic() - started)
        for entry, vector in zip(batch, vectors, strict=True):
            if np.isfinite(vector).all():
                entry.future.set_result(vector)
            else:
                message = "the model returned a vector that is not finite"
                entry.future.set_exception(EncoderFailed(message))
