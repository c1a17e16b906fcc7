"""How many requests are in flight at once: additive increase, multiplicative decrease (AIMD)."""

from __future__ import annotations

import asyncio


class AimdLimiter:
    """Limits concurrent requests to `most`, and to half as many whenever the vendor pushes back.

    `async with limiter:` holds one place. `decrease()` halves the limit, to 1 at least;
    `increase()` counts an answer and raises the limit by 1 after as many answers as the limit.
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
        """How often the limit was halved."""
        return self._halvings

    def decrease(self, sent_at: int | None = None) -> None:
        """Halve the limit, once for a burst: `sent_at` is `halvings` when the request was sent.

        Requests that were sent together are pushed back together, which is one signal.
        """
        if sent_at is not None and sent_at < self._halvings:
            return
        self._limit = max(1, self._limit // 2)
        self._halvings += 1
        self._answers = 0

    async def increase(self) -> None:
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
