"""Whether the database takes writes; and reservations that could not be released without them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from teacher_server.database.write_faults import write_fault
from teacher_server.errors import StorageUnavailable

PROBE_SECONDS = 1.0
LOG_SECONDS = 60.0

_log = logging.getLogger("teacher_server")


class Storage:
    """Remembers that a write failed, until a probe that writes as much as a sale has passed.

    While it fails, sales are refused before they reserve anything. `probe` writes and raises the
    database's error; `release` voids the reservation of a request.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        release: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe = probe
        self._release = release
        self._clock = clock
        self._fault: str | None = None
        self._unreleased: set[str] = set()
        self._logged_at = float("-inf")
        self._is_logged = False
        self._probed_at = float("-inf")
        self._passed = False
        self._probing = asyncio.Lock()

    def note(self, error: BaseException) -> str | None:
        """Remember a failed write; returns why, or None if `error` is not about the database's
        disk. The log says it at most once a minute."""
        fault = write_fault(error)
        if fault is None:
            return None
        self._fault = fault
        if self._clock() - self._logged_at >= LOG_SECONDS:
            self._logged_at = self._clock()
            self._is_logged = True
            _log.error(
                "the database takes no writes: %s. Sales are refused with 503 until it does; %d "
                "reservations wait to be released",
                fault,
                len(self._unreleased),
            )
        return fault

    def release_later(self, request_id: str) -> None:
        """Release this reservation as soon as the database takes writes."""
        self._unreleased.add(request_id)

    async def takes_writes(self) -> bool:
        """Probe the database, and release what waits for it; at most one probe a second.

        Simultaneous calls share one probe, so that they do not delay the customers' writes.
        """
        async with self._probing:
            if self._clock() - self._probed_at >= PROBE_SECONDS:
                self._passed = await asyncio.to_thread(self._passes)
                self._probed_at = self._clock()
        return self._passed

    async def recover(self) -> None:
        """Probe if a write failed or a reservation waits to be released; otherwise do nothing."""
        if self._fault is not None or self._unreleased:
            await self.takes_writes()

    async def require_writable(self) -> None:
        """Raise StorageUnavailable, with the cause, while the database takes no writes."""
        await self.recover()
        if self._fault is not None:
            raise unavailable(self._fault)

    def _passes(self) -> bool:
        try:
            self._probe()
            released = self._release_all()
        except Exception as error:
            if self.note(error) is None:
                _log.warning("the probe of the database failed: %s", type(error).__name__)
            return False
        if self._is_logged or released:
            _log.warning("the database takes writes again; %d reservations released", released)
        self._fault, self._is_logged = None, False
        return True

    def _release_all(self) -> int:
        released = 0
        for request_id in list(self._unreleased):
            released += self._release(request_id)
            self._unreleased.discard(request_id)
        return released


def unavailable(fault: str) -> StorageUnavailable:
    """The error for a customer of a database that takes no writes."""
    return StorageUnavailable(f"the vendor cannot store anything now: {fault}")
