"""Places at work that takes long, at which the keys take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from teacher_server.errors import VendorError


class QueueTimeout(VendorError):
    """No place came free in time."""


class FairSemaphore:
    """So many places, kept by one event loop; the next free one goes to the key whose turn it is.

    A key's own requests come in their order. A key alone may hold all places: another that comes
    waits for the first of them to come free, not for all that the first key has asked for.
    """

    def __init__(self, places: int, *, patience: float) -> None:
        self._places = self._free = places
        self._patience = patience
        # The first key here is the next to get a place.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, key_id: str) -> AsyncIterator[None]:
        """Hold a place until the block ends; NoTurn after `patience` seconds without one."""
        await self._taken(key_id)
        try:
            yield
        finally:
            self._give_back(key_id)

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds a place or waits for one, and no key is remembered."""
        return self._free == self._places and not self._waiting

    async def _taken(self, key_id: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key_id, deque()).append(place)
        self._hand_out()
        try:
            async with asyncio.timeout(self._patience):
                await place
        except BaseException as error:
            if place.cancelled():
                self._hand_out()  # forgets it
            else:
                self._give_back(key_id)  # it came in the moment in which the wait ended
            if isinstance(error, TimeoutError):
                message = f"no turn came within {self._patience:g} seconds"
                raise QueueTimeout(message) from error
            raise

    def _give_back(self, key_id: str) -> None:
        self._free += 1
        self._to_the_end(key_id)
        self._hand_out()

    def _hand_out(self) -> None:
        self._forget_who_left()
        while self._free and (key_id := next(iter(self._waiting), None)) is not None:
            place = self._waiting[key_id].popleft()
            self._to_the_end(key_id)
            self._free -= 1
            place.set_result(None)

    def _forget_who_left(self) -> None:
        for waiting_id, queue in list(self._waiting.items()):
            left = deque(place for place in queue if not place.cancelled())
            if left:
                self._waiting[waiting_id] = left
            else:
                del self._waiting[waiting_id]

    def _to_the_end(self, key_id: str) -> None:
        queue = self._waiting.pop(key_id, None)
        if queue:
            self._waiting[key_id] = queue
