"""The tables of a result, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_COSTS: Final = {
    "cpu_seconds": ("processor time, s", 1.0),
    "peak_bytes": ("peak memory, MB", 1e6),
    "disk_bytes": ("disk, MB", 1e6),
}


def check_table(check: Sequence[Mapping[str, Any]]) -> str:
    """Predicted and measured costs of the sizes that were not used for the fit."""
    lines = [
        "| Stage | Images | Cost | Predicted | Measured | Error |",
        "|---|--:|---|--:|--:|--:|",
    ]
    for row in check:
        name, unit = _COSTS[row["cost"]]
        lines.append(
            f"| {row['stage']} | {row['images']:,} | {name} | {row['predicted'] / unit:,.1f} | "
            f"{row['measured'] / unit:,.1f} | {row['error']:+.0%} |"
        )
    return "\n".join(lines) + "\n"


def prediction_table(result: Mapping[str, Any]) -> str:
    """Time, memory, disk and money at each size, and what breaks first."""
    lines = [
        "| Images | Money | Vendor | Client, one core | Memory | Disk | Breaks first |",
        "|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in result["predictions"]:
        first, share = max(one["used"].items(), key=lambda used: used[1])
        breaks = f"{first}, {share:.1f} times the limit" if share > 1 else "nothing"
        lines.append(
            f"| {one['images']:,} | ${one['micro_usd'] / 1e6:,.0f} | "
            f"{_duration(one['vendor_seconds'])} | {_duration(sum(one['cpu_seconds'].values()))} | "
            f"{one['peak_bytes'] / 1e9:,.1f} GB ({one['hungriest']}) | "
            f"{sum(one['disk_bytes'].values()) / 1e12:,.2f} TB | {breaks} |"
        )
    return "\n".join(lines) + "\n"


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.1f} h" if hours < 72 else f"{hours / 24:,.0f} days"
