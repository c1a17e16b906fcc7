"""One switch for all requests of a client: while the vendor is down, only /readyz is asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """How an outage of the vendor is noticed and how long it is sat out; times in seconds.

    `failures` in a row, over all requests, open the breaker: connections that break, times that
    run out, and 5xx. `total_seconds` is the longest that one outage is waited for,
    `first_seconds` while nothing has ever answered: then the address is wrong more often than not.
    """

    failures: int = 5
    first_wait: float = 0.5
    longest_wait: float = 15.0
    probe_seconds: float = 10.0
    total_seconds: float = 300.0
    first_seconds: float = 20.0

    def wait(self, probe: int, dice: Random) -> float:
        """Seconds before the probe of this number (from 1): doubling, capped, half of it jitter.

        Never less than half, so that a vendor that is coming up is not hammered with questions.
        """
        ceiling: float = min(self.longest_wait, self.first_wait * 2.0 ** min(probe - 1, 32))
        return dice.uniform(ceiling / 2, ceiling)


class CircuitBreaker:
    """Lets requests through until the vendor fails too often, then when it is ready again.

    Shared by all concurrent requests of one client: while it is open one of them asks `probe`, the
    others wait for the outcome. After a good probe the first failure opens it again, and the waits
    go on growing, until an answer proves that the outage is over.
    """

    def __init__(
        self,
        outages: BreakerPolicy,
        *,
        probe: Callable[[], Awaitable[bool]],
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._outages = outages
        self._probe = probe
        self._sleep = sleep
        self._clock = clock
        self._random = random
        self._failures = 0
        self._probes = 0
        self._since: float | None = None
        self._cause = ""
        self._has_given_up = False
        self._has_answered = False
        self._turn = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether requests have to wait."""
        return self._failures >= self._outages.failures

    @property
    def story(self) -> str:
        """What has happened, as the end of a sentence."""
        return (
            f"{'is down' if self._has_answered else 'could not be reached'}: "
            f"{self._failures} failures in a row (the last: {self._cause}), and /readyz, asked "
            f"{self._probes} times in {self._patience:.0f} s, did not say that it is ready"
        )

    def succeeded(self) -> None:
        """The vendor answered something that is no 5xx."""
        self._has_answered = True
        self._failures = self._probes = 0
        self._since = None

    @property
    def _patience(self) -> float:
        outages = self._outages
        return outages.total_seconds if self._has_answered else outages.first_seconds

    def failed(self, cause: str, *, answered: bool = False) -> None:
        """The vendor could not be reached, or answered 5xx."""
        self._has_answered = self._has_answered or answered
        self._failures += 1
        self._cause = cause
        if self.is_open and self._since is None:
            self._since = self._clock()
            # A vendor that never answered is the error that the command ends with, said once.
            _log.log(
                logging.WARNING if self._has_answered else logging.INFO,
                "the vendor is down (%d failures in a row, the last: %s): nothing is bought until "
                "it says that it is ready, %.0f s at most",
                self._failures,
                cause,
                self._patience,
            )

    async def passes(self) -> bool:
        """True as soon as a request may go; False when the outage has lasted too long.

        A breaker that has given up stays so: whoever waited behind it must not wait once more.
        """
        if not self.is_open:
            return True
        async with self._turn:
            while self.is_open and not self._has_given_up:
                await self._look()
            return not self.is_open

    async def _look(self) -> None:
        now = self._clock()
        started = now if self._since is None else self._since
        wait = self._outages.wait(self._probes + 1, self._random)
        if now - started + wait > self._patience:
            self._has_given_up = True
            return
        await self._sleep(wait)
        self._probes += 1
        if await self._is_ready() and self.is_open:
            self._failures = self._outages.failures - 1
            _log.warning("the vendor is ready again: going on")

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(self._outages.probe_seconds):
                return await self._probe()
        except TimeoutError:
            return False
