"""Usage as the pages show it: a row for every hour or day, also for those without charges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from teacher_server.ledger.records import Records, UsageBucket

HOUR: Final = 3600
DAY: Final = 86_400
_SHOWN: Final = {HOUR: 48, DAY: 30}
_FORMATS: Final = {HOUR: "%d %b %H:00", DAY: "%d %b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What was bought in an hour or a day (UTC), less what was refunded in it."""

    label: str
    images: int = 0
    texts: int = 0
    units: int = 0
    cost_micro_usd: int = 0


def usage_rows(records: Records, key_id: str, *, width: int, now: int) -> list[UsageRow]:
    """The last 48 hours or 30 days until `now` (Unix seconds), oldest first; `width` in seconds."""
    last = now - now % width
    start = last - (_SHOWN[width] - 1) * width
    found = {
        bucket.start_time: bucket
        for bucket in records.usage(key_id, start_time=start, end_time=now + 1, width=width)
    }
    return [_row(moment, width, found.get(moment)) for moment in range(start, last + 1, width)]


def total_usage(records: Records, key_id: str, *, now: int) -> UsageBucket | None:
    """All that was bought until `now` (Unix seconds), less what was refunded; None for nothing."""
    found = records.usage(key_id, start_time=0, end_time=now + 1, width=now + 1)
    return found[0] if found else None


def _row(start: int, width: int, bucket: UsageBucket | None) -> UsageRow:
    label = datetime.fromtimestamp(start, UTC).strftime(_FORMATS[width])
    if bucket is None:
        return UsageRow(label=label)
    return UsageRow(
        label=label,
        images=bucket.images,
        texts=bucket.texts,
        units=bucket.units,
        cost_micro_usd=bucket.cost_micro_usd,
    )
