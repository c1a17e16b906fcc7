"""A circuit breaker for all requests of one client: while the vendor is down, only /readyz is
polled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When an outage of the vendor is declared, and how long to wait for its end; in seconds.

    `failures` in a row, over all requests, open the breaker: broken connections, timeouts and 5xx.
    `total_seconds` limits the wait for one outage. `first_contact_seconds` is the limit while the
    vendor has never answered, because then the address is more often wrong than not.
    """

    failures: int = 5
    first_wait: float = 0.5
    longest_wait: float = 15.0
    probe_seconds: float = 10.0
    total_seconds: float = 300.0
    first_contact_seconds: float = 20.0

    def wait(self, probe: int, random: Random) -> float:
        """Seconds before the probe of this number (from 1): doubling, capped, half of it jitter.

        Never less than half, so that a vendor that is starting is not flooded with probes.
        """
        ceiling: float = min(self.longest_wait, self.first_wait * 2.0 ** min(probe - 1, 32))
        return random.uniform(ceiling / 2, ceiling)


class CircuitBreaker:
    """Lets requests pass until the vendor fails too often, and again when the vendor is ready.

    Shared by all concurrent requests of one client. While it is open, one request probes and the
    others wait for the result. After a successful probe, the first failure opens the breaker again,
    and the waits keep growing until an answer proves that the outage is over.
    """

    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        probe: Callable[[], Awaitable[bool]],
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._policy = policy
        self._probe = probe
        self._sleep = sleep
        self._clock = clock
        self._random = random
        self._failures = 0
        self._probes = 0
        self._open_since: float | None = None
        self._cause = ""
        self._has_given_up = False
        self._has_answered = False
        self._probing = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether requests have to wait."""
        return self._failures >= self._policy.failures

    @property
    def description(self) -> str:
        """What has happened, as the end of a sentence about the vendor."""
        return (
            f"{'is down' if self._has_answered else 'could not be reached'}: "
            f"{self._failures} failures in a row (the last: {self._cause}), and {self._probes} "
            f"probes of /readyz in {self.time_limit:.0f} s found it not ready"
        )

    @property
    def time_limit(self) -> float:
        """The longest wait for an outage, in seconds; shorter while the vendor never answered."""
        policy = self._policy
        return policy.total_seconds if self._has_answered else policy.first_contact_seconds

    def record_contact(self) -> None:
        """The vendor sent an answer, whatever it says."""
        self._has_answered = True

    def record_success(self) -> None:
        """The vendor sent an answer other than 5xx."""
        self._has_answered = True
        self._failures = self._probes = 0
        self._open_since = None

    def record_failure(
        self, cause: str, *, answered: bool = False, is_outage: bool = False
    ) -> None:
        """The vendor could not be reached, or answered 5xx.

        `is_outage`: it says itself that it cannot sell now, so the breaker opens at once.
        """
        self._has_answered = self._has_answered or answered
        self._failures += 1
        if is_outage:
            self._failures = max(self._failures, self._policy.failures)
        self._cause = cause
        if self.is_open and self._open_since is None:
            self._open_since = self._clock()
            # If the vendor never answered, the command ends with this as its error: no warning.
            _log.log(
                logging.WARNING if self._has_answered else logging.INFO,
                "the vendor is down (%d failures in a row, the last: %s): nothing is bought until "
                "it is ready again, for at most %.0f s",
                self._failures,
                cause,
                self.time_limit,
            )

    async def wait_until_closed(self) -> bool:
        """True as soon as a request may be sent; False when the outage has lasted too long.

        A breaker that has given up stays open, so that waiting requests do not wait again.
        """
        if not self.is_open:
            return True
        async with self._probing:
            while self.is_open and not self._has_given_up:
                await self._wait_and_probe()
            return not self.is_open

    async def _wait_and_probe(self) -> None:
        now = self._clock()
        started = now if self._open_since is None else self._open_since
        wait = self._policy.wait(self._probes + 1, self._random)
        if now - started + wait > self.time_limit:
            self._has_given_up = True
            return
        await self._sleep(wait)
        self._probes += 1
        if await self._is_ready() and self.is_open:
            self._failures = self._policy.failures - 1
            _log.warning("the vendor is ready again: the purchase continues")

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(self._policy.probe_seconds):
                return await self._probe()
        except TimeoutError:
            return False
