"""How many requests are in flight at once: additive increase, multiplicative decrease."""

from __future__ import annotations

import asyncio


class Pace:
    """A gate of `most` places that closes by half when the vendor pushes back.

    `async with pace:` holds one place. `slow_down()` halves the places, to one at least;
    `speed_up()` gives one back.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = most
        self._held = 0
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._limit

    def slow_down(self) -> None:
        self._limit = max(1, self._limit // 2)

    async def speed_up(self) -> None:
        async with self._changed:
            self._limit = min(self._most, self._limit + 1)
            self._changed.notify_all()

    async def __aenter__(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._held < self._limit)
            self._held += 1

    async def __aexit__(self, *_: object) -> None:
        async with self._changed:
            self._held -= 1
            self._changed.notify_all()
