"""A limit on the bytes of all open requests together, so that they cannot exhaust the memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from teacher_server.errors import VendorError


class MemoryBudgetExceeded(VendorError):
    """Open requests hold as many bytes as the limit allows, or those of one key half as many."""


class MemoryBudget:
    """Counts the bytes of open requests in one event loop.

    One key may hold half of the limit, so that it cannot lock out the others. A request that
    arrives when no other is open is always admitted: however long it waited, it would still be
    larger than the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes of all open requests."""
        return self._held.total()

    @contextmanager
    def hold(self, key_id: str, num_bytes: int) -> Iterator[None]:
        """Count these bytes until the block ends; raises MemoryBudgetExceeded, counting none."""
        if self.held and self.held + num_bytes > self._limit:
            message = f"open requests hold {self.held} of {self._limit} bytes"
            raise MemoryBudgetExceeded(message)
        own, limit = self._held[key_id], self._limit // 2
        if own and own + num_bytes > limit:
            message = f"open requests of this key hold {own} of {limit} bytes"
            raise MemoryBudgetExceeded(message)
        self._held[key_id] += num_bytes
        try:
            yield
        finally:
            self._held[key_id] -= num_bytes
            if not self._held[key_id]:
                del self._held[key_id]
