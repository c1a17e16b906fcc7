"""What a running vendor does by itself: the canary, leases, retention and the webhook."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from teacher_server.inference.batcher import QueueFull
from teacher_server.ledger.ledger import Ledger
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.readiness import STUCK_SECONDS, ReadinessProbe

_log = logging.getLogger("teacher_server")
SWEEP_SECONDS = 5.0
WATCH_SECONDS = 30.0
PURGE_SECONDS = 3600.0
_DAY_MS = 86_400_000


class AlertSender(Protocol):
    """Delivers the alerts that wait."""

    async def deliver(self) -> int:
        """Try each that is due; how many were taken."""
        ...


class BackgroundTasks:
    """A sweep every few seconds, a round every half minute; no chore stops another."""

    def __init__(
        self,
        canary: ReadinessProbe,
        ledger: Ledger,
        metrics: Metrics,
        *,
        answer_days: int,
        courier: AlertSender | None,
        clock_ms: Callable[[], int],
    ) -> None:
        self._canary = canary
        self._ledger = ledger
        self._metrics = metrics
        self._answer_days = answer_days
        self._courier = courier
        self._clock_ms = clock_ms
        self._purged_at = float("-inf")

    async def run(self) -> None:
        """Go on until cancelled."""
        # Apart from the rest: a canary that waits its turn must not keep reservations from ending.
        async with asyncio.TaskGroup() as both:
            both.create_task(self._again(self.sweep, SWEEP_SECONDS))
            both.create_task(self._again(self.round, WATCH_SECONDS))

    async def sweep(self) -> None:
        """Give back what dead servers and late requests hold, and be known as alive."""
        try:
            await asyncio.to_thread(self._ledger.sweep)
        except Exception:
            _log.exception("reservations of dead servers and late requests were not given back")

    async def round(self) -> None:
        """Canary, retention, webhook; what fails is logged and tried again in the next round."""
        await self._ask_the_canary()
        await self._purge()
        await self._alert()

    async def _again(self, chore: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await chore()
            await asyncio.sleep(seconds)

    async def _ask_the_canary(self) -> None:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await self._canary.run()
        except (QueueFull, TimeoutError):
            # Customers come first; a worker that is really stuck is seen by its silence.
            _log.warning("the queue is long: the canary found no turn")
        except Exception:
            self._canary.fail()
            _log.exception("the canary failed")

    async def _purge(self) -> None:
        # 0 keeps answers for ever. The search walks what is stored: once an hour is often enough.
        if not self._answer_days or time.monotonic() - self._purged_at < PURGE_SECONDS:
            return
        oldest = self._clock_ms() - self._answer_days * _DAY_MS
        try:
            purged = await asyncio.to_thread(self._ledger.books.purge, oldest)
        except Exception:
            _log.exception("old answers were not purged")
            return
        self._purged_at = time.monotonic()
        self._metrics.purged(purged)

    async def _alert(self) -> None:
        if self._courier is None:
            return
        try:
            self._metrics.alerted(await self._courier.deliver())
        except Exception:
            _log.exception("budget alerts were not delivered")
