"""Readiness: whether the vendor can sell right now, proven by a probe through the model."""

from __future__ import annotations

import time
from dataclasses import dataclass

from PIL import Image

from teacher_server.inference.batcher import EncoderQueue
from teacher_server.inference.model_info import Preparation
from teacher_server.operations.storage import Storage

STUCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """The checks by name; the vendor is ready when all of them pass."""

    checks: dict[str, bool]

    @property
    def is_ready(self) -> bool:
        return all(self.checks.values())


class ReadinessProbe:
    """Embeds one image and one text through the customers' queue, and writes as much as a sale."""

    def __init__(self, preparation: Preparation, queue: EncoderQueue, storage: Storage) -> None:
        self._preparation = preparation
        self._queue = queue
        self._storage = storage
        self._encoded_at: float | None = None

    async def run(self) -> None:
        """Run the model once; raises whatever the queue or the model raises."""
        size = self._preparation.info.image_size
        image = self._preparation.prepare_image(Image.new("RGB", (size, size), "white"))
        text = self._preparation.prepare_text("a canary")
        await self._queue.encode([image, text])
        self._encoded_at = time.monotonic()

    def mark_failed(self) -> None:
        """Record that the model did not answer: not ready until the probe passes again."""
        self._encoded_at = None

    async def health(self) -> Health:
        """The checks as `/readyz` reports them."""
        is_alive = self._queue.seconds_since_heartbeat < STUCK_SECONDS
        return Health(
            {
                "canary": self._encoded_at is not None,
                "worker": is_alive,
                "database": await self._storage.takes_writes(),
            }
        )
