"""The results of a run as JSON, and what is worse than in an earlier run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.performance.comparison import Comparison
from cache.storage.atomic_file import replace_file

Rows = list[dict[str, Any]]

_FELL: Final = 0.15


def read_results(path: Path) -> dict[str, Any]:
    """Return the results in `path`, or none where there is no such file."""
    if not path.is_file():
        return {"sections": {}}
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def with_section(
    results: dict[str, Any],
    section: str,
    comparisons: Sequence[Comparison],
    *,
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Return the results with those of one section replaced, with how they were measured."""
    rows = [comparison.as_json() for comparison in comparisons]
    measured = {**provenance, "comparisons": rows}
    return {**results, "sections": {**results["sections"], section: measured}}


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write the results to `path`, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(results, indent=2, sort_keys=True) + "\n").encode())


def rows_of(results: dict[str, Any], section: str) -> Rows:
    """Return the comparisons of one section; none if it was not measured."""
    rows: Rows = results["sections"].get(section, {}).get("comparisons", [])
    return rows


def fell(now: Rows, before: Rows) -> Iterator[str]:
    """Yield a sentence for each ratio that is more than 15% worse than `before`."""
    earlier = {row["name"]: row["ratio"] for row in before}
    for row in now:
        old = earlier.get(row["name"])
        if old is None:
            continue
        kept = row["ratio"] / old if row["better"] == "higher" else 2 - row["ratio"] / old
        if kept < 1 - _FELL:
            yield (
                f"{row['section']}: {row['name']}: {row['ratio']:.2f} times {row['peer']}, "
                f"was {old:.2f} ({row['better']} is better)"
            )
