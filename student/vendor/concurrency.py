"""How many requests are in flight at once: additive increase, multiplicative decrease."""

from __future__ import annotations

import asyncio


class AimdLimiter:
    """A gate of `most` places that closes by half when the vendor pushes back.

    `async with pace:` holds one place. `slow_down()` halves the places, to one at least;
    `speed_up()` counts an answer, and gives one place back for every gateful of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = most
        self._held = 0
        self._answers = 0
        self._halvings = 0
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._limit

    @property
    def halvings(self) -> int:
        """How often the gate has closed by half."""
        return self._halvings

    def slow_down(self, sent_at: int | None = None) -> None:
        """Close by half, once for a burst: `sent_at` is `halvings` when the request was sent.

        The requests of one burst are pushed back together: that is one sign, not one for each.
        """
        if sent_at is not None and sent_at < self._halvings:
            return
        self._limit = max(1, self._limit // 2)
        self._halvings += 1
        self._answers = 0

    async def speed_up(self) -> None:
        """Count an answer."""
        async with self._changed:
            self._answers += 1
            if self._answers < self._limit:
                return
            self._answers = 0
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
