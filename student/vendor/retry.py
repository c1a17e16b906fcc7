"""When a request is repeated, how often, and after which delay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

# Any other status is final: a retry cannot change it, and 402 must never become a loop.
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
PUSHBACK_STATUSES = frozenset({429, 503})


def is_retried(status: int, code: str) -> bool:
    """Whether waiting alone may help; 409 only where the same request is still in flight."""
    return status in RETRIED_STATUSES and (status != 409 or code == "request_in_flight")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The limits on retries: `attempts` and `total_seconds` both apply.

    `request_seconds` bounds a single attempt, including a slow response body. A vendor's
    Retry-After is obeyed up to `longest_retry_after` seconds.
    """

    attempts: int = 8
    total_seconds: float = 300.0
    request_seconds: float = 120.0
    first_delay: float = 0.5
    longest_delay: float = 30.0
    longest_retry_after: float = 60.0

    def delay(self, attempt: int, retry_after: float | None, random: Random) -> float:
        """Seconds to wait after the attempt of this number (from 1), with full jitter.

        With a Retry-After the jitter is added, so that waiting clients do not all return at once.
        """
        # Far beyond every cap, and no overflow for a client that is set to retry forever.
        doublings = min(attempt - 1, 64)
        ceiling = min(self.longest_delay, self.first_delay * 2.0**doublings)
        if retry_after is None:
            return random.uniform(0.0, ceiling)
        return min(retry_after, self.longest_retry_after) + random.uniform(0.0, self.first_delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Another attempt is about to be made; `status` is 0 if no response came."""

    attempt: int
    status: int
    delay: float
    timed_out: bool = False

    @property
    def is_pushback(self) -> bool:
        """Whether the vendor is overloaded: it says so, or does not answer in time."""
        return self.status in PUSHBACK_STATUSES or self.timed_out


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds of a Retry-After header (delta-seconds or HTTP-date); None if it is neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # A longer number is beyond every cap, and would overflow a float.
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
