"""How long to wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from student.purchase.retry import Retries, retry_after_seconds

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("12", 12.0),
        (" 3 ", 3.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:10 -0000", 10.0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOON) == seconds


def test_the_jitter_is_full_and_its_ceiling_doubles_up_to_a_cap() -> None:
    class Highest:
        def uniform(self, low: float, high: float) -> float:
            assert low == 0.0
            return high

    delay: Callable[..., float] = Retries(first_delay=0.5, longest_delay=30).delay
    delays = [delay(attempt, None, Highest()) for attempt in range(1, 9)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]
