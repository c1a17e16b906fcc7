"""The queue of encoders in other processes, with the interface of a Batcher."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from teacher_server.errors import EncoderFailed, EncoderLost
from teacher_server.inference.batcher import QueueFull, Vector
from teacher_server.inference.model_info import Prepared

Encode = Callable[[list[Prepared]], Awaitable[list[Vector]]]
# A process that ends takes all of its requests with it, and the next may do so, too.
ATTEMPTS = 3
PAUSE_SECONDS = 0.2
_log = logging.getLogger("teacher_server")


class RemoteBatcher:
    """Sends items to whichever encoder has room, and asks another one if it ends meanwhile.

    That is safe: an embedding changes nothing, and nothing is charged before all of them are there.
    `encode` sends items to one encoder and returns their embeddings.
    """

    def __init__(self, encode: Encode, *, pause: float = PAUSE_SECONDS) -> None:
        self._encode = encode
        self._pause = pause
        # The number of items of each open request, and since when it is waited for.
        self._open: dict[object, tuple[int, float]] = {}
        self._answered = float("-inf")

    def start(self) -> None:
        """Nothing runs in this process."""

    def stop(self) -> None:
        """Nothing runs in this process."""

    @property
    def depth(self) -> int:
        """Number of items that this process waits for, in queues and in batches."""
        return sum(count for count, _ in self._open.values())

    @property
    def seconds_since_heartbeat(self) -> float:
        """Seconds since an encoder last answered while items wait for one; 0 if none do."""
        if not self._open:
            return 0.0
        waiting_since = min(since for _, since in self._open.values())
        return time.monotonic() - max(self._answered, waiting_since)

    async def encode(self, items: Sequence[Prepared]) -> list[Vector]:
        """The embeddings of all items, in their order. Raises QueueFull or EncoderFailed as an
        encoder did, or EncoderLost if each one that was asked ended before it answered."""
        request = object()
        self._open[request] = len(items), time.monotonic()
        try:
            return await self._ask(list(items))
        finally:
            del self._open[request]

    async def _ask(self, items: list[Prepared]) -> list[Vector]:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._pause)
            try:
                vectors = await self._encode(items)
            # In new exceptions: those of another process quote its traceback in their message.
            except QueueFull as error:
                self._answered = time.monotonic()
                raise QueueFull(_message(error)) from error
            except EncoderFailed as error:
                self._answered = time.monotonic()
                raise EncoderFailed(_message(error)) from error
            # Ray has many errors for a process that it cannot reach, and they share no class.
            except Exception as error:
                _log.warning("an encoder did not answer: %s", type(error).__name__)
                last = error
            else:
                self._answered = time.monotonic()
                return vectors
        message = f"{ATTEMPTS} encoders were asked and ended before they answered"
        raise EncoderLost(message) from last


def _message(error: Exception) -> str:
    """The message as the encoder wrote it; Ray keeps the encoder's own exception as `cause`."""
    return str(getattr(error, "cause", None) or error)
