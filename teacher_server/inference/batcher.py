"""One model, one thread, many requests: items are gathered into batches and answered singly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from teacher_server.errors import EncoderFailed, VendorError
from teacher_server.inference.info import Encoder, Modality, Prepared

Vector = NDArray[np.float32]
_BEAT_SECONDS = 0.5


class QueueFull(VendorError):
    """The queue has no room for this many items now."""


@dataclass(slots=True)
class _Waiting:
    item: Prepared
    arrived: float
    future: Future[Vector] = field(default_factory=Future)


class Batcher:
    """Feeds an encoder from one thread, text and images in lanes of their own.

    A batch leaves when it is full or its oldest item has waited `max_delay` seconds. When a batch
    fails it is halved until the guilty item stands alone: only that item fails.
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
        self._lanes: dict[Modality, deque[_Waiting]] = {"image": deque(), "text": deque()}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)

    def start(self) -> None:
        """Start the worker thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand, fail what still waits, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        for lane in self._lanes.values():
            while lane:
                lane.popleft().future.cancel()

    @property
    def depth(self) -> int:
        """Items waiting."""
        with self._changed:
            return sum(len(lane) for lane in self._lanes.values())

    @property
    def silence(self) -> float:
        """Seconds since the worker last showed life; infinite when its thread is gone."""
        return time.monotonic() - self._beat if self._thread.is_alive() else float("inf")

    def submit(self, items: Sequence[Prepared]) -> list[Future[Vector]]:
        """Queue all items or none (QueueFull); one future each, resolved from the worker."""
        now = time.monotonic()
        waiting = [_Waiting(item, now) for item in items]
        with self._changed:
            queued = sum(len(lane) for lane in self._lanes.values())
            if queued and queued + len(items) > self._max_queue:
                message = f"{queued} items wait already"
                raise QueueFull(message)
            if self._is_stopping:
                message = "the server is stopping"
                raise QueueFull(message)
            for one in waiting:
                self._lanes[one.item.modality].append(one)
            self._changed.notify()
        return [one.future for one in waiting]

    async def encode(self, items: Sequence[Prepared]) -> list[Vector]:
        """The vectors of all items, in their order; raises the first failure.

        Cancelling it takes the items that no batch has taken yet out of the queue.
        """
        futures = [asyncio.wrap_future(future) for future in self.submit(items)]
        try:
            return list(await asyncio.gather(*futures))
        finally:
            for future in futures:
                future.cancel()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            live = [one for one in batch if one.future.set_running_or_notify_cancel()]
            if live:
                self._solve(live)
            self._beat = time.monotonic()

    def _next_batch(self) -> list[_Waiting] | None:
        with self._changed:
            while not self._is_stopping:
                self._beat = now = time.monotonic()
                lane = min(
                    (lane for lane in self._lanes.values() if lane),
                    key=lambda lane: lane[0].arrived,
                    default=None,
                )
                if lane is None:
                    self._changed.wait(_BEAT_SECONDS)
                    continue
                patience = lane[0].arrived + self._max_delay - now
                if len(lane) >= self._max_batch or patience <= 0:
                    return [lane.popleft() for _ in range(min(len(lane), self._max_batch))]
                self._changed.wait(patience)
        return None

    def _solve(self, batch: list[_Waiting]) -> None:
        started = time.monotonic()
        try:
            vectors = self._encoder.encode([one.item for one in batch])
            if vectors.shape != (len(batch), self._encoder.info.dim):
                message = f"the model answered {vectors.shape} to {len(batch)} items"
                raise EncoderFailed(message)  # noqa: TRY301 - handled like any other failed batch
        # Even SystemExit: nothing that one batch does may end the thread that all others wait for.
        except BaseException as error:
            if len(batch) == 1:
                failure = EncoderFailed(f"the model failed on this item: {error!r}")
                failure.__cause__ = error
                batch[0].future.set_exception(failure)
                return
            self._solve(batch[: len(batch) // 2])
            self._solve(batch[len(batch) // 2 :])
            return
        self._observe(batch[0].item.modality, len(batch), time.monotonic() - started)
        for one, vector in zip(batch, vectors, strict=True):
            if np.isfinite(vector).all():
                one.future.set_result(vector)
            else:
                one.future.set_exception(EncoderFailed("the model gave no finite vector"))
