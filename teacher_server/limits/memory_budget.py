"""Bytes of requests that the process holds at once, so that many large ones cannot exhaust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from teacher_server.errors import VendorError


class MemoryBudgetExceeded(VendorError):
    """The process holds as many bytes of requests as it may, or the key half as many."""


class MemoryBudget:
    """Room for the bytes of requests in progress, kept by one event loop.

    Half of it is the most that one key gets, so that it cannot shut the others out. A request that
    comes when there is no other is let in however large it is: it could never come otherwise.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes of all requests in progress."""
        return self._held.total()

    @contextmanager
    def of(self, key_id: str, num_bytes: int) -> Iterator[None]:
        """Hold room for so many bytes until the block ends, or raise NoRoom and hold none."""
        if self.held and self.held + num_bytes > self._most:
            message = f"requests in progress hold {self.held} bytes of {self._most}"
            raise MemoryBudgetExceeded(message)
        own = self._held[key_id]
        if own and own + num_bytes > self._most // 2:
            message = f"requests of this key in progress hold {own} bytes of {self._most // 2}"
            raise MemoryBudgetExceeded(message)
        self._held[key_id] += num_bytes
        try:
            yield
        finally:
            self._held[key_id] -= num_bytes
            if not self._held[key_id]:
                del self._held[key_id]
