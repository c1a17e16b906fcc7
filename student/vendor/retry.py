"""How often, how long and how politely the vendor is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

# Everything else is an answer: asking again cannot change it, and 402 must never be a loop.
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
PUSHED_BACK = frozenset({429, 503})


def is_retried(status: int, code: str) -> bool:
    """Whether time alone may turn this refusal into an answer; 409 only for what is in flight."""
    return status in RETRIED_STATUSES and (status != 409 or code == "request_in_flight")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The patience of the client: attempts and total seconds are both caps.

    `request_seconds` bounds one attempt as a whole, a body that drips included; a vendor's
    Retry-After is obeyed up to `longest_retry_after` seconds.
    """

    attempts: int = 8
    total_seconds: float = 300.0
    request_seconds: float = 120.0
    first_delay: float = 0.5
    longest_delay: float = 30.0
    longest_retry_after: float = 60.0

    def delay(self, attempt: int, retry_after: float | None, dice: Random) -> float:
        """Seconds to wait after the attempt of this number (from 1), with full jitter.

        With a Retry-After the jitter comes on top, so that waiting clients do not return as one.
        """
        # Far beyond every cap, and no overflow for a client that is told to try for ever.
        doublings = min(attempt - 1, 64)
        ceiling = min(self.longest_delay, self.first_delay * 2.0**doublings)
        if retry_after is None:
            return dice.uniform(0.0, ceiling)
        return min(retry_after, self.longest_retry_after) + dice.uniform(0.0, self.first_delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """One more attempt is about to be made; `status` is 0 when no answer came."""

    attempt: int
    status: int
    delay: float
    timed_out: bool = False

    @property
    def is_pushback(self) -> bool:
        """Whether the vendor has too much to do: it says so, or does not answer in time."""
        return self.status in PUSHED_BACK or self.timed_out


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds a Retry-After header asks for, as delta-seconds or HTTP-date; None if neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # A longer number is beyond every cap and would overflow a float.
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
