"""A semaphore that is shared out fairly between API keys."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from teacher_server.errors import VendorError


class QueueTimeout(VendorError):
    """No slot became free in time."""


class FairSemaphore:
    """A fixed number of slots in one event loop, assigned round-robin between the waiting keys.

    Requests of one key are served in their order. A key that is alone may hold all slots; another
    key that arrives then gets the first slot that becomes free, however many requests of the first
    key are waiting.
    """

    def __init__(self, slots: int, *, timeout: float) -> None:
        self._slots = self._free = slots
        self._timeout = timeout
        # The first key in this dict gets the next slot.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, key_id: str) -> AsyncIterator[None]:
        """Hold a slot until the block ends; raises QueueTimeout after `timeout` seconds."""
        await self._acquire(key_id)
        try:
            yield
        finally:
            self._release(key_id)

    @property
    def is_idle(self) -> bool:
        """Whether every slot is free, no request waits and no key is remembered."""
        return self._free == self._slots and not self._waiting

    async def _acquire(self, key_id: str) -> None:
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key_id, deque()).append(slot)
        self._assign_free_slots()
        try:
            async with asyncio.timeout(self._timeout):
                await slot
        except BaseException as error:
            if slot.cancelled():
                self._assign_free_slots()  # removes the cancelled request
            else:
                self._release(key_id)  # it was assigned at the moment when the wait ended
            if isinstance(error, TimeoutError):
                message = f"no slot became free within {self._timeout:g} seconds"
                raise QueueTimeout(message) from error
            raise

    def _release(self, key_id: str) -> None:
        self._free += 1
        self._move_to_end(key_id)
        self._assign_free_slots()

    def _assign_free_slots(self) -> None:
        self._remove_cancelled()
        while self._free and (key_id := next(iter(self._waiting), None)) is not None:
            slot = self._waiting[key_id].popleft()
            self._move_to_end(key_id)
            self._free -= 1
            slot.set_result(None)

    def _remove_cancelled(self) -> None:
        for key_id, queue in list(self._waiting.items()):
            left = deque(slot for slot in queue if not slot.cancelled())
            if left:
                self._waiting[key_id] = left
            else:
                del self._waiting[key_id]

    def _move_to_end(self, key_id: str) -> None:
        queue = self._waiting.pop(key_id, None)
        if queue:
            self._waiting[key_id] = queue
