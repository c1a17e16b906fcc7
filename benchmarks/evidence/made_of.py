"""The section on what the page was made of."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.evidence.grids import RUNS, grid
from benchmarks.evidence.lines import Found
from cache.records.money import dollars
from student.bench.rows import Row
from student.bench.run import identity
from student.bench.tables import NOT_YET
from student.report.markdown import table


def made_of(found: Found) -> Iterator[str]:
    """Rows, commits, machines and hours of each grid, and what is still to run."""
    yield from ["## What this page is made of", ""]
    lines = []
    for name in RUNS:
        planned = grid(name)
        ids = {identity(run, planned.base) for run in planned.runs}
        there = [found.rows[key] for key in ids if key in found.rows]
        lines.append(
            [
                name,
                f"{len(there)} of {len(ids)}" if there else NOT_YET,
                f"{sum(row.seconds for row in there) / 3600:.1f}",
                ", ".join(sorted({row.commit[:7] + _dirty(row) for row in there})),
                ", ".join(sorted({row.machine for row in there})),
            ]
        )
    yield from [*table(["grid", "runs", "hours", "commits", "machines"], lines), ""]
    dearest = max(found.rows.values(), key=lambda row: row.queries, default=None)
    if dearest is not None:
        yield (
            f"The dearest single student here cost {dearest.queries:,} queries "
            f"({dollars(dearest.cost_micro_usd)}); an answer serves every run that asks for it.\n"
        )


def _dirty(row: Row) -> str:
    return "+" if row.commit.endswith("+") else ""
