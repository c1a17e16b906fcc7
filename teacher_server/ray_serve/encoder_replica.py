"""The model with its queue, as a process that Ray Serve starts, watches and replaces."""

from __future__ import annotations

from teacher_server.errors import EncoderFailed
from teacher_server.inference.batcher import Batcher, Vector
from teacher_server.inference.model_info import Preparation, Prepared
from teacher_server.operations.logs import configure_logging
from teacher_server.operations.readiness import STUCK_SECONDS
from teacher_server.server.load_model import LoadedEncoder, load_model
from teacher_server.settings import VendorSettings, load_settings


class EncoderReplica:
    """Embeds what the replicas of the API send, in batches across all of their requests.

    The settings come from the environment.
    """

    def __init__(self) -> None:
        settings = load_settings({})
        configure_logging(settings.log_format)
        encoder = self.load(settings)
        self._preparation = encoder.preparation
        self._batcher = Batcher(
            encoder,
            max_batch=settings.max_batch,
            max_delay=settings.max_delay_ms / 1000,
            max_queue=settings.max_queue,
        )
        self._batcher.start()

    def load(self, settings: VendorSettings) -> LoadedEncoder:
        """The encoder that this replica runs."""
        return load_model(settings)

    async def preparation(self) -> Preparation:
        """What makes the model's input, to be sent to a replica of the API."""
        return self._preparation

    async def encode(self, items: list[Prepared]) -> list[Vector]:
        """The embeddings of all items, in their order. Raises QueueFull or EncoderFailed.

        Cancelling removes the items that are still queued.
        """
        return await self._batcher.encode(items)

    async def check_health(self) -> None:
        """Raise EncoderFailed if the model is stuck: Ray Serve then replaces this replica."""
        silence = self._batcher.seconds_since_heartbeat
        if silence > STUCK_SECONDS:
            message = f"the model has given no sign of life for {silence:.0f} seconds"
            raise EncoderFailed(message)

    def __del__(self) -> None:
        # Ray Serve calls it when the last request has ended.
        if hasattr(self, "_batcher"):
            self._batcher.stop()
