"""Background tasks of a running vendor: readiness probe, leases, purges, budget alerts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from teacher_server.inference.batcher import QueueFull
from teacher_server.ledger.ledger import Ledger
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.readiness import STUCK_SECONDS, ReadinessProbe
from teacher_server.operations.storage import Storage

_log = logging.getLogger("teacher_server")
SWEEP_SECONDS = 5.0
MAINTENANCE_SECONDS = 30.0
PURGE_SECONDS = 3600.0
_DAY_MS = 86_400_000
T = TypeVar("T")


class AlertSender(Protocol):
    """Delivers pending budget alerts."""

    async def deliver(self) -> int:
        """Try each alert that is due; returns how many were delivered."""
        ...


class BackgroundTasks:
    """Sweeps leases every 5 seconds and does the rest every 30; each task fails independently.

    Failures are logged and tried again the next time.
    """

    def __init__(
        self,
        probe: ReadinessProbe,
        ledger: Ledger,
        metrics: Metrics,
        *,
        storage: Storage,
        answer_days: int,
        alert_sender: AlertSender | None,
        clock_ms: Callable[[], int],
    ) -> None:
        self._probe = probe
        self._ledger = ledger
        self._metrics = metrics
        self._storage = storage
        self._answer_days = answer_days
        self._alert_sender = alert_sender
        self._clock_ms = clock_ms
        self._purged_at = float("-inf")

    async def run(self) -> None:
        """Run until cancelled."""
        # Three loops: a probe that waits in the queue must not keep reservations from being voided,
        # nor many old answers the probe from being run.
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.sweep, SWEEP_SECONDS))
            group.create_task(self._repeat(self.maintain, MAINTENANCE_SECONDS))
            group.create_task(self._repeat(self.purge, MAINTENANCE_SECONDS))

    async def sweep(self) -> None:
        """Void the reservations of dead servers and expired leases; renew this server's lock.

        Those that could not be voided on a full disk are, as soon as there is room.
        """
        try:
            await self._storage.recover()
            await _in_thread(self._ledger.sweep)
        except Exception as error:
            self._log_failure(
                error, "reservations of dead servers and expired leases were not voided"
            )

    async def maintain(self) -> None:
        """Run the readiness probe and send alerts, once each."""
        await self._run_probe()
        await self._send_alerts()

    async def purge(self) -> None:
        """Delete the stored answers that are older than the setting, at most once an hour."""
        # 0 keeps answers forever.
        if not self._answer_days or time.monotonic() - self._purged_at < PURGE_SECONDS:
            return
        batches = self._ledger.records.purge_in_batches(
            self._clock_ms() - self._answer_days * _DAY_MS
        )
        try:
            # One by one, so that a vendor that is stopped waits for one batch only.
            while purged := await _in_thread(partial(next, batches, 0)):
                self._metrics.purged(purged)
        except Exception as error:
            self._log_failure(error, "old answers were not purged")
            return
        self._purged_at = time.monotonic()

    async def _repeat(self, task: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await task()
            await asyncio.sleep(seconds)

    async def _run_probe(self) -> None:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await self._probe.run()
        except (QueueFull, TimeoutError):
            # Customers come first. A worker that is stuck shows up by its missing heartbeat.
            _log.warning("readiness probe skipped: the encoder queue is full")
        except Exception:
            self._probe.mark_failed()
            _log.exception("the readiness probe failed")

    async def _send_alerts(self) -> None:
        if self._alert_sender is None:
            return
        try:
            self._metrics.alerted(await self._alert_sender.deliver())
        except Exception as error:
            self._log_failure(error, "budget alerts were not delivered")

    def _log_failure(self, error: Exception, message: str) -> None:
        # A full disk is logged once a minute, whatever fails because of it.
        if self._storage.note(error) is None:
            _log.error(message, exc_info=error)


async def _in_thread(call: Callable[[], T]) -> T:
    """Run `call` in a worker thread until it finishes, even if the caller is cancelled: it uses the
    ledger, which is closed after that."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
